"""One account's rate limiter, shared by every model that uses the account: as fast as its quotas allow, and no rejections.

    async with limiter.request(input_tokens=900, output_tokens=400, meter=meter) as grant:
        completion = await model.complete(prompt, meter)
        limiter.settle(grant, completion.usage)

Waiting is first come, first served, so a big request cannot starve: a fair lock makes a queue, and only the one at its front
looks at quotas and clock. Thousands who wait cost nothing, though `asyncio-throttle`'s own waiters poll. A grant reserves an
estimate; settling charges what was really used. What providers announce replaces what was configured, up and down. A 429
pauses the whole account for as long as the provider asks, and the refused request is not counted as quota used.

Where no limit on requests is known, `concurrency` finds out how many go at once.

Feedback comes through `heard`, once for each HTTP response. An adapter gets `limiter.listener(anthropic_rate_headers)` and
calls it with status and headers; which grant it belongs to travels in the task's context. So neither the port nor the prompt
knows of it.

All of it belongs to one event loop: state changes only between awaits, which is why there are no locks around it.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from orchestrator.backends.limits.account_pause import AccountPause
from orchestrator.backends.limits.account_quotas import AccountQuotas, Amounts, Sent
from orchestrator.backends.limits.concurrency import AdaptiveConcurrency
from orchestrator.backends.limits.limiter_settings import LimiterSettings, RateChange
from orchestrator.backends.limits.rate_headers import RateFeedback, RateHeaders
from orchestrator.core.values import Usage
from orchestrator.ports import Clock, Meter

TOO_MANY_REQUESTS = 429
# The one at the front looks again this often while it waits: limits may have been announced meanwhile.
LOOK_AGAIN_S = 0.25
CHANGES_KEPT = 256


@dataclass(slots=True, eq=False)
class Grant:
    """The right to one request. It takes a slot until it is settled or abandoned."""

    reserved: Amounts
    sent: Sent
    heard_status: int | None = field(default=None)


_ASKING: ContextVar[Grant | None] = ContextVar("grant of the request under way", default=None)


class AccountLimiter:
    """Lets requests go, one account's in one queue. `changes` keeps the last changes with their reasons."""

    def __init__(self, account: str, settings: LimiterSettings, clock: Clock) -> None:
        self.account = account
        self.changes: deque[RateChange] = deque(maxlen=CHANGES_KEPT)
        self._settings = settings
        self._clock = clock
        self._quotas = AccountQuotas(
            settings.limits(),
            settings.burst_s,
            settings.token_burst_s,
            clock,
        )
        self._concurrency = AdaptiveConcurrency(settings.first_concurrency)
        self._front = asyncio.Lock()
        self._has_changed = asyncio.Event()
        self._open: dict[int, Grant] = {}
        self._waiting = 0
        self._last_number = 0
        self._last_due = 0.0
        self._answered_until = 0
        self._are_limits_doubted = False
        self._pause = AccountPause(account, settings.max_pause_s)

    @property
    def in_flight(self) -> int:
        """Grants that are neither settled nor abandoned."""
        return len(self._open)

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return self._waiting

    @property
    def slots(self) -> int | None:
        """Requests at once as of now; None where only the quotas bind."""
        if self._pause.is_probing:
            return 1
        return self._concurrency.slots if self._is_adaptive else self._settings.max_concurrency

    @property
    def paused_until(self) -> float | None:
        """When the provider lets the account go on, in seconds on the clock; None when it is not paused."""
        return self._pause.until(self._clock.now())

    def note(self) -> str:
        """What a person who waits is told."""
        paused = self._pause.note(self._clock.now())
        return paused or f"{self.account}: waits for the rate limit, {self._waiting - 1} others wait"

    def listener(self, read: Callable[[Mapping[str, str]], RateHeaders]) -> RateFeedback:
        """Make what an adapter calls with each response; `read` knows the provider's headers."""

        def hear(status: int, headers: Mapping[str, str]) -> None:
            self.heard(status, read(headers))

        return hear

    @asynccontextmanager
    async def request(
        self, input_tokens: float, output_tokens: float, meter: Meter | None = None
    ) -> AsyncIterator[Grant]:
        """Wait for a grant and hold it. One that was not settled inside is abandoned on the way out."""
        grant = await self.acquire(input_tokens, output_tokens, meter)
        asking = _ASKING.set(grant)
        try:
            yield grant
        finally:
            _ASKING.reset(asking)
            self.abandon(grant)

    async def acquire(self, input_tokens: float, output_tokens: float, meter: Meter | None = None) -> Grant:
        """Wait until the quotas have room for these estimates. Whoever calls this must settle or abandon the grant.

        Cancelled while it waits, it leaves the queue and has taken nothing. A wait is noted in the meter as `rate_limit`.
        """
        need = Amounts(1, input_tokens, output_tokens)
        meter = meter or Meter()
        came = self._clock.now()
        with self._queued(meter):
            async with self._front:
                self._last_due = await self._wait_for_room(need, meter, max(came, self._last_due))
                self._last_number += 1
                grant = Grant(need, await self._quotas.take(need, self._last_number, self._last_due))
                self._open[grant.sent.number] = grant
                return grant

    def settle(
        self, grant: Grant, usage: Usage | None = None, headers: RateHeaders | None = None, status: int | None = 200
    ) -> None:
        """End a grant with what came of it; doing so again does nothing.

        `status` is the HTTP status, None where no answer came. Without `usage`, input counts as estimated, and output
        too unless the request failed. `headers` are for those who do not call `heard`.
        """
        if not self._is_open(grant):
            return
        if grant.heard_status is None or (status == TOO_MANY_REQUESTS and grant.heard_status != status):
            self._hear(status, headers or RateHeaders(), grant)
        self._judge(status)
        if status == TOO_MANY_REQUESTS:
            self._quotas.give_back(grant.reserved, grant.sent)
        else:
            self._quotas.settle(grant.reserved, self._used(grant, usage, status))
        self._close(grant)

    def abandon(self, grant: Grant) -> None:
        """End a grant whose outcome is not known, such as a cancelled request: its estimate counts as used."""
        if self._is_open(grant):
            self._close(grant)

    def heard(self, status: int, headers: RateHeaders, grant: Grant | None = None) -> None:
        """Take in one response. Without a grant, it is the one that this task's context holds."""
        grant = grant or _ASKING.get()
        self._hear(status, headers, grant if grant is not None and self._is_open(grant) else None)

    def counted(self, usage: Usage) -> tuple[int | None, int | None]:
        """Input and output tokens of a usage as the account's limits count them."""
        inputs = usage.input_tokens
        if inputs is not None and not self._settings.counts_cached_input:
            inputs -= usage.cached_input_tokens or 0
        return inputs, usage.output_tokens

    @contextmanager
    def _queued(self, meter: Meter) -> Iterator[None]:
        self._waiting += 1
        meter.note = self.note()
        try:
            with meter.queued("rate_limit", self._clock):
                yield
        finally:
            self._waiting -= 1

    async def _wait_for_room(self, need: Amounts, meter: Meter, due: float) -> float:
        """Wait, at the front. Returns since when there was room: timers strike late, and then it was before now."""
        while True:
            meter.note = self.note()
            if self.slots is not None and self.in_flight >= self.slots:
                self._has_changed.clear()
                await self._has_changed.wait()
                due = self._clock.now()
                continue
            now = self._clock.now()
            wait_s = max(self._pause.left_s(now), self._quotas.wait_s(need))
            if wait_s <= 0:
                return due
            await self._clock.sleep(min(wait_s, LOOK_AGAIN_S))
            due = now + min(wait_s, LOOK_AGAIN_S)

    def _hear(self, status: int | None, headers: RateHeaders, grant: Grant | None) -> None:
        in_flight = sum((other.reserved for other in self._open.values()), Amounts()) if grant is None else Amounts()
        changed = self._quotas.learn(headers, grant.sent if grant else None, in_flight)
        for name, before, after in changed:
            self._record(f"{name}_per_min", before, after, "announced by the provider")
        if changed:
            self._are_limits_doubted = False
            self._has_changed.set()
        if grant is not None:
            grant.heard_status = status
        if status == TOO_MANY_REQUESTS:
            pause_s = self._pause.rejected(headers.retry_after_s, self._clock.now())
            if pause_s is not None:
                self._record("pause_s", None, pause_s, "rejected for rate")
            is_answered = grant is not None and grant.sent.number <= self._answered_until
            is_news = pause_s is not None and not is_answered
            self._answer_rejection(headers, is_news=is_news, is_explained=bool(changed))

    def _answer_rejection(self, headers: RateHeaders, *, is_news: bool, is_explained: bool) -> None:
        """Find out what to change. `is_news` is false for requests that went before the last answer: it has their cause."""
        if all(quota.remaining is None for _, quota in headers.quotas()):
            self._quotas.drain()
        if is_explained or is_news:
            self._answered_until = self._last_number
        if is_news and not is_explained and self._quotas.knows_requests:
            self._doubt()
        before = self._concurrency.limit
        reason = self._concurrency.was_rejected(headers.retry_after_s or 0.0, self._clock.now())
        self._record_concurrency(before, reason)

    def _doubt(self) -> None:
        """Rejected within the known limits: let less go at once; believe limits no more that nobody announced."""
        before = self._quotas.request_burst_s
        is_smoother = self._quotas.smooth()
        if is_smoother:
            self._record("burst_s", before, self._quotas.request_burst_s, "rejected within the known limits")
        if not self._are_limits_doubted and not (is_smoother and self._quotas.is_announced):
            self._are_limits_doubted = True
            self._concurrency.limit = max(1, self.in_flight)

    def _judge(self, status: int | None) -> None:
        """Let the outcome of a request move the concurrency, while the request still counts as in flight."""
        if status is None or status >= 500:
            self._concurrency.failed(self._clock.now())
        elif status != TOO_MANY_REQUESTS:
            self._pause.answered()
            before = self._concurrency.limit
            reason = self._concurrency.succeeded(self.in_flight, self._clock.now()) if status < 300 else None
            self._record_concurrency(before, reason)

    def _used(self, grant: Grant, usage: Usage | None, status: int | None) -> Amounts:
        inputs, outputs = self.counted(usage) if usage is not None else (None, None)
        if outputs is None and (status is None or status >= 400):
            outputs = 0
        return Amounts(
            1,
            grant.reserved.input_tokens if inputs is None else inputs,
            grant.reserved.output_tokens if outputs is None else outputs,
        )

    @property
    def _is_adaptive(self) -> bool:
        if self._settings.max_concurrency is not None:
            return False
        return self._are_limits_doubted or not self._quotas.knows_requests

    def _is_open(self, grant: Grant) -> bool:
        return self._open.get(grant.sent.number) is grant

    def _close(self, grant: Grant) -> None:
        del self._open[grant.sent.number]
        self._has_changed.set()

    def _record_concurrency(self, before: float, reason: str | None) -> None:
        # Where quotas bind, the concurrency moves unused.
        if reason is not None and self._is_adaptive:
            self._record("concurrency", before, self._concurrency.limit, reason)

    def _record(self, what: str, before: float | None, after: float | None, reason: str) -> None:
        self.changes.append(RateChange(at_s=self._clock.now(), what=what, before=before, after=after, reason=reason))
