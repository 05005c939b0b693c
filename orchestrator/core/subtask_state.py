"""One subtask in a run: what it is, where it is in its life, and what came of its tries so far."""

from dataclasses import dataclass, field

from orchestrator.core.transitions import Phase
from orchestrator.core.values import FailedTry, Patch, Subtask, SubtaskId


@dataclass(slots=True)
class SubtaskState:
    """One subtask in a run. `failures` are the tries that count; `reworks` those that a moving trunk cost."""

    spec: Subtask
    order: int
    rank: float
    dependents: list[SubtaskId]
    unmet: int
    phase: Phase = Phase.WAITING
    attempt: int = 0
    failures: list[FailedTry] = field(default_factory=list)
    conflicts: list[FailedTry] = field(default_factory=list)
    patch: Patch | None = None
    reason: str = ""

    @property
    def draw(self) -> int:
        """The number of the try that counts, from 1."""
        return len(self.failures) + 1
