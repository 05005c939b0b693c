"""The simulated service's limits refill evenly and never let more through than they say."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.stub_server import Fault, FaultPlan, LaterLimits, RateLimits
from orchestrator.stub_server.buckets import Account, Bucket


def test_a_bucket_refills_evenly_up_to_its_limit():
    bucket = Bucket(60, 60.0, 0.0)
    bucket.take(60, 0.0)
    assert bucket.wait_s(1, 0.0) == 1.0
    assert bucket.now_at(10.0) == 10.0
    assert bucket.now_at(1_000.0) == 60.0
    assert bucket.now_at(500.0) == 60.0


def test_a_request_larger_than_a_limit_is_admitted_when_the_bucket_is_full():
    account = Account(RateLimits(input_tokens_per_minute=100), 0.0)
    assert account.admit(1_000, 0.0) == 0
    assert account.admit(1, 0.0) > 60


def test_output_is_booked_below_zero_and_holds_up_the_next_request():
    account = Account(RateLimits(output_tokens_per_minute=60), 0.0)
    assert account.admit(1, 0.0) == 0
    account.spend(100, 0.0)
    assert account.admit(1, 0.0) == 41.0
    assert account.admit(1, 41.0) == 0


def test_a_limit_may_be_enforced_over_less_than_its_minute():
    account = Account(RateLimits(requests_per_minute=120), 0.0, burst_s=1.0)
    assert [account.admit(1, 0.0) for _ in range(3)] == [0, 0, 0.5]
    assert [account.admit(1, 60.0) for _ in range(3)] == [0, 0, 0.5]
    assert account.buckets["requests"].per_minute == 120


def test_a_bucket_holds_one_unit_however_short_its_burst_is():
    account = Account(RateLimits(requests_per_minute=6), 0.0, burst_s=1.0)
    assert [account.admit(1, 0.0), account.admit(1, 0.0)] == [0, 10.0]


def test_limits_change_when_their_time_has_come():
    later = [LaterLimits(after_s=10, limits=RateLimits(requests_per_minute=30, input_tokens_per_minute=60))]
    account = Account(RateLimits(requests_per_minute=60), 100.0, later=later)
    assert account.admit(1, 109.9) == 0
    assert set(account.buckets) == {"requests"}
    # The smaller bucket keeps no more than it can hold; a new one begins full.
    assert account.admit(10, 110.0) == 0
    assert {name: bucket.now_at(110.0) for name, bucket in account.buckets.items()} == {
        "requests": 29,
        "input-tokens": 50,
    }


def test_a_debt_outlives_a_change_of_limits():
    later = [LaterLimits(after_s=1, limits=RateLimits(output_tokens_per_minute=600))]
    account = Account(RateLimits(output_tokens_per_minute=60), 0.0, later=later)
    account.spend(160, 0.0)
    assert account.admit(1, 1.0) == 10.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), min_size=1, max_size=60))
def test_no_window_admits_more_than_the_bucket_and_what_refilled(asked):
    account = Account(RateLimits(requests_per_minute=30, input_tokens_per_minute=600), 0.0)
    now, admitted, tokens = 0.0, 0, 0
    for after, amount in asked:
        now += after
        wait_s = account.admit(amount, now)
        if wait_s == 0:
            admitted, tokens = admitted + 1, tokens + amount
        else:
            # Who waits as long as told is let in.
            now += wait_s + 1e-6
            assert account.admit(amount, now) == 0
            admitted, tokens = admitted + 1, tokens + amount
        assert admitted <= 30 + now * 0.5 + 1e-6
        assert tokens <= 600 + now * 10 + 1e-6


def test_a_plan_prefers_the_numbered_fault_and_draws_shares_by_session():
    plan = FaultPlan(nth={1: Fault(kind="auth")}, shares={"overloaded": 0.5})
    assert plan.fault_of("a", 1).kind == "auth"
    drawn = [plan.fault_of("a", number) is not None for number in range(2, 400)]
    assert 0.4 < sum(drawn) / len(drawn) < 0.6
    assert drawn == [plan.fault_of("a", number) is not None for number in range(2, 400)]
    assert drawn != [plan.fault_of("b", number) is not None for number in range(2, 400)]
