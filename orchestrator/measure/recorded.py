"""What a journal knows of the work itself, so that it can be scheduled anew: tries, gates, integration, without their limits.

A run that is scheduled anew may need what the record does not have. The rules for that are here and in `engine.timemachine`:

- a try whose own gate was never run (a conflict came first, or the record ends there) gets the verdict and the time of another
  try with the same draw, else it passes in the median time of all gates that passed;
- integration takes `a + b·n`, fitted to the recorded batches: n counts the members where the task has an integration gate,
  else all that is merged, since then every check of it is run. b is 0 unless the record shows one (see `fit`);
- a batch that fails takes as long as recorded ones that failed, on average, and like any other where there were none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, median

from orchestrator.core.events import (
    BatchMerged,
    BatchRejected,
    Entry,
    FinishReason,
    PatchJudged,
    RunResumed,
    RunStarted,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.fold import fold
from orchestrator.core.state import RunState
from orchestrator.core.transitions import FINAL, Phase
from orchestrator.core.values import Subtask, SubtaskId, Usage, Verdict
from orchestrator.measure.clashes import Clashes, clashes_in
from orchestrator.measure.contention import Contention
from orchestrator.measure.gate_times import CheckedTree, GateTimes, gate_times
from orchestrator.measure.timeline import wall_s
from orchestrator.measure.tries import Try, tries_in

_LEAST_BATCHES, _LEAST_SIZES, _SURE = 4, 3, 3.0
_PASSED = Verdict(passed=True, reason="passed")


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate says of a try, and the seconds that it takes alone, tree and all. `is_guessed`: by the rules, not the record."""

    verdict: Verdict
    alone_s: float
    is_guessed: bool = False


@dataclass(frozen=True, slots=True)
class RecordedTry:
    """A try and what comes of it: `judged` is None where it proposed nothing; `breaks` is what a batch with it is told."""

    did: Try
    judged: Judged | None = None
    breaks: Verdict | None = None


@dataclass(frozen=True, slots=True)
class History:
    """One subtask: its tries by draw, in order. `is_settled` where the record has its end."""

    subtask: Subtask
    tries: Mapping[int, Sequence[RecordedTry]]
    is_settled: bool
    is_merged: bool


@dataclass(frozen=True, slots=True)
class IntegrationTime:
    """`base_s + each_s · n` for a batch that passes, alone; n as said above. `batches` were recorded, `failed_s` for those that fail."""

    base_s: float
    each_s: float
    counts_merged: bool
    failed_s: float | None
    batches: int

    def seconds(self, members: int, merged_before: int) -> float:
        """What a batch takes alone that passes."""
        return self.base_s + self.each_s * (members + (merged_before if self.counts_merged else 0))


@dataclass(frozen=True, slots=True)
class Recorded:
    """A journal, ready to be scheduled anew. Times are in seconds, each as it would be alone."""

    run: RunStarted
    finished: FinishReason | None
    processes: int
    wall_s: float
    histories: tuple[History, ...]
    clashes: Clashes
    integration: IntegrationTime
    times: GateTimes
    set_up_s: float
    split_s: float
    split_usage: Usage
    postponed: int
    lost: int
    retained_lines: int

    @property
    def merged(self) -> frozenset[SubtaskId]:
        """The accepted outcomes."""
        return frozenset(history.subtask.id for history in self.histories if history.is_merged)

    @property
    def is_complete(self) -> bool:
        """Whether every subtask has its end in the record."""
        return self.finished == "completed"


def recorded(entries: Sequence[Entry], contention: Contention) -> Recorded:
    """Read a journal that was written on a machine like this. Raises `JournalError`, and ValueError where it has no entries."""
    state = fold(entries)
    if state.run is None:
        raise ValueError("a run without entries cannot be scheduled anew")
    times, clashes, tries = gate_times(entries, contention), clashes_in(entries), tries_in(entries)
    counts_merged = not state.run.integration_checks
    split_s, split_usage = _split(entries)
    return Recorded(
        run=state.run,
        finished=state.finished,
        processes=1 + sum(isinstance(entry.event, RunResumed) for entry in entries),
        wall_s=wall_s(entries),
        histories=_histories(state, tries.tries, _gates(times), clashes),
        clashes=clashes,
        integration=_integration(times.trees, counts_merged=counts_merged),
        times=times,
        set_up_s=fmean(set_up.alone_s for set_up in times.set_ups) if times.set_ups else 0.0,
        split_s=split_s,
        split_usage=split_usage,
        postponed=tries.postponed,
        lost=tries.lost,
        retained_lines=state.retained_lines,
    )


