"""Logs are for people who debug: silent unless asked for, and then without a word of the run's figures in the way."""

import json


def test_without_being_asked_nothing_is_logged(project):
    assert project.run("run", "task.yaml", "-b", "instant").stderr == ""


def test_everything_goes_to_a_file_as_json_lines(project):
    project.run("--log", "debug.jsonl", "run", "task.yaml", "-b", "instant", "--quiet")
    lines = [json.loads(line) for line in (project.root / "debug.jsonl").read_text().splitlines()]
    assert {"git ended", "command ended", "journaled"} <= {line["event"] for line in lines}
    assert all({"level", "logger", "timestamp"} <= line.keys() for line in lines)


def test_what_is_tried_again_is_told_with_v(project):
    project.profile("busy", rate_limit=0.6, retry_after_s=0.01, time_scale=0)
    shown = project.run("-v", "run", "task.yaml", "-b", "busy", "--quiet").stderr
    assert "request is repeated" in shown
    assert "rate_limit" in shown


def test_a_log_that_cannot_be_written_is_said(project):
    done = project.run("--log", "no/such/folder/x", "runs")
    assert done.returncode == 3
    assert "no/such/folder" in done.stderr
