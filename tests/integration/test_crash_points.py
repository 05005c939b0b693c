"""The real world (git, files, SQLite, the simulated model) with a process that dies at every append to the journal.

Each death is tried twice: just before the transaction is durable, and just after. The next process must reach the tree that
an undisturbed run reaches, whatever was lost, and must not pay for a proposed patch again.
"""

import asyncio
from pathlib import Path

import pytest

from orchestrator.core.events import BatchMerged, PatchProposed
from orchestrator.core.fold import fold
from orchestrator.engine.driver import Stop
from orchestrator.git.trunk import GitTrunk
from orchestrator.journal.sqlite import JournalReader, SqliteJournal
from orchestrator.journal.store import RunStore
from orchestrator.wiring.material import RunOptions
from orchestrator.wiring.runs import resume_run, start_run
from orchestrator.wiring.surroundings import Surroundings
from tests.e2e.conftest import write_sources, write_task

APPENDS = 14


class ProcessDied(Exception):
    """Stands for SIGKILL: nothing after it runs but clean-up that a kill would leave to the next process."""


@pytest.fixture
def surroundings(tmp_path):
    write_sources(tmp_path / "repo")
    write_task(tmp_path)
    (tmp_path / "configs").mkdir()
    # Half of the answers are wrong, so that every kind of event occurs; without latency.
    profile = "backend: stub\nname: half\ntime_scale: 0\nwrong_edit: 0.3\nmalformed_block: 0.2\n"
    (tmp_path / "configs" / "half.yaml").write_text(profile)
    return Surroundings({"PATH": "/usr/bin:/bin"}, tmp_path)


def options():
    return RunOptions(backend="half", seed=4, agents=2)


def work(opened):
    return asyncio.run(opened.work([], Stop()))


def dying(append, left, is_durable):
    """Wrap `SqliteJournal.append` so that it dies at its n-th call."""
    calls = 0

    async def wrapped(self, events, bodies):
        nonlocal calls
        calls += 1
        if calls == left and not is_durable:
            raise ProcessDied
        entries = await append(self, events, bodies)
        if calls == left:
            raise ProcessDied
        return entries

    return wrapped


def journal_of(surroundings):
    (folder,) = RunStore(surroundings.cwd / ".orchestrate").all()
    with JournalReader(folder.journal) as reader:
        return folder, list(reader.entries())


def outcome(surroundings):
    _, entries = journal_of(surroundings)
    merges = [entry.event for entry in entries if isinstance(entry.event, BatchMerged)]
    state = fold(entries)
    return merges[-1].tree, {name: each.phase for name, each in state.subtasks.items()}


def resumed(surroundings):
    folder, _ = journal_of(surroundings)
    with resume_run(surroundings, folder, RunOptions()) as opened:
        return work(opened)


def calm(surroundings):
    with start_run(surroundings, Path("task.yaml"), options()) as opened:
        assert work(opened) == "completed"
        folder = opened.folder
    found = outcome(surroundings)
    folder.remove()
    return found


@pytest.mark.slow
@pytest.mark.parametrize("is_durable", [True, False], ids=["after", "before"])
@pytest.mark.parametrize("number", range(1, APPENDS + 1))
def test_a_death_at_any_append_changes_nothing_in_the_end(surroundings, monkeypatch, number, is_durable):
    expected = calm(surroundings)
    died = True
    with monkeypatch.context() as patched:
        patched.setattr(SqliteJournal, "append", dying(SqliteJournal.append, number, is_durable))
        try:
            with start_run(surroundings, Path("task.yaml"), options()) as opened:
                work(opened)
        except ProcessDied:
            pass
        else:
            died = False
    if not RunStore(surroundings.cwd / ".orchestrate").all():
        assert (number, is_durable) == (1, False)
        return  # nothing had begun, nothing is lost
    folder, entries = journal_of(surroundings)
    if died and fold(entries).finished is None:
        assert resumed(surroundings) == "completed"
    assert outcome(surroundings) == expected
    _, entries = journal_of(surroundings)
    proposed = [(e.event.subtask, e.event.attempt) for e in entries if isinstance(e.event, PatchProposed)]
    assert len(proposed) == len(set(proposed))
    assert folder.left_trees() is None


def test_a_death_between_the_branch_and_the_journal_is_read_off_the_branch(surroundings, monkeypatch):
    expected = calm(surroundings)
    advance = GitTrunk.advance

    async def advance_and_die(self, old, new):
        await advance(self, old, new)
        raise ProcessDied

    with monkeypatch.context() as patched:
        patched.setattr(GitTrunk, "advance", advance_and_die)
        with pytest.raises(ProcessDied), start_run(surroundings, Path("task.yaml"), options()) as opened:
            work(opened)
    _, before = journal_of(surroundings)
    assert fold(before).batch is not None
    assert resumed(surroundings) == "completed"
    assert outcome(surroundings) == expected
    _, after = journal_of(surroundings)
    recovered = after[len(before)].event
    assert isinstance(recovered, BatchMerged)
    assert recovered.verdict is None
    assert recovered.merged
