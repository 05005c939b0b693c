"""The loop: decide, journal, act; hear, journal, decide again.

`drive` is the only coroutine that changes a run's state or writes its journal. Outcomes that arrive together are
journaled together with what follows from them, in one durable transaction; only then does anything new start.

Stopping: `Stop.request()` starts nothing new and lets what is in flight finish, so nothing paid for is lost. Cancelling the
task that runs `drive` ends what is in flight at once; what had been heard by then is still journaled, and the next process
says `RunResumed`. A request that was in flight may have been billed all the same: nobody can know.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.core.decide import decide, limit_reached
from orchestrator.core.errors import JournalError, OrchestratorError
from orchestrator.core.events import Event, FinishReason, Intent, RunFinished
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.values import Digest
from orchestrator.engine.effects import Occurrence
from orchestrator.engine.jobs import Job, job_for
from orchestrator.ports import Clock, Journal, Observer


@dataclass(slots=True)
class Stop:
    """A wish to end: set from a signal handler, heard by the loop."""

    is_requested: bool = False
    _listeners: list[Callable[[], None]] = field(default_factory=list)

    def request(self) -> None:
        """Start nothing new from now on."""
        self.is_requested = True
        for listener in self._listeners:
            listener()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call back when the wish is made."""
        self._listeners.append(listener)


_log = logging.getLogger(__name__)


class Performer(Protocol):
    """Whatever turns jobs into outcomes: the real effects, or a simulation of them."""

    async def perform(self, job: Job) -> Occurrence:
        """Act, and say what came of it."""
        ...


@dataclass(slots=True)
class Driver:
    """One run in one process. `observers` see every entry once it is durable."""

    state: RunState
    journal: Journal
    effects: Performer
    clock: Clock
    observers: Sequence[Observer] = ()
    stop: Stop = field(default_factory=Stop)
    _inbox: asyncio.Queue[Occurrence | OrchestratorError | None] = field(default_factory=asyncio.Queue)
    _running: int = 0
    _fault: OrchestratorError | None = None

    async def drive(self) -> FinishReason:
        """Work until the run is settled, stopped, or at a limit; return why it ended.

        When something outside breaks (`EnvironmentFault`), what is in flight still finishes and is journaled; then the
        first such error is raised. Any other exception is a bug: it cancels everything and surfaces as it is.
        """
        self.stop.listen(lambda: self._inbox.put_nowait(None))
        heard: list[Occurrence] = []
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    for job in await self._turn(heard):
                        self._running += 1
                        tasks.create_task(self._perform(job))
                    if self._running == 0:
                        break
                    heard = await self._hear()
        except asyncio.CancelledError:
            await asyncio.shield(self._last_words())
            raise
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        if self._fault is not None:
            raise self._fault
        return self.state.finished or "drained"

    async def _turn(self, heard: Sequence[Occurrence]) -> list[Job]:
        """Apply what was heard, decide what follows, and make both durable; return the jobs to start."""
        events: list[tuple[float, Event]] = [(each.at, each.outcome) for each in heard]
        bodies: dict[Digest, bytes] = {}
        for each in heard:
            apply(self.state, each.outcome, each.at)
            bodies.update(each.bodies)
        jobs: list[Job] = []
        for intent in self._intents():
            events.append((self.state.last_at, intent))
            jobs.append(job_for(self.state, intent))
        if self._running == 0 and not jobs and self._fault is None:
            now = self.clock.now()
            finished = RunFinished(reason=self._why(now))
            apply(self.state, finished, now)
            events.append((now, finished))
        for entry in await self.journal.append(events, bodies) if events else ():
            _log.debug("journaled", extra={"seq": entry.seq, "kind": entry.event.kind})
            for observe in self.observers:
                observe(entry)
        return jobs

    def _intents(self) -> Iterator[Intent]:
        """Decide and apply until nothing more can start."""
        while not self.stop.is_requested:
            now = self.clock.now()
            intent = decide(self.state, now)
            if intent is None:
                return
            apply(self.state, intent, now)
            yield intent

    async def _last_words(self) -> None:
        """Journal what was heard and not yet written when the run was cancelled; decide nothing."""
        mail = [self._inbox.get_nowait() for _ in range(self._inbox.qsize())]
        heard = [each for each in mail if isinstance(each, Occurrence)]
        bodies = {digest: body for each in heard for digest, body in each.bodies.items()}
        for each in heard:
            apply(self.state, each.outcome, each.at)
        for entry in await self.journal.append([(each.at, each.outcome) for each in heard], bodies) if heard else ():
            for observe in self.observers:
                observe(entry)

    def _why(self, now: float) -> FinishReason:
        if self.state.split_problem is not None:
            return "split_failed"
        if self.state.is_settled:
            return "completed"
        if self.stop.is_requested:
            return "drained"
        limit = limit_reached(self.state, now)
        if limit is None:
            raise JournalError("nothing is in flight, nothing can start, and the run is not settled")
        return limit

    async def _hear(self) -> list[Occurrence]:
        """Wait for something to happen; return every outcome that is there by then."""
        mail = [await self._inbox.get()]
        while not self._inbox.empty():
            mail.append(self._inbox.get_nowait())
        heard: list[Occurrence] = []
        for each in mail:
            if each is None:
                continue
            self._running -= 1
            fault = each.fault if isinstance(each, Occurrence) else each
            if isinstance(each, Occurrence):
                heard.append(each)
            if fault is not None:
                _log.info("the run stops: %s", fault)
                self._fault = self._fault or fault
                self.stop.request()
        return heard

    async def _perform(self, job: Job) -> None:
        try:
            self._inbox.put_nowait(await self.effects.perform(job))
        except OrchestratorError as error:
            self._inbox.put_nowait(error)
