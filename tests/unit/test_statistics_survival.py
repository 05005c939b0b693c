"""How long lines stand, against a reference and by hand."""

from math import isclose

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from orchestrator.measure.statistics.survival import survival_curve
from orchestrator.measure.statistics.values import LineLife, Refusal


def life(days, gone, lines=1, run="a"):
    return LineLife(run=run, days=days, lines=lines, is_gone=gone)


def test_the_curve_and_its_interval_are_those_of_the_reference():
    rng = np.random.default_rng(4)
    days = rng.integers(1, 30, size=80)
    gone = (rng.random(80) < 0.6) & (days < 25)  # where nothing is left the reference has no interval either
    curve = survival_curve([life(d, g) for d, g in zip(days, gone, strict=True)])
    reference = ecdf(CensoredData(uncensored=days[gone], right=days[~gone])).sf
    with np.errstate(all="ignore"), pytest.warns(RuntimeWarning, match="undefined at some"):
        limits = reference.confidence_interval(0.95, method="log-log")
    for point in curve.points[1:]:
        assert isclose(point.by_line.estimate, reference.evaluate(point.days))
        if point.by_line.is_bounded:
            assert isclose(point.by_line.low, limits.low.evaluate(point.days))
            assert isclose(point.by_line.high, limits.high.evaluate(point.days))


def test_a_curve_by_hand():
    """Ten lines: two go on day 3, three were last seen on day 5, one goes on day 5 (before those are out), the rest stand."""
    curve = survival_curve([life(3, True, 2), life(5, False, 3), life(5, True), life(9, False, 4)])
    assert [(p.days, p.at_risk, p.gone) for p in curve.points] == [(0, 10, 0), (3, 10, 2), (5, 8, 1)]
    assert [p.by_line.estimate for p in curve.points] == pytest.approx([1.0, 0.8, 0.8 * 7 / 8])
    assert curve.seen_until_days == 9


def test_many_lines_in_one_row_count_as_many():
    assert survival_curve([life(3, True, 4), life(9, False, 6)]) == survival_curve(
        [life(3, True)] * 4 + [life(9, False)] * 6
    )


def test_beyond_what_was_watched_there_is_no_figure():
    curve = survival_curve([life(3, True, 2), life(20, False, 8)])
    assert curve.at(2).by_line.estimate == 1.0
    assert curve.at(14).by_line.estimate == 0.8
    assert curve.at(28) == Refusal(reason="no line was watched for longer than 20 days")
    assert survival_curve([life(3, True)]).at(28).by_line.estimate == 0.0
    assert survival_curve([]).at(1) == Refusal(reason="there are no lines")


def test_one_run_has_no_interval_by_run():
    point = survival_curve([life(3, True, 2), life(20, False, 8)]).at(14)
    assert point.by_run.estimate == 0.8
    assert (point.by_run.low, point.by_run.reason) == (None, "one subtask, run or family has no spread")
    assert point.by_line.is_bounded


def test_lines_of_a_run_that_go_together_make_the_interval_wider():
    lives = [life(3, True, 50, run=f"gone{n}") for n in range(3)]
    lives += [life(20, False, 50, run=f"kept{n}") for n in range(5)]
    point = survival_curve(lives).at(14)
    assert point.by_run.high - point.by_run.low > 4 * (point.by_line.high - point.by_line.low)
    assert point.by_run.n == 8


def test_lines_that_vanish_at_once_and_lines_that_never_do():
    assert [p.by_line.estimate for p in survival_curve([life(0, True, 3)]).points] == [0.0]
    assert [p.by_line.reason for p in survival_curve([life(5, False, 3)]).points] == [
        "none has gone, so there is no spread"
    ]
    runs = [life(0, True, 3, run="a"), life(0, False, 3, run="b")]
    assert survival_curve(runs).at(0).by_line.estimate == 0.5


def test_a_run_that_brought_most_of_the_lines_is_most_of_the_evidence():
    even = [life(3, True, 10, run=f"g{n}") for n in range(2)] + [life(20, False, 10, run=f"k{n}") for n in range(4)]
    heavy = [*even[:-1], life(20, False, 1000, run="k3")]
    fates = [survival_curve(rows).at(14).by_run for rows in (even, heavy)]
    assert fates[1].low < 0.2
    assert fates[0].low > 0.2
