"""Where slot time went: recomputed here from histories that can be checked by hand."""

import pytest

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    RunFinished,
    RunResumed,
    SplitFailed,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.values import Conflict, Failure, Limits, MergedPatch, Span, Usage, Verdict
from orchestrator.measure.attempts import divide
from orchestrator.measure.bounds import bounds_of, largest_lever
from orchestrator.measure.pieces import KINDS
from orchestrator.measure.stack import decompose, stack_of
from orchestrator.measure.ticks import in_seconds, ticks
from orchestrator.measure.timeline import steady, wall_s
from tests.simulation import run_started, subtask
from tests.unit.test_summary import HISTORY, PASSED, REFUSED, journal, proposed

CONFLICT = Verdict(passed=False, reason="conflict", feedback="clash")


def pieces(entries):
    return {piece.name: pytest.approx(piece.slot_s) for piece in stack_of(entries).pieces if piece.slot_s}


def started(name, attempt=1):
    return AttemptStarted(subtask=name, attempt=attempt, draw=1, base="base")


def gate(name, attempt=1):
    return GateStarted(subtask=name, attempt=attempt, onto="base")


def judged(name, verdict=PASSED, attempt=1):
    return PatchJudged(subtask=name, attempt=attempt, verdict=verdict)


def merged(batch, *names, conflicts=()):
    patches = tuple(MergedPatch(subtask=name, commit="h", added_lines=3, deleted_lines=0) for name in names)
    out = tuple(Conflict(subtask=name, feedback="") for name in conflicts)
    return BatchMerged(batch=batch, head="h", tree="t", merged=patches, conflicts=out, retained_lines=3)


def begun(*subtasks, **run):
    return [(0, run_started(**run)), (0, SplitStarted()), (0, SplitFinished(subtasks=subtasks))]


def one_subtask(name, at, batch=1):
    """4 s of generation, 2 s at the gate, 1 s of integration."""
    return [
        (at, started(name)),
        (at + 4, proposed(name, 1)),
        (at + 4, gate(name)),
        (at + 6, judged(name)),
        (at + 6, BatchStarted(batch=batch, members=(name,), onto="base")),
        (at + 7, merged(batch, name)),
    ]


def test_the_slot_time_of_a_history_that_can_be_checked_by_hand():
    assert pieces(HISTORY) == {"base": 10, "failed": 4 + 10, "ramp": 2, "gate": 2 + 1 + 1, "integration": 3, "tail": 1}
    stack = stack_of(HISTORY)
    assert (stack.agents, stack.wall_s, stack.slot_s, stack.busy_s) == (2, 17, 34, 24)
    assert [piece.name for piece in stack.pieces] == list(KINDS)


def test_an_idle_slot_goes_to_the_subtask_that_would_have_come_to_it_first():
    # b needs a, c needs b, d needs nothing but comes late: three slots, of which one works.
    subtasks = (subtask("a"), subtask("b", needs=("a",)), subtask("c", needs=("b",)), subtask("d", needs=("a", "b")))
    history = journal(
        *begun(*subtasks, agents=3), *one_subtask("a", 0), (7, started("b")), (8, RunFinished(reason="drained"))
    )
    assert pieces(history) == {
        "base": 4,
        "needs_generation": 4 + 2,  # b waits for a; then c and d for b
        "needs_start": 4 + 2 * 2 + 2 * 1,  # c and d for b, which waits itself
        "needs_gate": 2,
        "needs_integration": 1,
        "undecided": 1,
    }  # fmt: skip


def test_a_subtask_that_was_ready_while_a_slot_was_free_is_the_orchestrators_fault_unless_a_limit_held_it():
    both = (subtask("a"), subtask("b"))
    tail = ((6, started("b")), (6, proposed("a", 1)), (7, RunFinished(reason="drained")))
    assert pieces(journal(*begun(*both, agents=2), (0, started("a")), *tail))["orchestrator"] == 6
    limited = journal(*begun(*both, agents=2, attempts=1), (0, started("a")), (6, proposed("a", 1)), (6, gate("a")), (7, judged("a")))  # fmt: skip
    assert pieces(limited) == {"undecided": 6, "limits": 6 + 1, "gate": 1}


def test_a_wish_to_stop_is_no_fault_of_the_orchestrator():
    history = journal(*begun(subtask("a"), subtask("b"), agents=1), (0, started("a")), (5, proposed("a", 1)), (8, RunFinished(reason="drained")))  # fmt: skip
    assert pieces(history) == {"undecided": 5, "limits": 3}


