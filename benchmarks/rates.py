"""How much of a rate limit the program uses over real HTTP, with the providers' SDKs, and what it wastes on the way.

    python -m benchmarks.rates [--only told headers …] [--repeats 3]

The simulated service runs in a process of its own and lets in 20 requests a second (1,200 a minute, enforced over one second);
its limits on tokens are twice what that takes, or just what it takes where the table says "all tight". 500 requests go to it, 64 at once,
through everything that stands around a model in a run. "150/s" makes 3,750, 256 at once. For reference the bare SDKs get the
same requests in the same run, with their own retries.

"Quota used" is the least time that the tightest limit allows, its full bucket at the start included, over the time from the
first request let in to the last, both as the service saw them. Half a second of the program's time is the reserve that it
leaves in that bucket: 2 % of 25 s. "CPU" is this process's for each request.

Answers are SIMULATED (0.8 s and 300 tokens in the median); connections and times are real, so other work on the machine shows.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from math import ceil, inf
from statistics import median

from benchmarks.clients import Ask, FailedRequest, Provider, Service, bare, everything
from benchmarks.service import Order, Tally, open_many_files, service
from orchestrator.core.chat import Draw, Message, Prompt
from orchestrator.core.draws import lognormal
from orchestrator.ports import Meter
from orchestrator.stub_server import LaterLimits, RateLimits, ServerSettings

INPUT_TOKENS, OUTPUT_TOKENS, SIGMA = 600.0, 300.0, 0.4
# The mean of a lognormal distribution with that spread, over its median.
_MEAN = 1.0833
# Characters in one event: about a dozen events in an answer.
_PIECE_CHARS = 96


@dataclass(frozen=True)
class Load:
    """So many requests, so many at once, against so many a second.

    The limits on tokens are `token_share` times what those take. All limits are halved `halved_s` seconds after the first
    request, unless that is None.
    """

    per_s: int = 20
    requests: int = 500
    agents: int = 64
    token_share: float = 2.0
    halved_s: float | None = None

    def limits(self, share: float = 1.0) -> RateLimits:
        tokens = 60 * self.per_s * self.token_share * share * _MEAN
        return RateLimits(
            requests_per_minute=round(60 * self.per_s * share),
            input_tokens_per_minute=round(tokens * INPUT_TOKENS),
            output_tokens_per_minute=round(tokens * OUTPUT_TOKENS),
        )

    def order(self, seed: int) -> Order:
        """The service to go with it."""
        later = () if self.halved_s is None else (LaterLimits(after_s=self.halved_s, limits=self.limits(0.5)),)
        settings = ServerSettings(
            limits=self.limits(),
            limit_burst_s=1.0,
            later_limits=later,
            is_cache_simulated=False,
            piece_chars=_PIECE_CHARS,
        )
        return Order(settings=settings, latency_s=0.8, output_tokens=OUTPUT_TOKENS, output_sigma=SIGMA, seed=seed)

    def told(self) -> Mapping[str, object]:
        """What a configuration may say of these limits."""
        limits = self.limits()
        return {
            "requests_per_min": limits.requests_per_minute,
            "input_tokens_per_min": limits.input_tokens_per_minute,
            "output_tokens_per_min": limits.output_tokens_per_minute,
            "token_burst_s": 1.0,
        }

    def least_s(self, tally: Tally) -> float:
        """Seconds that the tightest limit allows from the first request let in to the last, buckets full at the start.

        Output counts as far as it was booked when the last one was let in: what came later held up nobody.
        """
        limits = self.limits()
        spent = (
            (limits.requests_per_minute, tally.admitted),
            (limits.input_tokens_per_minute, tally.input_tokens),
            (limits.output_tokens_per_minute, tally.output_tokens_before),
        )
        return max(self._seconds(per_min / 60, amount) for per_min, amount in spent if per_min is not None)

    def _seconds(self, per_s: float, amount: float) -> float:
        """The bucket holds one second's worth."""
        seconds, halved_s = (amount - per_s) / per_s, inf if self.halved_s is None else self.halved_s
        return seconds if seconds <= halved_s else halved_s + 2 * (seconds - halved_s)


@dataclass(frozen=True)
class Outcome:
    """What a load came to."""

    done: int
    failed: int
    refused: int
    used: float
    wall_s: float
    cpu_ms: float

    @property
    def wasted(self) -> float:
        """Refused requests for a hundred that were answered."""
        return 100 * self.refused / self.done if self.done else inf


Client = Callable[[Service], AbstractAsyncContextManager[Ask]]


def surrounded(**limits: object) -> Client:
    """The program's own way to ask, told of these limits."""
    return lambda service: everything(service, {"limits": limits})


def sdk(max_retries: int) -> Client:
    """The bare SDK."""
    return lambda service: bare(service, max_retries)


