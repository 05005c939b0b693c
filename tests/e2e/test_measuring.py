"""`show` and `explain` on real runs: the parts add up, and what is said is measured."""

import json

import pytest


@pytest.fixture
def compared(project):
    """A serial run of the project, then a parallel one; and their ids."""
    project.profile("paced", ttft_s=0.05, tokens_per_s=2_000, time_scale=1)
    for how in (["--serial"], ["--agents", "4"]):
        assert project.run("run", "task.yaml", "-b", "paced", "--quiet", *how).returncode == 0
    return project, *(folder.name for folder in project.folders())


def test_show_says_where_every_slot_second_went_and_explain_why_two_runs_differ(compared):
    project, serial, parallel = compared
    shown = project.summary(parallel)
    stack, told = shown["stack"], shown["decomposition"]
    assert sum(piece["slot_s"] for piece in stack["pieces"]) == pytest.approx(stack["slot_s"], rel=1e-9)
    assert stack["slot_s"] == pytest.approx(4 * shown["wall_s"])
    terms = [term["agents"] for term in (*told["work"], *told["waits"])]
    assert told["speedup"] + sum(terms) == pytest.approx(4)
    assert told["speedup"] == pytest.approx(shown["multiplier"])
    assert shown["bounds"]["floor_s"] <= shown["wall_s"]
    text = project.run("show", parallel).stdout
    assert "4 agents × " in text
    assert "(simulated)" in text
    assert "the measure of T(1)" in project.run("show", serial).stdout

    done = project.run("explain", serial, parallel)
    assert done.returncode == 0
    assert "The largest cause is agents, × 4.00" in done.stdout
    found = json.loads(project.run("explain", serial, parallel, "--json").stdout)
    assert sum(factor["log_ratio"] for factor in found["factors"]) == pytest.approx(found["log_ratio"])
    assert [each["what"] for each in found["differences"]] == ["gate_slots"]
    assert "nearly the same" in project.run("explain", parallel, parallel).stdout
    wrong = project.run("explain", "nobody", parallel)
    assert (wrong.returncode, "there is no run 'nobody'" in wrong.stderr) == (3, True)
