"""A simulated provider that enforces rate limits, on the virtual clock, and a run of many requests against it."""

import asyncio
from dataclasses import dataclass, field
from math import ceil

from orchestrator.backends.limits.limited import LimitedModel
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.limits.rate_headers import anthropic_rate_headers
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.core.chat import Completion, Draw, Message, Prompt
from orchestrator.core.draws import fraction, lognormal
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.virtual_time import VirtualClock, run_virtually


@dataclass
class Quota:
    """A continuously refilled bucket, as providers describe theirs; enforced over `window_s`."""

    per_s: float
    window_s: float
    level: float = 0.0
    at: float = 0.0

    def __post_init__(self):
        self.level = self.capacity

    @property
    def capacity(self):
        return self.per_s * self.window_s

    def refill(self, now):
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_s)
        self.at = now

    def missing_s(self, amount):
        return max(0.0, (min(amount, self.capacity) - self.level) / self.per_s)


@dataclass
class RateServer:
    """Counts requests and input at arrival, output at the end. A refused request is not counted.

    Limits change to `changed_share` of themselves once `changes_after` requests were let in.
    """

    requests_per_s: float
    input_per_s: float
    output_per_s: float
    window_s: float = 1.0
    sends_headers: bool = True
    changes_after: int | None = None
    changed_share: float = 0.5
    arrivals: list = field(default_factory=list)
    spent: dict = field(default_factory=lambda: {"requests": 0.0, "input-tokens": 0.0, "output-tokens": 0.0})
    spent_before: dict = field(default_factory=dict)
    refused: int = 0
    changed_at: float | None = None

    def __post_init__(self):
        rates = {
            "requests": self.requests_per_s,
            "input-tokens": self.input_per_s,
            "output-tokens": self.output_per_s,
        }
        self.quotas = {name: Quota(per_s, self.window_s) for name, per_s in rates.items()}

    def let_in(self, now, inputs):
        """None, or the seconds after which to come back."""
        for quota in self.quotas.values():
            quota.refill(now)
        wanted = {"requests": 1, "input-tokens": inputs, "output-tokens": 0}
        wait_s = max(self.quotas[name].missing_s(amount) for name, amount in wanted.items())
        if wait_s > 1e-9:
            self.refused += 1
            return wait_s
        self.arrivals.append(now)
        for name, amount in wanted.items():
            self.spend(name, amount, now)
        if len(self.arrivals) == self.changes_after:
            self.changed_at, self.spent_before = now, dict(self.spent)
            for quota in self.quotas.values():
                quota.per_s *= self.changed_share
                quota.refill(now)
        return None

    def spend(self, name, amount, now):
        self.quotas[name].refill(now)
        self.quotas[name].level -= amount
        self.spent[name] += amount

    def headers(self):
        if not self.sends_headers:
            return {}
        found = {}
        for name, quota in self.quotas.items():
            found[f"anthropic-ratelimit-{name}-limit"] = str(round(quota.per_s * 60))
            found[f"anthropic-ratelimit-{name}-remaining"] = str(max(0, int(quota.level)))
        return found


class ServedModel:
    """A `ChatModel` that asks the server across a network with its own delays, and tells the limiter of each response."""

    name = "served"

    def __init__(self, server, clock, feedback, seed, latency_s=0.8):
        self.server, self.clock, self.feedback, self.seed, self.latency_s = server, clock, feedback, seed, latency_s
        self.asked = 0

    async def complete(self, prompt, meter):
        self.asked += 1
        key = (self.seed, prompt.draw.subtask, self.asked)
        # 3.2 characters a token, while the estimate is at 4.
        inputs = ceil(len(prompt.text) / 3.2)
        await self.clock.sleep(0.02 + 0.04 * fraction((*key, "there")))
        wait_s = self.server.let_in(self.clock.now(), inputs)
        headers = self.server.headers()
        if wait_s is None:
            await self.clock.sleep(lognormal((*key, "latency"), self.latency_s, 0.3))
            outputs = ceil(lognormal((self.seed, prompt.draw.subtask, "out"), 300, 0.4))
            self.server.spend("output-tokens", outputs, self.clock.now())
        await self.clock.sleep(0.02 + 0.04 * fraction((*key, "back")))
        if wait_s is None:
            self.feedback(200, headers)
            usage = Usage(requests=1, input_tokens=inputs, output_tokens=outputs)
            return Completion(text="done", stop_reason="end_turn", usage=usage)
        retry_after_s = ceil(wait_s)
        self.feedback(429, {**headers, "retry-after": str(retry_after_s)})
        raise BackendError("429", kind="rate_limit", retry_after_s=retry_after_s)


@dataclass(frozen=True)
class Outcome:
    """What a run came to. `quota_used` is the least time that the quotas allow, over the time from first to last arrival."""

    done: int
    failed: int
    refused: int
    span_s: float
    quota_used: float
    changes: tuple


def prompt_of(number, seed):
    length = ceil(lognormal((seed, number, "in"), 2_400, 0.4))
    draw = Draw(seed=seed, subtask=f"s{number}")
    return Prompt(system="", messages=(Message(role="user", text="x" * length),), draw=draw)


def least_s(server):
    """Seconds from the first arrival to the last that the tightest quota allows: buckets full at the start, none refused.

    Where limits were lowered half-way, the best is to keep as much as the smaller bucket holds for the slower time.
    """
    share = server.changed_share if server.changed_at is not None else 1.0

    def seconds(name, quota):
        full = quota.capacity / share
        if share == 1.0:
            return (server.spent[name] - full) / quota.per_s
        before, kept = server.spent_before[name], quota.capacity
        return (before - full + kept) / (quota.per_s / share) + (server.spent[name] - before - kept) / quota.per_s

    return max(seconds(name, quota) for name, quota in server.quotas.items())


def run(server, settings, *, requests=500, agents=64, seed=1, latency_s=0.8):
    """Make all requests through limiter and retries, `agents` at once; return the `Outcome`."""
    failed = []

    async def main():
        clock = VirtualClock()
        limiter = AccountLimiter("simulated", settings, clock)
        served = ServedModel(server, clock, limiter.listener(anthropic_rate_headers), seed, latency_s)
        model = ResilientModel(LimitedModel(served, limiter), ResilienceSettings(), clock)
        numbers = iter(range(requests))

        async def agent():
            for number in numbers:
                try:
                    await model.complete(prompt_of(number, seed), Meter())
                except BackendError as error:
                    failed.append(error)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(agents):
                tasks.create_task(agent())
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return tuple(limiter.changes)

    changes = run_virtually(main())
    span_s = server.arrivals[-1] - server.arrivals[0]
    return Outcome(len(server.arrivals), len(failed), server.refused, span_s, least_s(server) / span_s, changes)


MEAN_INPUT = 2_400 / 3.2 * 1.083
MEAN_OUTPUT = 300 * 1.083


def server_of(per_s, *, token_share=1.0, **fields):
    """A server whose token quotas match the mean of `token_share` × that many requests."""
    return RateServer(per_s, per_s * MEAN_INPUT * token_share, per_s * MEAN_OUTPUT * token_share, **fields)


def told(per_s, token_share=1.0, **fields):
    return LimiterSettings(
        requests_per_min=per_s * 60,
        input_tokens_per_min=per_s * 60 * MEAN_INPUT * token_share,
        output_tokens_per_min=per_s * 60 * MEAN_OUTPUT * token_share,
        **fields,
    )
