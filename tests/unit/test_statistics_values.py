"""What statistics answer with: nothing missing without a reason, nothing that JSON cannot carry, nothing heavy to import."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from orchestrator.measure.statistics.pareto import pareto
from orchestrator.measure.statistics.values import Interval, ParetoPoint, undefined


@pytest.mark.parametrize(
    "fields",
    [
        {"estimate": None, "low": 0.0, "high": 1.0, "reason": "x"},
        {"estimate": 0.5, "low": 0.9, "high": 0.1},
        {"estimate": 0.5, "low": 0.1, "high": None},
        {"estimate": None},
        {"estimate": float("nan"), "low": 0, "high": 1},
        {"estimate": 1.0, "low": 0, "high": float("inf")},
        {"estimate": 1.0, "low": 0, "high": 2, "level": 95},
    ],
)
def test_an_interval_that_makes_no_sense_cannot_be_made(fields):
    with pytest.raises(ValidationError):
        Interval(method="m", n=3, **fields)


def test_an_interval_survives_being_written_down():
    for interval in (
        Interval(estimate=0.5, low=0.1, high=0.9, method="m", n=3),
        Interval(estimate=0.5, low=0.1, method="m", n=3, reason="no upper bound"),
        undefined("m", "why"),
    ):
        assert Interval.model_validate_json(interval.model_dump_json()) == interval


def test_a_missing_bound_excludes_nothing():
    half = Interval(estimate=0.5, low=0.1, method="m", n=3, reason="no upper bound")
    assert half.excludes(0.05)
    assert not half.excludes(1e9)
    assert not half.is_bounded


@pytest.mark.parametrize(
    "module", ["scaling", "statistics", "statistics.values", "statistics.proportions", "statistics.pareto"]
)
def test_what_commands_import_at_the_top_does_not_load_numpy(module):
    script = f"import sys, orchestrator.measure.{module}; sys.exit('numpy' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def choice(name, cost, wall, brought):
    return ParetoPoint(name=name, cost_usd=cost, wall_s=wall, brought=brought)


def test_the_front_is_what_nothing_beats():
    standings = pareto(
        [choice("cheap", 1, 9, 5), choice("fast", 5, 1, 5), choice("worse", 5, 9, 5), choice("best", 1, 9, 6)]
    )
    assert {s.point.name: (s.is_on_front, s.dominated_by) for s in standings} == {
        "cheap": (False, ("best",)),
        "fast": (True, ()),
        "worse": (False, ("cheap", "fast", "best")),
        "best": (True, ()),
    }


def test_equals_stand_beside_each_other_and_unknowns_stand_aside():
    standings = pareto([choice("a", 1, 1, 1), choice("b", 1, 1, 1), choice("c", None, 0, 9)])
    assert [s.is_on_front for s in standings] == [True, True, None]
    assert pareto([]) == ()
    with pytest.raises(ValueError, match="distinct"):
        pareto([choice("a", 1, 1, 1)] * 2)