def prompt_of(number: int, seed: int) -> Prompt:
    length = ceil(4 * lognormal((seed, number, "input"), INPUT_TOKENS, SIGMA))
    turn = Message(role="user", text="x" * length)
    return Prompt(system="", messages=(turn,), draw=Draw(seed=seed, subtask=f"s{number}"), max_output_tokens=16_000)


async def measured(load: Load, provider: Provider, client: Client, seed: int) -> Outcome:
    """Put a load on a fresh service; say what came of it."""
    failed, numbers = 0, iter(range(load.requests))

    async def agent(ask: Ask) -> None:
        nonlocal failed
        for number in numbers:
            try:
                await ask(prompt_of(number, seed), Meter())
            except FailedRequest:
                failed += 1

    async with service(load.order(seed)) as running, client(Service(running.url, provider)) as ask:
        cpu_s, began = time.process_time(), time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(load.agents):
                tasks.create_task(agent(ask))
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - began
        tally = await running.tally()
    span_s = tally.admitted_s[-1] if tally.admitted_s else 0.0
    return Outcome(
        done=load.requests - failed,
        failed=failed,
        refused=tally.refused,
        used=load.least_s(tally) / span_s if span_s else 0.0,
        wall_s=wall_s,
        cpu_ms=1000 * cpu_s / load.requests,
    )


@dataclass(frozen=True)
class Case:
    """One line of the table. `bar` is the least share of the quota and the most wasted requests in a hundred; None has none."""

    group: str
    name: str
    load: Load
    client: Client
    provider: Provider = "claude"
    bar: tuple[float, float] | None = None
    outcomes: list[Outcome] = field(default_factory=list, compare=False)


def cases() -> Sequence[Case]:
    plain, tight = Load(), Load(token_share=1.0)
    halved, fast = Load(halved_s=12.0), Load(per_s=150, requests=3_750, agents=256)
    return (
        Case("headers", "told by headers only", plain, surrounded(), bar=(0.97, 1.0)),
        Case("headers", "the same, OpenAI", plain, surrounded(), "openai", (0.97, 1.0)),
        Case("headers", "the same, all tight", tight, surrounded()),
        Case("told", "configured", plain, surrounded(**plain.told()), bar=(0.97, 1.0)),
        Case("told", "the same, all tight", tight, surrounded(**tight.told())),
        Case("halved", "halved after 12 s, headers", halved, surrounded(), bar=(0.95, inf)),
        Case("halved", "halved after 12 s, configured", halved, surrounded(**halved.told()), bar=(0.95, inf)),
        Case("fast", "150/s, configured", fast, surrounded(**fast.told()), bar=(0.95, 1.0)),
        Case("fast", "150/s, headers", fast, surrounded(), bar=(0.95, 1.0)),
        Case("fast", "bare SDK, no limit at all", replace(fast, per_s=100_000), sdk(0)),
        Case("bare", "bare SDK, 2 retries", plain, sdk(2)),
        Case("bare", "bare SDK, 10 retries", plain, sdk(10)),
        Case("bare", "bare OpenAI SDK, 2 retries", plain, sdk(2), "openai"),
        Case("bare", "bare OpenAI SDK, 10 retries", plain, sdk(10), "openai"),
    )


def report(case: Case) -> None:
    outcomes = case.outcomes
    used, wasted = [each.used for each in outcomes], [each.wasted for each in outcomes]
    failed = max(each.failed for each in outcomes)
    verdict = ""
    if case.bar is not None:
        is_met = median(used) >= case.bar[0] and median(wasted) <= case.bar[1] and failed == 0
        verdict = "met" if is_met else "MISSED"
    print(
        f"{case.name:<30} {median(used):>7.3f} {min(used):>7.3f} {median(wasted):>9.2f} {max(wasted):>7.2f} {failed:>7}"
        f" {median(each.wall_s for each in outcomes):>7.1f} {median(each.done / each.wall_s for each in outcomes):>6.0f}"
        f" {median(each.cpu_ms for each in outcomes):>7.2f}  {verdict}",
        flush=True,
    )


def main(arguments: Sequence[str]) -> None:
    groups = list(dict.fromkeys(case.group for case in cases()))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=groups, default=groups)
    parser.add_argument("--repeats", type=int, default=3, help="of each case that has a bar; the others run once")
    chosen = parser.parse_args(arguments)
    open_many_files()
    print(f"Rate limits over HTTP, SIMULATED service; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':<30} {'quota used':>15} {'429s per 100':>17}")
    print(
        f"{'case':<30} {'median':>7} {'min':>7} {'median':>9} {'max':>7} {'failed':>7} {'wall s':>7} {'done/s':>6} {'CPU ms':>7}  bar"
    )
    for case in cases():
        if case.group in chosen.only:
            for seed in range(1, 1 + (chosen.repeats if case.bar is not None else 1)):
                case.outcomes.append(asyncio.run(measured(case.load, case.provider, case.client, seed)))
            report(case)


if __name__ == "__main__":
    main(sys.argv[1:])
