"""Shares: Wilson's interval, and the chance that k tries hold one accepted (pass@k) or only accepted ones (pass^k).

Plain arithmetic without numpy. Means over subtasks, with intervals, are in `pass_rates`.
"""

from math import comb, sqrt
from statistics import NormalDist

from orchestrator.measure.statistics.values import LEVEL, Interval, undefined

WILSON = "Wilson score"


def wilson(accepted: int, tried: int, level: float = LEVEL) -> Interval:
    """Share of `tried` independent tries that were accepted (Wilson 1927; advised for small n by Brown, Cai, DasGupta 2001).

    Independent means one try a subtask: with repeats, `pass_rates.mean_pass_at_k` keeps the repeats of a subtask together.
    Undefined over no tries. Raises `ValueError` for counts that cannot be.
    """
    if not 0 <= accepted <= tried:
        raise ValueError(f"{accepted!r} accepted of {tried!r} tries")
    if tried == 0:
        return undefined(WILSON, "nothing was tried", level=level)
    share = accepted / tried
    low, high = score_limits(share, tried, level)
    return Interval(estimate=share, low=low, high=high, level=level, method=WILSON, n=tried)


def score_limits(share: float, tries: float, level: float) -> tuple[float, float]:
    """Wilson's limits for a share of so many tries, which need not be a whole number: it may be an effective one."""
    z2 = quantile_of_normal((1 + level) / 2) ** 2
    middle = (share + z2 / (2 * tries)) / (1 + z2 / tries)
    half = sqrt(z2) / (1 + z2 / tries) * sqrt(share * (1 - share) / tries + z2 / (4 * tries * tries))
    # At none and at all the limit is the share itself; rounding must not put it on the other side.
    return (0.0 if share <= 0 else max(0.0, middle - half)), (1.0 if share >= 1 else min(1.0, middle + half))


def without_spread(value: float, bounds: tuple[float, float], units: float, level: float) -> tuple[float, float]:
    """Bound the mean of a bounded quantity that came out as the same `value` in all of `units` independent units.

    No spread was seen, so no standard error bounds anything. But the share of units that would come out otherwise is at most
    Wilson's upper limit u for 0 of `units`, and those can be no further away than the bounds: value - u(value - lowest) to
    value + u(highest - value). For shares that are all 0 or all 1 this is Wilson's interval itself.
    """
    otherwise = score_limits(0.0, units, level)[1]
    lowest, highest = bounds
    return value - otherwise * (value - lowest), value + otherwise * (highest - value)


def pass_at_k(tried: int, accepted: int, k: int) -> float:
    """Chance that k tries hold at least one accepted: 1 - C(n-c, k)/C(n, k), unbiased for k <= n (Chen et al. 2021).

    Raises `ValueError` for k > n: fewer tries than that say nothing about k of them.
    """
    _check(tried, accepted, k)
    return 1 - comb(tried - accepted, k) / comb(tried, k)


def pass_hat_k(tried: int, accepted: int, k: int) -> float:
    """Chance that k tries are all accepted, pass^k: C(c, k)/C(n, k), unbiased for k <= n (Yao et al. 2024, τ-bench)."""
    _check(tried, accepted, k)
    return comb(accepted, k) / comb(tried, k)


def _check(tried: int, accepted: int, k: int) -> None:
    if not 0 <= accepted <= tried:
        raise ValueError(f"{accepted!r} accepted of {tried!r} tries")
    if not 1 <= k <= tried:
        raise ValueError(f"k must be from 1 to the {tried} tries there are, not {k!r}")


def quantile_of_normal(share: float) -> float:
    """Below which a standard normal variable stays with the given chance."""
    return NormalDist().inv_cdf(share)
