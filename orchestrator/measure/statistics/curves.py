"""Amdahl's law and the universal scalability law (USL), fitted to the throughputs of whole runs.

Both laws say that the time one agent spends for a unit of work, y = N / X(N), grows linearly in known columns:

    y = a + b (N-1) + c N(N-1)        USL (Gunther 1993): γ = 1/a, α = b/a, β = c/a        Amdahl (1967): c = 0, s = b/a <= 1

So α, β, s and N*² = (a-b)/c are ratios of the coefficients of a straight line, which `relative` fits and limits without starting
values. A 95 % interval covered 93 to 99 % in all that was simulated: with one repeat, with three,
and where runs with many agents scatter more than runs with few (`docs/decisions/0008-statistics.md`).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import fdtrc

from orchestrator.core.values import Value
from orchestrator.measure.statistics.clusters import NEXT_TO_NOTHING, Floats
from orchestrator.measure.statistics.relative import Limits, Line, regress, settle
from orchestrator.measure.statistics.values import (
    LEVEL,
    AmdahlFit,
    Goodness,
    Interval,
    Refusal,
    Residual,
    UslFit,
    undefined,
)

LEAST_DISTINCT = 4
"""Distinct numbers of agents that a fit needs: the USL has three parameters, and three points fit any three."""
NOWHERE_NEAR = Refusal(reason="the runs are nowhere near a curve of this form")
SUSPICIOUS = 0.01
"""Below this p, the scatter around the curve is called a pattern."""


class RunThroughput(Value):
    """One whole run: work per hour at a number of agents. Any unit of work, the same for all runs."""

    agents: int
    repeat: int
    per_hour: float


def fit_amdahl(runs: Sequence[RunThroughput], *, level: float = LEVEL) -> AmdahlFit | Refusal:
    """Fit S(N) = 1/(s + (1-s)/N), 0 <= s <= 1. The runs must all have done the same work. Refused as `fit_usl`."""
    reason = unfit(runs)
    if reason:
        return Refusal(reason=reason)
    agents, times = _columns(runs)
    # b <= a, written so that non-negative coefficients say it: y = (a-b)·1 + b·N.
    settled = settle(np.stack([np.ones_like(agents), agents], axis=1), times)
    if settled is None:
        return NOWHERE_NEAR
    parts, weights = settled
    first = float(parts.sum())
    line = regress(np.stack([np.ones_like(agents), agents - 1], axis=1), times, weights)
    share = float(parts[1]) / first
    interval = line.ratio(share, (0.0, 1.0), (1.0, 0.0), level).within(0.0, 1.0)
    fitted = parts[0] + parts[1] * agents
    warnings = _sign_warnings(interval, "the runs speed up by more than the number of agents") + (
        ("more agents make the runs slower, which Amdahl's law cannot have",) if interval.is_above else ()
    )
    goodness = _goodness(runs, times, fitted, 2, warnings)
    serial = interval.stated(level, len(runs))
    return AmdahlFit(serial_share=serial, ceiling=_reciprocal(serial), throughput_of_one=1 / first, goodness=goodness)


def fit_usl(runs: Sequence[RunThroughput], *, level: float = LEVEL) -> UslFit | Refusal:
    """Fit X(N) = γN/(1 + α(N-1) + βN(N-1)), α and β >= 0.

    Refused below `LEAST_DISTINCT` distinct numbers of agents, without one agent, and where a run's throughput is not positive.
    """
    reason = unfit(runs)
    if reason:
        return Refusal(reason=reason)
    agents, times = _columns(runs)
    columns = np.stack([np.ones_like(agents), agents - 1, agents * (agents - 1)], axis=1)
    settled = settle(columns, times)
    if settled is None:
        return NOWHERE_NEAR
    parts, weights = settled
    line = regress(columns, times, weights)
    alpha, beta = float(parts[1] / parts[0]), float(parts[2] / parts[0])
    contention = line.ratio(alpha, (0.0, 1.0, 0.0), (1.0, 0.0, 0.0), level).within(0.0, None)
    coherency = line.ratio(beta, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), level).within(0.0, None)
    warnings = _sign_warnings(contention, "with few agents the runs speed up by more than the number of agents")
    warnings += _sign_warnings(coherency, "throughput grows faster with more agents, not slower")
    goodness = _goodness(runs, times, columns @ parts, 3, warnings)
    beta_interval = coherency.stated(level, len(runs))
    return UslFit(
        throughput_of_one=1 / float(parts[0]),
        contention=contention.stated(level, len(runs)),
        coherency=beta_interval,
        peak=_peak(line, alpha, beta_interval, level),
        goodness=goodness,
    )


def unfit(runs: Sequence[RunThroughput]) -> str:
    """Say why no curve can be fitted to the runs; empty if one can."""
    distinct = sorted({run.agents for run in runs})
    if len(distinct) < LEAST_DISTINCT:
        return f"not identifiable: {len(distinct)} distinct numbers of agents, and {LEAST_DISTINCT} are needed"
    if distinct[0] != 1:
        return "there is no run with one agent"
    if any(not np.isfinite(run.per_hour) or run.per_hour <= 0 for run in runs):
        return "a run came to nothing, and a curve of throughputs has no place for zero"
    return ""


def _columns(runs: Sequence[RunThroughput]) -> tuple[Floats, Floats]:
    """Numbers of agents, and agent-hours for a unit of work."""
    agents = np.array([run.agents for run in runs], dtype=np.float64)
    return agents, agents / np.array([run.per_hour for run in runs])


def _peak(line: Line, alpha: float, coherency: Interval, level: float) -> Interval | Refusal:
    """N* = √((1-α)/β), from Fieller's limits of its square."""
    if coherency.low is None:
        return Refusal(reason=f"β has no interval: {coherency.reason}")
    if coherency.low <= 0 or not coherency.estimate:
        return Refusal(reason="the interval of β does not exclude 0, so there may be no peak")
    if alpha >= 1:
        return Refusal(reason="throughput falls from the first agent on, as α is 1 or more")
    estimate = float(np.sqrt((1 - alpha) / coherency.estimate))
    square = line.ratio(estimate**2, (1.0, -1.0, 0.0), (0.0, 0.0, 1.0), level).within(0.0, None)
    low, high = (None if limit is None else float(np.sqrt(limit)) for limit in (square.low, square.high))
    return Limits(estimate, low, high, reason=square.reason).stated(level, coherency.n)


