"""The folder of a recording: whole files or none, and a clear word about what does not belong there."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from orchestrator.backends.recordings.exchanges import RecordedExchange, request_digest
from orchestrator.backends.recordings.folder import Recording, recording_digest
from orchestrator.backends.recordings.replay import ReplayModel
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError, EnvironmentFault, SpecError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, prompt_for


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a" / "recording"


def exchange(text="x", **fields):
    prompt = prompt_for(**fields)
    return RecordedExchange(
        digest=request_digest(prompt),
        model="m",
        when="2026-01-01T00:00:00.000+00:00",
        duration_s=1.0,
        prompt=prompt.model_copy(update={"files": (), "writable": ()}),
        completion=Completion(text=text, stop_reason="end_turn", usage=Usage()),
    )


@pytest.fixture
def recorded(folder):
    """A recording of one exchange: its file."""
    return folder / Recording.create(folder).add(exchange())


def problem_of(act):
    with pytest.raises(SpecError) as caught:
        act()
    return str(caught.value)


def read_all(folder):
    recording = Recording.open(folder)
    return [recording.read(path.name) for path in sorted(folder.glob("*.json"))]


def test_only_the_owner_can_read_a_recording(folder, recorded):
    before = os.umask(0)
    try:
        other = folder / Recording.create(folder).add(exchange())
    finally:
        os.umask(before)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, recorded, other)] == [0o700, 0o600, 0o600]


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(parents=True)], ids=["missing", "empty"])
def test_where_nothing_is_recorded_it_says_how_to_record(folder, make):
    make(folder)
    for act in (lambda: Recording.open(folder), lambda: recording_digest(folder)):
        assert f"orchestrate run SPEC --record {folder}" in problem_of(act)


def test_a_file_for_a_folder_is_refused(recorded):
    assert f"{recorded}: this is no folder" in problem_of(lambda: Recording.open(recorded))
    with pytest.raises(EnvironmentFault, match="cannot record in"):
        Recording.create(recorded)


@pytest.mark.parametrize(
    "name", ["notes.txt", "0123456789abcdef-0.json", "0123456789ABCDEF-1.json", "0123456789abcdef-1.json~", "x.json"]
)
def test_a_file_that_is_no_part_of_a_recording_is_named_before_anything_is_asked(folder, recorded, name):
    (folder / name).touch()
    for act in (Recording.open, Recording.create, recording_digest):
        assert problem_of(lambda act=act: act(folder)) == (
            f"{folder / name}: this is no part of a recording; move it elsewhere"
        )


def test_many_foreign_files_are_counted_and_a_folder_of_a_files_name_is_foreign(folder, recorded):
    (folder / "0123456789abcdef-1.json").mkdir()
    for number in range(20):
        (folder / f"z{number}").touch()
    problem = problem_of(lambda: Recording.open(folder))
    assert "0123456789abcdef-1.json: this is no part" in problem
    assert "and 11 more files" in problem


def test_a_folder_of_other_things_keeps_its_mode(tmp_path):
    (tmp_path / "work.py").touch()
    tmp_path.chmod(0o755)
    problem_of(lambda: Recording.create(tmp_path))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_names_with_a_dot_are_nobodys_business(folder, recorded):
    (folder / ".gitattributes").write_text("* -text\n")
    assert len(Recording.open(folder)) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda body: b"", "it is not JSON"),
        (lambda body: body[: len(body) // 2], "it is not JSON"),
        (lambda body: b"\xff\xfe", "it is not JSON"),
        (lambda body: b"[" * 100_000, "nested too deeply"),
        (lambda body: b"[]", "the whole: "),
        (lambda body: body.replace(b'"format": 1', b'"format": 2'), "it has format 2; this program reads 1"),
        (lambda body: body.replace(b'"text": "x"', b'"text": 5'), "completion.text: "),
        (lambda body: body.replace(b'"model"', b'"extra"'), "model: "),
        (lambda body: body.replace(b'"end_turn"', b'"whim"'), "completion.stop_reason: "),
        (
            lambda body: json.dumps({**json.loads(body), "completion": None}).encode(),
            "a completion or an error, and not both",
        ),
    ],
)
async def test_a_damaged_file_is_named_with_what_is_wrong(folder, recorded, change, told):
    recorded.write_bytes(change(recorded.read_bytes()))
    with pytest.raises(SpecError) as caught:
        Recording.open(folder).answer(exchange().digest, 0)
    assert str(caught.value).startswith(f"{recorded}: this is no recorded exchange, ")
    assert told in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_a_file_under_another_requests_name_is_refused(folder, recorded):
    other = exchange(text="other")
    digest = request_digest(prompt_for(text="another"))
    recorded.rename(folder / f"{digest[:16]}-1.json")
    assert "the file was renamed" in problem_of(lambda: Recording.open(folder).answer(digest, 0))
    (folder / f"{digest[:16]}-1.json").rename(recorded)
    alike = other.digest[:16] + digest[16:]
    assert "the answer to another request" in problem_of(lambda: Recording.open(folder).answer(alike, 0))


def test_a_number_that_is_missing_or_claimed_by_a_killed_writer_is_passed_over(folder):
    recording = Recording.create(folder)
    names = [recording.add(exchange(text=text)) for text in "abc"]
    (folder / names[1]).unlink()
    (folder / f".{names[0].replace('-1.', '-4.')}.part").touch()
    Recording.create(folder).add(exchange(text="d"))
    again = Recording.open(folder)
    assert [again.answer(exchange().digest, place).completion.text for place in range(3)] == ["a", "c", "d"]


def test_a_disk_that_is_full_leaves_no_half_file(folder, recorded, monkeypatch):
    recording = Recording.create(folder)
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(EnvironmentFault, match="No space left on device"):
        recording.add(exchange())
    assert [path.name for path in folder.iterdir()] == [recorded.name]


KILLED = """
import sys
from pathlib import Path
from orchestrator.backends.recordings.folder import Recording
from tests.unit.test_recording_folder import exchange
recording = Recording.create(Path(sys.argv[1]))
while True:
    recording.add(exchange(text="x" * 300_000, subtask="one"))
