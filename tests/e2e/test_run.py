"""The main job, by the real command: what is promised to somebody who runs it."""

import json
import os
import pty
import re
import select
import subprocess
import time

import pytest

from tests.e2e.conftest import COMMAND, NAMES

SOLVED = {name: f"    return {number} + 1\n" for number, name in enumerate(NAMES, 1)}


def test_all_that_passes_is_on_a_branch_and_the_checkout_is_untouched(project):
    (project.repo / "notes.txt").write_text("not committed")
    before = (project.git("rev-parse", "HEAD"), project.git("status", "--porcelain"), project.git("branch", "--list"))
    done = project.run("run", "task.yaml", "--backend", "instant")
    assert done.returncode == 0, done.stderr
    assert "4 merged, 0 abandoned of 4" in done.stdout
    assert (project.git("rev-parse", "HEAD"), project.git("status", "--porcelain")) == before[:2]
    branch = f"orchestrate/{project.folders()[0].name}"
    assert branch in project.git("branch", "--list", "orchestrate/*")
    for name, line in SOLVED.items():
        assert line in project.git("show", f"{branch}:app/{name}.py") + "\n"


def test_there_is_one_commit_a_subtask_with_its_trailers(project):
    project.run("run", "task.yaml", "--backend", "instant")
    run = project.folders()[0].name
    log = project.git("log", "--format=%s|%(trailers:only,unfold,separator=%x3B)", f"main..orchestrate/{run}")
    lines = log.splitlines()
    assert len(lines) == 4
    for name in NAMES:
        (line,) = [line for line in lines if f"Orchestrate-Subtask: {name}" in line]
        assert f"Orchestrate-Run: {run}" in line
        assert "Orchestrate-Backend: instant" in line


def test_the_same_seed_merges_the_same_trees_whatever_the_number_of_agents(project):
    project.profile("wild", wrong_edit=0.3, malformed_block=0.1, misplaced_edit=0.1, refusal=0.05)
    trees = []
    for agents in (4, 1, 3):
        done = project.run("run", "task.yaml", "-b", "wild", "--agents", agents, "--seed", 7)
        assert done.returncode in (0, 1), done.stderr
        trees.append((project.tree(), project.summary()["merged"]))
    assert len(set(trees)) == 1


@pytest.mark.parametrize("seed", range(4))
def test_when_half_of_the_first_answers_are_wrong_nothing_wrong_is_merged_and_the_run_ends(project, seed):
    project.profile("half", wrong_edit=0.3, broken_syntax=0.1, protected_edit=0.1, repair=0.5)
    done = project.run("run", "task.yaml", "-b", "half", "--seed", seed)
    assert done.returncode in (0, 1)
    state = project.state()
    run = project.folders()[0].name
    for name in NAMES:
        text = project.git("show", f"orchestrate/{run}:app/{name}.py", check=False) + "\n"
        assert (SOLVED[name] in text) == (state.subtasks[name].phase == "merged")
    assert project.git("diff", "--name-only", f"main..orchestrate/{run}", "--", "check.py", "tests") == ""


def test_a_subtask_that_no_try_solves_is_abandoned_with_exit_code_1(project):
    project.profile("bad", refusal=1.0, repair=1.0)
    done = project.run("run", "task.yaml", "-b", "bad")
    assert done.returncode == 1
    assert "4 abandoned" in done.stdout
    assert "refused" in done.stdout
    assert project.git("branch", "--list", "orchestrate/*") == ""


def test_two_subtasks_on_the_same_line_are_both_merged_one_after_the_other(project):
    (project.root / "task.yaml").write_text(
        (project.root / "task.yaml")
        .read_text()
        .replace(
            'foreach: {glob: "app/*.py"}',
            "list:\n    - {id: alpha, vars: {stem: alpha, path: app/alpha.py}}\n"
            "    - {id: other, vars: {stem: alpha, path: app/alpha.py}}",
        )
    )
    (project.root / "solutions" / "alpha.diff").write_text(
        "--- a/app/alpha.py\n+++ b/app/alpha.py\n@@ -4,2 +4,2 @@\n def value():\n-    return 0\n+    return 2\n"
    )
    (project.root / "solutions" / "other.diff").write_text(
        "--- a/app/alpha.py\n+++ b/app/alpha.py\n@@ -3,2 +3,3 @@\n \n+LIMIT = 10\n def value():\n"
    )
    (project.repo / "check.py").write_text("import sys\n")
    project.git("commit", "-qam", "Check less")
    done = project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 0, done.stdout + done.stderr
    run = project.folders()[0].name
    text = project.git("show", f"orchestrate/{run}:app/alpha.py")
    assert "LIMIT = 10" in text
    assert "return 2" in text


