"""A chat model that keeps what it is asked and what it answers, so that the run can be replayed without asking again.

It stands next to the model, inside of whatever repeats, limits or prices requests: each exchange is one HTTP request, and its
usage is what the provider said. An error is kept like an answer. A request that was dropped before it was answered leaves
nothing, and a replay goes on with the answer to the request that took its place.
"""

import asyncio
from datetime import UTC, datetime

from orchestrator.backends.recordings.exchanges import RecordedError, RecordedExchange, request_digest
from orchestrator.backends.recordings.folder import Recording
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError
from orchestrator.ports import ChatModel, Clock, Meter


class RecordingModel:
    """A `ChatModel` around a `ChatModel`. What was answered is kept before it is handed on, also to who does not wait for it."""

    def __init__(self, model: ChatModel, recording: Recording, clock: Clock) -> None:
        self._model = model
        self._recording = recording
        self._clock = clock

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Ask and keep. Raises what the inner model raises, and `EnvironmentFault` where the exchange cannot be kept."""
        began = self._clock.now()
        try:
            completion = await self._model.complete(prompt, meter)
        except BackendError as error:
            await self._keep(prompt, began, RecordedError.of(error))
            raise
        await self._keep(prompt, began, completion)
        return completion

    async def _keep(self, prompt: Prompt, began: float, answer: Completion | RecordedError) -> None:
        exchange = RecordedExchange(
            digest=request_digest(prompt),
            model=self._model.name,
            when=datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds"),
            duration_s=max(0.0, self._clock.now() - began),
            prompt=prompt.model_copy(update={"files": (), "writable": ()}),
            completion=answer if isinstance(answer, Completion) else None,
            error=answer if isinstance(answer, RecordedError) else None,
        )
        # The thread ends its work even where the caller is cancelled: what was paid for is kept.
        await asyncio.to_thread(self._recording.add, exchange)
