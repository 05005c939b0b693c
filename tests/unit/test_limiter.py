"""The account's limiter: in order, within every quota, believing the provider, leaking nothing. On virtual time."""

import asyncio
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from orchestrator.backends.limits.concurrency import AdaptiveConcurrency
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.limits.rate_headers import Quota, RateHeaders, openai_rate_headers
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.virtual_time import VirtualClock, run_virtually


def limiter_of(**fields):
    return AccountLimiter("acme", LimiterSettings(**fields), VirtualClock())


def now():
    return asyncio.get_running_loop().time()


async def ask(limiter, log, name, *, inputs=0, outputs=0, lasts_s=0.0):
    async with limiter.request(inputs, outputs) as grant:
        log.append((name, round(now(), 3)))
        await asyncio.sleep(lasts_s)
        limiter.settle(grant, Usage(requests=1, input_tokens=inputs, output_tokens=outputs))


@asynccontextmanager
async def tasks():
    async with asyncio.TaskGroup() as group:
        yield group


def announced(limit=None, remaining=None, retry_after_s=None):
    return RateHeaders(requests=Quota(limit=limit, remaining=remaining), retry_after_s=retry_after_s)


def reasons(limiter, what):
    return [(change.before, change.after) for change in limiter.changes if change.what == what]


def test_requests_go_in_order_and_at_their_rate():
    async def main():
        limiter, log = limiter_of(requests_per_min=600, burst_s=0.5), []
        async with tasks() as group:
            for number in range(20):
                group.create_task(ask(limiter, log, number))
        return log

    log = run_virtually(main())
    assert [name for name, _ in log] == list(range(20))
    assert [at for _, at in log] == [0.0] * 5 + [0.5] * 5 + [1.0] * 5 + [1.5] * 5


class LateClock(VirtualClock):
    """Its timers strike late, as they do on a busy machine."""

    async def sleep(self, seconds):
        await super().sleep(seconds + 0.03)


def test_late_timers_do_not_slow_the_rate_down():
    async def main():
        limiter, log = AccountLimiter("acme", LimiterSettings(requests_per_min=600), LateClock()), []
        async with tasks() as group:
            for number in range(1_000):
                group.create_task(ask(limiter, log, number))
        return log

    log = run_virtually(main())
    # 99.5 s and the lateness of one timer, not of each of two hundred.
    assert log[-1][1] == pytest.approx(99.5, abs=0.04)


def test_a_pause_in_the_work_earns_no_more_than_one_burst():
    async def main():
        limiter, log = limiter_of(requests_per_min=600), []
        await ask(limiter, log, "first")
        await asyncio.sleep(100.0)
        async with tasks() as group:
            for number in range(20):
                group.create_task(ask(limiter, log, number))
        return [round(at - 100.0, 3) for _, at in log[1:]]

    times = run_virtually(main())
    assert times[:5] == [0.0] * 5
    assert all(number <= 5 + 10 * at + 1e-6 for number, at in enumerate(times, start=1))
    assert times[-1] == 1.5


def test_a_big_request_is_not_starved_by_small_ones():
    async def main():
        limiter, log = limiter_of(input_tokens_per_min=6_000, token_burst_s=1), []
        async with tasks() as group:
            group.create_task(ask(limiter, log, "first", inputs=100))
            group.create_task(ask(limiter, log, "big", inputs=90))
            for _ in range(50):
                group.create_task(ask(limiter, log, "small", inputs=10))
        return log

    assert run_virtually(main())[1] == ("big", 0.9)


def test_a_request_larger_than_the_bucket_goes_when_it_is_full_and_is_paid_back():
    async def main():
        limiter, log = limiter_of(input_tokens_per_min=6_000, token_burst_s=1), []
        async with tasks() as group:
            group.create_task(ask(limiter, log, "huge", inputs=1_000))
            group.create_task(ask(limiter, log, "next", inputs=1))
        return log

    assert run_virtually(main()) == [("huge", 0.0), ("next", 9.01)]


def test_what_was_reserved_too_much_comes_back_and_too_little_is_owed():
    async def main():
        limiter, log = limiter_of(output_tokens_per_min=6_000, token_burst_s=1), []
        async with limiter.request(0, 100) as grant:
            limiter.settle(grant, Usage(requests=1, output_tokens=10))
        await ask(limiter, log, "at once", outputs=90)
        async with limiter.request(0, 0) as grant:
            limiter.settle(grant, Usage(requests=1, output_tokens=500))
        await ask(limiter, log, "after the debt", outputs=100)
        return log

    assert run_virtually(main()) == [("at once", 0.0), ("after the debt", 6.0)]


