"""What is printed: readable at every width, the same facts in a pipe, and nothing that could steer a terminal."""

import io
import re
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    Event,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    SplitFailed,
    SplitFinished,
    SplitStarted,
    SplitStopped,
)
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import CheckResult, Conflict, Failure, Limits, MergedPatch, Usage, Verdict
from orchestrator.journal.memory import MemoryJournal
from orchestrator.measure.summary import SubtaskSummary, summarize
from orchestrator.ports import Meter
from orchestrator.views.lines import LineWriter, describe
from orchestrator.views.live import LiveView
from orchestrator.views.tables import runs_table, subtask_table, summary_table
from orchestrator.views.text import clean, count, dollars, percent, plural, seconds
from tests.simulation import Fate, Ledger, SimulatedEffects, begin, drive, patch_of, run_started, subtask
from tests.unit.test_summary import HISTORY
from tests.virtual_time import VirtualClock, run_virtually


def drawn(renderable, width=100, height=30):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
    )
    console.print(renderable)
    return console.file.getvalue()


def rows_of(subtasks, why=""):
    phase = Phase.ABANDONED if why else Phase.MERGED
    return [
        SubtaskSummary(
            id=f"module-number-{n}",
            phase=phase,
            attempts=2,
            reworks=1,
            usage=Usage(output_tokens=2_345),
            added_lines=57,
            generate_s=12.3,
            reason=why,
        )
        for n in range(subtasks)
    ]


class StillClock:
    def now(self):
        return 100.0


def test_the_summary_says_what_is_simulated_and_what_is_estimated():
    shown = drawn(summary_table(summarize(HISTORY), branch="orchestrate/r"))
    assert "1 merged, 0 abandoned, 1 still open of 2" in shown
    assert "simulated" in shown
    assert "estimated" in shown
    assert "6 proposed → 3 gated → 3 integrated (2 retained)" in shown
    assert "first-pass rate 50 %" in shown


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_table_fits_its_terminal(width):
    summary = summarize(HISTORY)
    for table in (summary_table(summary, branch="b"), subtask_table(summary.rows), runs_table([summary], ["drained"])):
        assert all(len(line) <= width for line in drawn(table, width).splitlines())


class Watched:
    """A run whose events a view observes, as the driver hands them over: after the state has them."""

    def __init__(self, subtasks, agents, notice="", **meters):
        self.state, self.at = RunState(), 90.0
        self.view = LiveView(self.state, meters, StillClock(), notice)
        self.names = [f"s{n}" for n in range(subtasks)]
        self.tell(run_started(agents=agents), SplitStarted(), SplitFinished(subtasks=tuple(map(subtask, self.names))))
        self.at = 95.0

    def tell(self, *events):
        for event in events:
            apply(self.state, event, self.at)
        for event in events:
            self.view.observe(Entry(seq=1, at=self.at, event=event))

    def rows(self):
        """What stands beside the number of each agent."""
        table = [line.split() for line in drawn(self.view).splitlines()[2:]]
        return {int(words[0]): words[1] for words in table if words and words[0].isdigit() and words[1] != "merged"}


def start(name, attempt=1):
    return AttemptStarted(subtask=name, attempt=attempt, draw=1, base="base")


def fail(name, attempt=1):
    return AttemptFailed(
        subtask=name, attempt=attempt, failure=Failure(reason="refused", feedback=""), usage=Usage(requests=1)
    )


def propose(name, attempt=1):
    return PatchProposed(subtask=name, attempt=attempt, patch=patch_of(name), usage=Usage(requests=1))


@pytest.mark.parametrize("width", [40, 60, 100])
def test_in_a_narrow_terminal_a_row_stays_one_line_and_what_is_left_out_is_named(width):
    lines = drawn(subtask_table(rows_of(20, why="check_failed")), width).splitlines()
    headers, rows, note = lines[0].split(), lines[1:21], " ".join(" ".join(lines[21:]).split())
    for number, row in enumerate(rows):
        assert row.split()[:2] == [f"module-number-{number}", "abandoned"]
    for header in ("tries", "redone", "tokens out", "lines", "agent time", "why"):
        assert (header.split()[0] in headers) != (header in note), (headers, note)


def test_a_column_in_which_nothing_stands_is_not_drawn():
    assert "why" not in drawn(subtask_table(rows_of(3)))


@pytest.mark.parametrize("width", [20, 40, 60])
def test_the_summary_never_cuts_a_name_that_one_would_copy(width):
    shown = drawn(summary_table(summarize(HISTORY), branch="orchestrate/20260101-010101-refactor"), width)
    values = "".join(line[12:].strip() for line in shown.splitlines()[1:])
    assert "branchorchestrate/20260101-010101-refactorat" in values.replace(" ", "")


def test_markup_in_a_name_means_nothing():
    row = rows_of(1, why="[bold]x[/nothing]")[0].model_copy(update={"id": "[red]s"})
    shown = drawn(subtask_table([row]))
    assert "[red]s" in shown
    assert "[bold]x[/nothing]" in shown


