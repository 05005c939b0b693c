"""`orchestrate doctor`: what a user is told before the first run, and that no key is told to anybody."""

import json
import os
import pty
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.e2e.conftest import COMMAND, dedent

KEY = "sk-test-0123456789abcdef"
VARIABLES = {"ANTHROPIC_API_KEY": f"{KEY}-a", "OPENAI_API_KEY": f"{KEY}-o"}


def config(project, name, **settings):
    folder = project.root / "configs"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in settings.items()))
    return name


def claude(project, name="claude", **settings):
    return config(project, name, backend="claude", model="some-model", **settings)


def findings(done):
    return {(each["topic"], each["name"]): each for each in map(json.loads, done.stdout.splitlines())}


@contextmanager
def stub_server(project, *arguments):
    """The command as a process of its own; yields what its first line says, and ends it by its id."""
    process = project.start("stub-server", "--port", "0", "--profile", "stub-instant", "--json", *arguments)
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.communicate(timeout=30)


def test_without_any_key_the_simulated_backends_are_ready_and_the_rest_says_what_to_do(project):
    claude(project)
    config(project, "gpt", backend="openai", model="m")
    done = project.run("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    for words in (
        "ok       machine git: ",
        "ok       backend stub: ",
        "warning  machine sandbox: none in this version",
    ):
        assert any(line.startswith(words) for line in lines), words
    for name, variable in (("claude", "ANTHROPIC_API_KEY"), ("gpt", "OPENAI_API_KEY")):
        line = next(line for line in lines if f"backend {name}: " in line)
        assert line.startswith("missing")
        assert f"export {variable}=…" in line
        assert f"configs/{name}.yaml" in line
    assert lines[-1].startswith("ready: ")
    assert "claude" not in lines[-1]
    assert "\x1b" not in done.stdout
    assert not (project.root / ".orchestrate").exists()


def test_a_backend_that_is_named_must_be_ready(project):
    claude(project)
    assert project.run("doctor", "claude").returncode == 3
    assert project.run("doctor", "claude", env=project.env(**VARIABLES)).returncode == 0
    assert project.run("doctor", "stub").returncode == 0
    missing = project.run("doctor", "cluade")
    assert missing.returncode == 2
    assert "did you mean `claude`" in missing.stderr


def test_json_is_one_object_a_line_and_holds_no_key(project):
    claude(project)
    done = project.run("doctor", "--json", env=project.env(**VARIABLES))
    found = findings(done)
    assert found["backend", "claude"]["state"] == "ok"
    assert {"topic", "name", "state", "detail", "advice", "is_needed", "answer"} <= found["machine", "git"].keys()
    assert KEY not in done.stdout + done.stderr


def test_a_terminal_of_any_width_is_told_the_same(project):
    claude(project)
    for width in ("30", "100"):
        main, other = pty.openpty()
        process = subprocess.Popen(
            [COMMAND, "doctor"], cwd=project.root, env=project.env(COLUMNS=width), stdout=other, stderr=other
        )
        os.close(other)
        shown = b""
        try:
            while chunk := os.read(main, 65_536):
                shown += chunk
        except OSError:  # the end of a terminal
            pass
        os.close(main)
        assert process.wait(timeout=60) == 0
        told = " ".join(shown.decode().split())
        assert "$ANTHROPIC_API_KEY is not set" in told
        assert "one real request" not in told


def test_a_key_command_is_run_only_live_and_its_failure_is_told_without_what_it_printed(project):
    code = f"import sys; open('ran', 'w'); print('{KEY}'); print('the vault is locked', file=sys.stderr); sys.exit(2)"
    claude(project, api_key_command=[sys.executable, "-c", code])
    assert project.run("doctor", "claude").returncode == 0
    assert not (project.root / "ran").exists()
    done = project.run("doctor", "claude", "--live")
    assert done.returncode == 3
    assert "ended with code 2 and said: the vault is locked; try it by hand" in done.stdout
    assert "correct `api_key_command` in configs/claude.yaml" in done.stdout
    assert (project.root / "ran").exists()
    assert KEY not in done.stdout + done.stderr


def test_one_request_to_a_server_on_loopback_says_who_answered(project):
    with stub_server(project, "--rpm", "50") as server:
        claude(project, "messages", base_url=server["url"], api_key_env=None, is_simulated=True)
        settings = {"model": "m", "base_url": server["openai_url"], "api_key_env": None, "is_simulated": True}
        config(project, "responses", backend="openai", **settings)
        config(project, "chat", backend="openai-compatible", **settings)
        done = project.run("doctor", "messages", "responses", "chat", "--live", "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        found = findings(done)
        for name, model in (("messages", "some-model"), ("responses", "m"), ("chat", "m")):
            answer = found["live", name]["answer"]
            assert answer["model"] == model
            assert 0 < answer["usage"]["output_tokens"] <= 16
            assert answer["usage"]["is_simulated"]
            assert 50 in [limit["limit"] for limit in answer["limits"]]
        told = project.run("doctor", "messages", "--live").stdout
        assert "live messages: some-model answered in " in told
        assert "(simulated); limits: 50 requests/min (" in told


def test_a_key_that_is_refused_says_where_to_put_a_valid_one(project):
    with stub_server(project, "--fault", "auth=1") as server:
        claude(project, base_url=server["url"], is_simulated=True)
        done = project.run("doctor", "claude", "--live", env=project.env(**VARIABLES))
    assert done.returncode == 3
    line = next(line for line in done.stdout.splitlines() if " live claude: " in line)
    assert line.startswith("missing")
    assert "auth: the key in $ANTHROPIC_API_KEY was refused (401)" in line
    assert "put a valid key" in line
    assert KEY not in done.stdout + done.stderr


def test_a_model_that_is_not_there_is_told_with_the_nearest(project):
    (project.root / "server.yaml").write_text(
        dedent("""
        models: [large-model-5, small-model-5]
        faults: {every: {kind: unknown_model}}
        """)
    )
    with stub_server(project, "--config", "server.yaml") as server:
        config(project, "it", backend="claude", model="smal-model-5", base_url=server["url"], api_key_env=None)
        done = project.run("doctor", "it", "--live")
    assert done.returncode == 3
    assert "unknown model: " in done.stdout
    assert "did you mean `model: small-model-5`?" in done.stdout


@pytest.mark.parametrize("name", VARIABLES)
def test_no_key_of_ours_reaches_a_gates_command(project, name):
    task = project.root / "task.yaml"
    check = f'python -c \'import os; assert "{name}" not in os.environ; assert "{KEY[:9]}" not in str(os.environ)\''
    task.write_text(
        task.read_text()
        .replace('run: "python -I check.py {{ item.stem }}"', f"run: {json.dumps(check)}")
        .replace('run: "python -I check.py"', f"run: {json.dumps(check)}")
    )
    assert task.read_text().count("os.environ") == 4
    done = project.run("run", "task.yaml", "-b", "instant", env=project.env(**VARIABLES))
    assert done.returncode == 0, done.stdout + done.stderr
    assert KEY.encode() not in (project.folders()[-1] / "journal.sqlite").read_bytes()
