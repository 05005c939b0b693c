"""Budgets: nothing starts that could overrun them, and what nobody can account for any more counts as spent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.bill import Bill
from orchestrator.core.decide import decide, limit_reached
from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    RunResumed,
    SplitFinished,
    SplitStarted,
)
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Allowance, Failure, Limits, Quote, Usage
from tests.simulation import run_started, subtask

QUOTE = Quote(request=Allowance(cost_usd=0.1, tokens=1_000), session=Allowance(cost_usd=0.3, tokens=3_000))


def run_with(names="abcdef", quote=QUOTE, **limits):
    state = RunState()
    started = run_started(**limits).model_copy(update={"quote": quote})
    for event in (started, SplitStarted(), SplitFinished(subtasks=tuple(subtask(name) for name in names))):
        apply(state, event, 0.0)
    return state


def start_all(state):
    started = []
    while (intent := decide(state, 1.0)) is not None:
        apply(state, intent, 1.0)
        started.append(intent)
    return started


def failed(name, attempt=1, reason="malformed_reply", needed=None, **usage):
    failure = Failure(reason=reason, feedback="no", needed=needed)
    return AttemptFailed(subtask=name, attempt=attempt, failure=failure, usage=Usage(requests=1, **usage))


def test_attempts_get_what_a_session_may_cost_and_the_last_one_what_is_left():
    state = run_with(agents=6, cost_usd=0.75)
    assert [started.allowance.cost_usd for started in start_all(state)] == [0.3, 0.3, 0.15]
    assert limit_reached(state, 1.0) == "cost_limit"


def test_what_an_attempt_did_not_spend_lets_the_next_one_start():
    state = run_with(agents=6, cost_usd=0.5)
    assert len(start_all(state)) == 2
    apply(state, failed("a", cost_usd=0.01), 2.0)
    (again,) = start_all(state)
    assert again.allowance.cost_usd == pytest.approx(0.5 - 0.01 - 0.2)


def test_nothing_starts_when_less_is_left_than_one_request_may_cost():
    state = run_with(agents=6, cost_usd=0.09)
    assert start_all(state) == []
    assert limit_reached(state, 1.0) == "cost_limit"


def test_tokens_are_reserved_like_dollars():
    state = run_with(agents=6, tokens=6_500)
    assert [started.allowance.tokens for started in start_all(state)] == [3_000, 3_000]
    assert limit_reached(state, 1.0) == "token_limit"


def test_without_limits_nothing_is_reserved():
    assert {started.allowance for started in start_all(run_with(agents=6))} == {None}


def test_what_a_killed_process_had_under_way_counts_as_spent():
    state = run_with(agents=2, cost_usd=0.7)
    start_all(state)
    apply(state, RunResumed(limits=state.limits, version="0"), 3.0)
    assert state.bill.lost.cost_usd == pytest.approx(0.6)
    assert state.bill.reserved.cost == 0
    (again,) = start_all(state)
    assert again.allowance.cost_usd == pytest.approx(0.1)


def test_a_request_that_broke_off_counts_as_the_most_that_it_can_have_cost():
    state = run_with(agents=1, cost_usd=0.4)
    start_all(state)
    apply(state, failed("a", unknown_requests=1, unknown_cost_usd=0.25, cost_usd=None), 2.0)
    (again,) = start_all(state)
    assert again.allowance.cost_usd == pytest.approx(0.15)


def test_an_attempt_that_the_budget_ended_is_no_try_and_starts_again_with_what_it_needs():
    state = run_with("a", agents=1, cost_usd=1.0)
    start_all(state)
    apply(state, failed("a", reason="budget", needed=Allowance(cost_usd=0.5, tokens=0)), 2.0)
    assert state.subtasks["a"].failures == []
    (again,) = start_all(state)
    assert (again.attempt, again.draw, again.allowance.cost_usd) == (2, 1, 0.6)


def test_a_session_that_was_given_too_little_is_begun_again_a_few_times_at_most():
    state = run_with("a", agents=1, cost_usd=100.0)
    given = []
    for attempt in range(1, 7):
        (started,) = start_all(state)
        given.append(started.allowance.cost_usd)
        needed = Allowance(cost_usd=given[-1] + 0.01, tokens=0)
        apply(state, failed("a", attempt, reason="budget", needed=needed, cost_usd=given[-1]), 2.0)
    assert given == [pytest.approx(0.3 * 2**n) for n in range(6)]


def test_known_and_unknown_parts_of_one_usage_are_both_booked():
    bill = Bill()
    known, unknown = Usage(requests=1, cost_usd=0.4, input_tokens=100), Usage(cost_usd=None, unknown_cost_usd=0.5)
    bill.spend(known + unknown)
    assert bill.spent.cost_usd == pytest.approx(0.9)
    bill.spend(unknown + known + unknown)
    assert bill.spent.cost_usd == pytest.approx(0.9 + 1.4)
    tokens = Usage(output_tokens=None, unknown_tokens=50) + Usage(input_tokens=100, output_tokens=20)
    before = bill.spent.tokens
    bill.spend(tokens)
    assert bill.spent.tokens - before == 170


def test_an_attempt_that_needed_no_allowance_is_lost_at_what_a_session_may_cost():
    state = run_with(agents=2)
    start_all(state)
    apply(state, RunResumed(limits=Limits(agents=2, cost_usd=0.7), version="0"), 3.0)
    assert state.bill.lost.cost_usd == pytest.approx(0.6)


def test_outages_of_an_earlier_process_are_forgotten():
    state = run_with("a", agents=1)
    for attempt in range(1, 4):
        start_all(state)
        apply(state, failed("a", attempt, reason="backend_unavailable"), 2.0)
    apply(state, RunResumed(limits=state.limits, version="0"), 3.0)
    for attempt in range(4, 7):
        start_all(state)
        apply(state, failed("a", attempt, reason="backend_unavailable"), 4.0)
    assert state.subtasks["a"].failures == []


def test_a_backend_that_only_puts_off_stops_the_run():
    state = run_with("a", agents=1)
    for attempt in range(1, 1_000):
        if not start_all(state):
            break
        apply(state, failed("a", attempt, reason="rate_limited"), 2.0)
    assert limit_reached(state, 2.0) == "backend_unavailable"
    assert attempt == (1 + 2) * 10 + 1


def test_it_does_not_start_again_when_that_much_is_not_left():
    state = run_with("a", agents=1, cost_usd=0.4)
    start_all(state)
    apply(state, failed("a", reason="budget", needed=Allowance(cost_usd=0.5, tokens=0)), 2.0)
    assert start_all(state) == []
    assert limit_reached(state, 2.0) == "cost_limit"


def test_a_subtask_that_needs_more_than_there_is_stops_no_other():
    state = run_with("abc", agents=1, cost_usd=0.4)
    start_all(state)
    apply(state, failed("a", reason="budget", needed=Allowance(cost_usd=0.5, tokens=0)), 2.0)
    order = []
    while started := start_all(state):
        order.append(started[0].subtask)
        apply(state, failed(started[0].subtask, reason="budget", needed=Allowance(cost_usd=0.5, tokens=0)), 2.0)
    assert order == ["b", "c"]
    assert limit_reached(state, 2.0) == "cost_limit"


def test_a_rate_limit_is_never_a_failed_attempt():
    state = run_with("a", agents=1)
    for attempt in range(1, 28):
        start_all(state)
        apply(state, failed("a", attempt, reason="rate_limited"), 2.0)
    assert (state.subtasks["a"].failures, state.subtasks["a"].phase) == ([], Phase.WAITING)


def test_a_backend_that_is_down_stops_the_run_and_costs_no_tries():
    state = run_with(agents=4)
    ended = 0
    while started := start_all(state):
        for each in started:
            apply(state, failed(each.subtask, each.attempt, reason="backend_unavailable"), 2.0)
            ended += 1
    assert limit_reached(state, 2.0) == "backend_unavailable"
    assert ended <= 2 * (4 + 2)
    assert all(not each.failures for each in state.subtasks.values())
    apply(state, RunResumed(limits=state.limits, version="0"), 3.0)
    assert limit_reached(state, 3.0) is None


def test_an_outage_that_always_meets_one_subtask_becomes_its_failure():
    state = run_with("ab", agents=1)
    for attempt in range(1, 30):
        if state.subtasks["a"].phase is not Phase.WAITING:
            break
        apply(state, AttemptStarted(subtask="a", attempt=attempt, draw=1, base="base"), 1.0)
        apply(state, failed("a", attempt, reason="backend_unavailable"), 2.0)
        state.outages = 0  # the others are answered meanwhile
    assert state.subtasks["a"].phase is Phase.ABANDONED


def test_the_number_of_attempts_is_limited_over_all_subtasks():
    state = run_with(agents=2, attempts=3)
    start_all(state)
    apply(state, failed("a"), 2.0)
    assert len(start_all(state)) == 1
    apply(state, failed("b"), 2.0)
    assert start_all(state) == []
    assert limit_reached(state, 2.0) == "attempt_limit"


@given(st.lists(st.floats(min_value=1e-9, max_value=10.0), max_size=40))
def test_reservations_that_are_all_given_back_leave_nothing_behind(costs):
    bill = Bill()
    for cost in costs:
        bill.reserve(Allowance(cost_usd=cost, tokens=7))
    for cost in costs:
        bill.spend(Usage(), Allowance(cost_usd=cost, tokens=7))
    assert (bill.reserved.cost, bill.reserved.tokens) == (0, 0)


@given(
    st.floats(min_value=0.01, max_value=5),
    st.lists(st.tuples(st.sampled_from(["whole", "half", "lost", "free"]), st.integers(0, 5)), max_size=60),
)
def test_commitments_never_exceed_the_limit(limit, steps):
    state = run_with(agents=6, cost_usd=limit)
    under_way = []
    for what, number in steps:
        under_way += start_all(state)
        assert state.bill.committed.cost <= round(limit * 10**12)
        if what == "lost":
            apply(state, RunResumed(limits=state.limits, version="0"), 3.0)
            under_way = []
        elif under_way:
            each = under_way.pop(number % len(under_way))
            cost = {"whole": 1.0, "half": 0.5, "free": 0.0}[what] * each.allowance.cost_usd
            # Put off, so that the run goes on for as long as money is left.
            apply(state, failed(each.subtask, each.attempt, reason="rate_limited", cost_usd=cost), 2.0)
