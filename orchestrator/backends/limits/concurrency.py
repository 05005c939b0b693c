"""How many requests at once, where no limit is known: found by trying, as congestion control does.

Slow start doubles the limit for each clean round. The first rejection ends it: the limit is cut by a fifth, and from then on
grows by a twentieth a round. A round is as many successes as the limit, four at least, and only those count that came while
the limit was nearly used: a limit that nobody reaches has not been tested. A server in trouble (5xx, no answer) is no
sign of a limit; it pauses growth and cuts nothing.
"""

from dataclasses import dataclass, field
from math import floor

SMALLEST_ROUND = 4
USED_SHARE = 0.8
CUT = 0.8
GROWTH = 0.05
# A burst of rejections has one cause and is answered once.
DEBOUNCE_S = 15.0


@dataclass(slots=True)
class AdaptiveConcurrency:
    """The limit and how it moves. Each method returns why it changed the limit, or None. Times are seconds on one clock."""

    limit: float
    is_slow_start: bool = field(init=False, default=True)
    _clean: int = field(init=False, default=0)
    _no_growth_until: float = field(init=False, default=0.0)
    _no_cut_until: float = field(init=False, default=0.0)

    @property
    def slots(self) -> int:
        """Requests at once, at least one."""
        return max(1, floor(self.limit))

    def succeeded(self, in_flight: int, now: float) -> str | None:
        """Count an answer. `in_flight` includes the request that was answered."""
        if now < self._no_growth_until or in_flight < USED_SHARE * self.slots:
            return None
        self._clean += 1
        if self._clean < max(self.slots, SMALLEST_ROUND):
            return None
        self._clean = 0
        if self.is_slow_start:
            self.limit *= 2
            return "slow start: a clean round"
        self.limit += max(1.0, GROWTH * self.limit)
        return "a clean round"

    def was_rejected(self, retry_after_s: float, now: float) -> str | None:
        """Count a rejection for rate."""
        self._clean = 0
        self.is_slow_start = False
        if now < self._no_cut_until:
            return None
        self._no_cut_until = now + DEBOUNCE_S + retry_after_s
        if self.limit <= 1:
            return None
        self.limit = max(1.0, self.limit * CUT)
        return "rejected for rate"

    def failed(self, now: float) -> None:
        """Count a server error or a request without an answer."""
        self._clean = 0
        self._no_growth_until = now + DEBOUNCE_S
