"""What every streamed answer needs: time limits that keep-alives do not fool, a meter, and careful hands.

An event is read as what it is: a mapping of unknown content from somebody else (`fields`, `items`, `count`, `text`). A
stream of pings alone would wait for ever in both SDKs; here only content moves the idle timer.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from orchestrator.backends.wire.api_settings import ApiSettings
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter

_CHARS_PER_TOKEN = 4


def fields(value: object) -> Mapping[str, object]:
    """The fields of an event or of a part of it; none of what is no object."""
    return value if isinstance(value, Mapping) else {}


def count(value: object) -> int | None:
    """A number of tokens; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def items(value: object) -> Sequence[object]:
    """The items of a list; none of what is no list."""
    return value if isinstance(value, list | tuple) else ()


def text(value: object) -> str:
    """A text; empty for what is none."""
    return value if isinstance(value, str) else ""


def mended(pieces: str) -> str:
    """A text that can be encoded: some servers cut a character in two halves, which meet here; a half alone is replaced."""
    try:
        pieces.encode()
    except UnicodeEncodeError:
        return pieces.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return pieces


class Progress:
    """Moves the meter with the characters that come, and to the true count at the end."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._before = meter.output_tokens
        self._chars = 0

    def add(self, chars: int) -> None:
        """So many characters of output have come."""
        self._chars += chars
        self._meter.output_tokens = self._before + self._chars // _CHARS_PER_TOKEN

    def finish(self, output_tokens: int | None) -> None:
        """The answer is whole; its tokens, where they are known, replace the estimate."""
        if output_tokens is not None:
            self._meter.output_tokens = self._before + output_tokens


class Watch:
    """The time limits of one request: to the response's head, between contents, and in all.

    A content costs one assignment: the timer looks when a limit could be reached, and sets itself again.
    """

    def __init__(self, settings: ApiSettings) -> None:
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._started = self._moved = self._loop.time()
        self._limit_s = settings.first_byte_s
        self._missing = "no response"
        self._reason = ""
        self._scope = asyncio.timeout(None)
        self._handle: asyncio.TimerHandle | None = None

    def answered(self) -> None:
        """The response's head is there; from now on content has to come."""
        self._limit_s = self._settings.idle_s
        self._missing = "no content"
        self.moved()
        self._stop()
        self._look()

    def moved(self) -> None:
        """Content came."""
        self._moved = self._loop.time()

    @asynccontextmanager
    async def guarding(self) -> AsyncIterator[None]:
        """End what is inside when a limit is reached. Raises `BackendError` of kind `stall` then."""
        try:
            async with self._scope:
                self._look()
                try:
                    yield
                finally:
                    self._stop()
        except TimeoutError:
            if not self._scope.expired():
                raise
            raise BackendError(f"{self._settings.model}: {self._reason}; dropped", kind="stall") from None

    def _look(self) -> None:
        now = self._loop.time()
        end, due = self._started + self._settings.deadline_s, self._moved + self._limit_s
        if now >= end:
            self._reason = f"not finished within {self._settings.deadline_s:g} s"
        elif now >= due:
            self._reason = f"{self._missing} for {self._limit_s:g} s"
        if self._reason:
            self._scope.reschedule(now)
        else:
            self._handle = self._loop.call_at(min(end, due), self._look)

    def _stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
