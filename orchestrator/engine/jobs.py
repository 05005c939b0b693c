"""What an effect has to know: taken from the state when the intent is decided, so that effects never look at it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from orchestrator.core.errors import JournalError
from orchestrator.core.events import AttemptStarted, BatchStarted, GateStarted, Intent, SplitStarted
from orchestrator.core.state import RunState
from orchestrator.core.subtask_state import SubtaskState
from orchestrator.core.values import Allowance, Check, CommitId, FailedTry, Subtask
from orchestrator.ports import Stacked


@dataclass(frozen=True, slots=True)
class SplitJob:
    """Turn the task into subtasks at the run's base."""

    base: CommitId
    seed: int
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class GenerateJob:
    """Let the backend work: at what, on which commit, after which failures."""

    subtask: Subtask
    attempt: int
    draw: int
    seed: int
    base: CommitId
    failures: Sequence[FailedTry]
    allowance: Allowance | None = None


@dataclass(frozen=True, slots=True)
class JudgeJob:
    """Judge one patch on top of the trunk as it was when the gate was decided."""

    subtask: Subtask
    attempt: int
    stacked: Stacked
    onto: CommitId


@dataclass(frozen=True, slots=True)
class IntegrateJob:
    """Integrate a batch and judge the tree as a whole."""

    batch: int
    stacked: Sequence[Stacked]
    onto: CommitId
    base: CommitId
    checks: Sequence[Check]


Job = SplitJob | GenerateJob | JudgeJob | IntegrateJob


def job_for(state: RunState, intent: Intent) -> Job:
    """Collect what the intent's effect needs. The state has the intent applied already."""
    run = state.run
    if run is None:
        raise JournalError(f"{intent.kind} before run_started")
    match intent:
        case SplitStarted():
            return SplitJob(run.base, run.seed, intent.allowance)
        case AttemptStarted():
            subtask = state.subtasks[intent.subtask]
            tries = sorted((*subtask.failures, *subtask.conflicts), key=lambda each: each.attempt)
            return GenerateJob(
                subtask.spec, intent.attempt, intent.draw, run.seed, intent.base, tries, intent.allowance
            )
        case GateStarted():
            subtask = state.subtasks[intent.subtask]
            return JudgeJob(subtask.spec, intent.attempt, _stacked(state, subtask), intent.onto)
        case BatchStarted():
            members = [state.subtasks[name] for name in intent.members]
            stacked = [_stacked(state, member, intent.batch) for member in members]
            return IntegrateJob(intent.batch, stacked, intent.onto, run.base, _checks(state, members))
        case _:
            assert_never(intent)


def _stacked(state: RunState, subtask: SubtaskState, batch: int | None = None) -> Stacked:
    run, patch = state.run, subtask.patch
    if run is None or patch is None:
        raise JournalError(f"subtask {subtask.spec.id!r} has no patch to put on the trunk")
    trailers = {
        "Orchestrate-Run": str(run.run),
        "Orchestrate-Subtask": str(subtask.spec.id),
        "Orchestrate-Attempt": str(subtask.attempt),
        "Orchestrate-Backend": run.backend,
    }
    if subtask.spec.skills:
        trailers["Orchestrate-Skill"] = ", ".join(subtask.spec.skills)
    if batch is not None:
        trailers["Orchestrate-Batch"] = str(batch)
    return Stacked(subtask.spec.id, patch, subtask.spec.title, trailers)


def _checks(state: RunState, members: Sequence[SubtaskState]) -> Sequence[Check]:
    """The integration gate's checks: those of the task, or else every check of what is in the tree."""
    if state.run is not None and state.run.integration_checks:
        return state.run.integration_checks
    checks: dict[tuple[object, ...], Check] = dict(state.checks)
    for member in members:
        for check in member.spec.checks:
            checks.setdefault(check.key, check)
    return list(checks.values())
