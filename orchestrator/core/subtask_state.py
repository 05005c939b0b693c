"""One subtask in a run: what it is, where it is in its life, and what came of its tries so far."""

from dataclasses import dataclass, field

from orchestrator.core.transitions import Phase
from orchestrator.core.values import Allowance, FailedTry, FailureReason, Patch, Subtask, SubtaskId

POSTPONED: frozenset[FailureReason] = frozenset({"rate_limited", "budget", "stopped"})
"""Reasons for which an attempt ends that are no fault of the subtask: they are no tries of it, however often they happen."""
MAX_OUTAGES = 5
"""As often a subtask's attempt may meet a backend that is down; from then on it counts as a try."""


@dataclass(slots=True)
class SubtaskState:
    """One subtask in a run. `failures` are the tries that count, `conflicts` those that a moving trunk cost.

    `allowance` is what the attempt under way may cost, `needed` what the next one must be given at least, after `raises`
    that were too small.
    """

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
    allowance: Allowance | None = None
    needed: Allowance | None = None
    raises: int = 0
    outages: int = 0
    reason: str = ""

    @property
    def key(self) -> tuple[float, int, SubtaskId]:
        """Its place in a queue: heaviest first; one that needs more money than others comes last, so that it stops nobody."""
        if self.needed is None:
            return (-self.rank, self.order, self.spec.id)
        return (1.0 + (self.needed.cost_usd or 0.0) + (self.needed.tokens or 0), self.order, self.spec.id)

    @property
    def draw(self) -> int:
        """The number of the try that counts, from 1."""
        return len(self.failures) + 1