def test_input_and_output_share_a_quota_where_the_provider_counts_them_together():
    async def main():
        limiter, log = limiter_of(tokens_per_min=6_000, token_burst_s=1), []
        await ask(limiter, log, "first", inputs=60, outputs=40)
        await ask(limiter, log, "second", inputs=50, outputs=50)
        return log

    assert run_virtually(main())[1] == ("second", 1.0)


def test_input_read_from_a_cache_counts_only_where_the_provider_counts_it():
    usage = Usage(requests=1, input_tokens=100, cached_input_tokens=80, output_tokens=5)
    assert limiter_of().counted(usage) == (100, 5)
    assert limiter_of(counts_cached_input=False).counted(usage) == (20, 5)


def test_a_cancelled_waiter_leaves_the_queue_and_has_taken_nothing():
    async def main():
        limiter, log = limiter_of(requests_per_min=60), []
        async with tasks() as group:
            group.create_task(ask(limiter, log, "first"))
            gone = [group.create_task(ask(limiter, log, "gone")) for _ in range(3)]
            group.create_task(ask(limiter, log, "second"))
            await asyncio.sleep(0.5)
            for task in gone:
                task.cancel()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        return log

    assert run_virtually(main()) == [("first", 0.0), ("second", 1.0)]


def test_a_cancelled_holder_gives_its_slot_back_and_its_estimate_counts():
    async def main():
        limiter, log = limiter_of(max_concurrency=1, input_tokens_per_min=6_000, token_burst_s=1), []
        async with tasks() as group:
            held = group.create_task(ask(limiter, log, "held", inputs=100, lasts_s=100))
            group.create_task(ask(limiter, log, "next", inputs=100))
            await asyncio.sleep(0.5)
            held.cancel()
        return log

    assert run_virtually(main()) == [("held", 0.0), ("next", 1.0)]


def test_settling_twice_counts_once():
    async def main():
        limiter = limiter_of(output_tokens_per_min=6_000, token_burst_s=1)
        grant = await limiter.acquire(0, 0)
        for _ in range(3):
            limiter.settle(grant, Usage(requests=1, output_tokens=100))
        limiter.abandon(grant)
        log = []
        await ask(limiter, log, "next", outputs=100)
        return log

    assert run_virtually(main()) == [("next", 1.0)]


def test_a_failed_request_has_made_no_output():
    async def main():
        limiter, log = limiter_of(output_tokens_per_min=6_000, token_burst_s=1), []
        for status in (500, None, 400):
            grant = await limiter.acquire(0, 100)
            limiter.settle(grant, status=status)
        await ask(limiter, log, "next", outputs=100)
        return log

    assert run_virtually(main()) == [("next", 0.0)]


@pytest.mark.parametrize(("told", "second_s"), [(60, 0.5), (6_000, 0.01)])
def test_announced_limits_replace_the_configured_ones_up_and_down(told, second_s):
    async def main():
        limiter, log = limiter_of(requests_per_min=told, burst_s=0.001), []
        async with tasks() as group:
            group.create_task(ask(limiter, log, "first", lasts_s=10))
            await asyncio.sleep(0)
            limiter.heard(200, announced(limit=120))
            group.create_task(ask(limiter, log, "second"))
        return log, limiter

    log, limiter = run_virtually(main())
    assert log[1] == ("second", 0.5)
    assert reasons(limiter, "requests_per_min") == [(told, 120)]


def test_a_limit_announced_while_others_wait_holds_for_them_soon():
    async def main():
        limiter, log = limiter_of(requests_per_min=1), []
        async with tasks() as group:
            group.create_task(ask(limiter, log, "first"))
            group.create_task(ask(limiter, log, "second"))
            await asyncio.sleep(3)
            limiter.heard(200, announced(limit=600))
        return log[1][1]

    assert 3 <= run_virtually(main()) <= 3.3


def test_what_is_left_on_the_server_is_all_that_is_left():
    async def main():
        limiter, log = limiter_of(requests_per_min=60, burst_s=60), []
        async with limiter.request(0, 0) as grant:
            limiter.settle(grant, None, announced(limit=60, remaining=2))
        for number in range(4):
            await ask(limiter, log, number)
        return [at for _, at in log]

    assert run_virtually(main()) == pytest.approx([0, 0, 1, 2])


