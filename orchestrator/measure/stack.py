"""Where the lost speedup went: a run's slot time, divided without rest.

A run with N agent slots and wall time T has N·T slot-seconds. The *speedup stack* (Eyerman, Du Bois, Eeckhout, "Speedup Stacks:
Identifying Scaling Bottlenecks in Multi-Threaded Applications", ISPASS 2012) says what became of all of them: work, work in vain,
waits of an attempt that held its slot, and slots that stood idle, each for a reason (`measure.pieces` names them).

Nothing is found by subtraction. An attempt's stay is divided by its spans (`measure.attempts`). Each stretch between two entries
of the journal has so many idle slots, and each is assigned a reason (`measure.idling`). All of it is counted in whole ticks, so the
pieces add up to N·T exactly; only what is printed is rounded.

Where a process resumed with other limits, N is the mean over time. A serial run has one slot for everything: judging and
integration are work there, not waits. A limit is known from the state; a wish to stop is not in the journal, so ready subtasks that
stand idle after the last step of a process that did not complete the run are charged to it.

With the pieces of a serial run, T(1) long, that merged the same, what N slots did comes apart exactly:

    N = T(1)/T(N) + (W − T(1))/T(N) + Σ wait/T(N)

where W is the work, in vain or not. `(W − T(1))/T(N)` is negative where this run judges and integrates beside its slots.

The cost is that of a fold: 100,000 entries take a few seconds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

from orchestrator.core.decide import limit_reached
from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    Event,
    GateStarted,
    Intent,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    SplitFinished,
)
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import SubtaskId, Value
from orchestrator.measure.attempts import Attempt, Fates, attempts
from orchestrator.measure.idling import UnmetNeeds, claims
from orchestrator.measure.pieces import KINDS, Kind, PieceName
from orchestrator.measure.ticks import in_seconds, ticks
from orchestrator.measure.timeline import Segment, segments, steady


class Piece(Value):
    """A part of the slot time, in slot-seconds."""

    name: PieceName
    kind: Kind
    slot_s: float


class Stack(Value):
    """A run's slot time and its pieces, all of them, in their order; they add up to `slot_s`.

    `agents` is N, `slot_s` is N·T. `busy_s` is the part in which an attempt held its slot, whatever it did there.
    """

    agents: float
    wall_s: float
    slot_s: float
    busy_s: float
    is_serial: bool
    is_simulated: bool
    pieces: tuple[Piece, ...]

    def slot_seconds(self, *names: PieceName) -> float:
        """What these pieces come to."""
        return sum(piece.slot_s for piece in self.pieces if piece.name in names)

    def of_kind(self, *kinds: Kind) -> float:
        """What the pieces of these kinds come to, in slot-seconds."""
        return sum(piece.slot_s for piece in self.pieces if piece.kind in kinds)


class Term(Value):
    """A term of the decomposition, in agents."""

    name: str
    agents: float


class Decomposition(Value):
    """N = `speedup` + the sum of `work` + the sum of `waits`, all in agents; see this module's docstring.

    `work` divides (W − T(1))/T(N): what this run's work has more than the serial run's, by kind; then what the serial run did on
    its slot and this run beside them (`beside`), and what the serial run itself waited (`serial_waits`). Both are negative or 0.
    """

    agents: float
    speedup: float
    work: tuple[Term, ...]
    waits: tuple[Term, ...]


def stack_of(entries: Sequence[Entry]) -> Stack:
    """Divide a run's slot time. Raises `JournalError` for a journal that contradicts itself, ValueError for an empty one."""
    return account_of(entries)[0]


def account_of(entries: Sequence[Entry]) -> tuple[Stack, list[Attempt]]:
    """The same, with every attempt's share of it."""
    entries = steady(entries)
    walk = _Walk()
    for segment in segments(entries):
        walk.follow(entries, segment)
    if walk.state.run is None:
        raise ValueError("a run without entries has no slot time")
    tried = attempts(entries, walk.fates.known)
    pieces = walk.idle
    for attempt in tried:
        for name, amount in attempt.pieces.items():
            pieces[name] += amount
    stack = Stack(
        agents=walk.slots / walk.wall if walk.wall else float(walk.state.limits.agents),
        wall_s=in_seconds(walk.wall),
        slot_s=in_seconds(walk.slots),
        busy_s=in_seconds(sum(attempt.stay for attempt in tried)),
        is_serial=walk.is_serial,
        is_simulated=walk.state.run.is_simulated,
        pieces=tuple(Piece(name=name, kind=KINDS[name], slot_s=in_seconds(pieces[name])) for name in KINDS),
    )
    return stack, tried


