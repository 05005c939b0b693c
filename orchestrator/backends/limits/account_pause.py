"""When an account may go on after its provider said 429: as long as it asks, up to a cap, released with jitter.

Beyond the cap nobody sleeps for hours in silence: the pause is told with its end, and after the cap one request alone asks
again. The jitter is keyed by account and pause, so that a simulation repeats while processes that share an account part.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.core.draws import fraction


@dataclass(slots=True)
class AccountPause:
    """The pause of one account. Times are seconds since the epoch, as the clock counts them."""

    account: str
    cap_s: float
    is_probing: bool = field(init=False, default=False)
    _resume_at: float = field(init=False, default=0.0)
    _asked_until: float = field(init=False, default=0.0)
    _pauses: int = field(init=False, default=0)
    _in_a_row: int = field(init=False, default=0)

    def rejected(self, retry_after_s: float | None, now: float) -> float | None:
        """Pause, or prolong the pause. Returns its seconds if it is a new one.

        Where the provider names no time it is one second, and twice as long each time until a request is answered.
        """
        is_new = now >= self._resume_at
        if is_new:
            self._pauses += 1
            self._in_a_row += 1
        asked_s = retry_after_s if retry_after_s is not None else 2.0 ** min(self._in_a_row - 1, 10)
        pause_s = min(asked_s, self.cap_s) * (1 + fraction((self.account, "pause", self._pauses)) / 10)
        self._resume_at = max(self._resume_at, now + pause_s)
        if asked_s > self.cap_s:
            self._asked_until = max(self._asked_until, now + asked_s)
            self.is_probing = True
        return pause_s if is_new else None

    def answered(self) -> None:
        """A request was answered, not refused."""
        self.is_probing = False
        self._in_a_row = 0

    def left_s(self, now: float) -> float:
        """Seconds until requests go again; 0 or less when they do."""
        return self._resume_at - now

    def until(self, now: float) -> float | None:
        """When the provider lets the account go on by its own words; None when it is not paused."""
        until = max(self._resume_at, self._asked_until)
        return until if now < until else None

    def note(self, now: float) -> str | None:
        """What a person who waits is told; None when it is not paused."""
        if now < self._asked_until:
            until = datetime.fromtimestamp(self._asked_until, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            return f"{self.account}: paused until {until} by the provider"
        if now < self._resume_at:
            return f"{self.account}: paused for {self._resume_at - now:.0f} s by the provider"
        return None
