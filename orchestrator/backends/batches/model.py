"""A chat model whose requests wait for each other and go out as one batch, at half the price, for work that can wait.

    async with BatchedModel(provider, ledger, settings, clock) as model:
        completion = await model.complete(prompt, meter)        # minutes to hours later

Who asks waits: in `Meter.is_queued`, since a silence of hours is none of a request's time limits. The task that submits and polls belongs
to the context. It begins with the first request and ends when nobody waits. Cancelling one request disturbs no other.

After a crash the same requests find what was submitted, by the ledger; see `ledger` and `driver` for what is promised. A batch that
nobody waits for any more is neither cancelled nor asked after: it is paid for, and the next process may want it.

It needs neither a rate limit (batches have their own) nor an SDK's retries. `resilience` may stand around it.
"""

import asyncio
import contextlib
import contextvars
import json
from hashlib import sha256
from types import TracebackType
from typing import Self

from orchestrator.backends.batches.driver import BatchDriver
from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.provider import BatchProvider
from orchestrator.backends.batches.settings import PRICE_FACTOR, BatchSettings
from orchestrator.backends.batches.waiting import Outcome, Request, WaitingRoom
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError, EnvironmentFault
from orchestrator.core.values import Digest
from orchestrator.ports import Clock, Meter

# The custom id, the method and the path around each request's body.
_WRAPPING_BYTES = 256


class BatchedModel:
    """A `ChatModel` over a provider's batch API; to be entered, once, before it is asked.

    `price_factor` is what its tokens cost, as a part of the usual price. Leaving ends the task, after a submission under way has had
    `leave_s` to learn its id; whoever still waits then gets an `EnvironmentFault`.

    A ledger serves any number of models, but one of them for each place and model name.
    """

    price_factor = PRICE_FACTOR

    def __init__(self, provider: BatchProvider, ledger: BatchLedger, settings: BatchSettings, clock: Clock) -> None:
        self._provider = provider
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._room = WaitingRoom()
        self._driver = BatchDriver(provider, ledger, settings, clock, self._room)
        self._group: asyncio.TaskGroup | None = None
        self._task: asyncio.Task[None] | None = None
        self._context = contextvars.copy_context()
        self._is_entered = False

    @property
    def name(self) -> str:
        """The model's id."""
        return self._provider.name

    async def __aenter__(self) -> Self:
        if self._is_entered:
            raise RuntimeError("a batched model can be entered once")
        self._is_entered = True
        for noted in self._ledger.batches(self._provider.place):
            self._room.adopt(noted)
        self._context = contextvars.copy_context()
        self._group = await asyncio.TaskGroup().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        group, self._group = self._group, None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.leave_s):
                    await self._driver.wait_submitted()
        finally:
            if self._task is not None:
                self._task.cancel()
            self._room.fail_all(EnvironmentFault(f"{self.name}: the run has left its batches; resume it"))
            if group is not None:
                await _left(group)

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer one prompt, when its batch is done. Raises `BackendError`, and `EnvironmentFault` for a broken ledger."""
        request = self._request(prompt, meter)
        with meter.queued("batch", self._clock):
            outcome = await self._outcome(request)
        if not isinstance(outcome, str):
            raise _own(outcome)
        completion = self._provider.read(prompt, outcome)
        meter.output_tokens += completion.usage.output_tokens or 0
        return completion

    def _request(self, prompt: Prompt, meter: Meter) -> Request:
        body = self._provider.body(prompt)
        try:
            text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise BackendError(
                f"{self.name}: the prompt holds characters that cannot be sent: {error.reason}", kind="invalid_request"
            ) from None
        loop = asyncio.get_running_loop()
        digest = Digest(sha256(text).hexdigest())
        return Request(body, digest, len(text) + _WRAPPING_BYTES, loop.time(), meter, loop.create_future())

    async def _outcome(self, request: Request) -> Outcome:
        """Wait for what a request comes to; one that is given up leaves its place to the next."""
        outcome: Outcome | None = None
        self._room.enter(request)
        try:
            seat = request.seat
            if seat is not None and seat.is_stored:
                outcome = await self._ledger.result(seat.batch.name, seat.number)
            else:
                self._drive()
                async with asyncio.timeout(self._settings.deadline_s):
                    outcome = await request.answer
        except TimeoutError:
            what = f"no result of the batch within {self._settings.deadline_s:g} s"
            raise BackendError(f"{self.name}: {what}", kind="stall") from None
        finally:
            if not isinstance(outcome, str):
                self._room.leave(request)
                self._driver.wake()
        return outcome

    def _drive(self) -> None:
        """Have the task run, in the context's own surroundings and not in those of who happens to ask first."""
        if self._group is None:
            raise RuntimeError("a batched model has to be entered before it is asked")
        self._driver.wake()
        if self._task is None or self._task.done():
            self._task = self._group.create_task(self._driver.drive(), context=self._context)


async def _left(group: asyncio.TaskGroup) -> None:
    """Wait for a group's one task. Raises what it raised, bare."""
    try:
        # What ended the context goes its own way, and not wrapped into a group.
        await group.__aexit__(None, None, None)
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def _own(error: EnvironmentFault) -> EnvironmentFault:
    """An error that many wait for, once for each: raising grows it."""
    if isinstance(error, BackendError):
        return BackendError(str(error), kind=error.kind, retry_after_s=error.retry_after_s)
    return EnvironmentFault(str(error))
