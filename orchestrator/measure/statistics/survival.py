"""How long lines stand: the share that still does after each time (Kaplan & Meier 1958).

Lines that still stood when last looked at are censored: they count for as long as they were seen and say nothing about later.
"""

from collections.abc import Sequence

import numpy as np

from orchestrator.measure.statistics.clusters import (
    ONE_CLUSTER,
    Floats,
    effective_count,
    jackknife_error,
    share_limits,
)
from orchestrator.measure.statistics.proportions import quantile_of_normal
from orchestrator.measure.statistics.values import LEVEL, Interval, LineLife, SurvivalCurve, SurvivalPoint, undefined

GREENWOOD = "Kaplan-Meier, Greenwood's variance, log-log"
BY_RUN = "Kaplan-Meier, Wilson score with effective tries (jackknife over runs)"


def survival_curve(lives: Sequence[LineLife], *, level: float = LEVEL) -> SurvivalCurve:
    """Estimate the curve: a point at 0 and at every time at which lines went; empty without lines.

    Where some lines go and others are last seen at the same time, the former go first, as is usual.
    """
    if not lives:
        return SurvivalCurve()
    times = np.array(sorted({0.0} | {life.days for life in lives if life.is_gone}))
    gone, at_risk = _tables(lives, times)
    all_gone, all_at_risk = gone.sum(axis=0), at_risk.sum(axis=0)
    lines = sum(life.lines for life in lives)
    by_run = _by_run(gone, at_risk, level)
    points = tuple(
        SurvivalPoint(
            days=float(times[index]),
            at_risk=round(all_at_risk[index]),
            gone=round(all_gone[index]),
            by_line=_greenwood(all_gone[: index + 1], all_at_risk[: index + 1], lines, level),
            by_run=by_run[index],
        )
        for index in range(len(times))
    )
    return SurvivalCurve(points=points, seen_until_days=max(life.days for life in lives))


def _tables(lives: Sequence[LineLife], times: Floats) -> tuple[Floats, Floats]:
    """Lines that went at, and that were still watched just before, each time: runs by times."""
    runs = {run: row for row, run in enumerate(dict.fromkeys(life.run for life in lives))}
    gone = np.zeros((len(runs), len(times)))
    at_risk = np.zeros((len(runs), len(times)))
    for life in lives:
        row = runs[life.run]
        at_risk[row] += life.lines * (times <= life.days)
        if life.is_gone:
            gone[row, np.searchsorted(times, life.days)] += life.lines
    return gone, at_risk


def _product(gone: Floats, at_risk: Floats) -> Floats:
    """Share standing after each time. Where nobody is watched any more it stays where it was."""
    return np.asarray(np.cumprod(1 - gone / np.maximum(at_risk, 1.0), axis=-1), dtype=np.float64)


def _greenwood(gone: Floats, at_risk: Floats, lines: int, level: float) -> Interval:
    """Interval for independent lines: Greenwood's (1926) variance on the scale log(-log S), which keeps it within 0 and 1."""
    share = float(_product(gone, at_risk)[-1])
    if not 0 < share < 1:
        reason = "none has gone" if share >= 1 else "none is left"
        return undefined(GREENWOOD, f"{reason}, so there is no spread", n=lines, level=level, estimate=share)
    variance = float(np.sum(gone / (at_risk * (at_risk - gone))))
    reach = float(np.exp(quantile_of_normal((1 + level) / 2) * np.sqrt(variance) / -np.log(share)))
    return Interval(estimate=share, low=share**reach, high=share ** (1 / reach), level=level, method=GREENWOOD, n=lines)


def _by_run(gone: Floats, at_risk: Floats, level: float) -> list[Interval]:
    """One interval a time; a run weighs as many lines as it brought."""
    count = len(gone)
    all_gone, all_at_risk = gone.sum(axis=0), at_risk.sum(axis=0)
    standing = _product(all_gone, all_at_risk)
    if count < 2:
        return [undefined(BY_RUN, ONE_CLUSTER, n=count, level=level, estimate=float(share)) for share in standing]
    left_out = _product(all_gone - gone, all_at_risk - at_risk)
    effective = effective_count(at_risk[:, 0])
    intervals = []
    for share, without in zip(standing, left_out.T, strict=True):
        low, high = share_limits(float(share), jackknife_error(without), effective, level)
        interval = Interval(estimate=float(share), low=low, high=high, level=level, method=BY_RUN, n=count)
        intervals.append(interval)
    return intervals
