"""The two shapes of a quota: a sliding window of requests, and a bucket of tokens that refills continuously.

Both only do arithmetic on the time they are given: `wait_s` says how long until an amount fits, and the limiter does the
waiting. The window is `asyncio-throttle`'s; the bucket may go negative, so that a request that turned out larger than it was
estimated is paid back before the next one goes.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from math import floor

from asyncio_throttle.throttler import Throttler

from orchestrator.ports import Clock

# Times since the epoch are floats with a step of 0.24 µs: shorter waits are no waits.
TINY_S = 1e-6
# Below this share of an announced quota the pace falls, to three quarters at none: others use the account as well.
SCARCE_SHARE = 0.1
SLOWEST_PACE = 0.75


class RequestWindow(Throttler):
    """`asyncio_throttle.Throttler` on an injected clock, with the one who waits told how long instead of polling.

    At most `rate_limit` requests in any `period`; `burst_s` sets the length of the period, and never changes the rate. A
    place counts from when it was due, not from when a late timer let somebody take it: else each lateness would lengthen
    all that follows (three requests in a hundred on a busy machine). What then goes in a shorter time is bounded by the
    bucket that stands beside each window.
    """

    def __init__(self, per_min: float, burst_s: float, clock: Clock) -> None:
        super().__init__(1)
        self._clock = clock
        self._freed: float | None = None
        self.limit_to(per_min, burst_s)

    @property
    def last(self) -> float:
        """The time from which the place counts that was taken last."""
        return self._task_logs[-1]

    def limit_to(self, per_min: float, burst_s: float) -> None:
        """Change the rate. What was sent stays counted."""
        self.rate_limit = max(1, floor(per_min / 60 * burst_s + 1e-9))
        self.period = self.rate_limit * 60 / per_min

    def flush(self) -> None:
        """Free the place that is needed next, if it has left the window, and say how long the next has to wait."""
        log, now = self._task_logs, self._clock.now()
        # More than fits may be logged when the rate has just been lowered.
        while len(log) >= self.rate_limit and log[0] + self.period <= now + TINY_S:
            self._freed = log.popleft() + self.period
        over = len(log) - self.rate_limit
        self.retry_interval: float = log[over] + self.period - now if over >= 0 else 0.0

    def wait_s(self) -> float:
        """Seconds until `acquire` will return at once."""
        self.flush()
        return self.retry_interval

    async def acquire(self, due: float | None = None) -> None:
        """Take a place in the window, waiting for it if there is none. It counts from `due`, unless it was free later."""
        await super().acquire()  # type: ignore[no-untyped-call]  # the package has hints, this method has none
        now = self._clock.now()
        due = now if due is None else max(due, self._freed or due, now - self.period)
        self._task_logs[-1] = min(now, due)
        self._freed = None

    def give_back(self, taken: float) -> None:
        """Free the place that counts from that time, unless it has left the window by itself."""
        with suppress(ValueError):
            self._task_logs.remove(taken)


@dataclass(slots=True)
class TokenBucket:
    """A quota that refills continuously up to `capacity`, starts full, and may go negative.

    `pace` slows the refill while little of the announced quota is left. Times are seconds on the limiter's clock.
    """

    per_min: float
    burst_s: float
    at: float
    level: float = field(init=False)
    pace: float = field(init=False, default=1.0)
    most_remaining: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.level = self.capacity

    @property
    def capacity(self) -> float:
        """What may be spent at once."""
        return max(1.0, self.per_min / 60 * self.burst_s)

    @property
    def per_s(self) -> float:
        """What flows in, each second."""
        return self.per_min / 60 * self.pace

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until the amount fits. One larger than the capacity fits when the bucket is full, and leaves a debt."""
        self._refill(now)
        missing = min(amount, self.capacity) - self.level
        seconds = missing / self.per_s
        return seconds if seconds > TINY_S else 0.0

    def take(self, amount: float, now: float) -> None:
        """Spend an amount; a negative one gives back."""
        self._refill(now)
        self.level = min(self.capacity, self.level - amount)

    def limit_to(self, per_min: float, burst_s: float, now: float) -> None:
        """Change rate and capacity; what is above the new capacity is lost, a debt stays."""
        self._refill(now)
        if per_min != self.per_min:
            self.most_remaining, self.pace = 0.0, 1.0
        self.per_min, self.burst_s = per_min, burst_s
        self.level = min(self.level, self.capacity)

    def clamp(self, level: float, now: float) -> None:
        """Believe that no more than this is left."""
        self._refill(now)
        self.level = min(self.level, level)

    def heard(self, remaining: float, level: float, now: float) -> None:
        """Take in what the server said was left, and what of that is left by now.

        Scarcity is measured against the most that was ever left under this limit: a server that announces a limit for a
        minute may enforce it over a second, and then never has a minute's worth left.
        """
        self.most_remaining = max(self.most_remaining, remaining)
        self.clamp(level, now)
        share = max(0.0, level) / max(1.0, min(self.per_min, self.most_remaining))
        self.pace = min(1.0, SLOWEST_PACE + (1 - SLOWEST_PACE) * share / SCARCE_SHARE)

    def _refill(self, now: float) -> None:
        if now > self.at:
            self.level = min(self.capacity, self.level + (now - self.at) * self.per_s)
            self.at = now
