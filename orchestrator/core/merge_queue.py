"""Which accepted subtasks are integrated together, and what a failing batch means.

The whole of the rules:

1. *Newcomers* are batched in the order in which they were accepted, at most `max_batch` at once.
2. A batch that fails as a whole is split into two halves of *suspects*; each half is tried alone, before any
   newcomer and never together with one (a half that is mixed with newcomers lets one bad patch fail batches for ever).
3. A batch of one that fails names the culprit.
4. A member that conflicts with the trunk is out of its batch at once, and does not make the others suspects.

The worst case for one culprit among n is 2⌈log₂ n⌉ + 1 gates, and every other member is merged.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.core.values import SubtaskId


@dataclass(slots=True)
class MergeQueue:
    """Accepted subtasks that wait for integration."""

    max_batch: int = 16
    newcomers: deque[SubtaskId] = field(default_factory=deque)
    suspects: deque[tuple[SubtaskId, ...]] = field(default_factory=deque)

    def __len__(self) -> int:
        return len(self.newcomers) + sum(len(group) for group in self.suspects)

    def add(self, subtask: SubtaskId) -> None:
        """Queue an accepted subtask."""
        self.newcomers.append(subtask)

    def put_back(self, group: Sequence[SubtaskId]) -> None:
        """Queue a batch again, first of all and by itself: its fate was lost with the process that tried it."""
        self.suspects.appendleft(tuple(group))

    def peek(self) -> tuple[SubtaskId, ...] | None:
        """Name the next batch without taking it; None when nothing waits."""
        if self.suspects:
            return self.suspects[0]
        if self.newcomers:
            size = min(self.max_batch, len(self.newcomers))
            return tuple(self.newcomers[index] for index in range(size))
        return None

    def take(self, batch: Sequence[SubtaskId]) -> None:
        """Remove a batch that `peek` named. Raises ValueError for any other."""
        if tuple(batch) != self.peek():
            raise ValueError(f"{list(batch)} is not the next batch")
        if self.suspects:
            self.suspects.popleft()
            return
        for _ in batch:
            self.newcomers.popleft()

    def bisect(self, survivors: Sequence[SubtaskId]) -> SubtaskId | None:
        """Split what failed together into suspects; return the culprit when only one is left to blame."""
        if not survivors:
            return None
        if len(survivors) == 1:
            return survivors[0]
        middle = len(survivors) // 2
        self.suspects.appendleft(tuple(survivors[middle:]))
        self.suspects.appendleft(tuple(survivors[:middle]))
        return None
