"""What gates and integration took, from journal entries alone, as if each had had the machine to itself.

*Set-up* is done once a process, before the first tree is handed out, and the journal has no event for it: it is what the first
tree took longer than trees take. Whoever asked for a tree meanwhile waited for it too; that wait is cut out of their times.

What is left of a gate or a batch is one piece of work for the cores: putting patches on the trunk, making the tree, running the
checks. Those that overlapped slowed each other down, which `contention` takes out again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from orchestrator.core.events import (
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    RunResumed,
)
from orchestrator.core.values import SubtaskId, Verdict
from orchestrator.measure.contention import Contention, Stretch, alone_s

_REFUSALS = ("forbidden_path", "protected_path")


@dataclass(frozen=True, slots=True)
class CheckedTree:
    """One tree that was judged, a patch's or a batch's; times are on the journal's clock.

    `asked` is when the tree was asked for. `process` numbers the processes that worked at the run. `merged_before` counts the
    subtasks in the trunk before a batch. `alone_s` is None until it is computed.
    """

    event: PatchJudged | BatchMerged | BatchRejected
    verdict: Verdict
    process: int
    started: float
    ended: float
    members: int = 0
    merged_before: int = 0
    alone_s: float = 0.0

    @property
    def checks_s(self) -> float:
        """What its checks took together."""
        return sum(check.duration_s for check in self.verdict.checks)

    @property
    def asked(self) -> float:
        """When its tree was asked for."""
        return max(self.started, self.ended - self.checks_s - self.verdict.tree_s)


@dataclass(frozen=True, slots=True)
class SetUp:
    """The set-up of one process: when it was done, and what it took alone."""

    process: int
    stretch: Stretch
    alone_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GateTimes:
    """All trees that were judged, with what they took alone; the set-ups; and what it takes to find out about a conflict.

    `refused` are the patches that the policy turned away before there was a tree, with the seconds that it took.
    `stretches` are the pieces of work behind them, set-ups first: what ran beside what.
    """

    trees: tuple[CheckedTree, ...]
    set_ups: tuple[SetUp, ...]
    refused: tuple[tuple[PatchJudged, float], ...]
    conflict_s: float
    stretches: tuple[Stretch, ...]

    @property
    def mean_gate_s(self) -> float | None:
        """What a gate that ran checks took on average, in the company that it had; None where there was none."""
        works = zip(self.trees, self.stretches[len(self.set_ups) :], strict=True)
        took = [
            end - start for tree, (start, end) in works if isinstance(tree.event, PatchJudged) and tree.verdict.checks
        ]
        return fmean(took) if took else None


@dataclass(slots=True)
class _Reader:
    trees: list[CheckedTree] = field(default_factory=list)
    refused: list[tuple[PatchJudged, float]] = field(default_factory=list)
    conflicts: list[float] = field(default_factory=list)
    process: int = 0
    merged: int = 0
    gates: dict[SubtaskId, float] = field(default_factory=dict)
    batch: float | None = None

    def read(self, entry: Entry) -> None:
        match entry.event:
            case RunResumed():
                self.gates.clear()
                self.batch = None
                self.process += 1
            case GateStarted(subtask=subtask):
                self.gates[subtask] = entry.at
            case BatchStarted():
                self.batch = entry.at
            case PatchJudged() as event:
                self._judged(event, event.verdict, self.gates.pop(event.subtask), entry.at)
            case BatchMerged() | BatchRejected() as event:
                self._integrated(event, entry.at)
            case _:
                pass

    def _integrated(self, event: BatchMerged | BatchRejected, at: float) -> None:
        merged = len(event.merged) if isinstance(event, BatchMerged) else 0
        # Without a verdict, a killed process had moved the trunk: nobody knows what that took.
        if event.verdict is not None and self.batch is not None:
            self._judged(event, event.verdict, self.batch, at, members=merged)
        self.merged += merged
        self.batch = None

    def _judged(
        self,
        event: PatchJudged | BatchMerged | BatchRejected,
        verdict: Verdict,
        started: float,
        ended: float,
        members: int = 0,
    ) -> None:
        if verdict.reason == "conflict":
            self.conflicts.append(ended - started)
        elif isinstance(event, PatchJudged) and verdict.reason in _REFUSALS:
            self.refused.append((event, ended - started))
        else:
            self.trees.append(CheckedTree(event, verdict, self.process, started, ended, members, self.merged))


def gate_times(entries: Iterable[Entry], contention: Contention) -> GateTimes:
    """Read a journal. What a killed process left open is left out."""
    reader = _Reader()
    for entry in entries:
        reader.read(entry)
    set_ups = [found for process in range(reader.process + 1) if (found := _set_up(reader.trees, process)) is not None]
    ends = {set_up.process: set_up.stretch[1] for set_up in set_ups}
    works = [(max(tree.started, min(ends[tree.process], tree.ended)), tree.ended) for tree in reader.trees]
    works = [
        work if tree.asked < ends[tree.process] else (tree.started, tree.ended)
        for tree, work in zip(reader.trees, works, strict=True)
    ]
    stretches = [*(set_up.stretch for set_up in set_ups), *works]
    alone = alone_s(stretches, contention)
    trees = zip(reader.trees, alone[len(set_ups) :], strict=True)
    return GateTimes(
        trees=tuple(replace(tree, alone_s=seconds) for tree, seconds in trees),
        set_ups=tuple(replace(set_up, alone_s=seconds) for set_up, seconds in zip(set_ups, alone, strict=False)),
        refused=tuple(reader.refused),
        conflict_s=median(reader.conflicts) if reader.conflicts else _rest_s(reader.trees),
        stretches=tuple(stretches),
    )


def _set_up(trees: Sequence[CheckedTree], process: int) -> SetUp | None:
    """What came before the first tree of a process; None where it judged nothing."""
    own = [tree for tree in trees if tree.process == process]
    if not own:
        return None
    first = min(own, key=lambda tree: tree.asked)
    handed_out = first.ended - first.checks_s
    later = [tree.verdict.tree_s for tree in trees if tree.process != process or tree.asked > handed_out]
    usual_s = min(first.verdict.tree_s, median(later) if later else 0.0)
    return SetUp(process, (first.asked, max(first.asked, handed_out - usual_s)))


def _rest_s(trees: Sequence[CheckedTree]) -> float:
    """What it takes to put a patch on the trunk, where no conflict was recorded that says so."""
    rests = [tree.asked - tree.started for tree in trees if isinstance(tree.event, PatchJudged)]
    return max(0.0, median(rests)) if rests else 0.0
