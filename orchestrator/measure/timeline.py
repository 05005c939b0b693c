"""When what ran: the processes that worked at a run and the intervals between each intent and its outcome.

From journal entries alone. A run's time is that of its processes laid end to end: the pauses between them belong to nobody, and
a process that was killed ends with its last entry.
"""

from collections.abc import Iterable, Sequence
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
    SplitStopped,
)
from orchestrator.core.values import SubtaskId, Value

Station = Literal["split", "generate", "judge", "integrate"]


class Interval(Value):
    """One piece of work at one station, in seconds since the epoch. `is_good` says whether it led on.

    `cut` is set where there was no outcome: `lost` with a killed process, or still `open` where the journal ends.
    """

    station: Station
    subtask: SubtaskId | None
    number: int
    started: float
    ended: float
    is_good: bool
    cut: Literal["", "lost", "open"] = ""

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return self.ended - self.started


class Segment(Value):
    """What one process did: `entries[first:end]`, and its first and last moment in seconds since the epoch.

    `until` is where the next one begins, or the journal ends.
    """

    first: int
    end: int
    until: int
    started: float
    ended: float

    @property
    def duration_s(self) -> float:
        """How long the process worked at the run."""
        return self.ended - self.started


_Key = tuple[Station, SubtaskId | None]


def intervals(entries: Iterable[Entry], *, with_cut: bool = False) -> list[Interval]:
    """Pair every intent with its outcome, in the order of the outcomes.

    What has no outcome is left out; `with_cut` puts it in, up to the last entry of its process.
    """
    opened: dict[_Key, tuple[int, float]] = {}
    found: list[Interval] = []
    last = 0.0
    for entry in entries:
        start, end = _opens(entry), _closes(entry)
        if isinstance(entry.event, RunResumed):
            found += _cut(opened, last, "lost") if with_cut else ()
            opened.clear()
        elif start is not None:
            opened[start[0]] = start[1], entry.at
        elif end is not None:
            key, number, is_good = end
            _, started = opened.pop(key, (number, entry.at))
            found.append(
                Interval(
                    station=key[0], subtask=key[1], number=number, started=started, ended=entry.at, is_good=is_good
                )
            )
        last = entry.at
    return found + (_cut(opened, last, "open") if with_cut else [])


def _cut(opened: dict[_Key, tuple[int, float]], ended: float, how: Literal["lost", "open"]) -> list[Interval]:
    return [
        Interval(station=station, subtask=subtask, number=number, started=started, ended=ended, is_good=False, cut=how)
        for (station, subtask), (number, started) in opened.items()
    ]


def _opens(entry: Entry) -> tuple[_Key, int] | None:
    match entry.event:
        case SplitStarted():
            return ("split", None), 1
        case AttemptStarted() as event:
            return ("generate", event.subtask), event.attempt
        case GateStarted() as event:
            return ("judge", event.subtask), event.attempt
        case BatchStarted() as event:
            return ("integrate", None), event.batch
        case _:
            return None


def _closes(entry: Entry) -> tuple[_Key, int, bool] | None:
    match entry.event:
        case SplitFinished() | SplitFailed() | SplitStopped() as event:
            return ("split", None), 1, isinstance(event, SplitFinished)
        case PatchProposed() | AttemptFailed() as event:
            return ("generate", event.subtask), event.attempt, isinstance(event, PatchProposed)
        case PatchJudged() as event:
            return ("judge", event.subtask), event.attempt, event.verdict.passed
        case BatchMerged() | BatchRejected() as event:
            return ("integrate", None), event.batch, isinstance(event, BatchMerged)
        case _:
            return None


_OPENINGS = (RunStarted, RunResumed)


def segments(entries: Sequence[Entry]) -> list[Segment]:
    """The processes that worked at a run, in order; an entry between the end of one and the next belongs to none."""
    bounds: list[tuple[int, int]] = []
    first: int | None = None
    for index, entry in enumerate(entries):
        if isinstance(entry.event, _OPENINGS):
            if first is not None:
                bounds.append((first, index))
            first = index
        elif isinstance(entry.event, RunFinished) and first is not None:
            bounds.append((first, index + 1))
            first = None
    if first is not None:
        bounds.append((first, len(entries)))
    beginnings = [*(first for first, _ in bounds[1:]), len(entries)]
    return [
        Segment(
            first=first,
            end=end,
            until=until,
            started=entries[first].at,
            ended=max(entries[first].at, entries[end - 1].at),
        )
        for (first, end), until in zip(bounds, beginnings, strict=False)
    ]


def steady(entries: Sequence[Entry]) -> Sequence[Entry]:
    """The same entries with times that never go back within a process, nor beyond its end; a pause takes no time.

    They are so by themselves, unless a clock was set back or somebody edited a journal; what is counted then still adds up.
    """
    told = list(entries)
    for segment in segments(entries):
        now = segment.started
        for index in range(segment.first, segment.until):
            now = min(max(now, told[index].at), segment.ended)
            if told[index].at != now:
                told[index] = told[index].model_copy(update={"at": now})
    return told


def wall_s(entries: Iterable[Entry]) -> float:
    """Seconds in which a process worked at the run; the pauses between processes do not count."""
    return sum((segment.duration_s for segment in segments(list(entries))), 0.0)
