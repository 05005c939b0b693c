"""An account's published limits: buckets that refill evenly, as both providers do it.

A limit is stated for a minute; how much of it may be used at once is the bucket's size. A request is admitted when its
bucket holds it; output is booked as it comes, so that bucket may go below zero, and who comes next waits for it to fill
again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.stub_server.settings import LaterLimits, RateLimits

_MINUTE_S = 60.0


@dataclass(slots=True)
class Bucket:
    """So many units a minute, of which it holds what flows in within `burst_s`. Times are in seconds."""

    per_minute: int
    level: float
    updated: float
    burst_s: float = _MINUTE_S

    @property
    def capacity(self) -> float:
        """What it holds when it is full: one unit at least."""
        return max(1.0, self.per_minute * self.burst_s / _MINUTE_S)

    def now_at(self, now: float) -> float:
        """What is in it."""
        gained = max(0.0, now - self.updated) * self.per_minute / 60
        self.level = min(self.capacity, self.level + gained)
        self.updated = max(self.updated, now)
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until it holds an amount, or is full for one that it never holds."""
        missing = min(amount, self.capacity) - self.now_at(now)
        return max(0.0, missing * 60 / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take an amount out, below zero if need be."""
        self.level = self.now_at(now) - amount

    def full_s(self, now: float) -> float:
        """Seconds until it is full."""
        return self.wait_s(self.capacity, now)


class Account:
    """What one account may use. `buckets` has those kinds that are limited, by name; `tokens` is input and output as one.

    Later limits count from the account's start. A bucket that becomes smaller keeps what it holds, as far as it fits.
    """

    def __init__(
        self, limits: RateLimits, now: float, *, burst_s: float = _MINUTE_S, later: Sequence[LaterLimits] = ()
    ) -> None:
        self.buckets: dict[str, Bucket] = {}
        self._burst_s = burst_s
        self._started = now
        self._later = sorted(later, key=lambda each: each.after_s)
        self._limit_to(limits, now)

    def admit(self, input_tokens: int, now: float) -> float:
        """Take a request in: 0, or the seconds after which it may be asked again, if a bucket does not hold it."""
        self._follow(now)
        needs = {"requests": 1, "input-tokens": input_tokens, "output-tokens": 1}
        wait_s = max(
            (bucket.wait_s(needs[name], now) for name, bucket in self.buckets.items() if name in needs), default=0.0
        )
        if wait_s == 0:
            self._take({"requests": 1, "input-tokens": input_tokens, "tokens": input_tokens}, now)
        return wait_s

    def spend(self, output_tokens: int, now: float) -> None:
        """Book output."""
        self._follow(now)
        self._take({"output-tokens": output_tokens, "tokens": output_tokens}, now)

    def _follow(self, now: float) -> None:
        """Put those limits into force whose time has come."""
        while self._later and now - self._started >= self._later[0].after_s:
            self._limit_to(self._later.pop(0).limits, now)

    def _limit_to(self, limits: RateLimits, now: float) -> None:
        held = {name: bucket.now_at(now) for name, bucket in self.buckets.items()}
        self.buckets.clear()
        for name, limit in _published(limits).items():
            bucket = Bucket(limit, 0.0, now, self._burst_s)
            bucket.level = min(bucket.capacity, held.get(name, bucket.capacity))
            self.buckets[name] = bucket

    def _take(self, amounts: dict[str, int], now: float) -> None:
        for name, amount in amounts.items():
            if name in self.buckets:
                self.buckets[name].take(amount, now)


def _published(limits: RateLimits) -> dict[str, int]:
    """The limits that there are, by the name that is shown for them."""
    inputs, outputs = limits.input_tokens_per_minute, limits.output_tokens_per_minute
    published = {
        "requests": limits.requests_per_minute,
        "input-tokens": inputs,
        "output-tokens": outputs,
        "tokens": None if inputs is None or outputs is None else inputs + outputs,
    }
    return {name: limit for name, limit in published.items() if limit is not None}
