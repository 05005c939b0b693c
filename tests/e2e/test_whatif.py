"""`whatif`: the command on recorded runs, and what it says when there is nothing to learn from one."""

import json

import pytest

from tests.e2e.conftest import NAMES


@pytest.fixture
def ran(project):
    project.profile("shaky", wrong_edit=0.4)
    assert project.run("run", "task.yaml", "-b", "shaky", "--seed", "2", "--serial").returncode == 0
    return project


def asked(project, *arguments):
    done = project.run("whatif", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_recorded_run_is_scheduled_under_other_limits_and_every_figure_says_so(ran):
    done = ran.run("whatif", "last", "--serial", "--agents", "1,4")
    assert done.returncode == 0, done.stderr
    run = ran.folders()[-1].name
    assert f"simulated from run {run}" in done.stdout
    for words in ("serial", "4/4", "itself", "default"):
        assert words in done.stdout
    answer = asked(ran, "last", "--agents", "1,4")
    assert answer["simulated_from"] == run
    assert [row["agents"] for row in answer["rows"]] == [1, 4]
    assert all(row["merged"] == len(NAMES) and row["finished"] == "completed" for row in answer["rows"])
    assert answer["is_one_agent_measured"]
    assert answer["one_agent_s"] == answer["record"]["wall_s"]


def test_what_was_measured_under_the_same_limits_stands_beside_it(ran):
    ran.run("run", "task.yaml", "-b", "shaky", "--seed", "2", "--agents", "3")
    ran.run("run", "task.yaml", "-b", "shaky", "--seed", "5", "--agents", "4")  # other luck: not the same run
    serial, three, _ = (folder.name for folder in ran.folders())
    answer = asked(ran, serial, "--serial", "-n", "3,4")
    own, beside, other = (row["measured"] for row in answer["rows"])
    assert own["runs"] == [serial]
    assert beside["runs"] == [three]
    assert beside["error"] == pytest.approx(answer["rows"][1]["wall_s"] / beside["wall_s"] - 1)
    assert other is None
    assert all(row["measured"] is None for row in asked(ran, serial, "-n", "3", "--gate-scale", "2")["rows"])


def test_a_fleet_under_a_rate_limit_is_asked_for_in_one_line(ran):
    answer = asked(ran, "last", "-n", "500", "--replicate", "100", "--gate-slots", "64", "--cores", "64", "--rpm", "60")
    row = answer["rows"][0]
    assert (row["merged"], row["subtasks"]) == (400, 400)
    assert row["binds"] == "rate limit"
    assert row["wall_s"] > 60 * (row["attempts"] - 1) / 60
    assert answer == asked(
        ran, "last", "-n", "500", "--replicate", "100", "--gate-slots", "64", "--cores", "64", "--rpm", "60"
    )


def test_an_unfinished_run_is_used_and_it_is_said_what_for(project):
    project.run("run", "task.yaml", "-b", "instant", "--agents", "1", "--max-attempts", "2")
    done = project.run("whatif", "last", "-n", "1")
    assert done.returncode == 0, done.stderr
    assert "2 of 4 subtasks came to their end" in done.stdout
    assert asked(project, "last", "-n", "2")["rows"][0]["merged"] == 4


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["whatif"], 2, "RUN"),
        (["whatif", "nobody"], 3, "no runs"),
        (["whatif", "last", "--agents", "1,two"], 2, "1,2,4"),
        (["whatif", "last", "--agents", "0"], 2, "from 1"),
        (["whatif", "last", "--agents", ""], 2, "whole numbers"),
        (["whatif", "last", "--rpm", "0"], 2, "rpm"),
        (["whatif", "last", "--generate-scale", "1e300"], 2, "between"),
        (["whatif", "last", "--gate-scale", "nan"], 2, "between"),
        (["whatif", "last", "--gate-slowdown", "0.5"], 2, "no slowdown"),
        (["whatif", "last", "--gate-slowdown", "1.5", "--calibrate"], 2, "either"),
        (["whatif", "last", "--replicate", "0"], 2, "replicate"),
    ],
)
def test_what_is_wrong_is_said_without_a_traceback(project, arguments, code, words):
    done = project.run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_run_and_one_that_nothing_can_be_compared_with_are_said_to_be_so(project):
    project.run("run", "task.yaml", "-b", "instant")
    unknown = project.run("whatif", "nobody")
    assert (unknown.returncode, "there is no run 'nobody'" in unknown.stderr) == (3, True)
    alone = project.run("whatif", "last", "--calibrate")
    assert (alone.returncode, "--serial run" in alone.stderr) == (3, True)


def test_a_run_that_merged_nothing_teaches_nothing(project):
    project.profile("hopeless", refusal=1.0, repair=1.0)
    project.run("run", "task.yaml", "-b", "hopeless")
    done = project.run("whatif", "last")
    assert done.returncode == 3
    assert "merged nothing" in done.stderr
