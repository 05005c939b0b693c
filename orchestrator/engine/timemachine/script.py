"""Which try comes next: the record's own where there is one, and by rule where there is none.

- A subtask plays its own tries, by draw and in their order within a draw. Tries of the record that are not needed (work redone
  for a conflict that does not happen here) are left out.
- Work that has to be done again more often than in the record takes as long as the last time, and comes to the same.
- A draw that the record does not reach (it was not finished) is drawn from all recorded tries, first ones from first ones and
  later ones from later ones.
- With `copies`, the first copy is the record itself. In every other one, each subtask plays the whole history of a settled subtask
  that is drawn for it: tries that belong together stay together. Needs and clashes are those within the copy.

All draws are keyed by seed, subtask and draw, so they do not depend on the order of events. `extrapolated` counts the tries of the
first copy that are not played as recorded; all others are drawn anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.draws import choice
from orchestrator.core.values import Subtask, SubtaskId
from orchestrator.measure.recorded import History, Recorded, RecordedTry


@dataclass(slots=True)
class Role:
    """One subtask of a schedule: the history that it plays, its own or a drawn one, who it clashes with, how often each draw was begun."""

    subtask: Subtask
    history: History
    is_own: bool
    clashes: tuple[SubtaskId, ...]
    begun: dict[int, int] = field(default_factory=dict)


class Script:
    """All roles. Raises ValueError for a record without a single try that came to an end."""

    def __init__(self, record: Recorded, *, copies: int = 1, seed: int = 0) -> None:
        self._seed = seed
        self._pools = _pools(record.histories)
        self.extrapolated = 0
        settled = [history for history in record.histories if history.is_settled and history.tries]
        sources = settled or [history for history in record.histories if history.tries]
        if not sources:
            raise ValueError("no try of the record came to an end")
        self.roles: dict[SubtaskId, Role] = {}
        clashes = {history.subtask.id: record.clashes.of(history.subtask.id) for history in record.histories}
        for number in range(copies):
            for history in record.histories:
                subtask = _copied(history.subtask, number)
                others = tuple(sorted(_name(other, number) for other in clashes[history.subtask.id]))
                plays = history if number == 0 else choice((seed, "history", subtask.id), sources)
                self.roles[subtask.id] = Role(subtask, plays, number == 0, others)

    @property
    def subtasks(self) -> tuple[Subtask, ...]:
        """The subtasks in the order of the file, copy after copy."""
        return tuple(role.subtask for role in self.roles.values())

    def begin(self, name: SubtaskId, draw: int) -> RecordedTry:
        """The next try of a subtask."""
        role = self.roles[name]
        number = role.begun.get(draw, 0)
        role.begun[draw] = number + 1
        own: Sequence[RecordedTry] = role.history.tries.get(draw, ())
        if number < len(own):
            found = own[number]
            self.extrapolated += role.is_own and found.judged is not None and found.judged.is_guessed
            return found
        self.extrapolated += role.is_own
        return own[-1] if own else choice((self._seed, "try", name, draw), self._pools[min(draw, 2)])


def _pools(histories: Sequence[History]) -> Mapping[int, Sequence[RecordedTry]]:
    """All tries, the first ones apart from the later ones; where there are none of a kind, any will do."""
    first = [each for history in histories for each in history.tries.get(1, ())]
    later = [each for history in histories for draw, tries in history.tries.items() if draw > 1 for each in tries]
    return {1: first or later, 2: later or first}


def _name(name: SubtaskId, number: int) -> SubtaskId:
    return name if number == 0 else SubtaskId(f"{name}~{number + 1}")


def _copied(subtask: Subtask, number: int) -> Subtask:
    if number == 0:
        return subtask
    needs = tuple(_name(need, number) for need in subtask.needs)
    return subtask.model_copy(update={"id": _name(subtask.id, number), "needs": needs})
