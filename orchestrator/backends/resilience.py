"""The one owner of retries: a chat model that asks another one again where that may help.

Retry levels multiply, so an SDK's own retries are off and only this module repeats a request. Tries are bounded in
number and in total time. Between them it waits exponentially longer with jitter (Brooker, "Exponential Backoff and
Jitter", 2015), or as long as the provider asks, up to a cap. A request whose output does not grow for `idle_s` counts as
stalled and is dropped: streams of nothing but keep-alives would otherwise wait for ever.

The jitter comes from the prompt's `Draw`, so a simulation repeats exactly. Where time was lost is noted in `Meter.waits`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import Field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.draws import fraction
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Span, Value
from orchestrator.ports import ChatModel, Clock, Meter

_log = logging.getLogger(__name__)


class ResilienceSettings(Value):
    """How often and how long to try one request."""

    max_tries: int = Field(default=5, ge=1, description="Requests at most, the first one included.")
    first_wait_s: float = Field(default=1.0, ge=0, description="Seconds before the second try; doubles each time.")
    max_wait_s: float = Field(default=60.0, ge=0, description="Seconds between two tries at most.")
    retry_after_cap_s: float = Field(
        default=120.0, ge=0, description="A longer retry-after than this many seconds is not believed."
    )
    deadline_s: float = Field(default=900.0, gt=0, description="Seconds for all tries and waits together.")
    idle_s: float = Field(
        default=120.0, gt=0, description="Seconds without new output after which a request is dropped."
    )


class ResilientModel:
    """A `ChatModel` around a `ChatModel`. Cancelling `complete` cancels the request in flight."""

    def __init__(self, model: ChatModel, settings: ResilienceSettings, clock: Clock) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Ask until answered. Raises the last `BackendError`: at once if it is not retryable, else when no try is left."""
        return await _Request(self._model, self._settings, self._clock, prompt, meter).complete()


class _Request:
    """One request with all its tries."""

    def __init__(
        self, model: ChatModel, settings: ResilienceSettings, clock: Clock, prompt: Prompt, meter: Meter
    ) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock
        self._prompt = prompt
        self._meter = meter
        self._started = clock.now()
        self._reason = ""

    async def complete(self) -> Completion:
        retrying = AsyncRetrying(
            sleep=self._pause,
            stop=self._is_last,
            wait=self._wait_s,
            retry=retry_if_exception(_is_retryable),
            reraise=True,
        )
        return await retrying(self._try)

    async def _try(self) -> Completion:
        began = self._clock.now()
        try:
            async with self._watched():
                return await self._model.complete(self._prompt, self._meter)
        except BackendError:
            self._note("failed_request", began)
            raise

    async def _pause(self, seconds: float) -> None:
        began = self._clock.now()
        _log.info(
            "request is repeated",
            extra={"subtask": self._prompt.draw.subtask, "fault": self._reason, "wait_s": seconds},
        )
        self._meter.note = f"waits {seconds:.0f} s: {self._reason}"
        try:
            await self._clock.sleep(seconds)
        finally:
            self._note("backoff", began)
            self._meter.note = ""

    def _wait_s(self, state: RetryCallState) -> float:
        """Seconds to wait after the try that just failed."""
        settings, error = self._settings, _error_of(state)
        draw = self._prompt.draw
        jitter = fraction((draw.seed, draw.subtask, draw.attempt, draw.draw, "backoff", state.attempt_number))
        if error.retry_after_s is not None:
            # Released a little apart, or all that were told the same moment would meet again.
            seconds = min(error.retry_after_s, settings.retry_after_cap_s) * (1 + jitter / 10)
        else:
            seconds = min(settings.first_wait_s * 2.0 ** (state.attempt_number - 1), settings.max_wait_s)
            seconds *= 0.5 + jitter / 2
        self._reason = error.kind
        return seconds

    def _is_last(self, state: RetryCallState) -> bool:
        if state.attempt_number >= self._settings.max_tries:
            return True
        return self._clock.now() + state.upcoming_sleep - self._started >= self._settings.deadline_s

    def _note(self, name: str, began: float) -> None:
        self._meter.waits.append(Span(name=name, started_s=began, duration_s=self._clock.now() - began))

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Drop what is inside when its output stands still for `idle_s`, or when the deadline is reached."""
        loop = asyncio.get_running_loop()
        left_s = self._settings.deadline_s - (self._clock.now() - self._started)
        watch = _IdleTimer(loop, self._meter, self._settings.idle_s)
        try:
            async with asyncio.timeout(left_s) as scope:
                watch.start(scope)
                try:
                    yield
                finally:
                    watch.stop()
        except TimeoutError:
            if not scope.expired():
                raise
            what = f"no output for {self._settings.idle_s:g} s" if watch.is_stalled else "no answer in time"
            raise BackendError(f"{self._model.name}: {what}; the request was dropped", kind="stall") from None


class _IdleTimer:
    """Ends a scope when the meter has not moved for `idle_s`. It looks four times in that time, not at every token."""

    def __init__(self, loop: asyncio.AbstractEventLoop, meter: Meter, idle_s: float) -> None:
        self._loop = loop
        self._meter = meter
        self._idle_s = idle_s
        self._seen = meter.output_tokens
        self._moved = loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self.is_stalled = False

    def start(self, scope: asyncio.Timeout) -> None:
        self._handle = self._loop.call_later(self._idle_s / 4, self._look, scope)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _look(self, scope: asyncio.Timeout) -> None:
        if self._meter.output_tokens != self._seen:
            self._seen = self._meter.output_tokens
            self._moved = self._loop.time()
        # Timers may fire early by the resolution of the loop's clock.
        if self._loop.time() - self._moved >= self._idle_s * 0.999:
            self.is_stalled = True
            scope.reschedule(self._loop.time())
        else:
            self.start(scope)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, BackendError) and error.is_retryable


def _error_of(state: RetryCallState) -> BackendError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, BackendError):
        raise TypeError(f"only a BackendError is retried, not {error!r}")
    return error
