"""What company costs a gate, and what it would have taken alone."""

import pytest

from orchestrator.measure.contention import Contention, SideBySide, alone_s, fitted


@pytest.mark.parametrize(
    ("cores", "all_busy", "at_once", "times"),
    [
        (2, 1.5, 0, 1.0),
        (2, 1.5, 1, 1.0),
        (2, 1.5, 2, 1.5),
        (2, 1.5, 4, 3.0),
        (5, 2.0, 3, 1.5),
        (1, 1.5, 3, 3.0),
        (4, 1.0, 4, 1.0),
        (4, 1.0, 6, 1.5),
        (4, 4.0, 2, 2.0),  # checks that use every core themselves
    ],
)
def test_a_check_comes_on_slower_the_more_of_them_there_are(cores, all_busy, at_once, times):
    assert Contention(cores, all_busy).slowdown(at_once) == pytest.approx(times)


@pytest.mark.parametrize(("cores", "all_busy"), [(0, 1.0), (2, 0.9), (2, float("nan"))])
def test_what_is_no_slowdown_is_refused(cores, all_busy):
    with pytest.raises(ValueError, match="no slowdown"):
        Contention(cores, all_busy)


def test_what_ran_alone_took_what_it_took():
    assert alone_s([(0, 3), (3, 4), (10, 10)], Contention(2, 1.5)) == [3, 1, 0]


def test_what_ran_beside_another_would_have_been_faster():
    # From 2 to 4 both run, at two thirds of their pace.
    assert alone_s([(0, 4), (2, 6)], Contention(2, 1.5)) == pytest.approx([2 + 4 / 3, 4 / 3 + 2])


def test_the_slowdown_is_found_again_from_runs_that_had_it():
    runs = [SideBySide([(0, 6), (0, 6), (6, 7)], [4.0, 4.0, 1.0]), SideBySide([(0, 3), (0, 3)], [2.0, None])]
    assert fitted(runs, 2) == pytest.approx(1.5)


def test_without_company_there_is_nothing_to_fit():
    assert fitted([SideBySide([(0, 6), (6, 7)], [4.0, 1.0])], 2) is None
    assert fitted([SideBySide([(0, 6), (0, 6)], [None, None])], 2) is None
    assert fitted([], 2) is None


def test_company_that_cost_nothing_is_no_speedup():
    assert fitted([SideBySide([(0, 6), (0, 6)], [9.0, 9.0])], 2) == 1.0
