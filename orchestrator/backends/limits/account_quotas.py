"""What one account may spend by now: the request window and the buckets, and how a server's words correct them.

`AccountLimiter` asks it how long an amount has to wait, takes, settles and lets it learn; it never waits by itself.

A server's "remaining" was true when the request was counted, so what was granted after that request comes off it, and what
flowed in since comes back. A response to an older request than the last one heard is not heard at all: answers overtake each
other, limits would flip, and clamping on stale words costs 15 % of the quota (measured).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.backends.limits.rate_buckets import RequestWindow, TokenBucket
from orchestrator.backends.limits.rate_headers import QuotaName, RateHeaders
from orchestrator.ports import Clock

# A window below this is lost to the lateness of timers, about a millisecond each.
SHORTEST_BURST_S = 0.05


@dataclass(frozen=True, slots=True)
class Amounts:
    """What one or more requests take of each quota."""

    requests: int = 0
    input_tokens: float = 0
    output_tokens: float = 0

    def of(self, name: QuotaName) -> float:
        """What they take of one quota."""
        if name == "tokens":
            return self.input_tokens + self.output_tokens
        amount: float = getattr(self, name)
        return amount

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.requests + other.requests,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
        )

    def __sub__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            self.requests - other.requests,
            self.input_tokens - other.input_tokens,
            self.output_tokens - other.output_tokens,
        )


@dataclass(frozen=True, slots=True)
class Sent:
    """When a request was let go: its number, the time, and all that had been counted by then, itself included.

    `place` is the time from which its place in the window counts.
    """

    number: int
    at: float
    counted: Amounts
    place: float = 0.0


@dataclass(slots=True)
class AccountQuotas:
    """The quotas that are known, by name."""

    limits: Mapping[QuotaName, float]
    request_burst_s: float
    token_burst_s: float
    clock: Clock
    is_announced: bool = field(init=False, default=False)
    _window: RequestWindow | None = field(init=False, default=None)
    _buckets: dict[QuotaName, TokenBucket] = field(init=False, default_factory=dict)
    # The last request whose response was heard, for each quota; numbers begin at 1.
    _heard_number: dict[QuotaName, int] = field(init=False, default_factory=dict)
    # What a server has counted by now: requests and input when they come in, output when it was made.
    _counted: Amounts = field(init=False, default_factory=Amounts)

    def __post_init__(self) -> None:
        for name, per_min in self.limits.items():
            self._limit_to(name, per_min)

    @property
    def knows_requests(self) -> bool:
        """Whether a limit on requests is known."""
        return self._window is not None

    def per_min(self, name: QuotaName) -> float | None:
        """The limit in force, or None where it is not known."""
        return self._buckets[name].per_min if name in self._buckets else None

    def wait_s(self, need: Amounts) -> float:
        """Seconds until every quota has room."""
        now = self.clock.now()
        wait_s = self._window.wait_s() if self._window is not None else 0.0
        for name, bucket in self._buckets.items():
            wait_s = max(wait_s, bucket.wait_s(need.of(name), now))
        return wait_s

    async def take(self, need: Amounts, number: int, due: float | None = None) -> Sent:
        """Spend. Returns without giving up control when `wait_s` has just said 0. `due` is since when that was so."""
        place = 0.0
        if self._window is not None:
            await self._window.acquire(due)
            place = self._window.last
        self._charge(need)
        self._counted += Amounts(need.requests, need.input_tokens)
        return Sent(number, self.clock.now(), self._counted, place)

    def settle(self, reserved: Amounts, used: Amounts) -> None:
        """Replace an estimate by what was used."""
        self._charge(used - reserved)
        self._counted += Amounts(0, used.input_tokens - reserved.input_tokens, used.output_tokens)

    def give_back(self, need: Amounts, sent: Sent) -> None:
        """Undo `take`: the server did not count the request."""
        self._charge(Amounts() - need)
        self._counted -= Amounts(need.requests, need.input_tokens)
        if self._window is not None:
            self._window.give_back(sent.place)

    def drain(self) -> None:
        """Believe that nothing is left."""
        for bucket in self._buckets.values():
            bucket.clamp(0.0, self.clock.now())

    def smooth(self) -> bool:
        """Halve what may be spent at once, at the same rate. False when it is as smooth as timers allow."""
        if self.request_burst_s <= SHORTEST_BURST_S:
            return False
        self.request_burst_s = max(SHORTEST_BURST_S, self.request_burst_s / 2)
        self.token_burst_s = max(1.0, self.token_burst_s / 2)
        for name, bucket in self._buckets.items():
            self._limit_to(name, bucket.per_min)
        return True

    def learn(
        self, headers: RateHeaders, sent: Sent | None, in_flight: Amounts
    ) -> list[tuple[QuotaName, float | None, float]]:
        """Take in what a response announced; return the limits that changed: name, before, after.

        `sent` is the request that was answered. Where that is not known, all that is in flight comes off.
        """
        changed: list[tuple[QuotaName, float | None, float]] = []
        for name, quota in headers.quotas():
            if sent is not None:
                if sent.number <= self._heard_number.get(name, 0):
                    continue
                self._heard_number[name] = sent.number
            before = self.per_min(name)
            if quota.limit is not None:
                self.is_announced = True
                if quota.limit != before:
                    self._limit_to(name, quota.limit)
                    changed.append((name, before, quota.limit))
            if quota.remaining is not None and name in self._buckets:
                self._hear_remaining(name, quota.remaining, sent, in_flight)
        return changed

    def _hear_remaining(self, name: QuotaName, remaining: float, sent: Sent | None, in_flight: Amounts) -> None:
        bucket, now = self._buckets[name], self.clock.now()
        if sent is None:
            left = remaining - in_flight.of(name)
        else:
            left = remaining - (self._counted - sent.counted).of(name) + bucket.per_min / 60 * (now - sent.at)
        bucket.heard(remaining, left, now)

    def _charge(self, amounts: Amounts) -> None:
        now = self.clock.now()
        for name, bucket in self._buckets.items():
            bucket.take(amounts.of(name), now)

    def _limit_to(self, name: QuotaName, per_min: float) -> None:
        burst_s, now = self.request_burst_s if name == "requests" else self.token_burst_s, self.clock.now()
        if name not in self._buckets:
            self._buckets[name] = TokenBucket(per_min, burst_s, now)
        self._buckets[name].limit_to(per_min, burst_s, now)
        if name == "requests":
            if self._window is None:
                self._window = RequestWindow(per_min, burst_s, self.clock)
            self._window.limit_to(per_min, burst_s)