def test_what_a_killed_process_had_under_way_is_lost_and_the_pause_is_nobodys_time():
    killed = [*begun(subtask("a"), subtask("b"), agents=2), (0, started("a")), (0, started("b")), (3, proposed("b", 1))]
    resumed = [(900, RunResumed(limits=Limits(agents=4), version="0")), (902, started("a", 2)), (906, proposed("a", 2))]
    stack = stack_of(journal(*killed, *resumed))
    assert pieces(journal(*killed, *resumed)) == {
        "lost": 3,
        "undecided": 3 + 4,
        "ramp": 2 * 4,
        "gate": 4,
        "tail": 2 * 4,
    }
    assert stack.wall_s == 3 + 6
    assert stack.agents == pytest.approx((2 * 3 + 4 * 6) / 9)


def test_work_that_a_sibling_undid_is_rework_and_a_culprit_of_a_batch_failed():
    names = ("a", "b", "c", "d")
    history = [*begun(*map(subtask, names), agents=4)]
    history += [(0, started(name)) for name in names]
    history += [(number, proposed(name, 1)) for number, name in enumerate(names, 1)]
    history += [
        (4, gate("a")),
        (4, judged("a", CONFLICT)),
        (4, gate("b")),
        (4, judged("b")),
        (4, BatchStarted(batch=1, members=("b",), onto="base")),
        *((4, event) for name in "cd" for event in (gate(name), judged(name))),
        (5, BatchRejected(batch=1, verdict=REFUSED)),
        (5, BatchStarted(batch=2, members=("c", "d"), onto="base")),
        (6, merged(2, "d", conflicts=("c",))),
    ]
    found = pieces(journal(*history))
    assert (found["rework"], found["failed"], found["base"]) == (1 + 3, 2, 4)


def test_in_a_serial_run_judging_and_integration_are_work():
    history = journal(*begun(subtask("a"), agents=1, gate_slots=1, is_serial=True), *one_subtask("a", 1), (7 + 1, RunFinished(reason="completed")))  # fmt: skip
    assert pieces(history) == {"base": 4, "gates": 2, "merges": 1, "orchestrator": 1}
    assert stack_of(history).is_serial


def test_a_split_that_fails_is_all_ramp():
    history = journal((0, run_started(agents=3)), (1, SplitStarted()), (5, SplitFailed(detail="no")), (5, RunFinished(reason="split_failed")))  # fmt: skip
    assert pieces(history) == {"ramp": 15}


def test_a_run_that_has_only_begun_has_no_slot_time_and_no_bounds():
    stack, bounds = stack_of(journal((7, run_started(agents=3)))), bounds_of(journal((7, run_started(agents=3))))
    assert (stack.agents, stack.slot_s, stack.busy_s) == (3, 0, 0)
    assert (bounds.schedule_quality, bounds.held_by, largest_lever(bounds)) == (None, None, None)
    with pytest.raises(ValueError, match="without entries"):
        stack_of([])


def test_a_clock_that_was_set_back_takes_no_time_from_anybody():
    history = journal(*begun(subtask("a"), agents=1), (5, started("a")), (3, proposed("a", 1)), (8, gate("a")))
    assert [entry.at for entry in steady(history)] == [0, 0, 0, 5, 5, 8]
    stack = stack_of(history)
    assert sum(piece.slot_s for piece in stack.pieces) == stack.slot_s == wall_s(history) == 8


def test_stamps_since_the_epoch_lose_nothing():
    moved = [Entry(seq=each.seq, at=1_795_000_000.123_456 + each.at / 7, event=each.event) for each in HISTORY]
    stack = stack_of(moved)
    assert sum(ticks(piece.slot_s) for piece in stack.pieces) == ticks(stack.slot_s)
    assert ticks(moved[-1].at) - ticks(moved[0].at) == ticks(moved[-1].at - moved[0].at)


def parts(stay, fate, *spans):
    told = [Span(name=name, started_s=start, duration_s=length) for name, start, length in spans]
    return {name: in_seconds(amount) for name, amount in divide(ticks(stay), told, fate).items()}


def test_an_attempts_waits_are_waits_whatever_became_of_it_and_the_rest_goes_by_its_fate():
    spans = (("prepare", 0, 1), ("rate_limit", 1, 2), ("tools", 6, 1), ("commit", 9, 1))
    assert parts(10, "merged", *spans) == {"setup": 2, "rate_limit": 2, "tools": 1, "base": 5}
    assert parts(10, "failed", *spans) == {"setup": 2, "rate_limit": 2, "failed": 6}
    assert parts(10, "lost") == {"lost": 10}


def test_where_spans_overlap_each_moment_belongs_to_the_most_particular():
    spans = (("failed_request", 0, 6), ("rate_limit", 1, 2), ("backoff", 6, 1), ("rate_limit", 2, 2))
    assert parts(10, "merged", *spans) == {"retries": 4, "rate_limit": 3, "base": 3}


def test_the_moments_before_an_attempts_first_step_are_the_orchestrators():
    assert parts(10, "merged", ("prepare", 0, 1), ("commit", 7, 1)) == {"orchestrator": 2, "setup": 2, "base": 6}


