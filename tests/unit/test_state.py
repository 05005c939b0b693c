"""The table of transitions: what is legal happens, what is not raises and says what and where."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.decide import limit_reached
from orchestrator.core.errors import JournalError
from orchestrator.core.events import (
    EVENT,
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    SplitFailed,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.transitions import FINAL, TRANSITIONS, Phase, mermaid
from orchestrator.core.values import (
    Check,
    Conflict,
    Exchange,
    Failure,
    Limits,
    MergedPatch,
    Span,
    Usage,
    Verdict,
)
from tests.simulation import patch_of, run_started, subtask

GOOD = Verdict(passed=True, reason="passed")
BAD = Verdict(passed=False, reason="check_failed", feedback="E")


def state_with(*subtasks):
    state = RunState()
    for event in (run_started(), SplitStarted(), SplitFinished(subtasks=subtasks)):
        apply(state, event, 0.0)
    return state


def play(state, *events):
    for event in events:
        apply(state, event, 0.0)
    return state


STARTED = AttemptStarted(subtask="a", attempt=1, draw=1, base="base")
PROPOSED = PatchProposed(subtask="a", attempt=1, patch=patch_of("a"), usage=Usage())
GATED = GateStarted(subtask="a", attempt=1, onto="base")
JUDGED = PatchJudged(subtask="a", attempt=1, verdict=GOOD)
BATCHED = BatchStarted(batch=1, members=("a",), onto="base")
MERGED = BatchMerged(
    batch=1, head="h", tree="t", merged=(MergedPatch(subtask="a", commit="h", added_lines=1, deleted_lines=0),)
)
LIFE = (STARTED, PROPOSED, GATED, JUDGED, BATCHED, MERGED)


def test_a_subtask_goes_through_its_life():
    state = state_with(subtask("a"))
    seen = [play(state, event).subtasks["a"].phase for event in LIFE]
    assert seen == [Phase.GENERATING, Phase.PROPOSED, Phase.JUDGING, Phase.ACCEPTED, Phase.MERGING, Phase.MERGED]
    assert state.head == "h"
    assert state.is_settled


@pytest.mark.parametrize(
    ("step", "event"),
    [(step, event) for step in range(len(LIFE)) for event in LIFE if event is not LIFE[step]],
    ids=lambda value: getattr(value, "kind", value),
)
def test_an_event_that_the_table_does_not_have_is_refused_and_changes_nothing(step, event):
    state = play(state_with(subtask("a")), *LIFE[:step])
    before = repr(state)
    with pytest.raises(JournalError):
        apply(state, event, 0.0)
    assert repr(state) == before


def test_the_error_names_the_subtask_its_phase_and_the_event():
    with pytest.raises(JournalError, match=r"'a' is waiting: gate_started"):
        apply(state_with(subtask("a")), GATED, 0.0)


def test_a_journal_begins_with_run_started_and_only_once():
    with pytest.raises(JournalError, match="begins with run_started"):
        apply(RunState(), SplitStarted(), 0.0)
    with pytest.raises(JournalError, match="twice"):
        apply(state_with(subtask("a")), run_started(), 0.0)


@pytest.mark.parametrize("event", [PROPOSED, GATED, JUDGED], ids=lambda event: event.kind)
def test_an_outcome_of_another_attempt_is_refused(event):
    state = play(state_with(subtask("a")), *LIFE[: LIFE.index(event)])
    with pytest.raises(JournalError, match="attempt 99"):
        apply(state, event.model_copy(update={"attempt": 99}), 0.0)


def test_a_run_that_has_ended_for_good_does_not_go_on():
    state = play(state_with(subtask("a")), RunFinished(reason="completed"))
    for event in (RunResumed(limits=Limits(), version="0"), RunFinished(reason="completed")):
        with pytest.raises(JournalError):
            apply(state, event, 0.0)


def test_a_member_cannot_be_both_merged_and_in_conflict():
    state = play(state_with(subtask("a")), *LIFE[:5])
    before = repr(state)
    with pytest.raises(JournalError, match="other members"):
        apply(state, MERGED.model_copy(update={"conflicts": (Conflict(subtask="a", feedback=""),)}), 0.0)
    assert repr(state) == before


def test_a_long_chain_of_needs_is_abandoned_whole():
    chain = [subtask("s0", attempts=1), *(subtask(f"s{n}", needs=[f"s{n - 1}"]) for n in range(1, 3000))]
    state = state_with(*chain)
    play(
        state,
        AttemptStarted(subtask="s0", attempt=1, draw=1, base="base"),
        AttemptFailed(subtask="s0", attempt=1, failure=Failure(reason="refused", feedback=""), usage=Usage()),
    )
    assert state.counts[Phase.ABANDONED] == 3000
    assert state.is_settled


def test_an_unknown_cost_never_switches_a_limit_off():
    state = state_with(subtask("a"), subtask("b"))
    state.limits = Limits(cost_usd=1.0)
    play(state, STARTED, PROPOSED.model_copy(update={"usage": Usage(cost_usd=5.0, output_tokens=None)}))
    assert limit_reached(state, 0.0) == "cost_limit"
    started = AttemptStarted(subtask="b", attempt=1, draw=1, base="base")
    play(state, started, PatchProposed(subtask="b", attempt=1, patch=patch_of("b"), usage=Usage(cost_usd=None)))
    assert state.bill.usage.cost_usd is None
    assert limit_reached(state, 0.0) == "cost_limit"


def test_checks_that_differ_only_in_their_environment_are_different_checks():
    shards = [Check(name="tests", argv=("run",), env={"SHARD": str(n)}) for n in range(2)]
    assert len({check.key for check in shards}) == 2


def test_an_unknown_subtask_is_refused():
    with pytest.raises(JournalError, match="'nobody'"):
        apply(state_with(subtask("a")), AttemptStarted(subtask="nobody", attempt=1, draw=1, base="b"), 0.0)


def test_a_batch_outcome_must_speak_of_that_batch_and_its_members():
    state = play(state_with(subtask("a")), *LIFE[:5])
    with pytest.raises(JournalError, match="batch 2"):
        apply(state, MERGED.model_copy(update={"batch": 2}), 0.0)
    with pytest.raises(JournalError, match="other members"):
        apply(state, MERGED.model_copy(update={"merged": ()}), 0.0)
    with pytest.raises(JournalError, match="other members"):
        apply(state, BatchRejected(batch=1, verdict=BAD, conflicts=(Conflict(subtask="z", feedback=""),)), 0.0)


def test_a_process_that_took_over_puts_everything_one_phase_back():
    state = play(
        state_with(subtask("g"), subtask("j"), subtask("m")),
        *(
            event
            for name, events in (("g", 1), ("j", 3), ("m", 4))
            for event in [each.model_copy(update={"subtask": name}) for each in LIFE[:4]][:events]
        ),
        BatchStarted(batch=1, members=("m",), onto="base"),
    )
    apply(state, RunResumed(limits=Limits(), version="0"), 0.0)
    assert [each.phase for each in state.subtasks.values()] == [Phase.WAITING, Phase.PROPOSED, Phase.ACCEPTED]
    assert state.queue.peek() == ("m",)


def test_the_pauses_between_processes_are_not_wall_time():
    state = RunState()
    apply(state, run_started(), 100.0)
    apply(state, RunFinished(reason="drained"), 110.0)
    apply(state, RunResumed(limits=Limits(), version="0"), 500.0)
    assert state.wall_s(505.0) == pytest.approx(15.0)


def test_every_phase_can_be_reached_and_every_phase_but_the_last_two_can_be_left():
    reached = {Phase.WAITING} | {target for targets in TRANSITIONS.values() for target in targets}
    left = {source for source, _ in TRANSITIONS}
    assert reached == set(Phase)
    assert left == set(Phase) - FINAL


def test_the_diagram_shows_every_transition():
    drawn = mermaid()
    for (source, event), targets in TRANSITIONS.items():
        for target in targets:
            assert f"{source} --> {target}: {event}" in drawn


def test_unknown_added_to_anything_stays_unknown():
    total = Usage(input_tokens=5, cost_usd=None) + Usage(input_tokens=None, output_tokens=3, cost_usd=1.0)
    assert total.input_tokens is None
    assert total.cost_usd is None
    assert total.output_tokens == 3


floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(max_size=30)
usages = st.builds(
    Usage, requests=st.integers(0, 9), input_tokens=st.none() | st.integers(0, 10**9), cost_usd=st.none() | floats
)
exchanges = st.builds(
    Exchange,
    prompt=texts,
    reply=st.none() | texts,
    stop_reason=st.sampled_from(["end_turn", "refusal", None]),
    usage=usages,
    started_s=floats,
    duration_s=floats,
)
failures = st.builds(Failure, reason=st.sampled_from(["refused", "truncated"]), feedback=texts)
verdicts = st.builds(
    Verdict,
    passed=st.booleans(),
    reason=st.sampled_from(["passed", "conflict"]),
    feedback=texts,
    checks=st.just(()),
    tree_s=floats,
)
spans = st.builds(Span, name=texts, started_s=floats, duration_s=floats)
conflicts = st.builds(Conflict, subtask=texts, feedback=texts)
merged = st.builds(MergedPatch, subtask=texts, commit=texts, added_lines=st.integers(), deleted_lines=st.integers())
few = {"max_size": 2}
events = st.one_of(
    st.just(run_started(tokens=5, wall_s=1.5)),
    st.just(SplitStarted()),
    st.just(SplitFinished(subtasks=(subtask("a"), subtask("b", ["a"])))),
    st.builds(SplitFailed, detail=texts, usage=usages, exchanges=st.lists(exchanges, **few).map(tuple)),
    st.builds(AttemptStarted, subtask=texts, attempt=st.integers(1, 9), draw=st.integers(1, 9), base=texts),
    st.builds(
        PatchProposed,
        subtask=texts,
        attempt=st.integers(1, 9),
        patch=st.just(patch_of("x")),
        usage=usages,
        exchanges=st.lists(exchanges, **few).map(tuple),
        spans=st.lists(spans, **few).map(tuple),
        skills=st.lists(st.tuples(texts, texts), **few).map(tuple),
    ),
    st.builds(
        AttemptFailed,
        subtask=texts,
        attempt=st.integers(1, 9),
        failure=failures,
        usage=usages,
        exchanges=st.just(()),
        spans=st.just(()),
        skills=st.just(()),
    ),
    st.builds(GateStarted, subtask=texts, attempt=st.integers(1, 9), onto=texts),
    st.builds(PatchJudged, subtask=texts, attempt=st.integers(1, 9), verdict=verdicts),
    st.builds(
        BatchStarted, batch=st.integers(), members=st.lists(texts, min_size=1, max_size=3).map(tuple), onto=texts
    ),
    st.builds(
        BatchMerged,
        batch=st.integers(),
        head=texts,
        tree=texts,
        merged=st.lists(merged, **few).map(tuple),
        conflicts=st.lists(conflicts, **few).map(tuple),
        retained_lines=st.integers(),
        verdict=st.none() | verdicts,
    ),
    st.builds(BatchRejected, batch=st.integers(), verdict=verdicts, conflicts=st.lists(conflicts, **few).map(tuple)),
    st.builds(RunResumed, limits=st.builds(Limits, agents=st.integers(1, 9), cost_usd=st.none()), version=texts),
    st.builds(RunFinished, reason=st.sampled_from(["completed", "drained"])),
)


@given(events)
def test_every_event_can_be_written_and_read_back(event):
    assert EVENT.validate_json(event.model_dump_json()) == event
