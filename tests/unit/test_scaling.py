"""The table of a scaling experiment: which gain is said, how sure it is, and what is refused."""

from math import isclose

import numpy as np
import pytest

from orchestrator.measure.scaling import Scaling, ScalingRun, scaling
from orchestrator.measure.statistics.values import AmdahlFit, Refusal, UslFit

ALL = frozenset({"a", "b", "c", "d"})


def run(agents, repeat, wall_s, accepted=ALL, lines=100, **kwargs):
    return ScalingRun(
        agents=agents,
        repeat=repeat,
        wall_s=wall_s,
        accepted=accepted,
        retained_lines=lines,
        is_serial=kwargs.pop("is_serial", agents == 1),
        **kwargs,
    )


def experiment(agents=(1, 2, 4, 8), repeats=3, share=0.1):
    rng = np.random.default_rng(5)
    return [
        run(n, repeat, 1000 * (share + (1 - share) / n) * float(np.exp(rng.normal(0, 0.03))), output_tokens=5_000)
        for n in agents
        for repeat in range(repeats)
    ]


def test_runs_that_accepted_the_same_subtasks_have_a_speedup():
    found = scaling([run(1, 0, 90.0), run(1, 1, 110.0), run(4, 0, 30.0), run(4, 1, 34.0)])
    one, four = found.points
    assert (four.kind, four.mean_wall_s) == ("speedup", 32.0)
    assert isclose(four.gain.estimate, 100 / 32)
    assert isclose(four.efficiency.estimate, 100 / 32 / 4)
    assert isclose(four.efficiency.low, four.gain.low / 4)
    assert isclose(four.karp_flatt.estimate, (0.32 - 0.25) / 0.75)
    assert four.karp_flatt.low < four.karp_flatt.estimate < four.karp_flatt.high
    assert (one.gain.estimate, one.gain.low, one.gain.high) == (1.0, 1.0, 1.0)


def test_one_run_that_accepted_less_turns_the_speedup_into_a_multiplier():
    """Two subtasks in 30 s against four in 100 s: 1.67 times as many an hour, though 3.3 times as quick."""
    found = scaling([run(1, 0, 100.0), run(4, 0, 30.0, accepted=frozenset({"a", "b"}))])
    four = found.points[1]
    assert four.kind == "multiplier"
    assert isclose(four.gain.estimate, (2 / 30) / (4 / 100))
    assert four.karp_flatt.reason == "the accepted subtasks differ, and it is about the same work"
    assert found.amdahl == Refusal(reason="the accepted subtasks differ, and Amdahl's law is about the same work")


def test_as_many_subtasks_are_not_the_same_subtasks():
    found = scaling([run(1, 0, 100.0, frozenset({"a"})), run(2, 0, 50.0, frozenset({"b"}))])
    assert found.points[1].kind == "multiplier"


def test_lines_are_a_yardstick_of_their_own():
    found = scaling([run(1, 0, 100.0, lines=50), run(2, 0, 50.0, lines=100)], yardstick="retained")
    assert (found.points[1].kind, found.points[1].gain.estimate) == ("multiplier", 4.0)
    assert found.points[1].mean_per_hour == 7200.0


def test_a_single_run_has_a_speedup_and_no_interval():
    found = scaling([run(1, 0, 100.0), run(4, 0, 30.0)])
    assert (found.points[1].gain.low, found.points[1].efficiency.high) == (None, None)
    assert found.points[1].gain.reason == "a single run does not say how much another would differ"
    assert found.points[1].karp_flatt.reason == found.points[1].gain.reason


def test_nothing_accepted_is_no_speedup():
    nothing = frozenset()
    found = scaling([run(1, 0, 100.0, nothing), run(2, 0, 10.0, nothing)])
    assert (found.points[1].gain.estimate, found.points[1].gain.reason) == (None, "nothing was accepted")
    assert found.points[1].karp_flatt.reason == "nothing was accepted"
    assert isinstance(found.usl, Refusal)


def test_nothing_accepted_by_one_agent_cannot_be_multiplied():
    found = scaling([run(1, 0, 100.0, frozenset()), run(2, 0, 10.0)])
    assert (found.points[1].gain.estimate, found.points[1].gain.reason) == (None, "there is nothing to divide by")


def test_without_one_agent_there_is_no_gain_and_no_fit():
    found = scaling([run(n, 0, 100.0 / n) for n in (2, 4, 8, 16)])
    assert {point.gain.reason for point in found.points} == {"there is no run with one agent"}
    assert found.usl == found.amdahl == Refusal(reason="there is no run with one agent")


def test_four_numbers_of_agents_are_fitted_and_three_are_not():
    four, three = scaling(experiment()), scaling(experiment(agents=(1, 2, 4), repeats=10))
    assert isinstance(four.amdahl, AmdahlFit)
    assert isinstance(four.usl, UslFit)
    assert not four.amdahl.serial_share.excludes(0.1)
    reason = "not identifiable: 3 distinct numbers of agents, and 4 are needed"
    assert three.usl == three.amdahl == Refusal(reason=reason)


def test_a_run_with_one_agent_that_overlaps_its_gates_is_no_baseline():
    rows = experiment()
    mixed = scaling([*rows, run(1, 7, 500.0, is_serial=False)])
    assert mixed.points == scaling(rows).points
    assert mixed.notes == ("1 runs with one agent that overlap their gates are left out: T(1) is serial",)
    alone = scaling([row.model_copy(update={"is_serial": False}) for row in rows])
    assert alone.notes == (
        "the runs with one agent overlap their gates, so they are not T(1): the gains are too small",
    )


def test_a_peak_beyond_what_was_measured_is_called_a_prediction():
    rng = np.random.default_rng(6)
    rows = [
        run(n, repeat, 1000 * (1 + 0.05 * (n - 1) + 0.004 * n * (n - 1)) / n * float(np.exp(rng.normal(0, 0.003))))
        for n in (1, 2, 4, 8)
        for repeat in range(5)
    ]
    found = scaling(rows)
    assert found.usl.peak.estimate > 8
    assert found.notes == ("the peak is a prediction: it lies beyond the 8 agents that were measured",)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "there are no runs"),
        ([run(1, 0, 0.0)], "the run with 1 agents, repeat 0, took 0.0 s"),
        ([run(1, 0, 5.0), run(2, 3, -1.0)], "the run with 2 agents, repeat 3, took -1.0 s"),
        ([run(2, 3, float("nan"))], "the run with 2 agents, repeat 3, took nan s"),
        ([run(2, 3, float("inf"))], "the run with 2 agents, repeat 3, took inf s"),
        ([run(2, 3, 5.0), run(2, 3, 6.0)], "the run with 2 agents, repeat 3, is there twice"),
    ],
)
def test_rows_that_no_run_can_have_come_from_are_refused(rows, reason):
    assert scaling(rows) == Refusal(reason=reason)


def test_an_unknown_cost_stays_unknown():
    found = scaling([run(1, 0, 5.0, cost_usd=1.0, output_tokens=10), run(1, 1, 5.0, output_tokens=20)])
    assert (found.points[0].mean_cost_usd, found.points[0].mean_output_tokens) == (None, 15.0)


def test_the_order_of_the_rows_does_not_matter_and_the_table_survives_being_written_down():
    rows = experiment()
    found = scaling(rows)
    assert scaling(rows[::-1]) == found
    assert Scaling.model_validate_json(found.model_dump_json()) == found
