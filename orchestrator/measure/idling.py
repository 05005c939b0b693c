"""Why an agent slot is idle at a moment: which subtasks could have used it, and what keeps each from it.

Every open subtask that is not in generation lays claim to one idle slot. Where there are fewer idle slots than claims, those that
would come to a slot first go first:

1. *ready* subtasks, which could start this instant: a limit keeps them (or a wish to stop), else the orchestrator does;
2. subtasks that wait for their needs, by the station of the need that is furthest behind, from the end of the line to its
   beginning: in integration, at its gate, in generation, not started itself;
3. subtasks in integration, then those at the gate: their slot is free, and they come back to one only if they are refused.

What nobody claims is the *tail*: nothing is left to start. Before the task is split there is nothing to claim either; that, and
the time until a process takes its first step, is the *ramp*.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import SubtaskId
from orchestrator.measure.pieces import PieceName

STATIONS = START, GENERATION, GATE, INTEGRATION = range(4)
_STATION = {
    Phase.WAITING: START,
    Phase.GENERATING: GENERATION,
    Phase.PROPOSED: GATE,
    Phase.JUDGING: GATE,
    Phase.ACCEPTED: INTEGRATION,
    Phase.MERGING: INTEGRATION,
}


@dataclass(slots=True)
class _Group:
    """Subtasks with the same needs: how many, and how many of the unmet needs are at each station."""

    size: int
    unmet: list[int]

    @property
    def furthest_behind(self) -> int | None:
        """The station of the need that is furthest behind; None where all are met."""
        return next((station for station, count in enumerate(self.unmet) if count), None)


@dataclass(slots=True)
class UnmetNeeds:
    """How many subtasks wait for needs, by the station of the need that is furthest behind: `waiting[GATE]` and so on.

    It is told which subtasks may have moved. Thousands that need the same are moved together.
    """

    waiting: list[int] = field(default_factory=lambda: [0] * len(STATIONS))
    _groups: dict[SubtaskId, list[_Group]] = field(default_factory=dict)
    _station: dict[SubtaskId, int | None] = field(default_factory=dict)

    def begin(self, state: RunState) -> None:
        """Take in the subtasks of a task that was just split."""
        self._station = dict.fromkeys(state.subtasks, START)
        alike = Counter(needs for each in state.subtasks.values() if (needs := frozenset(each.spec.needs)))
        for needs, size in alike.items():
            group = _Group(size, [len(needs), 0, 0, 0])
            self.waiting[START] += size
            for need in needs:
                self._groups.setdefault(need, []).append(group)

    def moved(self, state: RunState, names: Iterable[SubtaskId]) -> None:
        """Follow subtasks to the station that they are at now, and those that need them."""
        pending = list(names)
        while pending:
            name = pending.pop()
            subtask = state.subtasks[name]
            before, now = self._station[name], _STATION.get(subtask.phase)
            if before is None or before == now:
                continue
            self._station[name] = now
            is_abandoned = subtask.phase is Phase.ABANDONED
            pending += subtask.dependents if is_abandoned else ()
            for group in self._groups.get(name, ()):
                self._shift(group, before, now, is_abandoned=is_abandoned)

    def _shift(self, group: _Group, before: int, now: int | None, *, is_abandoned: bool) -> None:
        """A need of a group has moved. Those who need what was abandoned are so themselves, and wait for nothing."""
        behind = group.furthest_behind
        if behind is not None:
            self.waiting[behind] -= group.size
        group.unmet[before] -= 1
        if now is not None:
            group.unmet[now] += 1
        if is_abandoned:
            group.size = 0
        behind = group.furthest_behind
        if behind is not None:
            self.waiting[behind] += group.size


def claims(state: RunState, needs: UnmetNeeds, *, is_held: bool) -> Iterator[tuple[PieceName, int]]:
    """Who could have used an idle slot, in the order in which slots are assigned: a piece of the stack, and how many claim it.

    `is_held` says whether a limit, or a wish to stop, keeps ready subtasks from starting.
    """
    counts = state.counts
    yield "limits" if is_held else "orchestrator", len(state.ready)
    yield "needs_integration", needs.waiting[INTEGRATION]
    yield "needs_gate", needs.waiting[GATE]
    yield "needs_generation", needs.waiting[GENERATION]
    yield "needs_start", needs.waiting[START]
    yield "integration", counts[Phase.ACCEPTED] + counts[Phase.MERGING]
    yield "gate", counts[Phase.PROPOSED] + counts[Phase.JUDGING]