def test_an_older_response_than_the_last_one_heard_says_nothing():
    async def main():
        limiter, log = limiter_of(requests_per_min=60, burst_s=60), []
        older, newer = await limiter.acquire(0, 0), await limiter.acquire(0, 0)
        limiter.settle(newer, None, announced(remaining=58))
        limiter.settle(older, None, announced(remaining=0))
        for number in range(10):
            await ask(limiter, log, number)
        return log[-1][1]

    assert run_virtually(main()) == 0


def test_limits_do_not_flip_when_answers_overtake_each_other():
    async def main():
        limiter = limiter_of()
        older, newer = await limiter.acquire(0, 0), await limiter.acquire(0, 0)
        limiter.settle(newer, None, announced(limit=30))
        limiter.settle(older, None, announced(limit=60))
        return limiter

    assert reasons(run_virtually(main()), "requests_per_min") == [(None, 30)]


def test_what_was_granted_since_comes_off_what_is_left():
    async def main():
        limiter, log = limiter_of(requests_per_min=60, burst_s=60), []
        first = await limiter.acquire(0, 0)
        for _ in range(5):
            await limiter.acquire(0, 0)
        limiter.settle(first, None, announced(remaining=6))
        await ask(limiter, log, "the sixth")
        await ask(limiter, log, "one too many")
        return log

    (_, sixth), (_, later) = run_virtually(main())
    assert sixth == 0
    assert 1 <= later <= 2


def test_below_a_tenth_of_the_quota_the_pace_falls():
    async def main(remaining):
        limiter, log = limiter_of(requests_per_min=600, burst_s=0.1), []
        async with limiter.request(0, 0) as grant:
            limiter.settle(grant, None, announced(limit=600, remaining=600))
        async with limiter.request(0, 0) as grant:
            limiter.settle(grant, None, announced(limit=600, remaining=remaining))
        for number in range(10):
            await ask(limiter, log, number)
        return log[-1][1] - log[0][1]

    assert run_virtually(main(300)) == pytest.approx(0.9)
    assert 1.0 < run_virtually(main(15)) < 1.3


def test_a_429_pauses_the_whole_account_a_little_longer_than_asked_and_costs_no_quota():
    async def main():
        limiter, log = limiter_of(requests_per_min=6, input_tokens_per_min=6_000, token_burst_s=1), []
        grant = await limiter.acquire(100, 0)
        limiter.settle(grant, None, announced(limit=6, remaining=6, retry_after_s=2), 429)
        assert limiter.paused_until is not None
        await ask(limiter, log, "next", inputs=100)
        return log[0][1], limiter

    at, limiter = run_virtually(main())
    assert 2 <= at <= 2.2
    assert len(reasons(limiter, "pause_s")) == 1
    assert run_virtually(main())[0] == at


def test_rejections_without_a_word_wait_longer_each_time():
    async def main():
        limiter, log = limiter_of(), []
        for _ in range(4):
            grant = await limiter.acquire(0, 0)
            log.append(now())
            limiter.settle(grant, status=429)
        return [later - earlier for earlier, later in pairwise(log)]

    for wait_s, asked_s in zip(run_virtually(main()), [1, 2, 4], strict=True):
        assert asked_s <= wait_s <= asked_s * 1.1


def test_a_pause_beyond_the_cap_is_reported_and_one_request_asks_again():
    async def main():
        limiter, log, meter = limiter_of(requests_per_min=600, max_pause_s=60), [], Meter()
        grant = await limiter.acquire(0, 0)
        limiter.settle(grant, None, announced(retry_after_s=3_600), 429)
        assert limiter.paused_until == 3_600
        async with tasks() as group:
            group.create_task(ask(limiter, log, "probe", lasts_s=5))
            group.create_task(ask(limiter, log, "other"))
            waiting = group.create_task(limiter.acquire(0, 0, meter))
            await asyncio.sleep(1)
            note = meter.note
        limiter.abandon(waiting.result())
        return note, [at for _, at in log]

    note, (probe_at, other_at) = run_virtually(main())
    assert note == "acme: paused until 1970-01-01 01:00:00 UTC by the provider"
    assert 60 <= probe_at <= 66
    assert other_at == pytest.approx(probe_at + 5, abs=0.01)


def test_rejections_within_announced_limits_make_the_flow_smoother_once_each_pause():
    async def main():
        limiter = limiter_of(requests_per_min=1_200)
        grants = [await limiter.acquire(0, 0) for _ in range(8)]
        for grant in grants:
            limiter.settle(grant, None, announced(limit=1_200, remaining=0, retry_after_s=0.1), 429)
        return limiter

    limiter = run_virtually(main())
    assert reasons(limiter, "burst_s") == [(0.5, 0.25)]
    assert limiter.slots is None


