"""What a run is at this moment. `core.fold` computes it from events and is the only one that changes it."""

from dataclasses import dataclass, field

from orchestrator.core.bill import Bill
from orchestrator.core.events import (
    BatchStarted,
    FinishReason,
    RunStarted,
)
from orchestrator.core.merge_queue import MergeQueue
from orchestrator.core.subtask_state import SubtaskState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import (
    Allowance,
    Check,
    CommitId,
    Limits,
    SubtaskId,
)

NO_COMMIT = CommitId("")
_FOR_GOOD = ("completed", "split_failed")


@dataclass(slots=True)
class RunState:
    """A run as its journal tells it. Made by `fold`; changed by `core.fold.apply` alone."""

    run: RunStarted | None = None
    limits: Limits = field(default_factory=Limits)
    subtasks: dict[SubtaskId, SubtaskState] = field(default_factory=dict)
    is_split: bool = False
    is_splitting: bool = False
    split_problem: str | None = None
    head: CommitId = NO_COMMIT
    counts: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys(Phase, 0))
    ready: list[tuple[float, int, SubtaskId]] = field(default_factory=list)
    proposed: list[tuple[float, int, SubtaskId]] = field(default_factory=list)
    queue: MergeQueue = field(default_factory=MergeQueue)
    batch: BatchStarted | None = None
    batches: int = 0
    checks: dict[tuple[object, ...], Check] = field(default_factory=dict)
    bill: Bill = field(default_factory=Bill)
    split_allowance: Allowance | None = None
    attempts: int = 0
    outages: int = 0
    postponed: int = 0
    retained_lines: int = 0
    finished: FinishReason | None = None
    wall_before_s: float = 0.0
    segment_started: float = 0.0
    last_at: float = 0.0

    def wall_s(self, now: float) -> float:
        """Seconds that processes have worked at this run, without the pauses between them."""
        if self.run is None:
            return 0.0
        return self.wall_before_s + max(0.0, now - self.segment_started)

    @property
    def in_flight(self) -> int:
        """Intents without an outcome yet."""
        busy = self.counts[Phase.GENERATING] + self.counts[Phase.JUDGING]
        return busy + (self.batch is not None) + self.is_splitting

    @property
    def is_over(self) -> bool:
        """Whether the run has ended for good."""
        return self.finished in _FOR_GOOD

    @property
    def is_settled(self) -> bool:
        """Whether every subtask has reached its end."""
        return self.is_split and self.counts[Phase.MERGED] + self.counts[Phase.ABANDONED] == len(self.subtasks)
