"""The one owner of retries: a chat model that asks another one again where that may help.

Retry levels multiply, so an SDK's own retries are off and only this module repeats a request. What follows is decided by the
class of the fault:

    rate_limit                                   asked again until `patience_s`: it is nobody's fault and no try
    overloaded · transient · stall · malformed   asked again, at most `max_tries` times, within `deadline_s` and the retry budget
    auth · billing · unknown_model · …           raised at once

Between tries it waits exponentially longer with jitter (Brooker, "Exponential Backoff and Jitter", 2015), or as long as the
provider asks, up to a cap. A request whose output does not grow for `idle_s` counts as stalled and is dropped: streams of
nothing but keep-alives would otherwise wait for ever. Time in a queue of ours (`Meter.is_queued`) counts for neither clock.

The retry budget is shared by all requests of a model: where a whole service is down, each request that is repeated anyway makes
it worse. The jitter comes from the prompt's `Draw`, so a simulation repeats exactly. Where time was lost is noted in `Meter.waits`.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import Field
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.draws import fraction
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Span, Value
from orchestrator.ports import ChatModel, Clock, Meter

_log = logging.getLogger(__name__)
_LOOKS = 4


class ResilienceSettings(Value):
    """How often and how long to try one request."""

    max_tries: int = Field(
        default=5, ge=1, description="Requests at most, the first one included; rate limits do not count."
    )
    first_wait_s: float = Field(default=1.0, ge=0, description="Seconds before the second try; doubles each time.")
    max_wait_s: float = Field(default=60.0, ge=0, description="Seconds between two tries at most.")
    retry_after_cap_s: float = Field(
        default=120.0, ge=0, description="A longer retry-after than this many seconds is not believed."
    )
    deadline_s: float = Field(
        default=900.0, gt=0, description="Seconds for all tries and waits together, without those for a rate limit."
    )
    idle_s: float = Field(
        default=120.0, gt=0, description="Seconds without new output after which a request is dropped."
    )
    patience_s: float = Field(
        default=3600.0, gt=0, description="Seconds of nothing but rate limits after which an attempt is put off."
    )
    retry_share: float = Field(
        default=0.1, ge=0, description="Repeated requests that are allowed for each that was made first."
    )
    retry_reserve: int = Field(default=20, ge=0, description="Repeated requests that are allowed besides.")


@dataclass(slots=True)
class RetryBudget:
    """How many requests may still be repeated. Each first request earns a share of one."""

    share: float
    left: float

    def earn(self) -> None:
        """Count a first request."""
        self.left += self.share

    def take(self) -> bool:
        """Take one repetition, if there is one."""
        if self.left < 1:
            return False
        self.left -= 1
        return True


class ResilientModel:
    """A `ChatModel` around a `ChatModel`. Cancelling `complete` cancels the request in flight."""

    def __init__(self, model: ChatModel, settings: ResilienceSettings, clock: Clock) -> None:
        self._model = model
        self._settings = settings
        self._clock = clock
        self._budget = RetryBudget(settings.retry_share, settings.retry_reserve)

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Ask until answered. Raises the last `BackendError`: at once if it is not retryable, else when no try is left."""
        self._budget.earn()
        return await _Request(self._model, self._settings, self._clock, self._budget, prompt, meter).complete()


