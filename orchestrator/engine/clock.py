"""The time of day that never goes back: the epoch, read once, plus a monotonic clock."""

import asyncio
import time


class SystemClock:
    """Seconds since the epoch at the start of the process, carried on by the monotonic clock."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()  # noqa: TID251 — the one place where the epoch is read

    def now(self) -> float:
        """Return seconds since the epoch; changes of the system's clock do not show."""
        return self._offset + time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        await asyncio.sleep(seconds)