"""


def test_a_writer_killed_at_any_moment_leaves_whole_files(folder):
    for wait_s in (0.0, 0.003, 0.007):
        writer = subprocess.Popen([sys.executable, "-c", KILLED, str(folder)])
        until = time.monotonic() + 60
        before = len(list(folder.glob("*.json"))) if folder.is_dir() else 0
        while not folder.is_dir() or len(list(folder.glob("*.json"))) < before + 3:
            assert time.monotonic() < until
            time.sleep(0.005)
        time.sleep(wait_s)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        assert {len(each.completion.text) for each in read_all(folder)} == {300_000}
    # The next one goes on, whatever the killed ones left.
    Recording.create(folder).add(exchange(text="last"))
    recording = Recording.open(folder)
    assert recording.answer(exchange().digest, len(recording) - 1).completion.text == "last"


def test_ten_thousand_exchanges_are_opened_by_their_names_alone(folder):
    folder.mkdir(parents=True)
    for number in range(10_000):
        (folder / f"{number:016x}-1.json").touch()
    recording = Recording.open(folder)
    # Each of them is empty, and reading one would say that it is damaged.
    assert (len(recording), recording.answers_to(f"{77:016x}{'0' * 48}")) == (10_000, 1)


def test_subtasks_are_found_however_a_file_was_written(folder):
    recording = Recording.create(folder)
    names = [recording.add(exchange(text=str(n), subtask=f"s{n % 2}", writable=("x",))) for n in range(4)]
    turned = folder / names[3]
    body = json.loads(turned.read_bytes())
    body["prompt"]["system"] = "long " * 1_000
    body["prompt"]["draw"] = body["prompt"].pop("draw")
    turned.write_text(json.dumps(body))
    again = Recording.open(folder)
    assert again.subtasks() == ["s0", "s1"]
    assert again.of_subtask("s1") == [names[1], names[3]]
    assert again.of_subtask("none") == []


def test_the_digest_of_a_recording_is_another_when_an_exchange_comes_goes_or_changes(folder):
    recording = Recording.create(folder)
    recording.add(exchange())
    one = recording_digest(folder)
    assert one == recording_digest(folder)
    name = recording.add(exchange(text="another"))
    two = recording_digest(folder)
    (folder / name).write_bytes(b"")
    three = recording_digest(folder)
    (folder / name).unlink()
    assert recording_digest(folder) == one
    assert len({one, two, three}) == 3


def test_a_missing_file_in_the_middle_of_a_replay_is_named(folder, recorded):
    model = ReplayModel(Recording.open(folder), FakeClock())
    recorded.unlink()
    problem = problem_of(lambda: asyncio.run(model.complete(prompt_for(), Meter())))
    assert problem == f"{recorded}: the recording cannot be read: No such file or directory"
    recorded.write_bytes(exchange().encoded())
    with pytest.raises(BackendError, match="only of 'one'"):
        asyncio.run(model.complete(prompt_for(subtask="other", text="other"), Meter()))
