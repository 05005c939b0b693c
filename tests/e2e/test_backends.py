"""Real model backends by the real command: the providers' SDKs against the model service on loopback, and what is kept of it."""

import contextlib
import json
import re
import signal
import sqlite3
import textwrap
import time

import pytest

PRICES = "prices: {input_usd_per_million: 3.0, output_usd_per_million: 15.0}"
APIS = ("claude", "openai", "openai-compatible")


class Service:
    """`orchestrate stub-server` as a process of its own, answering from the project's reference solutions."""

    def __init__(self, project, *arguments):
        self.process = project.start("stub-server", "--port", "0", "--json", "--task", "task.yaml", *arguments)
        self.address = json.loads(self.process.stdout.readline())
        self.project = project

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.communicate(timeout=20)

    def stop(self):
        """End it; return what it counted."""
        self.process.send_signal(signal.SIGINT)
        told, errors = self.process.communicate(timeout=20)
        assert self.process.returncode == 0, errors
        return json.loads(told)["summary"]

    def config(self, name="wire", api="claude", *more):
        """Write a configuration that points at it."""
        url = self.address["url"] if api == "claude" else self.address["openai_url"]
        lines = (
            f"backend: {api}",
            "model: stub",
            f"base_url: {url}",
            "api_key_env: null",
            "is_simulated: true",
            "max_output_tokens: 2000",
            "retries: {first_wait_s: 0.05, max_wait_s: 0.2}",
            PRICES,
            *more,
        )
        (self.project.root / "configs" / f"{name}.yaml").write_text("\n".join(lines) + "\n")
        return name


