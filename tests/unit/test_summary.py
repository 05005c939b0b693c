"""The figures: each is what its definition says, recomputed here from a history that can be checked by hand."""

import pytest

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Failure, Limits, MergedPatch, Usage, Verdict
from orchestrator.measure.summary import OneAgent, summarize
from orchestrator.measure.timeline import intervals, wall_s
from tests.simulation import patch_of, run_started, subtask

USAGE = Usage(requests=1, input_tokens=1000, cached_input_tokens=100, output_tokens=200, cost_usd=0.5)
PASSED = Verdict(passed=True, reason="passed")
REFUSED = Verdict(passed=False, reason="check_failed", feedback="E")


def journal(*events):
    return [Entry(seq=number, at=at, event=event) for number, (at, event) in enumerate(events, 1)]


def proposed(name, attempt):
    return PatchProposed(subtask=name, attempt=attempt, patch=patch_of(name), usage=USAGE)


# Two subtasks, two agents. `a` passes at once. `b` fails to answer, is refused by the gate, then passes: it never ends here
# because its last patch is not integrated when the history stops.
HISTORY = journal(
    (0, run_started(agents=2)),
    (0, SplitStarted()),
    (1, SplitFinished(subtasks=(subtask("a"), subtask("b")))),
    (1, AttemptStarted(subtask="a", attempt=1, draw=1, base="base")),
    (1, AttemptStarted(subtask="b", attempt=1, draw=1, base="base")),
    (5, AttemptFailed(subtask="b", attempt=1, failure=Failure(reason="refused", feedback=""), usage=USAGE)),
    (5, AttemptStarted(subtask="b", attempt=2, draw=2, base="base")),
    (11, proposed("a", 1)),
    (11, GateStarted(subtask="a", attempt=1, onto="base")),
    (13, PatchJudged(subtask="a", attempt=1, verdict=PASSED)),
    (13, BatchStarted(batch=1, members=("a",), onto="base")),
    (15, proposed("b", 2)),
    (15, GateStarted(subtask="b", attempt=2, onto="base")),
    (
        16,
        BatchMerged(
            batch=1,
            head="h",
            tree="t",
            merged=(MergedPatch(subtask="a", commit="h", added_lines=3, deleted_lines=0),),
            retained_lines=2,
        ),
    ),
    (17, PatchJudged(subtask="b", attempt=2, verdict=REFUSED)),
    (17, RunFinished(reason="drained")),
)


def test_the_figures_of_a_history_that_can_be_checked_by_hand():
    summary = summarize(HISTORY)
    assert (summary.subtasks, summary.merged, summary.abandoned, summary.attempts) == (2, 1, 0, 3)
    assert summary.first_pass_rate == 0.5
    assert summary.usage == USAGE + USAGE + USAGE
    assert (summary.proposed_lines, summary.gated_lines, summary.integrated_lines, summary.retained_lines) == (
        6,
        3,
        3,
        2,
    )
    assert summary.retained_per_1k_output_tokens == pytest.approx(2 / 0.6)
    assert (summary.generate_s, summary.judge_s, summary.integrate_s) == (10 + 4 + 10, 2 + 2, 3)
    assert summary.wall_s == 17
    assert summary.average_agents_busy == pytest.approx(24 / 17)
    assert summary.tree == "t"
    assert [row.phase for row in summary.rows] == [Phase.MERGED, Phase.WAITING]
    assert [row.usage.output_tokens for row in summary.rows] == [200, 400]


def test_the_one_agent_time_is_an_estimate_until_it_was_measured():
    estimated = summarize(HISTORY)
    assert estimated.multiplier_kind == "estimated"
    assert estimated.one_agent_s == 24 + 4 + 3
    assert estimated.multiplier == pytest.approx(31 / 17)


def test_a_speedup_is_claimed_only_for_the_same_merged_subtasks_of_a_completed_run():
    finished = [*HISTORY[:-1], HISTORY[-1].model_copy(update={"event": RunFinished(reason="completed")})]
    same = OneAgent(run="serial", wall_s=34.0, merged=frozenset({"a"}))
    speedup = summarize(finished, same)
    assert (speedup.multiplier_kind, speedup.one_agent_run) == ("speedup", "serial")
    assert speedup.multiplier == pytest.approx(2.0)
    for history, other in ((HISTORY, same), (finished, same.model_copy(update={"merged": frozenset("ab")}))):
        throughput = summarize(history, other)
        assert throughput.multiplier_kind == "throughput"
        assert throughput.multiplier == pytest.approx((1 / 17) / (len(other.merged) / 34.0))


def test_a_serial_run_is_compared_with_nothing():
    started = HISTORY[0].event
    limits = started.limits.model_copy(update={"agents": 1, "gate_slots": 1, "is_serial": True})
    serial = [HISTORY[0].model_copy(update={"event": started.model_copy(update={"limits": limits})}), *HISTORY[1:]]
    assert summarize(serial).multiplier is None


def test_an_attempt_that_a_process_took_with_it_is_counted_as_lost():
    assert summarize([*HISTORY[:5], *journal((90, RunResumed(limits=Limits(), version="0")))]).lost_attempts == 2


def test_a_run_that_merged_nothing_has_no_multiplier_and_no_rate_over_nothing():
    summary = summarize(HISTORY[:3])
    assert summary.multiplier is None
    assert summary.first_pass_rate is None
    assert summary.retained_per_1k_output_tokens is None


def test_work_that_a_killed_process_left_open_is_nobodys_time():
    history = [*HISTORY[:5], *journal((90, RunResumed(limits=Limits(), version="0")))]
    history.append(Entry(seq=9, at=91, event=AttemptStarted(subtask="a", attempt=2, draw=1, base="base")))
    history.append(Entry(seq=10, at=95, event=proposed("a", 2)))
    found = intervals(history)
    assert [(each.station, each.duration_s) for each in found] == [("split", 1), ("generate", 4)]
    assert wall_s(history) == 1 + 5
