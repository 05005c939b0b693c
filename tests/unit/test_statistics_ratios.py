"""Ratios of totals, ratios of ratios, ratios of means: by hand, and where they are not defined."""

from math import exp, isclose, log, sqrt

import pytest
from scipy.stats import t

from orchestrator.measure.statistics.ratios import ratio_of_means, ratio_of_ratios, ratio_of_totals
from orchestrator.measure.statistics.values import Tally


def tallies(*pairs, families=None):
    families = families or [None] * len(pairs)
    return [
        Tally(unit=f"s{number}", family=family, numerator=over, denominator=under)
        for number, ((over, under), family) in enumerate(zip(pairs, families, strict=True))
    ]


def test_cost_for_an_accepted_subtask_counts_what_the_failed_ones_cost():
    assert ratio_of_totals(tallies((1.0, 1), (1.0, 0), (2.0, 1))).estimate == 2.0


def test_the_interval_is_the_one_computed_by_hand():
    """Two units: without the one the ratio is 3, without the other 1; the error of the logarithm is √(1/2 · 2 (log 3 / 2)²)."""
    found = ratio_of_totals(tallies((1.0, 1), (3.0, 1)), level=0.5)
    reach = exp(t.ppf(0.75, 1) * log(3) / 2)
    assert isclose(found.high / found.estimate, reach)
    assert isclose(found.estimate / found.low, reach)


def test_where_one_unit_is_all_there_is_nothing_is_known_about_others():
    found = ratio_of_totals(tallies((1.0, 0), (2.0, 3), (1.0, 0)))
    assert isclose(found.estimate, 4 / 3)
    assert (found.low, found.reason) == (None, "a single unit or family is all there is of one side")


def test_an_interval_that_limits_nothing_is_not_given():
    found = ratio_of_totals(tallies((1.0, 1), (1000.0, 1)))
    assert (found.low, found.reason) == (None, "it varies too much to limit it")


def test_where_nothing_was_accepted_nothing_is_divided():
    found = ratio_of_totals(tallies((1.0, 0), (2.0, 0)))
    assert (found.estimate, found.low, found.reason) == (None, None, "there is nothing to divide by")
    assert ratio_of_totals([]).estimate is None


def test_an_unknown_cost_makes_the_ratio_unknown():
    found = ratio_of_totals(tallies((None, 1), (2.0, 1)))
    assert (found.estimate, found.reason) == (None, "unknown for 1 of 2")
    assert ratio_of_ratios(tallies((1.0, 1), (2.0, 1)), tallies((None, 1), (2.0, 1))).reason == "unknown for 1 of 2"


def test_what_cost_nothing_is_zero_and_has_no_interval():
    found = ratio_of_totals(tallies((0.0, 1), (0.0, 1)))
    assert (found.estimate, found.low) == (0.0, None)
    assert ratio_of_ratios(tallies((0.0, 1), (0.0, 1)), tallies((1.0, 1), (1.0, 2))).estimate == 0.0
    assert ratio_of_ratios(tallies((1.0, 1), (1.0, 2)), tallies((0.0, 1), (0.0, 1))).estimate is None


def test_one_unit_and_units_without_spread_have_no_interval():
    assert ratio_of_totals(tallies((1.0, 2))).reason == "one subtask, run or family has no spread"
    assert ratio_of_totals(tallies((1.0, 2), (2.0, 4))).reason.startswith("the ratio is the same in all units")
    assert ratio_of_totals(tallies((1.0, 2), (3.0, 1), families=["a", "a"])).low is None


def test_pairing_takes_out_what_makes_a_subtask_dear_for_both():
    left = tallies((1.0, 1), (10.0, 1), (3.1, 1), (40.0, 1))
    right = tallies((2.1, 1), (19.0, 1), (6.0, 1), (81.0, 1))
    paired, alone = ratio_of_ratios(left, right), ratio_of_totals(left)
    assert isclose(paired.estimate, 54.1 / 108.1)
    assert paired.high / paired.low < 1.3
    assert alone.high / alone.low > 10


def test_both_sides_are_matched_by_unit_and_not_by_order():
    left, right = tallies((1.0, 1), (5.0, 2), (3.0, 1)), tallies((2.0, 1), (4.0, 1), (9.0, 2))
    assert ratio_of_ratios(left, right) == ratio_of_ratios(left, right[::-1])


@pytest.mark.parametrize(
    ("right", "message"),
    [
        (tallies((1.0, 1)), "the same units"),
        (tallies((1.0, 1), (1.0, 1), families=["a", None]), "the same family"),
    ],
)
def test_sides_that_do_not_match_are_an_error(right, message):
    with pytest.raises(ValueError, match=message):
        ratio_of_ratios(tallies((1.0, 1), (2.0, 1)), right)


def test_a_unit_that_occurs_twice_is_an_error():
    with pytest.raises(ValueError, match="twice"):
        ratio_of_totals(tallies((1.0, 1)) * 2)


def test_a_speedup_from_repeats_by_hand():
    """Both sides have a coefficient of variation of √2/10 over two runs: the log's variance is 2·(0.02/2), Welch's df are 2."""
    found = ratio_of_means([90.0, 110.0], [9.0, 11.0])
    assert isclose(found.estimate, 10.0)
    assert isclose(found.high, 10 * exp(t.ppf(0.975, 2) * sqrt(0.02)))
    assert found.n == 4


def test_a_single_run_has_a_ratio_and_no_interval():
    found = ratio_of_means([100.0], [10.0, 11.0])
    assert (found.estimate, found.low) == (pytest.approx(9.52, abs=0.01), None)
    assert found.reason == "a single run does not say how much another would differ"
    assert ratio_of_means([5.0, 5.0], [1.0, 1.0]).reason == "all repeats came to the same"
    assert ratio_of_means([], [1.0]).estimate is None
    assert ratio_of_means([0.0, 0.0], [1.0, 2.0]).estimate == 0.0
    assert ratio_of_means([1.0, 2.0], [0.0, 0.0]).estimate is None