def test_a_dependent_subtask_works_on_what_it_needs(project):
    with (project.root / "task.yaml").open("a") as file:
        file.write("overrides: {delta: {needs: [alpha, beta]}}\n")
    project.run("run", "task.yaml", "-b", "instant")
    run = project.folders()[0].name
    order = project.git(
        "log", "--reverse", "--format=%(trailers:key=Orchestrate-Subtask,valueonly)", f"main..orchestrate/{run}"
    )
    assert order.split().index("delta") > max(order.split().index("alpha"), order.split().index("beta"))


def test_a_program_gets_one_json_object_a_line(project):
    done = project.run("run", "task.yaml", "-b", "instant", "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in lines[:-1]] == list(range(1, len(lines)))
    assert lines[0]["event"]["kind"] == "run_started"
    assert lines[-1]["summary"]["merged"] == 4
    assert done.stderr == ""


def test_a_second_run_does_not_disturb_the_first_one(project):
    project.run("run", "task.yaml", "-b", "instant")
    first = project.tree()
    project.run("run", "task.yaml", "-b", "instant", "--seed", "1")
    assert len(project.folders()) == 2
    assert project.tree(project.folders()[0].name) == first
    assert len(project.git("branch", "--list", "orchestrate/*").splitlines()) == 2


def test_no_key_of_the_environment_is_in_anything_that_a_run_leaves_behind(project):
    env = project.env(ANTHROPIC_API_KEY="sk-canary-1234", OPENAI_API_KEY="sk-canary-1234")
    project.run("run", "task.yaml", "-b", "instant", env=env)
    found = subprocess.run(["grep", "-rla", "sk-canary-1234", project.root], capture_output=True, text=True)
    assert found.stdout == ""


def test_a_run_leaves_no_trees_and_nothing_in_git_status(project):
    project.git("worktree", "list")
    store = project.repo / ".orchestrate"
    project.run("run", "../task.yaml", "-b", "instant", cwd=project.repo)
    assert store.is_dir()
    assert project.git("status", "--porcelain") == ""
    assert not list(store.glob("runs/*/trees"))
    assert project.git("worktree", "list").count("\n") == 0


def test_a_plain_folder_is_taken_in_and_stays_as_it_is(folder_project):
    done = folder_project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 0, done.stderr
    assert not (folder_project.repo / ".git").exists()
    assert "return 0" in (folder_project.repo / "app" / "alpha.py").read_text()


def test_the_base_of_a_run_is_the_ref_that_the_task_names(project):
    old = project.git("rev-parse", "HEAD")
    (project.repo / "app" / "alpha.py").write_text("broken(\n")
    project.git("commit", "-qam", "Break it")
    text = (project.root / "task.yaml").read_text().replace("{path: repo}", "{path: repo, ref: HEAD~1}")
    (project.root / "task.yaml").write_text(text)
    assert project.run("run", "task.yaml", "-b", "instant").returncode == 0
    assert project.summary()["base"] == old


def test_a_terminal_gets_a_live_view_and_then_the_summary(project):
    project.profile("visible", time_scale=1, ttft_s=0.8, tokens_per_s=200)
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, "run", "task.yaml", "-b", "visible"],
        cwd=project.root,
        stdout=follower,
        stderr=follower,
        stdin=follower,
        env=project.env(TERM="xterm-256color", COLUMNS="100", LINES="30"),
        start_new_session=True,
    )
    os.close(follower)
    output, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline:
        if select.select([leader], [], [], 0.2)[0]:
            try:
                output += os.read(leader, 65536)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(leader)
    assert process.wait(timeout=30) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output.decode())
    for shown in ("agent", "elapsed", "gates", "integration", "4 merged"):
        assert shown in text
    assert "orchestrate apply" in text.rstrip().splitlines()[-1]
