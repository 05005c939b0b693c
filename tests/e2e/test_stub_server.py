"""`orchestrate stub-server`: both wire formats by a plain HTTP client, its limits and faults, and how it starts and ends."""

import http.client
import json
import signal
import socket
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import NAMES, dedent

SAY = [{"role": "user", "content": "Say something."}]


class Server:
    """The command as a process; `end` stops it by its id and returns its summary."""

    def __init__(self, project, *arguments):
        self.process = project.start("stub-server", "--port", "0", "--json", *arguments)
        self.address = json.loads(self.process.stdout.readline())
        self.summary = None

    def end(self, number=signal.SIGTERM):
        assert self.address["pid"] == self.process.pid
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=30)
        assert (self.process.returncode, stderr) == (0, "")
        self.summary = json.loads(stdout)["summary"]
        return self.summary

    def post(self, path, body, headers=None):
        """The status, the headers, and the body, read to its end."""
        connection = http.client.HTTPConnection(urlsplit(self.address["url"]).netloc, timeout=30)
        try:
            connection.request("POST", path, json.dumps(body), {"content-type": "application/json", **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read().decode()
        finally:
            connection.close()


@contextmanager
def serving(project, *arguments):
    server = Server(project, *(arguments or ("--profile", "stub-instant")))
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
            server.process.communicate(timeout=30)


def events(text):
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ") and line != "data: [DONE]"]


def test_both_wire_formats_answer_a_plain_client_whole_and_as_a_stream(project):
    with serving(project) as server:
        status, _, text = server.post("/v1/messages", {"model": "m", "max_tokens": 50, "messages": SAY})
        message = json.loads(text)
        assert (status, message["type"], message["model"]) == (200, "message", "m")
        assert message["content"][0]["text"]
        assert message["usage"]["output_tokens"] > 0
        asked = {"model": "m", "max_tokens": 50, "messages": SAY, "stream": True}
        _, headers, text = server.post("/v1/messages", asked)
        assert headers["content-type"].startswith("text/event-stream")
        assert [event["type"] for event in events(text)][-1] == "message_stop"
        _, _, text = server.post("/v1/responses", {"model": "m", "input": "Say something."})
        assert json.loads(text)["object"] == "response"
        _, _, text = server.post("/v1/responses", {"model": "m", "input": "Say something.", "stream": True})
        assert events(text)[-1]["type"] == "response.completed"
        _, _, text = server.post("/v1/chat/completions", {"model": "m", "messages": SAY})
        assert json.loads(text)["choices"][0]["message"]["content"]
        _, _, text = server.post("/v1/chat/completions", {"model": "m", "messages": SAY, "stream": True})
        assert text.rstrip().endswith("data: [DONE]")
        summary = server.end()
    assert summary["requests"] == summary["connections"] == 6
    assert summary["statuses"] == {"200": 6}
    assert summary["faults"] == {}
    assert summary["output_tokens"] > 0


def test_limits_and_faults_are_what_the_options_say_and_are_counted(project):
    options = ("--profile", "stub-instant", "--rpm", "2", "--input-tpm", "900", "--output-tpm", "700")
    with serving(project, *options) as server:
        body = {"model": "m", "max_tokens": 20, "messages": SAY}
        answers = [server.post("/v1/messages", body) for _ in range(3)]
        assert [status for status, _, _ in answers] == [200, 200, 429]
        assert answers[0][1]["anthropic-ratelimit-input-tokens-limit"] == "900"
        assert answers[0][1]["anthropic-ratelimit-output-tokens-limit"] == "700"
        assert float(answers[2][1]["retry-after"]) > 0
        assert server.end()["statuses"] == {"200": 2, "429": 1}
    with serving(project, "--profile", "stub-instant", "--fault", "overloaded=0.5", "--fault", "reset=0.5") as server:
        for _ in range(12):
            try:
                assert server.post("/v1/messages", body)[0] == 529
            except ConnectionError:
                continue
        summary = server.end()
    assert set(summary["faults"]) == {"overloaded", "reset"}
    assert summary["statuses"] == {"529": summary["faults"]["overloaded"], "none": summary["faults"]["reset"]}


def test_the_same_seed_lets_the_same_requests_go_wrong(project):
    def statuses(seed):
        with serving(project, "--profile", "stub-instant", "--fault", "auth=0.5", "--seed", seed) as server:
            body = {"model": "m", "max_tokens": 20, "messages": SAY}
            return [server.post("/v1/messages", body)[0] for _ in range(12)]

    first = statuses("1")
    assert set(first) == {200, 401}
    assert statuses("1") == first
    assert statuses("2") != first


def test_with_a_task_it_answers_from_the_reference_solutions(project):
    text = (
        '<file path="app/alpha.py" access="writable">\n'
        f"{(project.repo / 'app' / 'alpha.py').read_text()}</file>\n\nWritable paths: app/alpha.py\n"
    )
    body = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": text}]}
    with serving(project, "--profile", "stub-instant", "--task", "task.yaml") as server:
        answers = {}
        for name in (NAMES[0], "nobody", "../solutions/alpha", ""):
            draw = {"x-orchestrate-draw": json.dumps({"seed": 0, "subtask": name})}
            status, _, answer = server.post("/v1/messages", body, draw)
            answers[name] = answer if status == 200 else status
        server.end()
    assert "return 1 + 1" in answers[NAMES[0]]
    assert not [name for name, answer in answers.items() if name != NAMES[0] and "return 1 + 1" in str(answer)]


@pytest.mark.parametrize("backend", ["claude", "openai", "openai-compatible"])
def test_a_run_over_the_wire_merges_what_the_reference_solves(project, backend):
    with serving(project, "--profile", "stub-instant", "--task", "task.yaml") as server:
        url = server.address["url" if backend == "claude" else "openai_url"]
        (project.root / "configs" / "wire.yaml").write_text(
            f"backend: {backend}\nmodel: m\nbase_url: {url}\napi_key_env: null\nis_simulated: true\n"
        )
        done = project.run("run", "task.yaml", "-b", "wire", "--quiet")
        assert done.returncode == 0, done.stdout + done.stderr
        summary = server.end()
    assert project.summary()["merged"] == len(NAMES)
    assert summary["requests"] >= len(NAMES)


def test_it_listens_on_loopback_alone(project):
    with serving(project) as server:
        port = urlsplit(server.address["url"]).port
        assert server.address["openai_url"] == f"{server.address['url']}/v1" == f"http://127.0.0.1:{port}/v1"
        listening = Path("/proc/net/tcp").read_text().split()
        assert f"0100007F:{port:04X}" in listening
        assert f"00000000:{port:04X}" not in listening
        assert f":{port:04X} " not in Path("/proc/net/tcp6").read_text()
        server.end(signal.SIGINT)


def test_a_person_is_told_how_to_use_it_and_what_it_did(project):
    process = project.start("stub-server", "--port", "0")
    first = process.stdout.readline()
    url = first.split(" at ")[1].split(",")[0]
    process.send_signal(signal.SIGINT)
    stdout = process.stdout.read()
    process.stdout.close()
    assert (process.stderr.read(), process.wait(timeout=30)) == ("", 0)
    process.stderr.close()
    for words in (
        f"ANTHROPIC_BASE_URL={url} ",
        f"OPENAI_BASE_URL={url}/v1 ",
        f"  base_url: {url} ",
        "is_simulated: true",
        "0 requests over 0 connections",
        "faults injected: none",
    ):
        assert words in stdout


def test_a_stream_comes_at_the_pace_that_was_asked_for(project):
    with serving(project, "--profile", "stub-instant", "--tokens-per-s", "40") as server:
        connection = http.client.HTTPConnection(urlsplit(server.address["url"]).netloc, timeout=30)
        connection.request(
            "POST", "/v1/messages", json.dumps({"model": "m", "max_tokens": 40, "messages": SAY, "stream": True})
        )
        answer = connection.getresponse()
        assert b"message_start" in answer.readline()
        # It has begun, and has not all come: the service is still busy with it when it is told to end.
        summary = server.end()
        connection.close()
    assert summary["statuses"] == {"200": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--port", "99999"], 2, "--port"),
        (["--fault", "atuh=1"], 2, "did you mean `auth`?"),
        (["--fault", "auth=1.5"], 2, "from 0 to 1"),
        (["--fault", "auth=0.6", "--fault", "reset=0.6"], 2, "add up to 1.2"),
        (["--tokens-per-s", "0"], 2, "above 0"),
        (["--profile", "stub-instnt"], 2, "did you mean `stub-instant`?"),
        (["--profile", "configs/real.yaml"], 2, "no simulated backend"),
        (["--config", "server.yaml"], 2, "server.yaml:2: unknown key `ttft`; did you mean `ttft_s`?"),
        (["--task", "bare.yaml"], 2, "no `reference`"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_nothing_is_served(project, arguments, code, words):
    (project.root / "configs" / "real.yaml").write_text("backend: claude\nmodel: m\n")
    (project.root / "server.yaml").write_text("models: [a]\nttft: 1\n")
    (project.root / "bare.yaml").write_text(
        (project.root / "task.yaml").read_text().replace("reference: solutions", "")
    )
    done = project.run("stub-server", *arguments, timeout=30)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_port_in_use_is_said_with_another_way(project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = project.run("stub-server", "--port", taken.getsockname()[1], timeout=30)
    assert done.returncode == 3
    assert "in use" in done.stderr
    assert "--port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_of_settings_is_taken_and_options_go_before_it(project):
    (project.root / "server.yaml").write_text(
        dedent("""
        models: [one]
        limits: {requests_per_minute: 1, input_tokens_per_minute: 5000}
        faults: {nth: {"2": {kind: billing}}, every: {kind: auth}}
        """)
    )
    body = {"model": "m", "max_tokens": 20, "messages": SAY}
    with serving(project, "--profile", "stub-instant", "--config", "server.yaml", "--rpm", "9") as server:
        answers = [server.post("/v1/messages", body) for _ in range(2)]
    assert [status for status, _, _ in answers] == [401, 402]
    assert answers[0][1]["anthropic-ratelimit-requests-limit"] == "9"
    assert answers[0][1]["anthropic-ratelimit-input-tokens-limit"] == "5000"
    with serving(project, "--profile", "stub-instant", "--config", "server.yaml", "--fault", "overloaded=1") as server:
        assert [server.post("/v1/messages", body)[0] for _ in range(2)] == [529, 402]


def test_a_reader_that_goes_away_does_not_end_the_service(project):
    with serving(project) as server:
        server.process.stdout.close()
        assert server.post("/v1/messages", {"model": "m", "max_tokens": 20, "messages": SAY})[0] == 200
        server.process.terminate()
        assert (server.process.stderr.read(), server.process.wait(timeout=30)) == ("", 0)
        server.process.stderr.close()
