"""When what ran: the intervals between each intent and its outcome, from journal entries alone."""

from collections.abc import Iterable
from typing import Literal

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    RunStarted,
    SplitFailed,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.values import SubtaskId, Value

Station = Literal["split", "generate", "judge", "integrate"]


class Interval(Value):
    """One piece of work at one station, in seconds since the epoch. `is_good` says whether it led on."""

    station: Station
    subtask: SubtaskId | None
    number: int
    started: float
    ended: float
    is_good: bool

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return self.ended - self.started


_Key = tuple[Station, SubtaskId | None]


def intervals(entries: Iterable[Entry]) -> list[Interval]:
    """Pair every intent with its outcome, in the order of the outcomes; what a killed process left open is left out."""
    opened: dict[_Key, float] = {}
    found: list[Interval] = []
    for entry in entries:
        if isinstance(entry.event, RunResumed):
            opened.clear()
            continue
        start, end = _opens(entry), _closes(entry)
        if start is not None:
            opened[start] = entry.at
        elif end is not None:
            key, number, is_good = end
            started = opened.pop(key, entry.at)
            found.append(
                Interval(
                    station=key[0], subtask=key[1], number=number, started=started, ended=entry.at, is_good=is_good
                )
            )
    return found


def _opens(entry: Entry) -> _Key | None:
    match entry.event:
        case SplitStarted():
            return ("split", None)
        case AttemptStarted(subtask=subtask):
            return ("generate", subtask)
        case GateStarted(subtask=subtask):
            return ("judge", subtask)
        case BatchStarted():
            return ("integrate", None)
        case _:
            return None


def _closes(entry: Entry) -> tuple[_Key, int, bool] | None:
    match entry.event:
        case SplitFinished() | SplitFailed() as event:
            return ("split", None), 1, isinstance(event, SplitFinished)
        case PatchProposed() | AttemptFailed() as event:
            return ("generate", event.subtask), event.attempt, isinstance(event, PatchProposed)
        case PatchJudged() as event:
            return ("judge", event.subtask), event.attempt, event.verdict.passed
        case BatchMerged() | BatchRejected() as event:
            return ("integrate", None), event.batch, isinstance(event, BatchMerged)
        case _:
            return None


def wall_s(entries: Iterable[Entry]) -> float:
    """Seconds in which a process worked at the run; the pauses between processes do not count."""
    total, started, last = 0.0, None, 0.0
    for entry in entries:
        if isinstance(entry.event, RunStarted | RunResumed):
            total += max(0.0, last - started) if started is not None else 0.0
            started = entry.at
        elif isinstance(entry.event, RunFinished):
            total += max(0.0, entry.at - started) if started is not None else 0.0
            started = None
        last = entry.at
    return total + (max(0.0, last - started) if started is not None else 0.0)
