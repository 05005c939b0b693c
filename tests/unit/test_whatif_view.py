"""A simulated schedule on paper: what it comes from is said, and what was measured is told apart."""

import io

import pytest
from rich.console import Console

from orchestrator.measure.whatif import Assumptions, Measured, RecordFacts, WhatIf, WhatIfRow
from orchestrator.views.whatif import whatif_table

FACTS = RecordFacts(
    run="20260101-refactor",
    spec="refactor",
    backend="stub",
    is_simulated=True,
    agents=1,
    gate_slots=1,
    is_serial=True,
    finished="completed",
    wall_s=468.0,
    subtasks=20,
    settled=20,
    merged=20,
    tries=21,
    limit_wait_s=0.0,
    fault_wait_s=0.0,
    postponed=0,
    lost=0,
    clashing_pairs=0,
    untested_pairs=0,
    unexplained_conflicts=0,
    unblamed_batches=0,
    set_up_s=4.0,
    integration_base_s=3.5,
    integration_each_s=0.0,
    integration_counts_merged=False,
    recorded_batches=20,
    has_unknown_tokens=False,
)
ROW = WhatIfRow(
    agents=8,
    gate_slots=2,
    is_serial=False,
    finished="completed",
    wall_s=66.0,
    speedup=7.09,
    busy_share=0.7,
    subtasks=20,
    merged=20,
    attempts=21,
    extrapolated=0,
    conflicts=0,
    batches=9,
    input_tokens=100,
    output_tokens=200,
    rate_wait_s=0.0,
    retained_lines=1000,
    binds="chain",
    bounds={"agents": 46.0, "chain": 59.5},
)
MEASURED = Measured(runs=("a", "b"), wall_s=73.0, least_s=68.0, most_s=78.0, error=-0.096, gates_slower=1.1)


def answer(row=None, facts=None, **assumed):
    assumptions = Assumptions(cores=2, gate_slowdown=1.25, slowdown_source="default", **assumed)
    return WhatIf(
        simulated_from=FACTS.run,
        record=FACTS.model_copy(update=facts or {}),
        assumptions=assumptions,
        one_agent_s=468.0,
        is_one_agent_measured=True,
        rows=(ROW.model_copy(update=row or {}),),
    )


def drawn(shown, width=200):
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    console.print(whatif_table(shown))
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_at_every_width_it_is_said_that_it_is_simulated_and_from_what(width):
    text = " ".join(drawn(answer({"measured": MEASURED}), width).split())
    assert "simulated from run" in text
    assert FACTS.run in text.replace(" ", "").replace("─", "")
    assert "1:06" in text
    assert "1:13" in text
    assert "-10 %" in text


def test_what_was_measured_says_how_often_and_how_far_apart():
    assert "2 runs, 1:08 to 1:18" in drawn(answer({"measured": MEASURED}))
    own = MEASURED.model_copy(update={"runs": (FACTS.run,), "wall_s": 66.0})
    assert "itself" in drawn(answer({"measured": own}))
    assert "measured" not in drawn(answer()).replace("measured: it is a serial run", "")


def test_a_machine_that_was_busy_with_other_things_is_named_as_a_reason():
    assert "other work was on their cores" not in drawn(answer({"measured": MEASURED}))
    busy = MEASURED.model_copy(update={"gates_slower": 1.8})
    assert "up to 1.8 × as long as simulated: other work was on their cores" in drawn(answer({"measured": busy}))


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"finished": "wall_limit", "settled": 12}, "ended by wall limit: 12 of 20 subtasks came to their end"),
        ({"finished": None, "settled": 0}, "is still open: 0 of 20"),
        ({"untested_pairs": 1}, "1 pair of subtasks changed a file in common and never met"),
        ({"clashing_pairs": 2}, "2 pairs of subtasks can conflict"),
        ({"unexplained_conflicts": 1, "unblamed_batches": 1}, "2 conflicts or failed batches"),
        ({"limit_wait_s": 12.0}, "12.0 s that agents waited for a limit are left out"),
        ({"fault_wait_s": 3.0}, "3.0 s of failed requests and backoff are kept"),
        ({"postponed": 1, "lost": 2}, "3 attempts put off, or lost with a process"),
        ({"integration_each_s": 0.5}, "3.5 s + 0.50 s for each member"),
        ({"integration_each_s": 0.5, "integration_counts_merged": True}, "0.50 s for each merged"),
    ],
)
def test_what_the_record_does_not_know_is_said(facts, words):
    assert words in drawn(answer(facts=facts))
    assert words not in drawn(answer())


@pytest.mark.parametrize(
    ("assumed", "words"),
    [
        ({"generate_scale": 0.5, "gate_scale": 2.0}, "generation × 0.5, gates × 2"),
        ({"requests_per_min": 60.0, "output_tokens_per_min": 20_000.0}, "60 requests, 20.0k output tokens a minute"),
        ({"copies": 1_000, "seed": 7}, "1,000 copies of the task"),
    ],
)
def test_what_was_assumed_is_said(assumed, words):
    assert words in drawn(answer(**assumed))
    assert words not in drawn(answer())


def test_tokens_that_nobody_knows_matter_only_where_tokens_are_limited():
    facts = {"has_unknown_tokens": True}
    assert "did not say their tokens" not in drawn(answer(facts=facts))
    assert "did not say their tokens" in drawn(answer(facts=facts, input_tokens_per_min=100.0))


def test_no_speedup_is_claimed_where_other_subtasks_were_merged():
    text = drawn(answer({"speedup": None, "merged": 5, "finished": "wall_limit", "conflicts": 3, "extrapolated": 2}))
    assert "7.1 ×" not in text
    assert "wall limit" in text
    assert "5/20" in text


def test_nothing_that_stands_in_a_record_can_steer_the_terminal():
    assert "\x1b" not in drawn(answer(facts={"spec": "re\x1b[2Jfactor", "backend": "st\x1b]0;x\x07ub"}))
