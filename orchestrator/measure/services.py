"""What each subtask was served at the stations, queues left out, and which of it was in vain.

In vain is an attempt that did not lead to a merge, its gate, a gate or a batch that was cut off, and a batch for those of its members
that it did not merge. What is still under way where the journal ends, or not settled, is not in vain yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.core.events import BatchMerged, BatchStarted, Entry
from orchestrator.core.values import SubtaskId
from orchestrator.measure.attempts import Attempt, AttemptKey, Fate
from orchestrator.measure.pieces import PieceName
from orchestrator.measure.ticks import in_seconds
from orchestrator.measure.timeline import Interval

Part = Literal["model", "model_vain", "wait", "wait_vain", "judge", "judge_vain", "integrate", "integrate_vain"]
Served = dict[Part, float]
"""Seconds by part. `wait` is what an attempt waited for others; all else of it is `model`, its tools and set-up included."""
GENERATE: Sequence[Part] = ("model", "model_vain", "wait", "wait_vain")
JUDGE: Sequence[Part] = ("judge", "judge_vain")
INTEGRATE: Sequence[Part] = ("integrate", "integrate_vain")

_VAIN: Mapping[Part, Part] = {
    "model": "model_vain",
    "wait": "wait_vain",
    "judge": "judge_vain",
    "integrate": "integrate_vain",
}
_WAITS: frozenset[PieceName] = frozenset({"rate_limit", "retries", "prompt_cache", "batch"})
_IN_VAIN: frozenset[Fate] = frozenset({"failed", "rework", "lost"})


@dataclass(slots=True)
class Services:
    """By subtask, and of all of them, where a batch counts once for all its members."""

    served: dict[SubtaskId, Served] = field(default_factory=dict)
    total: Served = field(default_factory=dict)

    def add(self, name: SubtaskId, part: Part, seconds: float, *, is_vain: bool) -> None:
        """Book what one subtask was served."""
        _book(self.served.setdefault(name, {}), part, seconds, is_vain=is_vain)

    def add_to_total(self, part: Part, seconds: float, *, is_vain: bool) -> None:
        """Book what a station did."""
        _book(self.total, part, seconds, is_vain=is_vain)


def _book(served: Served, part: Part, seconds: float, *, is_vain: bool) -> None:
    told = _VAIN[part] if is_vain else part
    served[told] = served.get(told, 0.0) + seconds


def services(entries: Sequence[Entry], stays: Sequence[Interval], tried: Sequence[Attempt]) -> Services:
    """Add up what was served. `stays` are all intervals of these entries, those that were cut off included."""
    found = Services()
    for attempt in tried:
        is_vain = attempt.fate in _IN_VAIN
        waited = in_seconds(sum(amount for name, amount in attempt.pieces.items() if name in _WAITS))
        worked = in_seconds(attempt.stay) - waited
        found.add(attempt.subtask, "model", worked, is_vain=is_vain)
        found.add(attempt.subtask, "wait", waited, is_vain=is_vain)
        found.add_to_total("model", worked, is_vain=is_vain)
        found.add_to_total("wait", waited, is_vain=is_vain)
    fates = {(attempt.subtask, attempt.number): attempt.fate for attempt in tried}
    merged = _merged(entries)
    for stay in stays:
        if stay.station == "judge" and stay.subtask is not None:
            is_vain = _is_gate_vain(stay, stay.subtask, fates)
            found.add(stay.subtask, "judge", stay.duration_s, is_vain=is_vain)
            found.add_to_total("judge", stay.duration_s, is_vain=is_vain)
        elif stay.station == "integrate":
            is_open = stay.cut == "open"
            found.add_to_total("integrate", stay.duration_s, is_vain=not (stay.is_good or is_open))
            for name, is_in in merged[stay.number].items():
                found.add(name, "integrate", stay.duration_s, is_vain=not (is_in or is_open))
    return found


def _is_gate_vain(stay: Interval, subtask: SubtaskId, fates: Mapping[AttemptKey, Fate]) -> bool:
    if stay.cut:
        return stay.cut == "lost"
    return not stay.is_good or fates[subtask, stay.number] in _IN_VAIN


def _merged(entries: Sequence[Entry]) -> dict[int, dict[SubtaskId, bool]]:
    """The members of each batch, and whether it merged them."""
    found: dict[int, dict[SubtaskId, bool]] = {}
    for entry in entries:
        if isinstance(entry.event, BatchStarted):
            found[entry.event.batch] = dict.fromkeys(entry.event.members, False)
        elif isinstance(entry.event, BatchMerged):
            found[entry.event.batch].update({patch.subtask: True for patch in entry.event.merged})
    return found
