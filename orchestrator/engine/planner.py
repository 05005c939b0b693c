"""The two ways to split a task: by the rules in its file, or by asking a model for a plan.

A plan is structured output, and it is checked like anything that a model says: ids unique, needs known and without a
cycle, paths inside the repository, not too many. A bad plan goes back to the model with what is wrong with it, twice at
the most; then the split has failed, and says why.
"""

from dataclasses import dataclass

from orchestrator.core.values import CommitId, Subtask, SubtaskId
from orchestrator.ports import Splitting

MAX_CORRECTIONS = 2
PLANNER = SubtaskId("plan")


@dataclass(frozen=True, slots=True)
class FixedSplit:
    """Subtasks that follow from the task file alone."""

    subtasks: tuple[Subtask, ...]

    async def split(self, base: CommitId, seed: int) -> Splitting:  # noqa: ARG002 — they are known already
        """Return them; see `ports.Splitter`."""
        return Splitting(self.subtasks)
