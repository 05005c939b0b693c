"""A model behind a provider's batch API, with the ledger that lets a run that was killed find its batches again.

What works at the batches is imported when a run enters such a model: this module is loaded by every command.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from orchestrator.backends.batches.provider import BatchProvider
from orchestrator.backends.batches.settings import BatchSettings
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import EnvironmentFault
from orchestrator.ports import ChatModel, Clock, Meter

LEDGER = "batches.sqlite"


class OpenProvider(BatchProvider, AbstractAsyncContextManager["OpenProvider"], Protocol):
    """A provider that is closed when it is left."""


class RunBatches:
    """A `ChatModel`, to be entered while the run goes on. `opened` makes the provider, once it is needed."""

    def __init__(
        self, name: str, opened: Callable[[], OpenProvider], settings: BatchSettings, clock: Clock, state: Path | None
    ) -> None:
        self._name = name
        self._opened = opened
        self._settings = settings
        self._clock = clock
        self._state = state
        self._stack = AsyncExitStack()
        self._model: ChatModel | None = None

    @property
    def name(self) -> str:
        """The model's id."""
        return self._name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer one prompt, when its batch is done; see `BatchedModel`."""
        if self._model is None:
            raise EnvironmentFault(f"{self._name}: batches need a run that they belong to")
        return await self._model.complete(prompt, meter)

    async def __aenter__(self) -> Self:
        if self._state is not None:
            from orchestrator.backends.batches.ledger import BatchLedger  # noqa: PLC0415 — for runs with batches alone
            from orchestrator.backends.batches.model import BatchedModel  # noqa: PLC0415 — the same

            async with AsyncExitStack() as stack:
                provider = await stack.enter_async_context(self._opened())
                ledger = stack.enter_context(BatchLedger(self._state / LEDGER))
                model = BatchedModel(provider, ledger, self._settings, self._clock)
                self._model = await stack.enter_async_context(model)
                self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._model = None
        await self._stack.__aexit__(kind, error, trace)