def test_spans_that_make_no_sense_take_no_time_that_is_not_there():
    odd = (("tools", -5, 6), ("checks", 9, 50), ("backoff", float("nan"), 1), ("rate_limit", 3, -2), ("music", 2, 3))
    assert parts(10, "merged", *odd) == {"tools": 2, "base": 8}


def serial(*names):
    history = begun(*map(subtask, names), agents=1, gate_slots=1, is_serial=True)
    for number, name in enumerate(names):
        history += one_subtask(name, 7 * number, number + 1)
    return journal(*history, (7 * len(names), RunFinished(reason="completed")))


def parallel(*names):
    """All at once; the gates have a slot each, the lane takes one after the other."""
    history = begun(*map(subtask, names), agents=len(names), gate_slots=len(names), max_batch=1)
    for at, make in ((0, started), (4, lambda name: proposed(name, 1)), (4, gate), (6, judged)):
        history += [(at, make(name)) for name in names]
    for number, name in enumerate(names):
        history += [
            (6 + number, BatchStarted(batch=number + 1, members=(name,), onto="base")),
            (7 + number, merged(number + 1, name)),
        ]
    return journal(*history, (6 + len(names), RunFinished(reason="completed")))


def test_n_slots_come_apart_into_speedup_work_and_waits():
    told = decompose(stack_of(parallel("a", "b", "c")), stack_of(serial("a", "b", "c")))
    assert (told.agents, told.speedup) == (3, pytest.approx(21 / 9))
    work = {term.name: term.agents for term in told.work if term.agents}
    waits = {term.name: term.agents for term in told.waits if term.agents}
    assert work == {"beside": pytest.approx(-9 / 9)}
    assert waits == {
        "gate": pytest.approx(6 / 9),
        "integration": pytest.approx((3 + 2 + 1) / 9),
        "tail": pytest.approx((0 + 1 + 2) / 9),
    }
    assert told.speedup + sum(work.values()) + sum(waits.values()) == pytest.approx(3)


def test_only_a_serial_run_measures_t1():
    with pytest.raises(ValueError, match="serial"):
        decompose(stack_of(parallel("a", "b")), stack_of(parallel("a", "b")))
    with pytest.raises(ValueError, match="serial"):
        decompose(stack_of(serial("a")), stack_of(serial("a")))


def test_the_bounds_of_a_run_that_can_be_checked_by_hand():
    bounds = bounds_of(parallel("a", "b", "c"))
    assert (bounds.work_s, bounds.span_s, bounds.lower_s, bounds.wall_s) == (12, 7, 7, 9)
    assert (bounds.judge_bound_s, bounds.integrate_bound_s) == (2, 3)
    assert bounds.schedule_quality == pytest.approx(7 / 9)
    assert bounds.upper_s == pytest.approx(12 / 3 + 6 / 3 + 3 + (1 - 1 / 3) * (4 + 2))
    assert (bounds.held_by, bounds.chain) == ("needs", ("a",))
    lever = largest_lever(bounds)
    assert (lever.name, lever.remaining_s) == ("model", 5)


def test_a_chain_takes_its_subtasks_attempts_gates_and_integrations_one_after_the_other():
    subtasks = (subtask("a"), subtask("b", needs=("a",)), subtask("c"))
    history = [*begun(*subtasks, agents=2), *one_subtask("a", 0)]
    history.insert(4, (0, started("c")))
    history += [
        (7, AttemptFailed(subtask="c", attempt=1, failure=Failure(reason="refused", feedback=""), usage=Usage()))
    ]
    history += [*one_subtask("b", 7, batch=2), (14, RunFinished(reason="cost_limit"))]
    bounds = bounds_of(journal(*history))
    assert (bounds.chain, bounds.span_s, bounds.work_s) == (("a", "b"), 14, 4 + 7 + 4)
    levers = {lever.name: lever.remaining_s for lever in bounds.levers}
    # Without needs there are two of 7 s for two agents, and what agents do comes to more.
    assert levers["needs"] == 15 / 2
    assert largest_lever(bounds).name == "needs"
    # Nobody knows what a right try at c would have taken.
    assert "failures" not in levers


def test_a_serial_run_is_held_by_its_one_slot_and_twice_as_many_slots_are_no_lever():
    bounds = bounds_of(serial("a", "b"))
    assert (bounds.work_s, bounds.lower_s, bounds.upper_s, bounds.wall_s) == (14, 14, 14, 14)
    assert bounds.schedule_quality == 1
    assert {lever.name for lever in bounds.levers} == {"failures", "waits", "model", "gates", "integration"}


def test_there_is_no_upper_bound_where_the_limits_changed():
    history = [*begun(subtask("a"), agents=2), (0, started("a")), (4, RunResumed(limits=Limits(agents=3), version="0"))]
    history += [(4, started("a", 2)), (5, proposed("a", 2))]
    assert bounds_of(journal(*history)).upper_s is None
