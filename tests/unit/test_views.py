"""What is printed: readable at every width, the same facts in a pipe, and nothing that could steer a terminal."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.core.events import AttemptStarted, SplitFinished, SplitStarted
from orchestrator.core.state import RunState
from orchestrator.journal.memory import MemoryJournal
from orchestrator.measure.summary import summarize
from orchestrator.ports import Meter
from orchestrator.views.lines import LineWriter, describe
from orchestrator.views.live import LiveView
from orchestrator.views.tables import runs_table, subtask_table, summary_table
from orchestrator.views.text import clean, count, dollars, percent, plural, seconds
from tests.simulation import Fate, Ledger, SimulatedEffects, begin, drive, run_started, subtask
from tests.unit.test_summary import HISTORY
from tests.virtual_time import VirtualClock, run_virtually


def drawn(renderable, width=100, height=30):
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None, legacy_windows=False
    )
    console.print(renderable)
    return console.file.getvalue()


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


def running_view(subtasks, agents, notice=""):
    state = RunState()
    for event in (
        run_started(agents=agents),
        SplitStarted(),
        SplitFinished(subtasks=tuple(subtask(f"s{n}") for n in range(subtasks))),
    ):
        state.apply(event, 90.0)
    view = LiveView(state, {"s0": Meter(output_tokens=1234, note="waits 3 s: rate_limit")}, StillClock(), notice)
    for number in range(min(subtasks, agents)):
        event = AttemptStarted(subtask=f"s{number}", attempt=1, draw=1, base="base")
        state.apply(event, 95.0)
        view.observe(type("E", (), {"event": event, "at": 95.0}))
    return view


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


def test_every_event_of_a_history_can_be_described():
    assert all(describe(entry.event) is None or describe(entry.event) for entry in HISTORY)


@given(st.text())
def test_no_text_can_steer_the_terminal(text):
    cleaned = clean(text)
    assert not any(ord(char) < 32 and char not in "\n\t" for char in cleaned)
    assert not any(0x7F <= ord(char) < 0xA0 for char in cleaned)


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