def running_view(subtasks, agents, notice=""):
    watched = Watched(subtasks, agents, notice, s0=Meter(output_tokens=1234, note="waits 3 s: rate_limit"))
    watched.tell(*map(start, watched.names[:agents]))
    return watched.view


def test_a_second_attempt_has_a_row_as_the_first_had():
    watched = Watched(subtasks=1, agents=1)
    watched.tell(start("s0"))
    assert watched.rows() == {1: "s0"}
    watched.tell(fail("s0"), start("s0", 2))
    assert watched.rows() == {1: "s0"}
    watched.tell(propose("s0", 2))
    assert watched.rows() == {1: "idle"}


def test_who_starts_takes_the_topmost_free_row_and_nobody_else_moves():
    watched = Watched(subtasks=6, agents=3)
    watched.tell(start("s0"), start("s1"), start("s2"))
    watched.tell(propose("s1"), start("s3"))
    assert watched.rows() == {1: "s0", 2: "s3", 3: "s2"}
    watched.tell(propose("s2"), propose("s0"), start("s4"))
    assert watched.rows() == {1: "s4", 2: "s3", 3: "idle"}


def test_after_a_resume_nobody_is_at_work():
    watched = Watched(subtasks=2, agents=2)
    watched.tell(start("s0"), start("s1"))
    watched.tell(propose("s1"), GateStarted(subtask="s1", attempt=1, onto="base"))
    watched.tell(RunResumed(limits=Limits(agents=2), version="0"))
    assert watched.rows() == {1: "idle", 2: "idle"}
    assert "gates idle (+1 waiting)" in drawn(watched.view)


@given(st.data())
def test_the_rows_are_those_who_generate_and_the_gates_those_who_are_judged(data):
    watched = Watched(subtasks=6, agents=3)
    for _ in range(data.draw(st.integers(0, 12))):
        phase = {name: watched.state.subtasks[name].phase for name in watched.names}
        ready = [name for _, _, name in watched.state.ready[:1] if list(phase.values()).count("generating") < 3]
        waiting = [name for _, _, name in watched.state.proposed[:1]]
        number = {name: each.attempt for name, each in watched.state.subtasks.items()}
        possible = [start(name, number[name] + 1) for name in ready]
        possible += [GateStarted(subtask=name, attempt=number[name], onto="base") for name in waiting]
        for name in watched.names:
            if phase[name] == "generating":
                possible += [fail(name, number[name]), propose(name, number[name])]
            elif phase[name] == "judging":
                verdict = Verdict(passed=False, reason="check_failed")
                possible.append(PatchJudged(subtask=name, attempt=number[name], verdict=verdict))
        if possible:
            watched.tell(data.draw(st.sampled_from(possible)))
    by_phase = {wanted: [n for n in watched.names if watched.state.subtasks[n].phase == wanted] for wanted in Phase}
    assert sorted(name for name in watched.rows().values() if name != "idle") == by_phase[Phase.GENERATING]
    stations = next(line for line in drawn(watched.view).splitlines() if line.startswith("gates "))
    assert sorted(re.findall(r"s\d", stations)) == by_phase[Phase.JUDGING]


class NeverWalked(dict):
    """Subtasks that may be counted and looked up, not walked through."""

    def __iter__(self):
        raise AssertionError("walked through all the subtasks")

    keys = values = items = __iter__


def test_neither_an_event_nor_a_frame_walks_through_the_subtasks():
    watched = Watched(subtasks=10_000, agents=2_000)
    watched.state.subtasks = NeverWalked(watched.state.subtasks)
    watched.tell(*map(start, watched.names[:2_000]))
    watched.tell(*map(propose, watched.names[:2_000]))
    watched.tell(*(GateStarted(subtask=name, attempt=1, onto="base") for name in watched.names[:1_000]))
    watched.tell(*map(start, watched.names[2_000:4_000]))
    shown = drawn(watched.view)
    assert "2000 busy in all" in shown
    assert "0 merged of 10000" in shown


def test_markup_and_line_breaks_in_a_note_are_shown_as_they_are():
    watched = Watched(1, 1, s0=Meter(note="[/red] odd\nnote"))
    watched.tell(start("s0"))
    assert "[/red] odd note" in drawn(watched.view)


def test_the_live_view_has_a_row_for_each_agent_with_its_tokens_and_its_time():
    shown = drawn(running_view(subtasks=5, agents=3))
    assert "s0" in shown
    assert "1,234" in shown
    assert "5.0 s" in shown
    assert "rate_limit" in shown
    assert "0 merged of 5" in shown


@pytest.mark.parametrize(("width", "height"), [(30, 10), (80, 24), (200, 60)])
def test_the_live_view_never_outgrows_the_terminal(width, height):
    lines = drawn(running_view(subtasks=1000, agents=500), width, height).splitlines()
    assert len(lines) <= height
    assert all(len(line) <= width for line in lines)
    assert any("more agents" in line for line in lines) or width < 40


def test_the_live_view_shows_a_notice_instead_of_the_last_event():
    assert "stopping" in drawn(running_view(2, 2, notice="stopping: Ctrl-C again cancels"))


