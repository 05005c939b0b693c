"""What `doctor` finds without asking anybody: the machine, the configurations, and what follows for the exit code."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.core.errors import SpecError
from orchestrator.views.doctor import Finding, conclusion
from orchestrator.wiring import machine, probe
from orchestrator.wiring.doctor import Examination, examine, is_fit
from orchestrator.wiring.machine import cli_findings, machine_findings
from orchestrator.wiring.surroundings import Surroundings

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


class Alone(Surroundings):
    """Nothing is shipped."""

    def config_folders(self, near):
        return [self.cwd / "configs"]


class Place:
    """A folder with configurations and programs; `find` looks at it as `doctor` would."""

    def __init__(self, root):
        self.root = root
        self.bin = root / "bin"
        self.env = {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(root)}
        for folder in ("bin", "configs"):
            (root / folder).mkdir()

    @property
    def surroundings(self):
        return Surroundings(self.env, self.root)

    def config(self, name, text):
        (self.root / "configs" / f"{name}.yaml").write_text(text)
        return name

    def program(self, name, script):
        (self.bin / name).write_text(f"#!/bin/sh\n{script}\n")
        (self.bin / name).chmod(0o755)

    def find(self, *names):
        return examine(self.surroundings, Examination(names, is_live=False))

    def backend(self, name):
        return next(each for each in self.find() if (each.topic, each.name) == ("backend", name))

    def machine(self, name, store=None):
        found = machine_findings(self.surroundings, store or self.root / ".orchestrate")
        return next(each for each in found if each.name == name)


def test_the_shipped_backends_are_ready_and_a_sandbox_is_not_pretended(place):
    found = place.find()
    assert {each.name for each in found if each.topic == "backend"} >= {"stub", "stub-instant"}
    sandbox = next(each for each in found if each.name == "sandbox")
    assert sandbox.state == "warning"
    assert "none in this version" in sandbox.detail
    assert is_fit(found)


@pytest.mark.parametrize(
    ("text", "state", "words"),
    [
        ("backend: claude\nmodel: m\n", "missing", ("anthropic ", "$ANTHROPIC_API_KEY is not set", "export ANTHROPIC")),
        ("backend: openai\nmodel: m\n", "missing", ("openai ", "$OPENAI_API_KEY is not set", "configs/it.yaml")),
        ("backend: openai\nmodel: m\napi_key_env: MINE\n", "ok", ("key in $MINE; --live tries it",)),
        ("backend: claude\nmodel: m\napi_key_command: [nothing]\n", "missing", ("'nothing' is not on the PATH",)),
        (
            "backend: claude\nmodel: m\napi_key_command: [sh, -c, 'touch ran']\n",
            "ok",
            ("by the command 'sh', which --live runs",),
        ),
        ("backend: openai-compatible\nmodel: m\nbase_url: http://127.0.0.1:1/v1\n", "ok", ("no key asked for",)),
        ("backend: openai-compatible\nmodel: m\nbase_url: 'http://[::1]:1/v1'\n", "ok", ("no key asked for",)),
        ("backend: openai-compatible\nmodel: m\nbase_url: http://127.evil.example\n", "warning", ("unencrypted",)),
        ("backend: claude\nmodel: m\napi_key_env: null\nbase_url: 'http://[::1'\n", "missing", ("is no address",)),
        ("backend: claude\nmodel: m\napi_key_env: null\nbase_url: 'http://h:port'\n", "missing", ("is no address",)),
        ("backend: claude\nmodel: m\napi_key_env: null\nbase_url: 'https://u:pw@h.example'\n", "ok", ("no key asked",)),
        ("backend: cluade\nmodel: m\n", "missing", ("did you mean `claude`?", "correct the file")),
        (
            "backend: claude\nmodle: m\n",
            "missing",
            ("configs/it.yaml:2", "did you mean `model`?", "`model` is missing"),
        ),
        ("- a\n- list\n", "missing", ("must be a mapping",)),
        ("backend: stub\nwrong_edit: 7\n", "missing", ("`wrong_edit` must be at most 1",)),
        ("backend: stub\n", "ok", ("simulated",)),
        ("backend: stub\nsession: tools\n", "ok", ("simulated",)),
        ("backend: claude\nmodel: m\napi_key_env: null\nlimits: {requests_per_mni: 5}\n", "missing", ("it.yaml:4",)),
        ("backend: some.module:Class\n", "warning", ("your own", "not tried")),
        ("", "missing", ("configs/it.yaml",)),
    ],
)
def test_every_configuration_says_how_it_is_and_what_to_do(place, text, state, words):
    place.env["MINE"] = KEY
    place.config("it", text)
    found = place.backend("it")
    assert found.state == state, found
    for word in words:
        assert word in f"{found.detail} {found.advice}"
    assert not (place.root / "ran").exists()


def test_no_value_of_a_key_is_in_any_finding(place):
    place.env |= {"ANTHROPIC_API_KEY": KEY, "OPENAI_API_KEY": KEY}
    place.config("a", "backend: claude\nmodel: m\n")
    place.config("b", "backend: openai\nmodel: m\n")
    found = place.find()
    assert {each.state for each in found if each.name in ("a", "b")} == {"ok"}
    assert KEY not in "".join(each.model_dump_json() for each in found)


def test_what_is_no_file_is_no_configuration(place):
    (place.root / "configs" / "folder.yaml").mkdir()
    (place.root / "configs" / "loop.yaml").symlink_to("loop.yaml")
    (place.root / "configs" / "noise.yaml").write_bytes(bytes(range(128, 256)))
    found = examine(Alone(place.env, place.root), Examination((), is_live=False))
    assert [each.name for each in found if each.topic == "backend"] == ["noise"]


def test_a_projects_configuration_goes_before_a_shipped_one_of_the_same_name(place):
    place.config("stub", "backend: stub\nname: mine\n")
    assert "configs/stub.yaml" in place.backend("stub").detail
    assert str(place.root) not in place.backend("stub").detail


def test_a_backend_that_is_named_is_needed_and_others_are_not(place):
    place.config("claude", "backend: claude\nmodel: m\n")
    assert is_fit(place.find())
    found = place.find("claude", "stub")
    assert [each.name for each in found if each.topic == "backend"] == ["claude", "stub"]
    assert not is_fit(found)
    assert "in the way: claude" in conclusion(found)
    assert is_fit(place.find("stub"))
    with pytest.raises(SpecError, match="did you mean `claude`"):
        place.find("cluade")


def test_live_asks_those_that_were_named_or_else_all_that_are_real_and_have_a_key(place, monkeypatch):
    asked = []

    async def ask_each(targets, _):
        asked[:] = [(target.name, target.key and target.key.get_secret_value()) for target in targets]
        return [
            Finding(topic="live", name=each.name, state="ok", detail="", is_needed=each.is_needed) for each in targets
        ]

    monkeypatch.setattr(probe, "ask_each", ask_each)
    place.env |= {"ANTHROPIC_API_KEY": KEY}
    place.config("real", "backend: claude\nmodel: m\n")
    place.config("played", "backend: claude\nmodel: m\nis_simulated: true\n")
    place.config("keyless", "backend: openai\nmodel: m\n")
    place.config("broken", "backend: openai\n")
    place.config("vault", "backend: openai\nmodel: m\napi_key_command: [sh, -c, 'exit 4']\n")
    surroundings = Alone(place.env, place.root)
    found = examine(surroundings, Examination((), is_live=True))
    assert asked == [("real", KEY)]
    failed = next(each for each in found if (each.topic, each.name) == ("live", "vault"))
    assert (failed.state, failed.is_needed) == ("missing", False)
    assert "ended with code 4" in failed.detail
    assert is_fit(found)
    found = examine(surroundings, Examination(("played", "real"), is_live=True))
    assert asked == [("played", KEY), ("real", KEY)]
    assert is_fit(found)
    assert not is_fit(examine(surroundings, Examination(("vault", "real"), is_live=True)))


def test_nothing_is_fit_without_a_backend():
    assert not is_fit([])
    assert conclusion([]) == "no backend is ready"
    ready = Finding(topic="backend", name="a", state="warning", detail="")
    asked = Finding(topic="live", name="a", state="missing", detail="", is_needed=True)
    assert is_fit([ready])
    assert not is_fit([ready, asked])
    assert conclusion([ready, asked]) == "no backend is ready; none of those that were asked answers; in the way: a"
    other = Finding(topic="live", name="b", state="missing", detail="")
    assert not is_fit([ready, other])
    assert is_fit([ready, other, other.model_copy(update={"state": "warning"})])


@pytest.mark.parametrize(
    ("script", "state", "words"),
    [
        ("echo git version 2.20.1", "missing", "2.20 is too old"),
        ("echo git version 2.99.0.windows.1 '(odd)'", "ok", "2.99.0.windows.1 (odd)"),
        ("echo what", "missing", "nothing that can be read"),
        ("echo git version x.y", "missing", "nothing that can be read"),
        ("exit 9", "missing", "code 9"),
    ],
)
def test_a_git_that_does_not_do_is_told_with_the_version_that_would(place, script, state, words):
    place.program("git", script)
    found = place.machine("git")
    assert (found.state, words in found.detail) == (state, True), found
    assert ("2.34" in found.advice) is (state == "missing")


def test_a_machine_without_git_is_told_what_to_install(place):
    place.env["PATH"] = str(place.bin)
    assert "was not found" in place.machine("git").detail
    assert not is_fit(place.find())
    (place.bin / "git").write_text("not executable")
    assert place.machine("git").state == "missing"


def test_an_identity_that_is_missing_in_part_is_told_by_name(place):
    assert "user.name and user.email not set" in place.machine("git identity").detail
    (place.root / ".gitconfig").write_text("[user]\n\tname = Some \x1b[31mbody\n")
    found = place.machine("git identity")
    assert (found.state, found.detail.split(":")[0]) == ("warning", "user.email not set")
    (place.root / ".gitconfig").write_text("[user]\n\tname = Some \x1b[31mbody\n\temail = me@localhost\n")
    assert place.machine("git identity").detail == "Some body <me@localhost>"


def test_a_store_is_tried_out_and_left_as_it_was(place):
    for store in (place.root / "not" / "yet" / ".orchestrate", place.root / "bin"):
        found = place.machine("store", store)
        assert (found.state, str(store) in found.detail) == ("ok", True)
    assert sorted(path.name for path in place.root.iterdir()) == ["bin", "configs"]
    assert list(place.bin.iterdir()) == []


def test_a_store_that_cannot_be_is_told_with_another_way(place):
    (place.root / "file").write_text("")
    for store in (place.root / "file", place.root / "file" / "below", Path("/proc/self/nowhere")):
        found = place.machine("store", store)
        assert found.state == "missing", found
        assert "--store" in found.advice


def test_a_store_that_keeps_no_locks_is_told(place, monkeypatch):
    monkeypatch.setattr(machine.fcntl, "flock", lambda *_: None)
    assert "does not keep locks" in place.machine("store").detail


@pytest.mark.parametrize(
    ("blocks", "files", "free_files", "state"),
    [
        (10**8, 10**9, 10**8, "ok"),
        (10**8, 0, 0, "ok"),
        (10**5, 10**9, 10**8, "warning"),
        (10**8, 10**9, 20_000, "warning"),
        (10**3, 10**9, 10**8, "missing"),
        (10**8, 10**9, 10, "missing"),
    ],
)
def test_little_room_is_a_warning_and_none_is_in_the_way(place, monkeypatch, blocks, files, free_files, state):
    room = SimpleNamespace(f_bavail=blocks, f_frsize=4096, f_files=files, f_favail=free_files)
    monkeypatch.setattr(machine.os, "statvfs", lambda _: room)
    for name in ("room for runs", "room for trees"):
        found = place.machine(name)
        assert found.state == state
        assert bool(found.advice) is (state != "ok")


def test_fewer_cores_than_gate_slots_is_a_warning(place, monkeypatch):
    for cores, state in ((1, "warning"), (2, "ok"), (64, "ok")):
        monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        found = place.machine("cores")
        assert (found.state, found.detail.startswith(f"{cores} usable")) == (state, True)


async def test_agent_clis_are_found_with_their_versions_and_never_needed(place, monkeypatch):
    monkeypatch.setattr(machine, "_VERSION_LIMIT_S", 2.0)
    place.env = {"PATH": f"{place.bin}:/usr/bin:/bin", "HOME": "/h", "OPENAI_API_KEY": KEY, "GITHUB_TOKEN": KEY}
    place.program("claude", "printf '1.2.3 (\\033[1mbold)\\nmore\\n'")
    place.program("codex", "env")
    place.program("opencode", "echo 'needs node' >&2; exit 127")
    place.program("copilot", "exec sleep 60")
    found = {each.name: each for each in await cli_findings(place.surroundings)}
    assert found["claude"].detail.startswith("1.2.3 (bold) at ")
    assert "`--version` ends with code 127 (needs node)" in found["opencode"].detail
    assert "no version within 2 s" in found["copilot"].detail
    assert [found[name].state for name in machine.AGENT_CLIS] == ["ok", "ok", "warning", "warning"]
    assert not any(each.is_needed for each in found.values())
    for name in machine.AGENT_CLIS:
        (place.bin / name).unlink()
    place.env["PATH"] = str(place.bin)
    assert {each.state for each in await cli_findings(place.surroundings)} == {"missing"}


async def test_an_agent_cli_sees_no_credentials_when_it_is_asked_for_its_version(place):
    place.env |= {"OPENAI_API_KEY": KEY, "GITHUB_TOKEN": KEY, "NVM_DIR": "/nvm"}
    note = place.root / "env"
    place.program("codex", f"env > {note}")
    await cli_findings(place.surroundings)
    assert KEY not in note.read_text()
    assert "NVM_DIR=/nvm" in note.read_text()


def test_a_path_that_is_not_utf8_is_no_obstacle(place):
    odd = place.root / os.fsdecode(b"od\xffd")
    odd.mkdir()
    assert place.machine("store", odd).state == "ok"
