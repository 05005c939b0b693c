"""kill -9 at any moment, Ctrl-C once and twice: `resume` reaches what an undisturbed run reaches, and nothing is paid twice."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

import pytest

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.events import AttemptStarted, PatchProposed, RunFinished, RunResumed

PACE = {
    "time_scale": 1,
    "ttft_s": 0.25,
    "ttft_sigma": 0.5,
    "tokens_per_s": 300,
    "wrong_edit": 0.25,
    "malformed_block": 0.1,
}


def undisturbed(project, seed):
    project.profile("paced", **{**PACE, "time_scale": 0})
    done = project.run("run", "task.yaml", "-b", "paced", "--seed", seed)
    assert done.returncode in (0, 1), done.stderr
    return project.tree(), project.summary()["merged"]


def wait_for_journal(project, count, process, run=1):
    """Until the journal of that run has that many entries, or the process has ended."""
    deadline = time.monotonic() + 60
    store = project.root / ".orchestrate" / "runs"
    while time.monotonic() < deadline and process.poll() is None:
        folders = project.folders() if store.is_dir() else []
        if len(folders) >= run:
            with contextlib.suppress(OrchestratorError):  # the file is just being made
                if len(project.entries(folders[run - 1])) >= count:
                    return
        time.sleep(0.01)


def check_that_no_patch_was_paid_twice(project):
    entries = project.entries()
    proposed = [(e.event.subtask, e.event.attempt) for e in entries if isinstance(e.event, PatchProposed)]
    assert len(proposed) == len(set(proposed))
    # A proposed patch is either judged or merged; its subtask is asked again only after a verdict or a conflict.
    waiting = set()
    for entry in entries:
        event = entry.event
        if isinstance(event, PatchProposed):
            waiting.add(event.subtask)
        elif event.kind == "patch_judged" and not event.verdict.passed:
            waiting.discard(event.subtask)
        elif event.kind in ("batch_rejected", "batch_merged"):
            waiting -= {conflict.subtask for conflict in event.conflicts}
        if isinstance(event, AttemptStarted) and event.attempt > 1:
            assert event.subtask not in waiting


@pytest.mark.parametrize("kill_at", [1, 3, 7, 10, 13, 16, 20])
def test_kill_9_at_any_moment_then_resume_reaches_the_same_tree(project, kill_at):
    expected = undisturbed(project, seed=5)
    (project.root / "configs" / "paced.yaml").unlink()
    project.profile("paced", **PACE)
    process = project.start("run", "task.yaml", "-b", "paced", "--seed", "5", "--quiet")
    wait_for_journal(project, kill_at, process, run=2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    resumed = project.run("resume")
    assert "nothing to resume" not in resumed.stderr, "the run had ended before it was killed: nothing was tested"
    assert resumed.returncode in (0, 1), resumed.stderr
    assert (project.tree(), project.summary()["merged"]) == expected
    check_that_no_patch_was_paid_twice(project)


def test_killed_again_and_again_it_still_gets_there(project):
    expected = undisturbed(project, seed=3)
    project.profile("paced", **PACE)
    process = project.start("run", "task.yaml", "-b", "paced", "--seed", "3", "--quiet")
    kills = 0
    for count in range(3, 60, 4):
        wait_for_journal(project, count, process, run=2)
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        kills += 1
        process = project.start("resume", "--quiet")
    process.communicate(timeout=60)
    assert kills >= 2
    assert (project.tree(), project.summary()["merged"]) == expected
    check_that_no_patch_was_paid_twice(project)


def test_ctrl_c_once_drains_says_how_to_go_on_and_exits_with_130(project):
    project.profile("slow", time_scale=1, ttft_s=1.0, ttft_sigma=0, tokens_per_s=100, tokens_per_s_sigma=0)
    process = project.start("run", "task.yaml", "-b", "slow", "--agents", "2")
    wait_for_journal(project, 5, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"orchestrate resume \S+-values", stderr)
    entries = project.entries()
    assert entries[-1].event == RunFinished(reason="drained")
    assert sum(isinstance(entry.event, PatchProposed) for entry in entries) == 2
    assert project.run("resume", "--quiet").returncode == 0
    assert project.summary()["merged"] == 4
    assert sum(isinstance(entry.event, RunResumed) for entry in project.entries()) == 1


def test_ctrl_c_twice_cancels_at_once(project):
    project.profile("slow", time_scale=1, ttft_s=30.0, tokens_per_s=10)
    process = project.start("run", "task.yaml", "-b", "slow")
    wait_for_journal(project, 5, process)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - asked < 15
    assert "orchestrate resume" in stderr
    assert not isinstance(project.entries()[-1].event, RunFinished)


def test_when_the_grace_is_over_a_draining_run_is_cancelled(project):
    project.profile("slow", time_scale=1, ttft_s=60.0)
    process = project.start("run", "task.yaml", "-b", "slow", "--grace", "0.5")
    wait_for_journal(project, 5, process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 130


def test_a_run_that_another_process_works_at_is_left_alone(project):
    project.profile("slow", time_scale=1, ttft_s=20.0)
    process = project.start("run", "task.yaml", "-b", "slow")
    wait_for_journal(project, 4, process)
    try:
        second = project.run("resume")
        assert second.returncode == 3
        assert "another process" in second.stderr
        assert "running" in project.run("runs").stdout
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_run_that_has_ended_or_whose_task_has_changed_is_not_resumed(project):
    project.run("run", "task.yaml", "-b", "instant")
    ended = project.run("resume")
    assert ended.returncode == 3
    assert "nothing to resume" in ended.stderr
    project.profile("bounded", refusal=0.5)
    project.run("run", "task.yaml", "-b", "bounded", "--max-tokens", "1")
    task = project.root / "task.yaml"
    task.write_text(task.read_text().replace("attempts: 4", "attempts: 5"))
    changed = project.run("resume")
    assert changed.returncode == 3
    assert "has changed" in changed.stderr


def test_a_limit_ends_the_run_with_1_and_resume_with_more_goes_on(project):
    project.profile("short", max_output_tokens=300)
    stopped = project.run("run", "task.yaml", "-b", "short", "--agents", "1", "--max-tokens", "23400")
    assert stopped.returncode == 1
    assert project.summary()["finished"] == "token_limit"
    assert 0 < project.summary()["merged"] < 4
    assert project.run("resume", "--max-tokens", "100000").returncode == 0
    assert project.summary()["merged"] == 4
    branches = project.git("branch", "--list", "orchestrate/*").splitlines()
    assert len(branches) == 1
    assert Path(project.root / ".orchestrate").is_dir()