def test_a_pipe_gets_a_line_for_everything_that_happened():
    journal, writer = MemoryJournal(), LineWriter()
    fates = {"a": Fate(fails={1}), "b": Fate(rejected={1}), "c": Fate(breaks_trunk={1})}

    async def main():
        state = await begin(journal, run_started())
        effects = SimulatedEffects([subtask("a"), subtask("b"), subtask("c")], fates, Ledger())
        await drive(journal, state, effects, VirtualClock())

    run_virtually(main())
    lines = [line for entry in journal.entries() if (line := writer.line(entry))]
    told = "\n".join(lines)
    for expected in (
        "3 subtasks",
        "a: attempt 1 failed: malformed reply",
        "b: gate said no",
        "rejected",
        "merged",
        "finished: completed",
    ):
        assert expected in told
    assert not any("\n" in line for line in lines)


WORDS = {
    "run_started": "run r: fake (simulated), 4 agents, 2 gate slots, seed 0, base base",
    "run_resumed": "resumed",
    "run_finished": "finished: cost limit",
    "split_started": None,
    "split_finished": "split into 2 subtasks",
    "split_stopped": None,
    "split_failed": "no valid split: a cycle: a, b",
    "attempt_started": "a: attempt 1 on base",
    "patch_proposed": "a: proposed +3 -0, 200 tokens out",
    "attempt_failed": "a: attempt 1 failed: malformed reply",
    "gate_started": None,
    "patch_judged": "a: gate said no: check failed (tests)",
    "batch_started": None,
    "batch_merged": "batch 1 merged: a; head h; conflict: b",
    "batch_rejected": "batch 1 rejected: check failed; conflict: b",
}


def one_of_each_kind():
    clash = (Conflict(subtask="b", feedback=""),)
    check = CheckResult(name="tests", passed=False, exit_code=1, duration_s=1.0)
    refused = Verdict(passed=False, reason="check_failed", checks=(check,))
    merged = MergedPatch(subtask="a", commit="h", added_lines=3, deleted_lines=0)
    usage = Usage(output_tokens=200)
    return [
        run_started(),
        RunResumed(limits=Limits(), version="0"),
        RunFinished(reason="cost_limit"),
        SplitStarted(),
        SplitFinished(subtasks=(subtask("a"), subtask("b"))),
        SplitStopped(),
        SplitFailed(detail="a cycle:\na,\x1b[2J b"),
        AttemptStarted(subtask="a", attempt=1, draw=1, base="base"),
        PatchProposed(subtask="a", attempt=1, patch=patch_of("a"), usage=usage),
        AttemptFailed(subtask="a", attempt=1, failure=Failure(reason="malformed_reply", feedback=""), usage=usage),
        GateStarted(subtask="a", attempt=1, onto="base"),
        PatchJudged(subtask="a", attempt=1, verdict=refused),
        BatchStarted(batch=1, members=("a",), onto="base"),
        BatchMerged(batch=1, head="h", tree="t", merged=(merged,), conflicts=clash),
        BatchRejected(batch=1, verdict=refused, conflicts=clash),
    ]


def test_every_kind_of_event_has_its_line_unless_its_outcome_says_it_all():
    assert {event.kind: describe(event) for event in one_of_each_kind()} == WORDS


def test_no_kind_of_event_is_forgotten():
    union = get_args(Event)[0]
    assert {kind.model_fields["kind"].default for kind in get_args(union)} == set(WORDS)


@given(st.text())
def test_no_text_can_steer_the_terminal(text):
    cleaned = clean(text)
    assert not any(ord(char) < 32 and char not in "\n\t" for char in cleaned)
    assert not any(0x7F <= ord(char) < 0xA0 for char in cleaned)


def test_bytes_of_a_name_that_are_no_character_can_be_printed():
    assert clean(b"caf\xe9.py".decode("utf-8", "surrogateescape")).encode() == "caf\ufffd.py".encode()


def test_an_escape_sequence_is_taken_out_whole():
    assert clean("a\x1b[31mred\x1b[0m\x1b]0;title\x07b") == "aredb"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (count(None), "?"),
        (count(950), "950"),
        (count(9999), "9,999"),
        (count(12_345), "12.3k"),
        (count(4_560_000), "4.56M"),
        (seconds(None), "–"),
        (seconds(0.421), "0.42 s"),
        (seconds(12.34), "12.3 s"),
        (seconds(245), "4:05"),
        (seconds(3723), "1:02:03"),
        (dollars(None), "price unknown"),
        (dollars(0.0), "$0.00"),
        (dollars(0.1234), "$0.1234"),
        (dollars(1234.5), "$1,234.50"),
        (dollars(1.0, is_simulated=True), "$1.00 simulated"),
        (percent(None), "–"),
        (percent(0.955), "96 %"),
        (plural(1, "subtask"), "1 subtask"),
        (plural(2, "batch", "batches"), "2 batches"),
    ],
)
def test_numbers_are_written_for_people(shown, expected):
    assert shown == expected
