"""What was drawn independently, and how far a figure may be off: the jackknife over clusters.

A cluster is a family of subtasks, a subtask with its repeats, or a run with its lines: what shares a fate moves together. Leaving out
one cluster after the other shows how much the figure hangs on each (Tukey 1958), whatever the figure is. Where clusters are of
unequal size, a few large ones are the whole evidence; the degrees of freedom count those (Kish 1965). For means of clusters of one it
is the textbook standard error with its n-1 degrees of freedom, to the last digit.
"""

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from orchestrator.measure.statistics.proportions import quantile_of_normal, score_limits

Floats = NDArray[np.float64]
Numbers = NDArray[np.intp]
"""The number of the cluster that each row belongs to, from 0."""

NEXT_TO_NOTHING = 1e-10
"""Relative spread below this is the rounding of equal numbers."""
ONE_CLUSTER = "one subtask, run or family has no spread"


def clusters_of(keys: Iterable[tuple[str, str | None]]) -> Numbers:
    """Number the clusters of (unit, family): a unit without a family is a cluster of its own."""
    found: dict[Hashable, int] = {}
    clusters = (("unit", unit) if family is None else ("family", family) for unit, family in keys)
    return np.array([found.setdefault(cluster, len(found)) for cluster in clusters], dtype=np.intp)


def totals(values: Sequence[float] | Floats, clusters: Numbers) -> Floats:
    """Sum the values of each cluster."""
    return np.bincount(clusters, weights=np.asarray(values, dtype=np.float64)).astype(np.float64)


def jackknife_error(left_out: Floats) -> float:
    """Standard error of a figure from what it comes to with each cluster left out in turn: √((G-1)/G Σ (θ₍g₎ - mean)²)."""
    count = len(left_out)
    return float(np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2)))


def error_of_mean(values: Floats, clusters: Numbers) -> float:
    """Standard error of the plain mean of the values. Needs two clusters."""
    sums, sizes = totals(values, clusters), np.bincount(clusters)
    return jackknife_error((sums.sum() - sums) / (sizes.sum() - sizes))


def effective_count(sizes: Floats | Numbers) -> float:
    """How many clusters of equal size would be as much evidence: (Σ size)² / Σ size², from 1 to their number."""
    return float(np.sum(sizes) ** 2 / np.sum(np.asarray(sizes, dtype=np.float64) ** 2))


def quantile_of_t(level: float, degrees: float) -> float:
    """How many standard errors a two-sided interval reaches (Student 1908). Below one degree of freedom there is nothing wider."""
    return float(stdtrit(max(1.0, degrees), (1 + level) / 2))


def share_limits(
    share: float, error: float, clusters: float, level: float, most: float = np.inf
) -> tuple[float, float]:
    """Limits for a share with a standard error from an effective number of clusters: Wilson's, with an effective number of tries.

    Those are as many tries of a coin as would be as uncertain, made fewer by (z/t)² where clusters are few (Korn & Graubard 1998; in
    Wilson's form Dean & Pagano 2015), and not more than `most`. Without any spread it is one try a cluster.
    """
    if error <= NEXT_TO_NOTHING or not 0 < share < 1:
        return score_limits(share, clusters, level)
    shrunk = (quantile_of_normal((1 + level) / 2) / quantile_of_t(level, clusters - 1)) ** 2
    return score_limits(share, min(share * (1 - share) / error**2 * shrunk, most), level)
