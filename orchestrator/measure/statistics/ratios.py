"""Ratios of totals, such as dollars for an accepted subtask or retained lines for 1,000 output tokens, and ratios of those.

A ratio of totals is not the mean of ratios: a subtask that was not accepted still costs. Its logarithm is close to normal, so the
interval is made there, by a jackknife over units or families, and brought back: it never crosses zero. Where nothing was accepted the
ratio is undefined, and says so instead of dividing; where a single unit makes it up, there is no interval.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.statistics.clusters import (
    NEXT_TO_NOTHING,
    ONE_CLUSTER,
    Floats,
    clusters_of,
    effective_count,
    jackknife_error,
    quantile_of_t,
    totals,
)
from orchestrator.measure.statistics.values import LEVEL, Interval, Tally, undefined

ONE = "t of the logarithm, jackknife over clusters"
TWO = "paired t of the logarithm, jackknife over clusters"
WELCH = "Welch's t of the logarithm"
MOST_FACTOR = 1e9
"""An interval that reaches further than a billion times its estimate limits nothing, and its ends may not be numbers any more."""


def ratio_of_totals(tallies: Sequence[Tally], *, level: float = LEVEL) -> Interval:
    """Sum of the numerators over the sum of the denominators, clustered by unit or family.

    Undefined where the denominators come to nothing or a numerator is unknown. Raises `ValueError` for a unit that occurs twice.
    """
    reason = _undefined(tallies)
    if reason:
        return undefined(ONE, reason, level=level)
    over, under = _sums(tallies)
    if over.sum() <= 0:
        return undefined(ONE, "it came to nothing, which has no logarithm", level=level, n=len(over), estimate=0.0)
    estimate = float(over.sum() / under.sum())
    return _around(estimate, _left_out(over, under), effective_count(under), method=ONE, level=level)


def ratio_of_ratios(left: Sequence[Tally], right: Sequence[Tally], *, level: float = LEVEL) -> Interval:
    """How many times the left ratio is of the right one, over the same units. Raises `ValueError` where the units differ."""
    by_unit = {tally.unit: tally for tally in right}
    if {tally.unit for tally in left} != by_unit.keys() or len(left) != len(right):
        raise ValueError("both sides need the same units, each once")
    paired = [by_unit[tally.unit] for tally in left]
    if any(one.family != other.family for one, other in zip(left, paired, strict=True)):
        raise ValueError("a unit belongs to the same family on both sides")
    reason = _undefined(left) or _undefined(paired)
    if reason:
        return undefined(TWO, reason, level=level)
    (over, under), (over_right, under_right) = _sums(left), _sums(paired)
    count = len(over)
    if over_right.sum() <= 0:
        return undefined(TWO, "the right side came to nothing", level=level, n=count)
    if over.sum() <= 0:
        reason = "the left side came to nothing, which has no logarithm"
        return undefined(TWO, reason, level=level, n=count, estimate=0.0)
    estimate = float(over.sum() / under.sum() / (over_right.sum() / under_right.sum()))
    left_out = _left_out(over, under) - _left_out(over_right, under_right)
    effective = effective_count(under / under.sum() + under_right / under_right.sum())
    return _around(estimate, left_out, effective, method=TWO, level=level)


def ratio_of_means(top: Sequence[float], bottom: Sequence[float], *, level: float = LEVEL) -> Interval:
    """Mean of one sample over that of another, drawn apart: a speedup from repeated runs. All values must be >= 0.

    The degrees of freedom are those of Welch (1947) and Satterthwaite (1946). One repeat on a side leaves the estimate without
    bounds: nothing in it says how much a repeat would differ.
    """
    above, below = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    count = len(above) + len(below)
    if not len(above) or not len(below) or below.mean() <= 0:
        return undefined(WELCH, "there is nothing to divide by", level=level, n=count)
    estimate = float(above.mean() / below.mean())
    if above.mean() <= 0:
        reason = "it came to nothing, which has no logarithm"
        return undefined(WELCH, reason, level=level, n=count, estimate=0.0)
    if len(above) < 2 or len(below) < 2:
        reason = "a single run does not say how much another would differ"
        return undefined(WELCH, reason, level=level, n=count, estimate=estimate)
    parts = np.array([(side.std(ddof=1) / side.mean()) ** 2 / len(side) for side in (above, below)])
    if parts.sum() <= NEXT_TO_NOTHING**2:
        return undefined(WELCH, "all repeats came to the same", level=level, n=count, estimate=estimate)
    degrees = float(parts.sum() ** 2 / np.sum(parts**2 / np.array([len(above) - 1, len(below) - 1])))
    reach = quantile_of_t(level, degrees) * float(np.sqrt(parts.sum()))
    return _spread(estimate, reach, method=WELCH, n=count, level=level)


def _undefined(tallies: Sequence[Tally]) -> str:
    if len({tally.unit for tally in tallies}) != len(tallies):
        raise ValueError("a unit occurs twice")
    unknown = sum(tally.numerator is None for tally in tallies)
    if unknown:
        return f"unknown for {unknown} of {len(tallies)}"
    if sum(tally.denominator for tally in tallies) <= 0:
        return "there is nothing to divide by"
    return ""


def _sums(tallies: Sequence[Tally]) -> tuple[Floats, Floats]:
    """Numerators and denominators of each cluster."""
    clusters = clusters_of((tally.unit, tally.family) for tally in tallies)
    return (
        totals([tally.numerator or 0.0 for tally in tallies], clusters),
        totals([tally.denominator for tally in tallies], clusters),
    )


def _left_out(over: Floats, under: Floats) -> Floats:
    """Logarithm of the ratio without each cluster; not a number where one cluster is all there is of a side."""
    rest = np.stack([over.sum() - over, under.sum() - under])
    # What is left after the only cluster that counts is rounding, not evidence.
    is_known = np.all(rest > NEXT_TO_NOTHING * np.array([[over.sum()], [under.sum()]]), axis=0)
    above, below = np.where(is_known, rest, 1.0)
    return np.where(is_known, np.log(above / below), np.nan)


def _around(estimate: float, left_out: Floats, effective: float, *, method: str, level: float) -> Interval:
    count, reason = len(left_out), ""
    error = 0.0
    if count < 2:
        reason = ONE_CLUSTER
    elif np.isnan(left_out).any():
        reason = "a single unit or family is all there is of one side"
    else:
        error = jackknife_error(left_out)
        if error <= NEXT_TO_NOTHING:
            reason = "the ratio is the same in all units, which is no measure of spread"
    if reason:
        return undefined(method, reason, n=count, level=level, estimate=estimate)
    return _spread(estimate, quantile_of_t(level, effective - 1) * error, method=method, n=count, level=level)


def _spread(estimate: float, reach: float, *, method: str, n: int, level: float) -> Interval:
    if reach > np.log(MOST_FACTOR):
        return undefined(method, "it varies too much to limit it", n=n, level=level, estimate=estimate)
    factor = float(np.exp(reach))
    return Interval(estimate=estimate, low=estimate / factor, high=estimate * factor, level=level, method=method, n=n)