def _reciprocal(share: Interval) -> Interval:
    """1/s: what the speedup tends to. An s that may be 0 sets it no upper limit."""
    if not share.estimate:
        reason = "with a serial share of 0 there is no ceiling"
        return undefined(share.method, reason, n=share.n, level=share.level)
    low = 1 / share.high if share.high else None
    high = 1 / share.low if share.low else None
    reason = share.reason or ("" if high is not None else "the serial share may be 0")
    return Interval(
        estimate=1 / share.estimate,
        low=low,
        high=high,
        level=share.level,
        method=share.method,
        n=share.n,
        reason=reason,
    )


def _sign_warnings(bounds: Limits, what: str) -> tuple[str, ...]:
    return (f"{what}, which the model cannot have",) if bounds.is_below else ()


def _goodness(
    runs: Sequence[RunThroughput], times: Floats, fitted: Floats, parameters: int, warnings: tuple[str, ...]
) -> Goodness:
    relative = np.asarray(times / fitted - 1, dtype=np.float64)
    degrees = len(runs) - parameters
    p = _lack_of_fit(np.array([run.agents for run in runs]), relative, parameters)
    if p is not None and p < SUSPICIOUS:
        warnings += (f"the runs lie off the curve in a pattern (lack of fit, p = {p:.2g})",)
    return Goodness(
        residuals=tuple(
            Residual(agents=run.agents, repeat=run.repeat, relative=float(value))
            for run, value in zip(runs, relative, strict=True)
        ),
        relative_error=float(np.sqrt(np.sum(relative**2) / degrees)),
        degrees_of_freedom=degrees,
        lack_of_fit_p=p,
        warnings=warnings,
    )


def _lack_of_fit(agents: Floats, relative: Floats, parameters: int) -> float | None:
    """F test of the scatter of the means around the curve against the scatter around the means (Draper & Smith 1998, section 2.1)."""
    _, group = np.unique(agents, return_inverse=True)
    sizes = np.bincount(group)
    means = np.bincount(group, weights=relative) / sizes
    pure = float(np.sum((relative - means[group]) ** 2))
    spare, repeats = len(sizes) - parameters, len(relative) - len(sizes)
    if spare < 1 or repeats < 1 or pure <= NEXT_TO_NOTHING**2:
        return None
    off = float(np.sum(sizes * means**2))
    return float(fdtrc(spare, repeats, (off / spare) / (pure / repeats)))