def test_configured_limits_that_prove_wrong_are_doubted():
    async def main():
        limiter = limiter_of(requests_per_min=1_200)
        grants = [await limiter.acquire(0, 0) for _ in range(10)]
        limiter.settle(grants[0], status=429)
        return limiter.slots

    assert run_virtually(main()) == 8


def test_feedback_finds_its_grant_by_itself_and_is_heard_once():
    async def main():
        limiter = limiter_of(requests_per_min=60, burst_s=60)
        hear = limiter.listener(openai_rate_headers)
        headers = {"x-ratelimit-limit-requests": "120", "retry-after": "3"}
        async with limiter.request(0, 0) as grant:
            hear(429, headers)
            limiter.settle(grant, None, RateHeaders(retry_after_s=3), 429)
        return limiter

    limiter = run_virtually(main())
    assert reasons(limiter, "requests_per_min") == [(60, 120)]
    assert len(reasons(limiter, "pause_s")) == 1


def test_a_wait_is_noted_and_explained():
    async def main():
        limiter, meter = limiter_of(requests_per_min=60), Meter()
        await limiter.acquire(0, 0, meter)
        assert meter.waits == []
        async with tasks() as group:
            group.create_task(limiter.acquire(0, 0, meter))
            await asyncio.sleep(0.5)
            assert meter.note == "acme: waits for the rate limit, 0 others wait"
        assert meter.note == ""
        return meter.waits

    (wait,) = run_virtually(main())
    assert (wait.name, wait.started_s, wait.duration_s) == ("rate_limit", 0, 1)


def test_a_fixed_concurrency_is_kept():
    async def main():
        limiter, log = limiter_of(max_concurrency=2), []
        async with tasks() as group:
            for number in range(6):
                group.create_task(ask(limiter, log, number, lasts_s=1))
        return [at for _, at in log]

    assert run_virtually(main()) == [0, 0, 1, 1, 2, 2]


def test_the_list_of_changes_is_bounded():
    async def main():
        limiter = limiter_of(requests_per_min=60)
        for number in range(1_000):
            limiter.heard(200, announced(limit=100 + number))
        return len(limiter.changes)

    assert run_virtually(main()) == 256


def succeed(concurrency, times, *, in_flight=None, at=0.0):
    return [concurrency.succeeded(in_flight or concurrency.slots, at) for _ in range(times)]


def test_slow_start_doubles_for_each_clean_round():
    concurrency = AdaptiveConcurrency(2)
    succeed(concurrency, 4)
    assert concurrency.slots == 4
    succeed(concurrency, 4)
    assert concurrency.slots == 8
    succeed(concurrency, 8)
    assert concurrency.slots == 16


def test_after_the_first_rejection_growth_is_slow_and_cuts_are_debounced():
    concurrency = AdaptiveConcurrency(100)
    assert concurrency.was_rejected(5, 0) is not None
    assert concurrency.was_rejected(5, 19) is None
    assert concurrency.slots == 80
    succeed(concurrency, 80)
    assert concurrency.slots == 84
    assert concurrency.was_rejected(0, 20) is not None
    assert concurrency.slots == 67
    small = AdaptiveConcurrency(1)
    assert small.was_rejected(0, 0) is None
    succeed(small, 4)
    assert small.slots == 2


def test_a_limit_that_nobody_reaches_does_not_grow():
    concurrency = AdaptiveConcurrency(10)
    succeed(concurrency, 100, in_flight=7)
    assert concurrency.slots == 10
    succeed(concurrency, 10, in_flight=8)
    assert concurrency.slots == 20


def test_a_server_in_trouble_pauses_growth_and_cuts_nothing():
    concurrency = AdaptiveConcurrency(4)
    concurrency.failed(0)
    succeed(concurrency, 100, at=14)
    assert concurrency.slots == 4
    succeed(concurrency, 4, at=15)
    assert concurrency.slots == 8


class CountingClock(VirtualClock):
    def __init__(self):
        self.sleeps = 0

    async def sleep(self, seconds):
        self.sleeps += 1
        await super().sleep(seconds)


def test_a_thousand_who_wait_look_at_the_clock_as_often_as_one():
    async def main(waiters):
        clock = CountingClock()
        limiter, log = AccountLimiter("acme", LimiterSettings(requests_per_min=60), clock), []
        async with tasks() as group:
            asked = [group.create_task(ask(limiter, log, number)) for number in range(waiters)]
            await asyncio.sleep(10.5)
            for task in asked:
                task.cancel()
        return len(log), clock.sleeps

    assert run_virtually(main(1_000)) == run_virtually(main(20))