@dataclass(slots=True)
class _Walk:
    """Folds a journal along, and charges the slots that no attempt holds, stretch by stretch. Amounts are ticks."""

    state: RunState = field(default_factory=RunState)
    needs: UnmetNeeds = field(default_factory=UnmetNeeds)
    fates: Fates = field(default_factory=Fates)
    idle: dict[PieceName, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    slots: int = 0
    wall: int = 0
    is_serial: bool = True
    _members: tuple[SubtaskId, ...] = ()

    def follow(self, entries: Sequence[Entry], segment: Segment) -> None:
        """Go through one process's entries, and on to the next process's."""
        process = _Process.of(entries, segment)
        for index in range(segment.first, segment.until):
            entry = entries[index]
            self._apply(entry)
            if index + 1 < segment.end:
                length = ticks(entries[index + 1].at) - ticks(entry.at)
                if length:
                    self._charge(length, process.at(index), entries[index + 1].at)
        self.is_serial = self.is_serial and self.state.limits.is_serial

    def _apply(self, entry: Entry) -> None:
        event = entry.event
        apply(self.state, event, entry.at)
        self.fates.note(event, self.state)
        if isinstance(event, SplitFinished):
            self.needs.begin(self.state)
        else:
            self.needs.moved(self.state, self._touched(event))

    def _touched(self, event: Event) -> Sequence[SubtaskId]:
        """The subtasks that an event may have moved, without those that only depend on them."""
        match event:
            case AttemptStarted() | PatchProposed() | AttemptFailed() | GateStarted() | PatchJudged():
                return (event.subtask,)
            case BatchStarted():
                self._members = event.members
                return self._members
            case BatchMerged() | BatchRejected():
                return self._members
            case RunResumed():
                return tuple(self.state.subtasks)
            case _:
                return ()

    def _charge(self, length: int, moment: "_Moment", until: float) -> None:
        """Charge what the slots without an attempt did for so many ticks, up to a moment."""
        state, taken = self.state, self.state.counts[Phase.GENERATING]
        if state.limits.is_serial:
            judging, merging = state.counts[Phase.JUDGING], int(state.batch is not None)
            self.idle["gates"] += judging * length
            self.idle["merges"] += merging * length
            taken += judging + merging
        slots = max(1 if state.limits.is_serial else state.limits.agents, taken)
        self.wall += length
        self.slots += slots * length
        left = slots - taken
        if not (moment.has_begun and state.is_split):
            self.idle["ramp"] += left * length
        elif left:
            is_held = moment.is_stopping or (bool(state.ready) and limit_reached(state, until) is not None)
            for name, count in claims(state, self.needs, is_held=is_held):
                assigned = min(left, count)
                self.idle[name] += assigned * length
                left -= assigned
            self.idle["tail"] += left * length


@dataclass(frozen=True, slots=True)
class _Moment:
    """Whether a process has taken its first step, and whether it will take no other though the run is not complete."""

    has_begun: bool
    is_stopping: bool


@dataclass(frozen=True, slots=True)
class _Process:
    """The places in the journal of a process's first and last step, and whether it completed the run."""

    first_step: int
    last_step: int
    is_completed: bool

    @classmethod
    def of(cls, entries: Sequence[Entry], segment: Segment) -> "_Process":
        """Read them off."""
        steps = [i for i in range(segment.first, segment.end) if isinstance(entries[i].event, _INTENTS)]
        last = entries[segment.end - 1].event
        return cls(
            first_step=steps[0] if steps else segment.end,
            last_step=steps[-1] if steps else segment.first,
            is_completed=isinstance(last, RunFinished) and last.is_for_good,
        )

    def at(self, index: int) -> _Moment:
        """After this entry."""
        return _Moment(index >= self.first_step, not self.is_completed and index >= self.last_step)


_INTENTS = get_args(Intent)


def decompose(stack: Stack, serial: Stack) -> Decomposition:
    """Say what N slots did against a serial run that merged the same. Raises ValueError where `serial` is none, or took no time."""
    if not serial.is_serial or stack.is_serial or stack.wall_s <= 0:
        raise ValueError("a run is compared with a serial one, which it is not itself")
    wall = stack.wall_s

    def more(*names: PieceName) -> float:
        return (stack.slot_seconds(*names) - serial.slot_seconds(*names)) / wall

    waits = [piece for piece in stack.pieces if piece.kind in ("wait inside", "idle")]
    work: Mapping[str, float] = {
        "base": more("base", "tools", "undecided"),
        "failed": more("failed"),
        "rework": more("rework"),
        "lost": more("lost"),
        "beside": more("gates", "merges"),
        "serial_waits": -serial.of_kind("wait inside", "idle") / wall,
    }
    return Decomposition(
        agents=stack.agents,
        speedup=serial.wall_s / wall,
        work=tuple(Term(name=name, agents=value) for name, value in work.items()),
        waits=tuple(Term(name=piece.name, agents=piece.slot_s / wall) for piece in waits),
    )
