"""Two backends on the same subtasks: the mean difference, its interval, and whether it could be chance.

Pairing by subtask takes out what makes a subtask hard for both, which is most of the spread (Miller 2024, *Adding error bars to
evals*). Repeats of a subtask are averaged first, so that more repeats are a better look at a subtask and not more subtasks.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.statistics.clusters import (
    NEXT_TO_NOTHING,
    ONE_CLUSTER,
    Floats,
    Numbers,
    clusters_of,
    effective_count,
    error_of_mean,
    quantile_of_t,
    totals,
)
from orchestrator.measure.statistics.proportions import without_spread
from orchestrator.measure.statistics.significance import sign_flip
from orchestrator.measure.statistics.values import (
    LEVEL,
    Interval,
    PairedComparison,
    PairedSubtask,
    Refusal,
    Scale,
    undefined,
)

PAIRED_T = "paired t over subtasks"
CLUSTERED_T = "paired t, jackknife over families"


def compare_paired(
    rows: Sequence[PairedSubtask], *, scale: Scale = "share", level: float = LEVEL, seed: int = 0
) -> PairedComparison | Refusal:
    """Compare left with right. The interval is that of the paired t; with families they are the units, and the test flips them whole.

    `scale` is what the scores are; shares are held between 0 and 1, and the difference within -1 and 1. Refused without rows,
    for a subtask that occurs twice, for shares out of bounds. `seed` matters only beyond `significance.EXACT_UNITS` families.
    """
    reason = _unfit(rows, scale)
    if reason:
        return Refusal(reason=reason)
    differences = np.array([row.difference for row in rows])
    clusters = clusters_of((row.subtask, row.family) for row in rows)
    families = int(clusters.max()) + 1
    error = error_of_mean(differences, clusters) if families > 1 else None
    return PairedComparison(
        subtasks=len(rows),
        families=families,
        left_mean=float(np.mean([np.mean(row.left) for row in rows])),
        right_mean=float(np.mean([np.mean(row.right) for row in rows])),
        standard_error=error,
        difference=_interval(differences, clusters, error, scale, level),
        significance=sign_flip(list(totals(differences, clusters)), seed=seed),
    )


def _unfit(rows: Sequence[PairedSubtask], scale: Scale) -> str:
    if not rows:
        return "there are no subtasks that both were tried on"
    if len({row.subtask for row in rows}) != len(rows):
        return "a subtask occurs twice: its repeats belong into one row"
    scores = [score for row in rows for score in (*row.left, *row.right)]
    if scale == "share" and not all(0 <= score <= 1 for score in scores):
        return "a score is outside of 0 to 1, and was said to be a share"
    return ""


def _interval(differences: Floats, clusters: Numbers, error: float | None, scale: Scale, level: float) -> Interval:
    families, mean = int(clusters.max()) + 1, float(differences.mean())
    effective = effective_count(np.bincount(clusters))
    method = PAIRED_T if families == len(differences) else CLUSTERED_T
    if error is None:
        return undefined(method, ONE_CLUSTER, n=families, level=level, estimate=mean)
    if np.ptp(differences) <= NEXT_TO_NOTHING * (1 + abs(mean)):
        return _without_spread(mean, families, effective, scale, level)
    half = quantile_of_t(level, effective - 1) * error
    low, high = mean - half, mean + half
    if scale == "share":
        low, high = max(-1.0, low), min(1.0, high)
    return Interval(estimate=mean, low=low, high=high, level=level, method=method, n=families)


def _without_spread(mean: float, families: int, effective: float, scale: Scale, level: float) -> Interval:
    method = "Wilson bound over families"
    if scale == "amount":
        reason = "every subtask came to the same difference, which is no measure of spread"
        return undefined(method, reason, n=families, level=level, estimate=mean)
    low, high = without_spread(mean, (-1.0, 1.0), effective, level)
    return Interval(estimate=mean, low=low, high=high, level=level, method=method, n=families)
