"""A run as plain lines, one for each thing that happened: for pipes, logs and CI."""

from typing import assert_never

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    Event,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    RunStarted,
    SplitFailed,
    SplitFinished,
    SplitStarted,
    SplitStopped,
)
from orchestrator.views.text import count, one_line, plural, seconds


class LineWriter:
    """Turns entries into lines; keeps the time of the first entry, so that each line says when it happened."""

    def __init__(self) -> None:
        self._started: float | None = None

    def line(self, entry: Entry) -> str | None:
        """Return the line for an entry, or None when it is not worth one."""
        if self._started is None:
            self._started = entry.at
        told = describe(entry.event)
        return None if told is None else f"{entry.at - self._started:8.1f}s  {told}"


def describe(event: Event) -> str | None:
    """Say in one line what happened; None for an intent whose outcome says it all."""
    match event:
        case RunStarted() | RunResumed() | RunFinished() | SplitStarted() | SplitFinished() | SplitFailed():
            return _of_run(event)
        case AttemptStarted() | PatchProposed() | AttemptFailed():
            return _of_attempt(event)
        case GateStarted() | BatchStarted() | SplitStopped():
            return None
        case PatchJudged() | BatchMerged() | BatchRejected():
            return _of_judgement(event)
        case _:
            assert_never(event)


def _of_run(event: RunStarted | RunResumed | RunFinished | SplitStarted | SplitFinished | SplitFailed) -> str | None:
    match event:
        case RunStarted():
            simulated = " (simulated)" if event.is_simulated else ""
            return (
                f"run {event.run}: {event.backend}{simulated}, {plural(event.limits.agents, 'agent')}, "
                f"{plural(event.limits.gate_slots, 'gate slot')}, seed {event.seed}, base {event.base[:10]}"
            )
        case RunResumed():
            return "resumed"
        case RunFinished():
            return f"finished: {event.reason.replace('_', ' ')}"
        case SplitStarted():
            return None
        case SplitFinished():
            return f"split into {plural(len(event.subtasks), 'subtask')}"
        case SplitFailed():
            return f"no valid split: {one_line(event.detail)}"
        case _:
            assert_never(event)


def _of_attempt(event: AttemptStarted | PatchProposed | AttemptFailed) -> str | None:
    name = event.subtask
    match event:
        case AttemptStarted():
            return f"{name}: attempt {event.attempt} on {event.base[:10]}"
        case PatchProposed():
            lines = f"+{event.patch.added_lines} -{event.patch.deleted_lines}"
            return f"{name}: proposed {lines}, {count(event.usage.output_tokens)} tokens out"
        case AttemptFailed():
            return f"{name}: attempt {event.attempt} failed: {event.failure.reason.replace('_', ' ')}"
        case _:
            assert_never(event)


def _of_judgement(event: PatchJudged | BatchMerged | BatchRejected) -> str | None:
    match event:
        case PatchJudged():
            spent = seconds(event.verdict.tree_s + sum(check.duration_s for check in event.verdict.checks))
            if event.verdict.passed:
                return f"{event.subtask}: gate passed in {spent}"
            if event.verdict.reason == "conflict":
                return f"{event.subtask}: conflicts with what was merged meanwhile; to be redone"
            failed = [check.name for check in event.verdict.checks if not check.passed]
            where = f" ({', '.join(failed)})" if failed else ""
            return f"{event.subtask}: gate said no: {event.verdict.reason.replace('_', ' ')}{where}"
        case BatchMerged():
            names = ", ".join(patch.subtask for patch in event.merged)
            clash = f"; conflict: {', '.join(each.subtask for each in event.conflicts)}" if event.conflicts else ""
            return f"batch {event.batch} merged: {names}; head {event.head[:10]}{clash}"
        case BatchRejected():
            clash = f"; conflict: {', '.join(each.subtask for each in event.conflicts)}" if event.conflicts else ""
            return f"batch {event.batch} rejected: {event.verdict.reason.replace('_', ' ')}{clash}"
        case _:
            assert_never(event)
