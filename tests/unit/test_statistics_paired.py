"""Two backends on the same subtasks: the difference, its interval, its test, and what several tests cost."""

from itertools import product
from math import isclose, sqrt

import numpy as np
import pytest
from scipy.stats import ttest_rel

from orchestrator.measure.statistics.paired import CLUSTERED_T, PAIRED_T, compare_paired
from orchestrator.measure.statistics.significance import DRAWS, EXACT_UNITS, holm, sign_flip
from orchestrator.measure.statistics.values import PairedComparison, PairedSubtask, Refusal


def rows(left, right, families=None):
    families = families or [None] * len(left)
    return [
        PairedSubtask(subtask=f"s{number}", family=family, left=ours, right=theirs)
        for number, (ours, theirs, family) in enumerate(zip(left, right, families, strict=True))
    ]


LEFT = [(1, 1, 0), (1, 1, 1), (0, 1, 1), (1, 0, 0), (1, 1, 1), (0, 0, 1)]
RIGHT = [(1, 0, 0), (1, 1, 0), (0, 0, 1), (1, 1, 0), (0, 0, 1), (0, 0, 0)]


def test_without_families_it_is_the_paired_t_interval_of_the_reference():
    found = compare_paired(rows(LEFT, RIGHT))
    reference = ttest_rel([np.mean(x) for x in LEFT], [np.mean(x) for x in RIGHT]).confidence_interval(0.95)
    assert isinstance(found, PairedComparison)
    assert isclose(found.difference.low, reference.low)
    assert isclose(found.difference.high, reference.high)
    assert isclose(found.difference.estimate, found.left_mean - found.right_mean)
    assert (found.difference.method, found.subtasks, found.families) == (PAIRED_T, 6, 6)


def test_the_clustered_error_is_the_one_computed_by_hand():
    """d = 1, 1, 0, 0 in two families: mean 1/2, family sums of deviations 1 and -1, error √(2/1 · 2)/4."""
    found = compare_paired(rows([(1,), (1,), (0,), (0,)], [(0,), (0,), (0,), (0,)], ["a", "a", "b", "b"]))
    assert isclose(found.standard_error, sqrt(4) / 4)
    assert (found.families, found.difference.method) == (2, CLUSTERED_T)
    assert found.significance.p_value == 1.0  # one family alone moves: it could as well have moved the other way


def test_repeats_are_averaged_and_need_not_be_equally_many():
    once = compare_paired(rows([(1,), (0,), (0.5,)], [(0,), (0,), (0,)]))
    often = compare_paired(rows([(1, 1, 1), (0, 0), (1, 0)], [(0,), (0, 0), (0,)]))
    assert once.difference == often.difference


def test_subtasks_that_all_came_to_the_same_are_no_proof():
    found = compare_paired(rows([(1, 1, 1)] * 6, [(1, 1, 1)] * 6))
    assert found.difference.estimate == 0
    assert -0.45 < found.difference.low < -0.35
    assert 0.35 < found.difference.high < 0.45
    assert found.significance.p_value == 1.0


def test_the_same_difference_everywhere_has_no_interval_where_nothing_bounds_it():
    found = compare_paired(rows([(12.0,)] * 3, [(10.0,)] * 3), scale="amount")
    assert (found.difference.estimate, found.difference.low) == (2.0, None)
    assert found.difference.reason == "every subtask came to the same difference, which is no measure of spread"


def test_a_difference_of_shares_stays_within_its_bounds():
    found = compare_paired(rows([(1,), (1,), (0,)], [(0,), (0,), (0,)]))
    assert (found.difference.low, found.difference.high) == pytest.approx((-0.7676, 1.0), abs=1e-4)


def test_one_subtask_has_an_estimate_and_no_interval():
    found = compare_paired(rows([(1, 0)], [(0, 0)]))
    assert (found.difference.estimate, found.difference.low, found.standard_error) == (0.5, None, None)
    assert found.significance.p_value == 1.0


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ([], "there are no subtasks that both were tried on"),
        (rows([(1,)], [(0,)]) * 2, "a subtask occurs twice: its repeats belong into one row"),
        (rows([(3,)], [(0,)]), "a score is outside of 0 to 1, and was said to be a share"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_the_reason(given, reason):
    assert compare_paired(given) == Refusal(reason=reason)


def enumerated(differences):
    seen = abs(sum(differences)) - 1e-9
    patterns = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]
    return sum(value >= seen for value in patterns) / len(patterns)


@pytest.mark.parametrize(
    "differences",
    [
        [1 / 3, 1 / 3, -2 / 3, 1, 0, 1 / 3],
        [0.1, 0.2, 0.3, 0.4, 0.5],
        [1.0] * 6,
        [-1.0] * 6,
        [1 / 3] * 4 + [-1 / 3] * 4,
        [1e-3, 5.0, -4.0],
        [7.0],
    ],
)
def test_the_sign_flip_counts_every_pattern(differences):
    found = sign_flip(differences)
    assert found.is_exact
    assert isclose(found.p_value, enumerated(differences))
    assert found.p_value >= found.resolution


def test_no_difference_anywhere_is_no_evidence():
    assert sign_flip([0.0, 0.0]).p_value == 1.0
    assert sign_flip([]).p_value == 1.0
    assert sign_flip([1 / 3, 1 / 3, -2 / 3]).p_value == 1.0


def test_forty_units_are_counted_exactly_and_more_are_drawn():
    rng = np.random.default_rng(1)
    draws = rng.normal(0.25, 1, size=EXACT_UNITS + 1)
    exact, drawn = sign_flip(draws[:EXACT_UNITS]), sign_flip(draws, seed=3)
    assert exact.is_exact
    assert not drawn.is_exact
    assert drawn.resolution == 1 / (DRAWS + 1)
    assert sign_flip(draws, seed=3) == drawn
    # The same data with a unit that hardly counts, once exactly and once drawn.
    nearly = sign_flip([*draws[:EXACT_UNITS], 1e-6])
    assert isclose(nearly.p_value, exact.p_value, abs_tol=0.005)


def test_evidence_beyond_the_resolution_is_stated_as_the_resolution():
    assert sign_flip([1.0] * 60).p_value == 1 / (DRAWS + 1)


def test_holm_adjusts_as_in_the_worked_example():
    """Four tests: 0.01·4, 0.02·3, then 0.03·2 lifted to its predecessor, 0.04·1 lifted too."""
    adjusted = holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02})
    assert adjusted == pytest.approx({"d": 0.06, "a": 0.04, "c": 0.06, "b": 0.06})
    assert list(adjusted) == ["d", "a", "c", "b"]
    assert holm({}) == {}
    with pytest.raises(ValueError, match="from 0 to 1"):
        holm({"a": 1.2})
