"""How much gates slow each other down on a machine, from runs of the same task with and without company."""

from collections.abc import Sequence

from orchestrator.core.events import BatchMerged, BatchRejected
from orchestrator.measure.contention import SideBySide, fitted
from orchestrator.measure.gate_times import CheckedTree
from orchestrator.measure.recorded import Recorded


def calibrated(alone: Recorded, crowded: Sequence[Recorded], cores: int) -> float | None:
    """Fit `Contention.all_busy`. `alone` was recorded with one slot for everything; None where nothing overlapped.

    A gate is compared with the one of the same subtask and draw, a batch with what one of its size takes, a set-up with the
    other's. What has no counterpart only counts as company.
    """
    return fitted([_beside(alone, run) for run in crowded], cores)


def _beside(alone: Recorded, run: Recorded) -> SideBySide:
    known = {
        (history.subtask.id, draw): each.judged.alone_s
        for history in alone.histories
        for draw, tries in history.tries.items()
        for each in tries
        if each.judged is not None and not each.judged.is_guessed
    }
    draws = {
        (history.subtask.id, each.did.attempt): draw
        for history in run.histories
        for draw, tries in history.tries.items()
        for each in tries
    }

    def expected(tree: CheckedTree) -> float | None:
        match tree.event:
            case BatchMerged():
                return alone.integration.seconds(tree.members, tree.merged_before)
            case BatchRejected():
                return None
            case gate:
                draw = draws.get((gate.subtask, gate.attempt))
                return None if draw is None else known.get((gate.subtask, draw))

    set_ups = [alone.set_up_s for _ in run.times.set_ups]
    return SideBySide(run.times.stretches, [*set_ups, *(expected(tree) for tree in run.times.trees)])