@pytest.mark.parametrize("session", ["single", "tools"])
@pytest.mark.parametrize("api", APIS)
def test_a_run_over_the_wire_merges_everything_and_counts_every_token(project, api, session):
    with Service(project, "--profile", "instant") as service:
        done = project.run("run", "task.yaml", "-b", service.config("wire", api, f"session: {session}"))
        counted = service.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    summary = project.summary()
    assert (summary["merged"], summary["is_simulated"]) == (4, True)
    usage = summary["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (counted["input_tokens"], counted["output_tokens"])
    assert usage["cost_usd"] == pytest.approx((usage["input_tokens"] * 3 + usage["output_tokens"] * 15) / 1e6)
    assert usage["requests"] == counted["requests"]
    if session == "tools":
        assert counted["requests"] >= 4 * 3


@pytest.mark.parametrize("edit_format", ["search_replace", "whole_file", "patch"])
def test_each_edit_format_comes_to_the_same_tree(project, edit_format):
    project.run("run", "task.yaml", "-b", "instant")
    wanted = project.tree()
    project.profile("other", edit_format=edit_format)
    assert project.run("run", "task.yaml", "-b", "other").returncode == 0
    assert project.tree() == wanted


def test_a_service_that_goes_wrong_in_many_ways_is_survived(project):
    faults = ("overloaded=0.15", "stream_cut=0.1", "html=0.1", "error_event=0.1", "server_error=0.1")
    arguments = [part for fault in faults for part in ("--fault", fault)]
    with Service(project, "--profile", "instant", "--seed", "3", *arguments) as service:
        done = project.run("run", "task.yaml", "-b", service.config())
        counted = service.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(counted["faults"].values()) >= 1
    summary = project.summary()
    assert summary["usage"]["requests"] == counted["requests"]
    assert summary["abandoned"] == 0


def test_a_wrong_key_stops_the_run_at_once_and_says_what_to_do(project):
    with Service(project, "--fault", "auth=1") as service:
        done = project.run("run", "task.yaml", "-b", service.config(), "--agents", "1")
        counted = service.stop()
    assert done.returncode == 3
    assert "key" in done.stderr
    assert counted["requests"] == 1
    with Service(project, "--profile", "instant") as service:
        # The address is another one now; but for that, the run would go on.
        service.config()
        refused = project.run("resume")
    assert "configuration of backend 'wire' has changed" in refused.stderr


def test_a_service_that_is_not_there_stops_the_run_and_uses_up_no_attempts(project):
    with Service(project) as service:
        name = service.config("wire", "claude", "connect_s: 1")
        port = service.address["url"].rsplit(":", 1)[1]
        service.stop()
    done = project.run("run", "task.yaml", "-b", name, "--agents", "2")
    assert done.returncode == 1, done.stderr
    assert "orchestrate resume" in done.stdout
    state = project.state()
    assert state.finished == "backend_unavailable"
    assert not any(subtask.failures for subtask in state.subtasks.values())
    again = project.start("stub-server", "--port", port, "--json", "--task", "task.yaml", "--profile", "instant")
    try:
        again.stdout.readline()
        resumed = project.run("resume")
    finally:
        again.send_signal(signal.SIGINT)
        again.communicate(timeout=20)
    assert resumed.returncode == 0, resumed.stderr
    assert project.summary()["merged"] == 4


def test_a_budget_holds_and_more_of_it_goes_on(project):
    with Service(project, "--profile", "instant") as service:
        name = service.config()
        first = project.run("run", "task.yaml", "-b", name, "--agents", "4", "--max-cost", "0.1")
        assert first.returncode == 1
        state = project.state()
        assert state.finished == "cost_limit"
        assert state.bill.committed.cost_usd <= 0.1
        assert "resume" in first.stdout
        resumed = project.run("resume", "--max-cost", "5")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
        counted = service.stop()
    billed = (counted["input_tokens"] * 3 + counted["output_tokens"] * 15) / 1e6
    assert billed == pytest.approx(project.summary()["usage"]["cost_usd"])


def test_what_a_killed_process_had_under_way_counts_against_the_budget(project):
    with Service(project, "--profile", "instant", "--tokens-per-s", "5") as service:
        name = service.config()
        process = project.start("run", "task.yaml", "-b", name, "--agents", "2", "--max-cost", "1", "--json")
        while '"attempt_started"' not in process.stdout.readline():
            pass
        process.kill()
        process.communicate(timeout=20)
        resumed = project.run("resume", "--max-cost", "0.3")
    state = project.state()
    assert state.bill.lost.cost_usd > 0
    assert "killed process" in resumed.stdout
    assert state.bill.spent.cost_usd + state.bill.lost.cost_usd <= 1


def test_a_dollar_limit_without_a_price_is_refused_before_anything_is_asked(project):
    with Service(project) as service:
        name = service.config("wire", "openai-compatible")
        file = project.root / "configs" / "wire.yaml"
        file.write_text(file.read_text().replace(PRICES + "\n", ""))
        done = project.run("run", "task.yaml", "-b", name, "--max-cost", "1")
        assert service.stop()["requests"] == 0
    assert done.returncode == 3
    assert "no price is known" in done.stderr


def test_what_was_recorded_is_replayed_without_the_service(project):
    with Service(project, "--profile", "instant") as service:
        name = service.config("wire", "claude", "session: tools")
        recorded = project.run("run", "task.yaml", "-b", name, "--record", "tape")
        assert recorded.returncode == 0, recorded.stderr
        before = project.summary()
    replayed = project.run("run", "task.yaml", "-b", "replay:tape")
    assert replayed.returncode == 0, replayed.stdout + replayed.stderr
    after = project.summary()
    assert after["tree"] == before["tree"]
    assert after["usage"]["output_tokens"] == before["usage"]["output_tokens"]
    assert after["usage"]["cost_usd"] == pytest.approx(before["usage"]["cost_usd"])
    assert after["is_simulated"]


def test_a_replay_says_which_requests_are_new(project):
    project.run("run", "task.yaml", "-b", "instant", "--record", "tape")
    task = project.root / "task.yaml"
    task.write_text(task.read_text().replace("what the check wants", "exactly what the check wants"))
    done = project.run("run", "task.yaml", "-b", "replay:tape")
    assert done.returncode == 1
    told = project.run("show", "last", "alpha").stdout
    assert "not recorded" in told
    assert "alpha" in told


def test_a_recording_is_not_mixed_with_another(project):
    assert project.run("run", "task.yaml", "-b", "instant", "--record", "tape").returncode == 0
    project.profile("other", edit_format="patch")
    done = project.run("run", "task.yaml", "-b", "other", "--record", "tape")
    assert done.returncode == 2
    assert "name another folder" in done.stderr


def test_a_replay_of_nothing_says_how_to_record(project):
    done = project.run("run", "task.yaml", "-b", "replay:nowhere")
    assert done.returncode == 2
    assert "--record" in done.stderr


def test_a_chat_model_of_ones_own_does_the_work(project):
    (project.root / "mine.py").write_text(
        textwrap.dedent(
            '''
            from orchestrator.core.chat import Completion
            from orchestrator.core.values import Usage


            class Counter:
                """Answers with the right number, as a model of one's own would."""

                name = "counter"

                def __init__(self, settings, clock):
                    pass

                async def complete(self, prompt, meter):
                    (file,) = [each for each in prompt.files if each.is_writable]
                    number = ["alpha", "beta", "gamma", "delta"].index(prompt.draw.subtask) + 2
                    text = f"{file.path}\\n<<<<<<< SEARCH\\n    return 0\\n=======\\n    return {number}\\n>>>>>>> REPLACE\\n"
                    return Completion(text=text, stop_reason="end_turn", usage=Usage(requests=1))
            '''
        )
    )
    (project.root / "configs" / "own.yaml").write_text("backend: mine:Counter\naround: {corrections: 1}\n")
    done = project.run("run", "task.yaml", "-b", "own")
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.summary()["merged"] == 4


def test_mistakes_around_a_class_of_ones_own_are_told_with_their_line(project):
    (project.root / "mine.py").write_text("class Counter:\n    pass\n")
    (project.root / "configs" / "own.yaml").write_text("backend: mine:Counter\naround:\n  corectoins: 1\n")
    done = project.run("run", "task.yaml", "-b", "own")
    assert done.returncode == 2
    assert "own.yaml:3" in done.stderr
    assert "corrections" in done.stderr


def test_attempts_of_all_subtasks_together_can_be_limited(project):
    done = project.run("run", "task.yaml", "-b", "instant", "--max-attempts", "2", "--agents", "1")
    assert done.returncode == 1
    assert project.summary()["attempts"] == 2
    assert "--max-attempts" in done.stdout
    assert project.run("resume", "--max-attempts", "9").returncode == 0


@pytest.mark.parametrize("api", ["claude", "openai"])
def test_a_run_by_batches_asks_all_at_once_and_pays_half(project, api):
    (project.root / "service.yaml").write_text("batch_s: 0.5\n")
    with Service(project, "--profile", "instant", "--config", "service.yaml") as service:
        name = service.config("wire", api, "batch: {collect_s: 0.2, poll_s: 0.2}")
        done = project.run("run", "task.yaml", "-b", name, "--agents", "4")
        assert done.returncode == 0, done.stdout + done.stderr
    summary = project.summary()
    usage = summary["usage"]
    assert summary["merged"] == 4
    assert usage["cost_usd"] == pytest.approx((usage["input_tokens"] * 3 + usage["output_tokens"] * 15) / 2e6)


def test_a_killed_run_finds_its_batch_again_and_pays_nothing_twice(project):
    (project.root / "service.yaml").write_text("batch_s: 3\n")
    with Service(project, "--profile", "instant", "--config", "service.yaml") as service:
        name = service.config("wire", "claude", "batch: {collect_s: 0.2, poll_s: 0.3}")
        process = project.start("run", "task.yaml", "-b", name, "--agents", "4")
        ledger = None
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and not (ledger and submitted(ledger)):
            time.sleep(0.05)
            ledger = next(project.root.glob(".orchestrate/runs/*/batches.sqlite"), None)
        process.kill()
        process.communicate(timeout=20)
        resumed = project.run("resume")
        assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    summary = project.summary()
    assert (summary["merged"], summary["lost_attempts"]) == (4, 4)
    assert len(submitted(ledger)) == 1


def submitted(ledger):
    """The batches that a ledger knows the provider's id of."""
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [str(row) for table in tables for row in database.execute(f"SELECT * FROM {table}")]
    return set(re.findall(r"msgbatch_[0-9a-f]+", " ".join(rows)))
