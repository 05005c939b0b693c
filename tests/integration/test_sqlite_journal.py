"""The journal: what it has acknowledged is there, whatever became of the process."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap

import pytest

from orchestrator.core.errors import EnvironmentFault, JournalError
from orchestrator.core.events import RunFinished, SplitStarted
from orchestrator.core.values import digest_of
from orchestrator.journal.sqlite import JournalReader, SqliteJournal
from orchestrator.journal.store import RunStore
from tests.simulation import run_started

EVENTS = [(1.5, run_started()), (2.0, SplitStarted())]


async def test_events_and_bodies_come_back_as_they_were(tmp_path):
    body = b"prompt \x00\xff" * 100
    with SqliteJournal(tmp_path / "j.sqlite") as journal:
        await journal.append(EVENTS, {digest_of(body): body})
        await journal.append([(3.0, RunFinished(reason="drained"))], {})
    with SqliteJournal(tmp_path / "j.sqlite") as journal:
        assert [(e.seq, e.at, e.event) for e in journal.entries()] == [
            (1, 1.5, EVENTS[0][1]),
            (2, 2.0, EVENTS[1][1]),
            (3, 3.0, RunFinished(reason="drained")),
        ]
        assert journal.body(digest_of(body)) == body
        assert journal.body(digest_of(b"unknown")) is None


async def test_a_reader_sees_what_the_writer_has_acknowledged_while_it_writes(tmp_path):
    with SqliteJournal(tmp_path / "j.sqlite") as journal:
        await journal.append(EVENTS, {})
        with JournalReader(tmp_path / "j.sqlite") as reader:
            assert len(list(reader.entries())) == 2
            await journal.append([(3.0, RunFinished(reason="drained"))], {})
            assert [entry.seq for entry in reader.entries(after=2)] == [3]


async def test_only_the_owner_can_read_prompts_and_replies(tmp_path):
    with SqliteJournal(tmp_path / "j.sqlite") as journal:
        await journal.append(EVENTS, {})
    assert stat.S_IMODE((tmp_path / "j.sqlite").stat().st_mode) == 0o600


def test_a_file_that_is_no_journal_is_refused_with_its_name(tmp_path):
    (tmp_path / "j.sqlite").write_text("not a database, but long enough to be looked at" * 40)
    with (
        pytest.raises((JournalError, EnvironmentFault), match=r"j\.sqlite"),
        JournalReader(tmp_path / "j.sqlite") as reader,
    ):
        list(reader.entries())
    with pytest.raises(EnvironmentFault, match="no journal"):
        JournalReader(tmp_path / "missing.sqlite")


WRITER = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from orchestrator.journal.sqlite import SqliteJournal
    from orchestrator.core.events import SplitStarted
    async def main():
        journal = SqliteJournal(Path(sys.argv[1]))
        while True:
            entries = await journal.append([(0.0, SplitStarted())] * 3, {})
            print(entries[-1].seq, flush=True)
    asyncio.run(main())
""")


@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_what_was_acknowledged_survives_kill_9(tmp_path, acknowledged):
    path = tmp_path / "j.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        last = 0
        for _ in range(acknowledged):
            last = int(process.stdout.readline())
        os.kill(process.pid, signal.SIGKILL)
        rest = [int(line) for line in process.stdout.read().split()]
    with SqliteJournal(path) as journal:
        numbers = [entry.seq for entry in journal.entries()]
    assert len(numbers) >= max([last, *rest])
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) % 3 == 0


def test_a_second_process_is_kept_out_and_kill_9_lets_go(tmp_path):
    folder = RunStore(tmp_path).create("run")
    code = (
        "import sys, time; from pathlib import Path; from orchestrator.journal.store import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).locked(): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(folder.path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(EnvironmentFault, match="another process"), folder.locked():
            pass
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with folder.locked():
        pass


async def started(store, name):
    folder = store.create(name)
    with SqliteJournal(folder.journal) as journal:
        await journal.append(EVENTS, {})
    return folder


async def test_runs_are_found_by_id_by_a_part_of_it_and_as_the_last(tmp_path):
    store = RunStore(tmp_path / "runs-here")
    with pytest.raises(EnvironmentFault, match="no runs"):
        store.find("last")
    one, two = await started(store, "20260101-refactor"), await started(store, "20260102-refactor")
    os.utime(one.journal, (1, 1))
    assert store.find("20260101-refactor") == one
    assert store.find("0102") == two
    assert store.find("last") == two
    with pytest.raises(EnvironmentFault, match="2 runs"):
        store.find("refactor")
    with pytest.raises(EnvironmentFault, match="no run 'x'"):
        store.find("x")


async def test_a_name_that_is_taken_gets_a_number_and_nothing_shows_in_git_status(tmp_path):
    store = RunStore(tmp_path / ".orchestrate")
    assert [store.create("same").run for _ in range(3)] == ["same", "same-2", "same-3"]
    assert (tmp_path / ".orchestrate" / ".gitignore").read_text() == "*\n"


def test_a_write_whose_waiter_is_cancelled_is_still_made(tmp_path):
    async def main():
        with SqliteJournal(tmp_path / "j.sqlite") as journal:
            first = asyncio.ensure_future(journal.append([(1.0, SplitStarted())] * 2_000, {}))
            second = asyncio.ensure_future(journal.append([(2.0, SplitStarted())], {}))
            await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            await first
            return [entry.seq for entry in journal.entries()]

    assert asyncio.run(main()) == list(range(1, 2_002))
