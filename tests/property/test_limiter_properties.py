"""Whatever comes, in whatever order: no quota is exceeded over any window, nobody overtakes, nothing leaks or is lost."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.backends.limits.account_quotas import AccountQuotas, Amounts
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.limits.rate_headers import Quota, RateHeaders
from orchestrator.core.values import Usage
from tests.virtual_time import VirtualClock, run_virtually

QUIET = settings(deadline=None, max_examples=60)
TINY = 1e-5

limits = st.fixed_dictionaries(
    {
        "requests_per_min": st.none() | st.integers(30, 6_000),
        "input_tokens_per_min": st.none() | st.integers(600, 100_000),
        "output_tokens_per_min": st.none() | st.integers(600, 100_000),
        "tokens_per_min": st.none() | st.integers(600, 100_000),
        "max_concurrency": st.none() | st.integers(1, 8),
        "burst_s": st.sampled_from([0.01, 0.5, 2.0]),
        "token_burst_s": st.sampled_from([0.1, 1.0, 30.0]),
    }
)
# (seconds after the one before, input, output, seconds it takes, seconds after which it is cancelled)
requests = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.01, 0.5]),
        st.integers(0, 2_000),
        st.integers(0, 2_000),
        st.sampled_from([0.0, 0.1, 2.0]),
        st.none() | st.sampled_from([0.0, 0.05, 1.0, 5.0]),
    ),
    min_size=1,
    max_size=40,
)


class LateClock(VirtualClock):
    """Its timers strike late, as they do on a busy machine."""

    def __init__(self, late_s):
        super().__init__()
        self.late_s = late_s

    async def sleep(self, seconds):
        await super().sleep(seconds + self.late_s)


def play(limits, plan, outcome_of=None, late_s=0.0):
    """Make the planned requests; return the grants as (number, time, input, output), and leave nothing behind."""
    grants = []

    async def one(limiter, number, inputs, outputs, lasts_s):
        async with limiter.request(inputs, outputs) as grant:
            grants.append((number, asyncio.get_running_loop().time(), inputs, outputs))
            await asyncio.sleep(lasts_s)
            usage = Usage(requests=1, input_tokens=inputs, output_tokens=outputs)
            headers, status = outcome_of(number) if outcome_of else (None, 200)
            limiter.settle(grant, usage if status == 200 else None, headers, status)

    async def main():
        loop, limiter = asyncio.get_running_loop(), AccountLimiter("acme", limits, LateClock(late_s))
        async with asyncio.TaskGroup() as tasks:
            for number, (after_s, inputs, outputs, lasts_s, cancelled_s) in enumerate(plan):
                await asyncio.sleep(after_s)
                task = tasks.create_task(one(limiter, number, inputs, outputs, lasts_s))
                if cancelled_s is not None:
                    loop.call_later(cancelled_s, task.cancel)
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        # Whatever happened, the next one gets through.
        async with limiter.request(1, 1):
            pass

    run_virtually(main())
    return grants


def check_window(grants, amounts, per_min, burst_s):
    """A bucket allows, over any window that ends with a grant: its capacity, its refill, and the last one's debt."""
    capacity = max(1.0, per_min / 60 * burst_s)
    for first in range(len(grants)):
        spent = 0.0
        for last in range(first, len(grants)):
            spent += amounts[last]
            lasted_s = grants[last][1] - grants[first][1]
            assert spent <= capacity + per_min / 60 * (lasted_s + TINY) + max(0.0, amounts[last] - capacity) + TINY


@QUIET
@given(limits, requests, st.sampled_from([0.0, 0.003, 0.2, 3.0]))
def test_no_more_is_granted_than_any_quota_allows_over_any_window_however_late_timers_are(limits, plan, late_s):
    given_limits = LimiterSettings(**limits)
    grants = play(given_limits, plan, late_s=late_s)
    if given_limits.requests_per_min is not None:
        check_window(grants, [1.0] * len(grants), given_limits.requests_per_min, given_limits.burst_s)
    for per_min, amounts in (
        (given_limits.input_tokens_per_min, [inputs for _, _, inputs, _ in grants]),
        (given_limits.output_tokens_per_min, [outputs for _, _, _, outputs in grants]),
        (given_limits.tokens_per_min, [inputs + outputs for _, _, inputs, outputs in grants]),
    ):
        if per_min is not None:
            check_window(grants, amounts, per_min, given_limits.token_burst_s)


@QUIET
@given(limits, requests)
def test_nobody_overtakes_and_nobody_starves(limits, plan):
    grants = play(LimiterSettings(**limits), plan)
    order = [number for number, *_ in grants]
    assert order == sorted(order)
    patient = {number for number, request in enumerate(plan) if request[4] is None}
    assert patient <= set(order)


@QUIET
@given(
    st.lists(
        st.tuples(
            st.integers(0, 999), st.integers(0, 999), st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999))
        ),
        max_size=30,
    )
)
def test_settling_conserves(requests):
    """What is missing from full buckets is what was used, to the token; a refused request used nothing."""

    async def main():
        quotas = AccountQuotas({"input_tokens": 6e6, "output_tokens": 6e6, "tokens": 6e6}, 1.0, 1.0, VirtualClock())
        total = Amounts()
        for number, (inputs, outputs, used) in enumerate(requests):
            reserved = Amounts(1, inputs, outputs)
            sent = await quotas.take(reserved, number)
            if used is None:
                quotas.give_back(reserved, sent)
            else:
                quotas.settle(reserved, Amounts(1, *used))
                total += Amounts(1, *used)
        return quotas, total

    async def check():
        quotas, total = await main()
        assert quotas.wait_s(Amounts(0, 1e5, 0)) * 1e5 == pytest.approx(total.input_tokens + total.output_tokens)
        assert quotas.wait_s(Amounts(0, 0, 1e5)) * 1e5 == pytest.approx(total.input_tokens + total.output_tokens)

    run_virtually(check())


numbers = st.none() | st.floats(0, 300)
quotas = st.none() | st.builds(Quota, limit=st.none() | st.floats(2_000, 1e6), remaining=numbers)
headers = st.builds(
    RateHeaders, requests=quotas, input_tokens=quotas, output_tokens=quotas, tokens=quotas, retry_after_s=numbers
)
outcomes = st.lists(
    st.tuples(st.none() | headers, st.sampled_from([200, 200, 400, 429, 500, 529, None])), min_size=1, max_size=10
)


@QUIET
@given(limits, requests, outcomes)
def test_no_feedback_stops_the_queue_or_lets_anybody_overtake(limits, plan, outcomes):
    grants = play(LimiterSettings(**limits), plan, lambda number: outcomes[number % len(outcomes)])
    order = [number for number, *_ in grants]
    assert order == sorted(order)
    assert {number for number, request in enumerate(plan) if request[4] is None} <= set(order)