@dataclass(slots=True)
class _Request:
    """One request with all its tries. `worked_s` counts against the deadline, `limited_since` against the patience."""

    model: ChatModel
    settings: ResilienceSettings
    clock: Clock
    budget: RetryBudget
    prompt: Prompt
    meter: Meter
    reason: str = ""
    tries: int = 0
    worked_s: float = 0.0
    limited_since: float | None = None
    last: BackendError | None = None
    is_out_of_money: bool = False

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
        began, queued_s = self.clock.now(), self.meter.queued_s
        try:
            async with self._watched():
                return await self.model.complete(self.prompt, self.meter)
        except BackendError as error:
            self._note("failed_request", began)
            if error.kind == "budget" and self.last is not None:
                # What the budget cannot pay again is what went wrong.
                self.is_out_of_money = True
                raise self.last from None
            self.last = error
            if error.kind == "rate_limit":
                self.limited_since = began if self.limited_since is None else self.limited_since
            else:
                self.limited_since = None
                self.tries += 1
                self.worked_s += self.clock.now() - began - (self.meter.queued_s - queued_s)
            raise

    async def _pause(self, seconds: float) -> None:
        began = self.clock.now()
        _log.info(
            "request is repeated",
            extra={"subtask": self.prompt.draw.subtask, "fault": self.reason, "wait_s": seconds},
        )
        self.meter.note = f"waits {seconds:.0f} s: {self.reason}"
        try:
            await self.clock.sleep(seconds)
        finally:
            if self.limited_since is None:
                self.worked_s += self.clock.now() - began
            self._note("backoff", began)
            self.meter.note = ""

    def _wait_s(self, state: RetryCallState) -> float:
        """Seconds to wait after the try that just failed."""
        settings, error = self.settings, _error_of(state)
        draw = self.prompt.draw
        jitter = fraction((draw.seed, draw.subtask, draw.attempt, draw.draw, "backoff", state.attempt_number))
        if error.retry_after_s is not None:
            # Released a little apart, or all that were told the same moment would meet again.
            # Never at once, whatever the provider says.
            least = settings.first_wait_s * (0.5 + jitter / 2)
            seconds = max(min(error.retry_after_s, settings.retry_after_cap_s) * (1 + jitter / 10), least)
        else:
            # The exponent is bounded, since rate limits may go on for long.
            seconds = min(settings.first_wait_s * 2.0 ** min(state.attempt_number - 1, 32), settings.max_wait_s)
            seconds *= 0.5 + jitter / 2
        self.reason = error.kind
        return seconds

    def _is_last(self, state: RetryCallState) -> bool:
        """Asked once after each failure that another try may cure; takes from the retry budget."""
        settings = self.settings
        if self.is_out_of_money:
            return True
        if self.limited_since is not None:
            return self.clock.now() + state.upcoming_sleep - self.limited_since >= settings.patience_s
        if self.tries >= settings.max_tries or self.worked_s + state.upcoming_sleep >= settings.deadline_s:
            return True
        if self.budget.take():
            return False
        _log.warning("too many requests are repeated already; this one is not", extra={"fault": self.reason})
        return True

    def _note(self, name: str, began: float) -> None:
        self.meter.waits.append(Span(name=name, started_s=began, duration_s=self.clock.now() - began))

    @asynccontextmanager
    async def _watched(self) -> AsyncIterator[None]:
        """Drop what is inside when its output stands still for `idle_s`, or when the deadline is reached."""
        watch = _Watch(self.meter, self.settings.idle_s, self.settings.deadline_s - self.worked_s)
        try:
            async with asyncio.timeout(None) as scope:
                watch.start(scope)
                try:
                    yield
                finally:
                    watch.stop()
        except TimeoutError:
            if not scope.expired():
                raise
            what = f"no output for {self.settings.idle_s:g} s" if watch.is_stalled else "no answer in time"
            raise BackendError(f"{self.model.name}: {what}; the request was dropped", kind="stall") from None


class _Watch:
    """Ends a scope when the meter has not moved for `idle_s`, or after `deadline_s`; time in a queue of ours is neither.

    It looks four times in `idle_s`, not at every token.
    """

    def __init__(self, meter: Meter, idle_s: float, deadline_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._meter = meter
        self._idle_s = idle_s
        self._deadline = self._loop.time() + deadline_s
        self._queued_s = meter.queued_s
        self._seen = meter.output_tokens
        self._moved = self._loop.time()
        self._handle: asyncio.TimerHandle | None = None
        self.is_stalled = False

    def start(self, scope: asyncio.Timeout) -> None:
        due = min(self._loop.time() + self._idle_s / _LOOKS, max(self._deadline, self._loop.time()))
        self._handle = self._loop.call_at(due, self._look, scope)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    def _look(self, scope: asyncio.Timeout) -> None:
        now = self._loop.time()
        self._deadline += self._meter.queued_s - self._queued_s
        moved = self._meter.is_queued or self._meter.queued_s != self._queued_s
        self._queued_s = self._meter.queued_s
        if moved or self._meter.output_tokens != self._seen:
            self._seen, self._moved = self._meter.output_tokens, now
        if self._meter.is_queued:
            # The deadline is put off when the queue is left; until then it must not strike.
            self._handle = self._loop.call_at(now + self._idle_s / _LOOKS, self._look, scope)
            return
        # Timers may fire early by the resolution of the loop's clock.
        self.is_stalled = now - self._moved >= self._idle_s * 0.999
        if self.is_stalled or now >= self._deadline - 0.001:
            scope.reschedule(now)
        else:
            self.start(scope)


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, BackendError) and error.is_retryable


def _error_of(state: RetryCallState) -> BackendError:
    error = state.outcome.exception() if state.outcome is not None else None
    if not isinstance(error, BackendError):
        raise TypeError(f"only a BackendError is retried, not {error!r}")
    return error
