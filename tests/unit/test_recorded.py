"""What a journal says of the work itself, from histories that can be checked by hand."""

import pytest

from orchestrator.core.events import (
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
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.values import (
    CheckResult,
    Conflict,
    Exchange,
    Failure,
    FileChange,
    Limits,
    MergedPatch,
    Patch,
    Span,
    Usage,
    Verdict,
)
from orchestrator.measure.contention import Contention
from orchestrator.measure.recorded import fit, recorded
from orchestrator.measure.tries import merged_stretches
from tests.recorded_world import PLENTY
from tests.simulation import run_started, subtask
from tests.unit.test_summary import journal

USAGE = Usage(requests=2, input_tokens=1000, output_tokens=200)


def verdict(checks_s, tree_s=0.0, passed=True):
    check = CheckResult(name="tests", passed=passed, exit_code=0 if passed else 1, duration_s=checks_s)
    return Verdict(passed=passed, reason="passed" if passed else "check_failed", checks=(check,), tree_s=tree_s)


def patch(*paths):
    changes = tuple(
        FileChange(path=path, old_mode=None, new_mode="100644", old_blob=None, new_blob="b", added_lines=3)
        for path in paths
    )
    return Patch(base="base", commit="c", tree="t", changes=changes)


def began(name, attempt=1, draw=1, base="base"):
    return AttemptStarted(subtask=name, attempt=attempt, draw=draw, base=base)


def proposed(name, attempt=1, paths=(), **fields):
    return PatchProposed(subtask=name, attempt=attempt, patch=patch(f"{name}.py", *paths), usage=USAGE, **fields)


def failed(name, reason, attempt=1):
    failure = Failure(reason=reason, feedback="")
    return AttemptFailed(subtask=name, attempt=attempt, failure=failure, usage=USAGE)


def gate(name, attempt=1, onto="base"):
    return GateStarted(subtask=name, attempt=attempt, onto=onto)


def judged(name, said, attempt=1):
    return PatchJudged(subtask=name, attempt=attempt, verdict=said)


def merged(batch, names, head, said, conflicts=(), lines=3):
    return BatchMerged(
        batch=batch,
        head=head,
        tree="t",
        merged=tuple(MergedPatch(subtask=name, commit=head, added_lines=3, deleted_lines=0) for name in names),
        conflicts=tuple(Conflict(subtask=name, feedback="") for name in conflicts),
        retained_lines=lines,
        verdict=said,
    )


def opening(*subtasks, **run):
    return [(0, run_started(**run)), (0, SplitStarted()), (1, SplitFinished(subtasks=subtasks))]


def tries_of(record, name):
    history = next(each for each in record.histories if each.subtask.id == name)
    return {draw: list(tries) for draw, tries in history.tries.items()}


def test_waits_for_a_limit_are_no_service_and_waits_for_a_faulty_provider_are():
    spans = (
        Span(name="prepare", started_s=0, duration_s=1),
        Span(name="rate_limit", started_s=2, duration_s=10),
        Span(name="failed_request", started_s=2, duration_s=13),  # its queue is the one above
        Span(name="backoff", started_s=15, duration_s=2),
        Span(name="prompt_cache", started_s=17, duration_s=3),
        Span(name="commit", started_s=29, duration_s=1),
    )
    exchange = Exchange(prompt="p", reply="r", stop_reason="end_turn", usage=USAGE, started_s=20, duration_s=8)
    record = recorded(
        journal(
            *opening(subtask("a")),
            (1, began("a")),
            (31, proposed("a", spans=spans, exchanges=(exchange,))),
        ),
        PLENTY,
    )
    did = tries_of(record, "a")[1][0].did
    assert did.service_s == pytest.approx(30 - 10 - 3)
    assert did.limit_s == pytest.approx(13)
    assert did.fault_s == pytest.approx(5)
    request = did.requests[0]
    assert (request.before_s, request.duration_s, did.after_s) == (pytest.approx(7), 8, 2)
    assert (request.count, request.input_tokens, request.output_tokens) == (2, 1000, 200)


def test_time_that_two_waits_share_is_waited_for_once():
    assert merged_stretches([(5, 6), (0, 2), (1, 3), (3, 3), (2.5, 4)]) == [(0, 4), (5, 6)]


def test_what_was_put_off_or_lost_is_no_try():
    record = recorded(
        journal(
            *opening(subtask("a"), subtask("b")),
            (1, began("a")),
            (1, began("b")),
            (2, failed("a", "rate_limited")),
            (2, began("a", attempt=2)),
            (3, failed("a", "refused", attempt=2)),
            (9, RunResumed(limits=Limits(), version="0")),
            (9, began("a", attempt=3, draw=2)),
            (9, began("b", attempt=2)),
            (14, proposed("b", attempt=2)),
        ),
        PLENTY,
    )
    assert (record.postponed, record.lost, record.processes) == (1, 1, 2)
    assert [each.did.attempt for each in tries_of(record, "a")[1]] == [2]
    assert [each.did.service_s for each in tries_of(record, "b")[1]] == [5]
    assert not record.is_complete
    assert record.merged == frozenset()


def test_an_outage_is_the_weather_of_that_moment_unless_nothing_else_ever_came():
    record = recorded(
        journal(
            *opening(subtask("a"), subtask("b")),
            (1, began("a")),
            (2, failed("a", "backend_unavailable")),
            (2, began("a", attempt=2)),
            (8, proposed("a", attempt=2)),
            (8, began("b")),
            (9, failed("b", "backend_unavailable")),
        ),
        PLENTY,
    )
    assert [each.did.attempt for each in tries_of(record, "a")[1]] == [2]
    assert [each.did.attempt for each in tries_of(record, "b")[1]] == [1]
    assert record.postponed == 1


# `a` and `b` are judged side by side on two cores; the first tree waits for the set-up, and so does whoever comes meanwhile.
SIDE_BY_SIDE = journal(
    *opening(subtask("a"), subtask("b"), subtask("c")),
    (1, began("a")),
    (1, began("b")),
    (1, began("c")),
    (10, proposed("a")),
    (10, gate("a")),
    (12, proposed("b")),
    (12, gate("b")),
    (15, judged("a", verdict(checks_s=1, tree_s=4))),  # set-up from 10 to 14
    (15, BatchStarted(batch=1, members=("a",), onto="base")),
    (16, judged("b", verdict(checks_s=2, tree_s=2))),
    (19, merged(1, ["a"], "h1", verdict(checks_s=4))),
    (20, proposed("c")),
    (20, gate("c", onto="h1")),
    (22, judged("c", verdict(checks_s=2, tree_s=0))),
)


def test_set_up_is_told_apart_from_trees_and_nobody_else_pays_for_it():
    record = recorded(SIDE_BY_SIDE, Contention(cores=2, all_busy=1.0))
    assert record.set_up_s == pytest.approx(4)
    gates = {name: tries_of(record, name)[1][0].judged.alone_s for name in "abc"}
    assert gates == {"a": pytest.approx(1), "b": pytest.approx(2), "c": pytest.approx(2)}


def test_what_ran_side_by_side_is_freed_of_it():
    record = recorded(SIDE_BY_SIDE, Contention(cores=2, all_busy=2.0))
    gates = {name: tries_of(record, name)[1][0].judged.alone_s for name in "abc"}
    assert gates["a"] == pytest.approx(0.5)
    assert gates["b"] == pytest.approx(1.0)  # beside `a`'s gate, then beside the batch
    assert gates["c"] == pytest.approx(2.0)
    assert record.integration.base_s == pytest.approx(3.5)


def test_a_patch_that_conflicted_before_its_gate_gets_the_verdict_of_the_same_draw():
    record = recorded(
        journal(
            *opening(subtask("a"), subtask("b")),
            (1, began("a")),
            (1, began("b")),
            (5, proposed("a", paths=("shared",))),
            (5, gate("a")),
            (6, judged("a", verdict(1))),
            (6, BatchStarted(batch=1, members=("a",), onto="base")),
            (8, merged(1, ["a"], "h1", verdict(2))),
            (9, proposed("b", paths=("shared",))),
            (9, gate("b", onto="h1")),
            (9.25, judged("b", Verdict(passed=False, reason="conflict"))),
            (9.25, began("b", attempt=2, base="h1")),
            (13.25, proposed("b", attempt=2, paths=("shared",))),
            (13.25, gate("b", attempt=2, onto="h1")),
            (16.25, judged("b", verdict(3, passed=False), attempt=2)),
        ),
        PLENTY,
    )
    first, again = tries_of(record, "b")[1]
    assert first.judged.is_guessed
    assert first.judged.verdict == again.judged.verdict
    assert first.judged.alone_s == again.judged.alone_s == 3
    assert not again.judged.is_guessed
    assert record.times.conflict_s == 0.25
    assert record.clashes.pairs == {frozenset("ab")}
    assert record.clashes.of("a") == {"b"}
    assert record.clashes.of("c") == frozenset()


def test_a_refused_patch_keeps_its_refusal():
    refused = Verdict(passed=False, reason="protected_path")
    record = recorded(
        journal(
            *opening(subtask("a")), (1, began("a")), (5, proposed("a")), (5, gate("a")), (5.5, judged("a", refused))
        ),
        PLENTY,
    )
    only = tries_of(record, "a")[1][0].judged
    assert (only.verdict, only.alone_s, only.is_guessed) == (refused, 0.5, False)
    assert record.set_up_s == 0


def two_accepted(*more, paths=()):
    names = ("a", "b")
    return journal(
        *opening(*(subtask(name) for name in names)),
        *((1, began(name)) for name in names),
        *((5, proposed(name, paths=paths)) for name in names),
        *((5, gate(name)) for name in names),
        *((6, judged(name, verdict(1))) for name in names),
        *more,
    )


def test_the_culprit_of_a_failed_batch_is_found_and_explains_it():
    said = verdict(2, passed=False)
    record = recorded(
        two_accepted(
            (6, BatchStarted(batch=1, members=("a", "b"), onto="base")),
            (8, BatchRejected(batch=1, verdict=said)),
            (8, BatchStarted(batch=2, members=("a",), onto="base")),
            (10, merged(2, ["a"], "h1", verdict(2))),
            (10, BatchStarted(batch=3, members=("b",), onto="h1")),
            (11, BatchRejected(batch=3, verdict=said)),
        ),
        PLENTY,
    )
    assert record.clashes.culprits == {("b", 1): said}
    assert record.clashes.unblamed == 0
    assert tries_of(record, "b")[1][0].breaks == said
    assert tries_of(record, "a")[1][0].breaks is None
    assert (record.integration.base_s, record.integration.failed_s) == (2, 1.5)


def test_a_batch_that_failed_by_itself_is_counted_as_nobodys_fault():
    record = recorded(
        two_accepted(
            (6, BatchStarted(batch=1, members=("a", "b"), onto="base")),
            (8, BatchRejected(batch=1, verdict=verdict(2, passed=False))),
            (8, BatchStarted(batch=2, members=("a",), onto="base")),
            (10, merged(2, ["a"], "h1", verdict(2))),
        ),
        PLENTY,
    )
    assert record.clashes.culprits == {}
    assert record.clashes.unblamed == 1


def test_pairs_that_met_in_peace_are_known_to_get_along_and_others_are_counted():
    together = two_accepted(
        (6, BatchStarted(batch=1, members=("a", "b"), onto="base")),
        (8, merged(1, ["a", "b"], "h1", verdict(2))),
        paths=("shared",),
    )
    assert recorded(together, PLENTY).clashes.untested == 0
    assert recorded(two_accepted(paths=("shared",)), PLENTY).clashes.untested == 1


def test_a_conflict_with_nobody_in_sight_is_said_to_be_unexplained():
    record = recorded(
        two_accepted(
            (6, BatchStarted(batch=1, members=("a", "b"), onto="base")),
            (8, merged(1, ["a"], "h1", verdict(2), conflicts=["b"])),
        ),
        PLENTY,
    )
    assert record.clashes.pairs == set()
    assert record.clashes.unexplained == 1


def test_a_merge_whose_verdict_was_lost_says_nothing_about_time():
    record = recorded(
        two_accepted(
            (6, BatchStarted(batch=1, members=("a", "b"), onto="base")),
            (6, merged(1, ["a", "b"], "h1", None)),
            (99, RunResumed(limits=Limits(), version="0")),
            (99, RunFinished(reason="completed")),
        ),
        PLENTY,
    )
    assert record.integration.batches == 0
    assert record.merged == {"a", "b"}


@pytest.mark.parametrize(
    ("points", "found"),
    [
        ([], (0, 0)),
        ([(1, 3), (2, 5)], (4, 0)),  # too few
        ([(1, 3), (1, 5), (1, 4), (1, 4), (1, 4)], (4, 0)),  # one size
        ([(1, 3), (2, 5), (3, 7), (4, 9)], (1, 2)),
        ([(1, 9), (2, 7), (3, 5), (4, 3)], (6, 0)),  # larger batches are not faster
        ([(1, 3), (2, 9), (3, 2), (4, 7)], (5.25, 0)),  # chance
        ([(2, 1), (3, 2), (4, 3), (5, 4.1)], (0, 0.75)),  # no batch takes less than nothing
    ],
)
def test_a_slope_is_believed_only_where_the_record_shows_one(points, found):
    assert fit(points) == pytest.approx(found)


def test_a_journal_without_entries_is_refused():
    with pytest.raises(ValueError, match="without entries"):
        recorded([], PLENTY)
