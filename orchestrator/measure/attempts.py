"""Where the time of each attempt went, while it held its slot, and what came of it.

An attempt's time is divided by its spans: waits are what they are, whatever became of the attempt, so that a rate limit is the
same figure however the attempts ended. The rest goes by its fate. Where spans overlap (a request that failed also stood in a queue),
each moment belongs to the most particular of them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import pairwise
from math import isfinite
from typing import Literal

from orchestrator.core.events import (
    AttemptFailed,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    Event,
    PatchJudged,
    PatchProposed,
)
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Span, SubtaskId, Verdict
from orchestrator.measure.pieces import PieceName
from orchestrator.measure.ticks import ticks
from orchestrator.measure.timeline import Interval, intervals

Fate = Literal["merged", "failed", "rework", "lost", "undecided"]
AttemptKey = tuple[SubtaskId, int]

# The most particular first.
_BY_SPAN: Sequence[tuple[str, PieceName]] = (
    ("rate_limit", "rate_limit"),
    ("prompt_cache", "prompt_cache"),
    ("batch", "batch"),
    ("backoff", "retries"),
    ("failed_request", "retries"),
    ("prepare", "setup"),
    ("commit", "setup"),
    ("checks", "tools"),
    ("tools", "tools"),
    ("edit", "tools"),
)
_RANKS = {name: rank for rank, (name, _) in enumerate(_BY_SPAN)}
_LAST = "commit"


@dataclass(slots=True)
class Fates:
    """What became of each attempt, as far as the journal has been read. Those that are not named are undecided."""

    known: dict[AttemptKey, Fate] = field(default_factory=dict)
    _proposed: dict[SubtaskId, int] = field(default_factory=dict)
    _members: tuple[SubtaskId, ...] = ()

    def note(self, event: Event, state: RunState) -> None:
        """Take in an event; `state` is the one after it."""
        match event:
            case PatchProposed():
                self._proposed[event.subtask] = event.attempt
            case AttemptFailed():
                self.known[event.subtask, event.attempt] = "failed"
            case PatchJudged() if not event.verdict.passed:
                self.known[event.subtask, event.attempt] = _refused(event.verdict)
            case BatchStarted():
                self._members = event.members
            case BatchMerged():
                self._settle((patch.subtask for patch in event.merged), "merged")
                self._settle((conflict.subtask for conflict in event.conflicts), "rework")
            case BatchRejected():
                out = {conflict.subtask for conflict in event.conflicts}
                left = [name for name in self._members if name not in out]
                self._settle(out, "rework")
                # What is not put back into the queue was found to be the culprit.
                culprits = [name for name in left if state.subtasks[name].phase is not Phase.ACCEPTED]
                self._settle(culprits, _refused(event.verdict))
            case _:
                pass

    def _settle(self, names: Iterable[SubtaskId], fate: Fate) -> None:
        for name in names:
            self.known[name, self._proposed[name]] = fate


def _refused(verdict: Verdict) -> Fate:
    return "rework" if verdict.reason == "conflict" else "failed"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt's stay in its slot. `pieces` are ticks, and add up to the stay."""

    subtask: SubtaskId
    number: int
    fate: Fate
    pieces: Mapping[PieceName, int]

    @property
    def stay(self) -> int:
        """Ticks from its start to its end."""
        return sum(self.pieces.values())


def attempts(entries: Sequence[Entry], known: Mapping[AttemptKey, Fate]) -> list[Attempt]:
    """Every attempt, those that were cut off included."""
    spans = {
        (entry.event.subtask, entry.event.attempt): entry.event.spans
        for entry in entries
        if isinstance(entry.event, PatchProposed | AttemptFailed)
    }
    return [
        _attempt(stay, stay.subtask, known, spans.get((stay.subtask, stay.number), ()))
        for stay in intervals(entries, with_cut=True)
        if stay.station == "generate" and stay.subtask is not None
    ]


def _attempt(stay: Interval, subtask: SubtaskId, known: Mapping[AttemptKey, Fate], spans: Sequence[Span]) -> Attempt:
    fate: Fate = "lost" if stay.cut == "lost" else known.get((subtask, stay.number), "undecided")
    return Attempt(subtask, stay.number, fate, divide(ticks(stay.ended) - ticks(stay.started), spans, fate))


def divide(stay: int, spans: Sequence[Span], fate: Fate) -> dict[PieceName, int]:
    """Divide a stay of so many ticks; what comes out is never negative and adds up to it.

    Spans count from the attempt's first step, which follows its entry in the journal once that is durable. Where the last step is
    among them, it is at the end of the stay, and the moments before the first are the orchestrator's.
    """
    pieces: dict[PieceName, int] = {}
    known = [span for span in spans if span.name in _RANKS and isfinite(span.started_s) and isfinite(span.duration_s)]
    last = max((_end(span) for span in known if span.name == _LAST), default=stay)
    late = min(max(0, stay - last), stay)
    if late:
        pieces["orchestrator"] = late
    placed: list[tuple[int, int, int]] = []
    for span in known:
        started, ended = (min(max(late, late + moment), stay) for moment in (ticks(span.started_s), _end(span)))
        if ended > started:
            placed.append((started, ended, _RANKS[span.name]))
    for name, length in _sweep(sorted(placed), late, stay):
        piece = _by_fate(name, fate)
        pieces[piece] = pieces.get(piece, 0) + length
    return pieces


def _end(span: Span) -> int:
    return ticks(span.started_s) + ticks(span.duration_s)


def _sweep(placed: Sequence[tuple[int, int, int]], first: int, last: int) -> Iterable[tuple[PieceName | None, int]]:
    """Walk from `first` to `last`, and name what the most particular span at each stretch means; None where there is none."""
    moments = sorted({first, last, *(start for start, _, _ in placed), *(end for _, end, _ in placed)})
    open_ones: list[tuple[int, int]] = []
    upcoming = 0
    for moment, following in pairwise(moments):
        while upcoming < len(placed) and placed[upcoming][0] <= moment:
            heappush(open_ones, (placed[upcoming][2], placed[upcoming][1]))
            upcoming += 1
        while open_ones and open_ones[0][1] <= moment:
            heappop(open_ones)
        yield (_BY_SPAN[open_ones[0][0]][1] if open_ones else None), following - moment


def _by_fate(piece: PieceName | None, fate: Fate) -> PieceName:
    """What the model or a session's tools did counts by what came of it."""
    if piece is not None and piece != "tools":
        return piece
    if fate == "merged":
        return piece or "base"
    return fate
