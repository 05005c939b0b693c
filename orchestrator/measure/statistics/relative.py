"""A line y = Σ bⱼ xⱼ fitted to relative errors, and limits for ratios of its coefficients.

The bounded least squares on relative errors is a non-negative linear one (Lawson & Hanson 1974), repeated until the weights 1/y² are
those of the fitted line: the quasi-likelihood for a constant coefficient of variation (McCullagh & Nelder 1989, chapter 9).

The limits of a ratio are Fieller's (1954), from the coefficients' covariance without bounds. The covariance is HC3 (MacKinnon & White
1985), the closed form of a jackknife over whole runs, so that it holds whether or not some runs scatter more than others. It takes its
spread from the residuals and so exists with one repeat too, wide, as there are few degrees of freedom then.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from orchestrator.measure.statistics.clusters import NEXT_TO_NOTHING, Floats, quantile_of_t
from orchestrator.measure.statistics.values import Interval

METHOD = "relative least squares, Fieller limits with HC3 (jackknife over runs)"
ROUNDS = 200
"""The weights settle within about thirty rounds for runs that scatter by a tenth."""
LEAST_FITTED = 0.05
"""A line that passes a run at less than this share of its time does not describe it."""


def settle(columns: Floats, times: Floats) -> tuple[Floats, Floats] | None:
    """Fit coefficients >= 0 to positive `times`; also the reciprocals of the fitted times, which are the roots of the weights.

    None where the weights do not settle or a fitted time comes to nothing: runs that are nowhere near such a line.
    """
    scale = float(np.median(times))
    target = times / scale
    fitted, parts = target, np.zeros(columns.shape[1])
    for _ in range(ROUNDS):
        before, parts = parts, np.asarray(nnls(columns / fitted[:, None], target / fitted)[0])
        if np.allclose(before, parts, rtol=1e-10, atol=1e-14):
            line = np.asarray(columns @ parts, dtype=np.float64)
            return (parts * scale, 1 / (line * scale)) if np.all(line > LEAST_FITTED * target) else None
        # Half of the way, so that two sets of weights cannot hand each other on for ever.
        fitted = np.sqrt(fitted * np.maximum(columns @ parts, LEAST_FITTED * target))
    return None


@dataclass(frozen=True, slots=True)
class Limits:
    """A bounded estimate of a ratio and its limits, both or neither; `is_below` or `is_above` what is possible beyond doubt."""

    estimate: float
    low: float | None
    high: float | None
    is_below: bool = False
    is_above: bool = False
    reason: str = ""

    def within(self, least: float, most: float | None) -> "Limits":
        """Cut off what is impossible. Limits that lie wholly outside are withdrawn: then the model is wrong, not the number."""
        if self.low is None or self.high is None:
            return self
        contradicted = "the runs contradict the model: see the warnings"
        if self.high < least:
            return Limits(self.estimate, None, None, is_below=True, reason=contradicted)
        if most is not None and self.low > most:
            return Limits(self.estimate, None, None, is_above=True, reason=contradicted)
        high = self.high if most is None else min(self.high, most)
        # The bounded estimate is another fit than the one that the limits are of.
        return Limits(self.estimate, min(max(self.low, least), self.estimate), max(high, self.estimate))

    def stated(self, level: float, runs: int) -> Interval:
        """Put it as an interval that rests on so many runs."""
        return Interval(
            estimate=self.estimate,
            low=self.low,
            high=self.high,
            level=level,
            method=METHOD,
            n=runs,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class Line:
    """Coefficients without bounds, their covariance, its degrees of freedom, and whether the runs scatter at all."""

    parts: Floats
    covariance: Floats
    degrees: int
    is_scattered: bool

    def ratio(self, estimate: float, over: Sequence[float], under: Sequence[float], level: float) -> Limits:
        """Fieller's limits of (over·parts)/(under·parts): all r with |over·parts - r under·parts| within t standard errors.

        Without limits where the denominator itself may be zero, or where the runs do not scatter.
        """
        if not self.is_scattered:
            return Limits(estimate, None, None, reason="the runs do not scatter, which is no measure of their spread")
        first, second = np.array(over), np.array(under)
        p, q = float(first @ self.parts), float(second @ self.parts)
        t2 = quantile_of_t(level, self.degrees) ** 2
        leading = q * q - t2 * float(second @ self.covariance @ second)
        middle = p * q - t2 * float(first @ self.covariance @ second)
        last = p * p - t2 * float(first @ self.covariance @ first)
        if leading <= 0:
            return Limits(estimate, None, None, reason="the runs scatter too much to limit it")
        root = float(np.sqrt(max(0.0, middle * middle - leading * last)))
        return Limits(estimate, (middle - root) / leading, (middle + root) / leading)


def regress(columns: Floats, times: Floats, weights: Floats) -> Line:
    """Weighted linear regression without bounds, with the HC3 covariance: each run's residual as if it had been left out."""
    scaled, target = columns * weights[:, None], times * weights
    # Columns of equal length keep the inverse accurate where N(N-1) is a million times 1.
    lengths = np.sqrt(np.sum(scaled**2, axis=0))
    even = scaled / lengths
    bread = np.linalg.inv(even.T @ even)
    parts = bread @ (even.T @ target)
    residuals = target - even @ parts
    left_out = residuals / np.maximum(1 - np.sum((even @ bread) * even, axis=1), NEXT_TO_NOTHING)
    covariance = bread @ (even.T @ (even * (left_out**2)[:, None])) @ bread
    return Line(
        parts=parts / lengths,
        covariance=covariance / np.outer(lengths, lengths),
        degrees=len(times) - columns.shape[1],
        is_scattered=bool(np.max(np.abs(residuals)) > NEXT_TO_NOTHING),
    )
