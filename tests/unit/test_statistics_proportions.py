"""Shares against references: Wilson's interval, pass@k, pass^k, and their means over subtasks."""

from itertools import combinations
from math import isclose

import pytest
from scipy.stats import binomtest

from orchestrator.measure.statistics.pass_rates import mean_pass_at_k, mean_pass_hat_k
from orchestrator.measure.statistics.proportions import pass_at_k, pass_hat_k, wilson
from orchestrator.measure.statistics.values import Tries


@pytest.mark.parametrize(("accepted", "tried"), [(0, 6), (1, 6), (3, 6), (6, 6), (17, 20), (0, 1), (999, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_wilson_is_the_interval_of_the_reference(accepted, tried, level):
    ours, reference = wilson(accepted, tried, level), binomtest(accepted, tried).proportion_ci(level, "wilson")
    assert isclose(ours.low, reference.low, abs_tol=1e-12)
    assert isclose(ours.high, reference.high, abs_tol=1e-12)
    assert (ours.estimate, ours.n, ours.level) == (accepted / tried, tried, level)


def test_a_rate_over_nothing_is_undefined_and_says_why():
    empty = wilson(0, 0)
    assert (empty.estimate, empty.low, empty.high) == (None, None, None)
    assert empty.reason == "nothing was tried"
    assert not empty.excludes(0.5)


@pytest.mark.parametrize(("accepted", "tried"), [(-1, 3), (4, 3)])
def test_counts_that_cannot_be_are_errors(accepted, tried):
    with pytest.raises(ValueError, match="accepted of"):
        wilson(accepted, tried)
    with pytest.raises(ValueError, match="accepted of"):
        pass_at_k(tried, accepted, 1)
    with pytest.raises(ValueError, match="accepted of"):
        Tries(subtask="a", tried=3, accepted=4)


@pytest.mark.parametrize("tried", [1, 2, 5])
def test_pass_at_k_and_pass_hat_k_count_the_draws_of_k_tries(tried):
    for accepted in range(tried + 1):
        outcomes = [True] * accepted + [False] * (tried - accepted)
        for k in range(1, tried + 1):
            draws = list(combinations(outcomes, k))
            assert isclose(pass_at_k(tried, accepted, k), sum(map(any, draws)) / len(draws))
            assert isclose(pass_hat_k(tried, accepted, k), sum(map(all, draws)) / len(draws))


@pytest.mark.parametrize("k", [0, 4])
def test_k_tries_cannot_be_judged_from_fewer(k):
    with pytest.raises(ValueError, match="k must be from 1 to the 3 tries"):
        pass_at_k(3, 1, k)


def tries(*accepted, tried=3, families=None):
    families = families or [None] * len(accepted)
    return [
        Tries(subtask=f"s{number}", family=family, tried=tried, accepted=count)
        for number, (count, family) in enumerate(zip(accepted, families, strict=True))
    ]


def test_pass_at_1_is_the_accepted_rate():
    assert isclose(mean_pass_at_k(tries(3, 0, 1, 2), 1).estimate, 0.5)


def test_a_subtask_with_fewer_tries_than_k_makes_the_mean_undefined_instead_of_leaving():
    rows = [*tries(3, 3), Tries(subtask="short", tried=2, accepted=0)]
    mean = mean_pass_at_k(rows, 3)
    assert mean.estimate is None
    assert mean.reason == "subtask 'short' was tried 2 times, and 3 are asked about"
    assert mean_pass_at_k(rows, 2).estimate is not None


def test_where_every_subtask_was_accepted_the_interval_is_the_one_for_that_many_subtasks():
    rate, reference = mean_pass_hat_k(tries(*[3] * 6), 3), wilson(6, 6)
    assert (rate.estimate, rate.high) == (1.0, 1.0)
    assert isclose(rate.low, reference.low)


def test_repeats_of_a_subtask_are_no_further_subtasks():
    """Six subtasks that are always or never accepted: thirty tries say no more than six."""
    few, many = mean_pass_at_k(tries(1, 1, 1, 0, 0, 0, tried=1), 1), mean_pass_at_k(tries(5, 5, 5, 0, 0, 0, tried=5), 1)
    assert isclose(few.low, many.low)
    assert isclose(few.high, many.high)


def test_families_that_stand_or_fall_together_widen_the_interval():
    apart = mean_pass_at_k(tries(*[3] * 10, *[0] * 10), 1)
    together = mean_pass_at_k(tries(*[3] * 10, *[0] * 10, families=list("aaaaabbbbbcccccddddd")), 1)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert (apart.n, together.n) == (20, 4)


def test_one_family_has_no_interval():
    rate = mean_pass_at_k(tries(3, 1, families=["a", "a"]), 1)
    assert isclose(rate.estimate, 2 / 3)
    assert (rate.low, rate.high, rate.reason) == (None, None, "one subtask, run or family has no spread")


def test_nothing_and_nonsense_are_told_apart():
    assert mean_pass_at_k([], 1).reason == "there are no subtasks"
    with pytest.raises(ValueError, match="k counts tries"):
        mean_pass_at_k(tries(1), 0)
    with pytest.raises(ValueError, match="occurs twice"):
        mean_pass_at_k(tries(1) + tries(2), 1)
