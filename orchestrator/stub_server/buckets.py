"""An account's published limits: buckets that refill evenly, as both providers do it.

A request is admitted when its bucket holds it; output is booked as it comes, so that bucket may go below zero, and who
comes next waits for it to fill again.
"""

from dataclasses import dataclass

from orchestrator.stub_server.settings import RateLimits


@dataclass(slots=True)
class Bucket:
    """So many units a minute, all of them there at the start. Times are in seconds."""

    per_minute: int
    level: float
    updated: float

    def now_at(self, now: float) -> float:
        """What is in it."""
        gained = max(0.0, now - self.updated) * self.per_minute / 60
        self.level = min(float(self.per_minute), self.level + gained)
        self.updated = max(self.updated, now)
        return self.level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until it holds an amount, or is full for one that it never holds."""
        missing = min(amount, self.per_minute) - self.now_at(now)
        return max(0.0, missing * 60 / self.per_minute)

    def take(self, amount: float, now: float) -> None:
        """Take an amount out, below zero if need be."""
        self.level = self.now_at(now) - amount

    def full_s(self, now: float) -> float:
        """Seconds until it is full."""
        return self.wait_s(self.per_minute, now)


class Account:
    """What one account may use. `buckets` has those kinds that are limited, by name; `tokens` is input and output as one."""

    def __init__(self, limits: RateLimits, now: float) -> None:
        together = None
        if limits.input_tokens_per_minute is not None and limits.output_tokens_per_minute is not None:
            together = limits.input_tokens_per_minute + limits.output_tokens_per_minute
        published = {
            "requests": limits.requests_per_minute,
            "input-tokens": limits.input_tokens_per_minute,
            "output-tokens": limits.output_tokens_per_minute,
            "tokens": together,
        }
        self.buckets = {
            name: Bucket(limit, float(limit), now) for name, limit in published.items() if limit is not None
        }

    def admit(self, input_tokens: int, now: float) -> float:
        """Take a request in: 0, or the seconds after which it may be asked again, if a bucket does not hold it."""
        needs = {"requests": 1, "input-tokens": input_tokens, "output-tokens": 1}
        wait_s = max(
            (bucket.wait_s(needs[name], now) for name, bucket in self.buckets.items() if name in needs), default=0.0
        )
        if wait_s == 0:
            self._take({"requests": 1, "input-tokens": input_tokens, "tokens": input_tokens}, now)
        return wait_s

    def spend(self, output_tokens: int, now: float) -> None:
        """Book output."""
        self._take({"output-tokens": output_tokens, "tokens": output_tokens}, now)

    def _take(self, amounts: dict[str, int], now: float) -> None:
        for name, amount in amounts.items():
            if name in self.buckets:
                self.buckets[name].take(amount, now)