def _split(entries: Iterable[Entry]) -> tuple[float, Usage]:
    started = 0.0
    for entry in entries:
        if isinstance(entry.event, SplitStarted):
            started = entry.at
        elif isinstance(entry.event, SplitFinished):
            return entry.at - started, entry.event.usage
    return 0.0, Usage()


_Gates = Mapping[tuple[SubtaskId, int], Judged]


def _gates(times: GateTimes) -> _Gates:
    """By subtask and attempt: what was said of each patch, by the policy or by the checks."""
    gates = {
        (tree.event.subtask, tree.event.attempt): Judged(tree.event.verdict, tree.alone_s)
        for tree in times.trees
        if isinstance(tree.event, PatchJudged)
    }
    refused = {(event.subtask, event.attempt): Judged(event.verdict, seconds) for event, seconds in times.refused}
    return gates | refused


def _histories(state: RunState, tries: Sequence[Try], gates: _Gates, clashes: Clashes) -> tuple[History, ...]:
    passing = [judged.alone_s for judged in gates.values() if judged.verdict.passed]
    usual = Judged(_PASSED, median(passing) if passing else 0.0, is_guessed=True)
    by_subtask: dict[SubtaskId, dict[int, list[Try]]] = {}
    for each in tries:
        by_subtask.setdefault(each.subtask, {}).setdefault(each.draw, []).append(each)

    def judged(each: Try, siblings: Sequence[Try]) -> Judged | None:
        if each.patch is None:
            return None
        own = gates.get((each.subtask, each.attempt))
        others = [gates[key] for other in siblings if (key := (other.subtask, other.attempt)) in gates]
        if own is not None or not others:
            return own or usual
        return Judged(others[-1].verdict, others[-1].alone_s, is_guessed=True)

    return tuple(
        History(
            subtask=subtask.spec,
            tries={
                draw: tuple(
                    RecordedTry(each, judged(each, same), clashes.culprits.get((name, each.attempt))) for each in same
                )
                for draw, same in by_subtask.get(name, {}).items()
            },
            is_settled=subtask.phase in FINAL,
            is_merged=subtask.phase is Phase.MERGED,
        )
        for name, subtask in state.subtasks.items()
    )


def _integration(trees: Sequence[CheckedTree], *, counts_merged: bool) -> IntegrationTime:
    merged = [tree for tree in trees if isinstance(tree.event, BatchMerged)]
    failed = [tree.alone_s for tree in trees if isinstance(tree.event, BatchRejected)]
    sizes = [tree.members + (tree.merged_before if counts_merged else 0) for tree in merged]
    base_s, each_s = fit([(size, tree.alone_s) for size, tree in zip(sizes, merged, strict=True)])
    failed_s = fmean(failed) if failed else None
    return IntegrationTime(base_s, each_s, counts_merged, failed_s, len(merged))


def fit(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The a and b of y = a + b·x by least squares, neither below 0.

    b is 0 for fewer than four points or three different x, and where it is not three times its own standard error: a slope that may
    be chance must not be carried on to larger x.
    """
    if not points:
        return 0.0, 0.0
    mean_x, mean_y = fmean(x for x, _ in points), fmean(y for _, y in points)
    if len(points) < _LEAST_BATCHES or len({x for x, _ in points}) < _LEAST_SIZES:
        return mean_y, 0.0
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    if slope <= _SURE * sqrt(rest / (len(points) - 2) / spread):
        return mean_y, 0.0
    if mean_y < slope * mean_x:
        return 0.0, sum(x * y for x, y in points) / sum(x * x for x, _ in points)
    return mean_y - slope * mean_x, slope
