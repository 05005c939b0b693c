"""Means of pass@k and pass^k over subtasks, each with an interval over subtasks or their families.

The interval is `clusters.share_limits`. A bootstrap over subtasks does not do: with few tries a subtask, pass@3 is 1 for most, and a
resample never holds the hard subtask that was not drawn; its intervals covered 75 % in place of 95 %.
"""

from collections.abc import Callable, Sequence

import numpy as np

from orchestrator.measure.statistics.clusters import (
    ONE_CLUSTER,
    clusters_of,
    effective_count,
    error_of_mean,
    share_limits,
)
from orchestrator.measure.statistics.proportions import pass_at_k, pass_hat_k
from orchestrator.measure.statistics.values import LEVEL, Interval, Tries, undefined

METHOD = "Wilson score with effective tries (jackknife over clusters)"
MOST_FOR_A_SUBTASK = 2.0
"""Effective tries that a subtask can stand for. Without this limit, subtasks that came out nearly alike stand for any number, and
intervals of pass@k near 1 cover 86 % in place of 95 %; with 1, those of accepted rates are up to a third wider than they need be."""


def mean_pass_at_k(tries: Sequence[Tries], k: int, *, level: float = LEVEL) -> Interval:
    """Mean over subtasks of the chance that k tries hold an accepted one. With k = 1 it is the accepted rate.

    Undefined where a subtask has fewer than k tries: leaving it out would choose a subset. Raises `ValueError` for k < 1, and for a
    subtask that occurs twice.
    """
    return _mean(tries, k, pass_at_k, level)


def mean_pass_hat_k(tries: Sequence[Tries], k: int, *, level: float = LEVEL) -> Interval:
    """Mean over subtasks of the chance that k tries are all accepted. Undefined and raising as `mean_pass_at_k`."""
    return _mean(tries, k, pass_hat_k, level)


def _mean(tries: Sequence[Tries], k: int, score: Callable[[int, int, int], float], level: float) -> Interval:
    if k < 1:
        raise ValueError(f"k counts tries, and must be 1 or more, not {k!r}")
    if len({row.subtask for row in tries}) != len(tries):
        raise ValueError("a subtask occurs twice: its tries belong into one row")
    if not tries:
        return undefined(METHOD, "there are no subtasks", level=level)
    fewest = min(tries, key=lambda row: row.tried)
    if fewest.tried < k:
        reason = f"subtask {fewest.subtask!r} was tried {fewest.tried} times, and {k} are asked about"
        return undefined(METHOD, reason, level=level)
    scores = np.array([score(row.tried, row.accepted, k) for row in tries])
    clusters = clusters_of((row.subtask, row.family) for row in tries)
    mean, count = float(scores.mean()), int(clusters.max()) + 1
    if count < 2:
        return undefined(METHOD, ONE_CLUSTER, n=count, level=level, estimate=mean)
    error, effective = error_of_mean(scores, clusters), effective_count(np.bincount(clusters))
    low, high = share_limits(mean, error, effective, level, MOST_FOR_A_SUBTASK * len(scores))
    return Interval(estimate=mean, low=low, high=high, level=level, method=METHOD, n=count)
