"""Every other command: what it prints, what it leaves alone, and what it says when something is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND, NAMES, dedent


@pytest.fixture
def ran(project):
    project.profile("shaky", wrong_edit=0.4)
    project.run("run", "task.yaml", "-b", "shaky", "--seed", "2")
    return project


def test_a_spec_with_five_mistakes_reports_all_five_with_their_lines(project):
    (project.root / "bad.yaml").write_text(
        dedent("""
        version: 1
        name: bad
        repo: {path: repo}
        spilt:
          foreach: {glob: "app/*.py"}
        split:
          foreach: {glob: "app/*.py"}
        subtask:
          instruction: "Do {{ item.stme }}"
          writable: ["../outside.py"]
          attempts: many
        gate:
          checks:
            - {name: tests, run: "python -c pass", timeout: 5}
        """)
    )
    done = project.run("run", "bad.yaml", "-b", "instant")
    assert done.returncode == 2
    problems = done.stderr.strip().splitlines()
    assert len(problems) == 5, done.stderr
    for line, words in ((4, "`split`"), (9, "stem"), (10, ".."), (11, "attempts"), (14, "timeout_s")):
        assert any(f"bad.yaml:{line}:" in problem and words in problem for problem in problems), (line, done.stderr)
    assert "did you mean" in done.stderr.lower()
    assert not (project.root / ".orchestrate").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "missing.yaml"], 2, "missing.yaml"),
        (["run", "task.yaml", "-b", "instnt"], 2, "instant"),
        (["run"], 2, "SPEC"),
        (["run", "task.yaml", "--agents", "0"], 2, "agents"),
        (["rum"], 2, "run"),
        (["show"], 3, "no runs"),
        (["show", "nobody"], 3, "no runs"),
        (["diff"], 3, "no runs"),
        (["apply"], 3, "no runs"),
        (["resume"], 3, "no runs"),
    ],
)
def test_what_is_wrong_is_said_with_its_exit_code_and_without_a_traceback(project, arguments, code, words):
    done = project.run(*arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_a_gate_whose_commands_are_missing_is_refused_before_anything_is_paid_for(project):
    task = project.root / "task.yaml"
    whole = task.read_text()
    for command, words in (
        ("no-such-linter {{ item.stem }}", "no-such-linter"),
        ("python -m no_such_module", "no_such_module"),
    ):
        task.write_text(whole.replace("python -I check.py {{ item.stem }}", command))
        done = project.run("run", "task.yaml", "-b", "instant")
        assert done.returncode == 3
        assert words in done.stderr
        assert project.folders() == []


def test_a_gate_that_breaks_in_mid_run_ends_with_3_and_keeps_what_was_paid_for(project):
    linter = project.root / "linter"
    linter.write_text('#!/bin/sh\nrm -f "$0"\n')
    linter.chmod(0o755)
    task = project.root / "task.yaml"
    task.write_text(task.read_text().replace("python -I check.py {{ item.stem }}", str(linter)))
    done = project.run("run", "task.yaml", "-b", "instant", "--gate-slots", "1")
    assert done.returncode == 3, done.stdout
    assert "install it" in done.stderr
    assert "orchestrate resume" in done.stderr
    assert len(project.patches()) == 4
    linter.write_text("#!/bin/sh\nexit 0\n")
    linter.chmod(0o755)
    assert project.run("resume").returncode == 0
    assert len(project.patches()) == 4


def test_the_activated_environment_is_what_python_means_in_a_gate(project):
    task = project.root / "task.yaml"
    task.write_text(
        task.read_text().replace(
            "python -I check.py", "python -c 'import sys; sys.exit(sys.executable.count(chr(47)) < 3)'"
        )
    )
    fake = project.root / "venv" / "bin"
    fake.mkdir(parents=True)
    (fake / "python").symlink_to(sys.executable)
    done = project.run("run", "task.yaml", "-b", "instant", env=project.env(VIRTUAL_ENV=str(fake.parent)))
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.entries()[0].event.gate.python == str(fake / "python")


def test_a_command_inside_a_checkout_cannot_reach_the_users_repository(project):
    task = project.repo / "task.yaml"
    task.write_text(
        (project.root / "task.yaml")
        .read_text()
        .replace("path: repo", "path: .")
        .replace(
            "python -I check.py {{ item.stem }}",
            "git -c user.name=x -c user.email=x@x commit --allow-empty -m from-a-gate",
        )
    )
    (project.root / "solutions").rename(project.repo / "solutions")
    before = project.git("rev-parse", "HEAD")
    project.run("run", "task.yaml", "-b", project.root / "configs" / "instant.yaml", cwd=project.repo)
    assert project.git("rev-parse", "HEAD") == before
    assert project.summary  # the run itself may fail as it likes: there is no repository for its command


def test_a_linter_that_honours_ignore_files_sees_the_files_in_a_gate(project):
    (project.repo / "app" / "alpha.py").write_text("def value():\n    return undefined_name\n")
    project.git("commit", "-qam", "Break it")
    task = project.repo / "task.yaml"
    task.write_text(
        (project.root / "task.yaml")
        .read_text()
        .replace("path: repo", "path: .")
        .replace("python -I check.py {{ item.stem }}", "python -m ruff check --isolated --no-cache --select F .")
    )
    (project.root / "solutions").rename(project.repo / "solutions")
    (project.repo / "solutions" / "alpha.diff").unlink()
    done = project.run("run", "task.yaml", "-b", project.root / "configs" / "instant.yaml", cwd=project.repo)
    assert done.returncode == 1
    assert "0 merged" in done.stdout


def test_a_reader_that_goes_away_does_not_end_the_run(project):
    project.profile("slow", time_scale=1, ttft_s=0.5, tokens_per_s=300)
    for arguments in (["--json"], []):
        process = project.start("run", "task.yaml", "-b", "slow", *arguments)
        process.stdout.readline()
        process.stdout.close()
        stderr = process.stderr.read()
        process.stderr.close()
        assert process.wait(timeout=60) == 0, stderr
        assert "Traceback" not in stderr
        assert project.summary()["merged"] == 4


def test_a_cost_limit_without_prices_is_refused(project):
    done = project.run("run", "task.yaml", "-b", "instant", "--max-cost", "1")
    assert done.returncode == 3
    assert "no price is known" in done.stderr
    project.profile("priced", input_usd_per_million=3, output_usd_per_million=15)
    assert project.run("run", "task.yaml", "-b", "priced", "--max-cost", "1").returncode == 0


def test_a_branch_in_the_way_is_told_before_anything_is_paid_for(project):
    project.git("branch", "orchestrate")
    done = project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 3
    assert "branch -m orchestrate" in done.stderr
    assert project.folders() == []


def test_the_multiplier_is_an_estimate_until_a_serial_run_measured_it(project):
    project.run("run", "task.yaml", "-b", "instant")
    assert "at most" in project.run("show").stdout
    assert project.run("run", "task.yaml", "-b", "instant", "--serial").returncode == 0
    assert project.summary()["multiplier"] is None
    project.run("run", "task.yaml", "-b", "instant")
    shown = project.run("show").stdout
    assert "measured" in shown
    assert "serial run" in shown


def test_a_second_apply_says_that_there_is_nothing_to_do(ran):
    assert "file" in ran.run("apply").stdout
    assert "already" in ran.run("apply").stderr


def test_a_writable_file_that_cannot_be_shown_costs_nothing(project):
    (project.repo / "app" / "alpha.py").write_text("x = 1\n" * 40_000)
    project.git("commit", "-qam", "Grow")
    done = project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 1
    assert "context too long" in done.stdout
    assert not any(e.event.exchanges for e in project.entries() if e.event.kind == "attempt_failed")


def test_a_repository_without_commits_or_without_the_ref_is_refused_and_leaves_no_run(project):
    task = project.root / "task.yaml"
    task.write_text(task.read_text().replace("{path: repo}", "{path: repo, ref: nowhere}"))
    done = project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 3
    assert "nowhere" in done.stderr
    assert project.folders() == []
    task.write_text(task.read_text().replace("path: repo,", "path: not-here,"))
    assert project.run("run", "task.yaml", "-b", "instant").returncode == 2


def test_plan_shows_the_subtasks_and_estimates_and_runs_nothing(project):
    with (project.root / "task.yaml").open("a") as file:
        file.write("overrides: {alpha: {needs: [beta]}}\n")
    done = project.run("plan", "task.yaml", "-b", "instant")
    assert done.returncode == 0, done.stderr
    assert "estimated" in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if any(name in line for name in NAMES)]
    assert [row[1] for row in rows][-1] == "alpha"
    assert not (project.root / ".orchestrate").exists()
    found = json.loads(project.run("plan", "task.yaml", "-b", "instant", "--json").stdout)
    assert {row["id"] for row in found["rows"]} == set(NAMES)


def test_runs_lists_them_and_says_so_when_there_are_none(project):
    assert "No runs" in project.run("runs").stderr
    project.run("run", "task.yaml", "-b", "instant")
    assert "completed" in project.run("runs").stdout
    assert json.loads(project.run("runs", "--json").stdout)["summary"]["merged"] == 4


def test_show_tells_the_story_of_every_attempt(ran):
    entries = ran.entries()
    refused = next(e.event for e in entries if e.event.kind == "patch_judged" and not e.event.verdict.passed)
    shown = ran.run("show", "last", refused.subtask).stdout
    for part in (
        "▸ prompt",
        "▸ reply",
        "▸ diff",
        "▸ verdict: check failed",
        "AssertionError",
        "attempt 2",
        "merged in batch",
    ):
        assert part in shown
    assert "<<<<<<< SEARCH" in shown
    only = ran.run("show", "last", refused.subtask, "--part", "diff").stdout
    assert "▸ diff" in only
    assert "▸ prompt" not in only
    stories = [json.loads(line) for line in ran.run("show", "last", refused.subtask, "--json").stdout.splitlines()]
    assert [story["attempt"] for story in stories] == list(range(1, len(stories) + 1))
    assert ran.run("show", "last", "nobody").returncode == 3


def test_the_second_prompt_carries_the_gates_feedback(ran):
    refused = next(e.event for e in ran.entries() if e.event.kind == "patch_judged" and not e.event.verdict.passed)
    prompts = ran.run("show", "last", refused.subtask, "--part", "prompt").stdout
    assert "earlier_try" in prompts
    assert "AssertionError" in prompts


def test_diff_in_a_pipe_can_be_applied(ran):
    text = ran.run("diff").stdout
    (ran.root / "all.diff").write_text(text)
    ran.git("apply", "--check", str(ran.root / "all.diff"))
    assert "app/alpha.py" in ran.run("diff", "--stat").stdout


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_question_marks_and_no_traceback(ran, encoding):
    done = subprocess.run(
        [COMMAND, "show", "last"], cwd=ran.root, env=ran.env(PYTHONIOENCODING=encoding), capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert b"merged" in done.stdout


def test_a_full_disk_is_said(ran):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [COMMAND, "show"], cwd=ran.root, env=ran.env(), stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode == 3
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr


def test_apply_fast_forwards_a_clean_checkout_and_refuses_a_dirty_one(ran):
    (ran.repo / "app" / "alpha.py").write_text("changed\n")
    refused = ran.run("apply")
    assert refused.returncode == 3
    assert "app/alpha.py" in refused.stderr
    ran.git("checkout", "--", ".")
    done = ran.run("apply")
    assert done.returncode == 0, done.stderr
    assert ran.git("rev-parse", "HEAD^{tree}") == ran.tree()
    assert (
        "return 2" in (ran.repo / "app" / "beta.py").read_text() or "+ 1" in (ran.repo / "app" / "beta.py").read_text()
    )


def test_apply_merges_when_the_branch_moved_on(ran):
    (ran.repo / "README").write_text("new\n")
    ran.git("add", ".")
    ran.git("commit", "-qm", "Go on")
    assert ran.run("apply").returncode == 0
    assert ran.git("log", "-1", "--format=%p").count(" ") == 1
    assert (ran.repo / "README").exists()


def test_apply_to_a_plain_folder_writes_the_files_or_nothing(folder_project):
    folder_project.run("run", "task.yaml", "-b", "instant")
    alpha = folder_project.repo / "app" / "alpha.py"
    original = alpha.read_text()
    alpha.write_text("mine\n")
    refused = folder_project.run("apply")
    assert refused.returncode == 3
    assert "app/alpha.py" in refused.stderr
    assert "return 0" in (folder_project.repo / "app" / "beta.py").read_text()
    alpha.write_text(original)
    assert folder_project.run("apply").returncode == 0
    assert "return 1 + 1" in alpha.read_text()
    again = folder_project.run("apply")
    assert again.returncode == 0
    assert "already" in again.stderr


def test_gc_keeps_what_can_go_on_and_removes_what_is_old(project):
    assert "Nothing to remove" in project.run("gc").stderr
    for seed in range(3):
        project.run("run", "task.yaml", "-b", "instant", "--seed", seed)
    project.run("run", "task.yaml", "-b", "instant", "--agents", "1", "--max-attempts", "1")
    assert len(project.folders()) == 4
    assert "would be removed" in project.run("gc", "--keep", "1", "--dry-run").stdout
    assert len(project.folders()) == 4
    project.run("gc", "--keep", "1")
    assert len(project.folders()) == 2
    project.run("gc", "--keep", "0", "--unfinished")
    assert project.folders() == []
    assert len(project.git("branch", "--list", "orchestrate/*").splitlines()) == 4


def test_init_writes_a_task_that_runs_at_once(project):
    done = project.run("init", cwd=project.repo)
    assert done.returncode == 0, done.stderr
    task = project.repo / "tasks" / "first.yaml"
    assert "$schema=../.orchestrate/task.schema.json" in task.read_text()
    again = project.run("init", cwd=project.repo)
    assert again.returncode == 3
    assert "--force" in again.stderr
    task.write_text(task.read_text().replace("python -m pytest -q", "python -c pass"))
    planned = project.run("plan", "tasks/first.yaml", cwd=project.repo)
    assert planned.returncode == 0, planned.stderr
    ran = project.run("run", "tasks/first.yaml", "-b", project.root / "configs" / "instant.yaml", cwd=project.repo)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_schema_is_one_that_editors_can_use(project):
    schema = json.loads(project.run("schema").stdout)
    assert schema["properties"]["split"]
    assert schema["additionalProperties"] is False


def test_a_model_can_plan_the_subtasks_and_a_bad_plan_goes_back_to_it(project):
    task = project.root / "task.yaml"
    task.write_text(
        task.read_text()
        .replace('foreach: {glob: "app/*.py"}', "plan: {instruction: Let every value be right., max_subtasks: 4}")
        .replace('  id: "{{ item.stem }}"\n', "")
        .replace("  instruction: Let value() in {{ item.path }} return what the check wants.\n", "")
        .replace('  writable: ["{{ item.path }}"]\n', "")
        .replace("{{ item.stem }}", "{{ item.id }}")
    )
    plan = [
        {"id": name, "title": name, "instruction": "Do it.", "writable": [f"app/{name}.py"], "context": [], "needs": []}
        for name in NAMES
    ]
    (project.root / "solutions" / "plan.json").write_text(json.dumps({"subtasks": plan}))
    done = project.run("run", "task.yaml", "-b", "instant")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.summary()["merged"] == 4
    plan[0]["needs"] = ["delta"]
    plan[3]["needs"] = ["alpha"]
    (project.root / "solutions" / "plan.json").write_text(json.dumps({"subtasks": plan}))
    failed = project.run("run", "task.yaml", "-b", "instant")
    assert failed.returncode == 1
    event = next(e.event for e in project.entries() if e.event.kind == "split_failed")
    assert len(event.exchanges) == 3
    assert "alpha" in event.detail
    assert "alpha" in project.run("show").stdout


def test_help_teaches_every_command(project):
    shown = project.run("--help").stdout
    for command in ("run", "plan", "resume", "runs", "show", "diff", "apply", "gc", "init"):
        assert command in shown
        one = project.run(command, "--help")
        assert one.returncode == 0
        assert len(one.stdout) > 200
    assert "130" in shown
