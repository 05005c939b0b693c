"""The clock that jumps: no waiting, one order, no hanging."""

import asyncio
import time

import pytest

from orchestrator.engine.virtual import DeadlockError, VirtualClock, VirtualLoop, run_virtually


def test_a_day_of_waiting_takes_no_time():
    async def wait():
        await asyncio.sleep(86_400.0 * 3)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run_virtually(wait()) == 86_400.0 * 3
    assert time.monotonic() - began < 5


def test_timers_go_off_in_their_order_at_their_times():
    async def main():
        seen, clock = [], VirtualClock()

        async def sleeper(seconds):
            await clock.sleep(seconds)
            seen.append((seconds, clock.now()))

        async with asyncio.TaskGroup() as tasks:
            for seconds in (5.0, 0.5, 3.25, 0.0):
                tasks.create_task(sleeper(seconds))
        return seen

    assert run_virtually(main()) == [(0.0, 0.0), (0.5, 0.5), (3.25, 3.25), (5.0, 5.0)]


def test_timers_of_the_same_moment_go_off_in_the_order_in_which_they_were_set():
    async def main():
        seen, loop = [], asyncio.get_running_loop()
        for number in range(200):
            loop.call_at(1.0, seen.append, number)
            loop.call_at(0.5 + number / 1_000, lambda: None)
            loop.call_later(1.0 + number / 1_000, lambda: None).cancel()
        await asyncio.sleep(2.0)
        return seen

    assert run_virtually(main()) == list(range(200))


def test_a_loop_that_waits_for_nothing_says_so_instead_of_hanging():
    async def main():
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError):
        run_virtually(main())


def test_no_virtual_time_passes_while_a_thread_is_at_work():
    async def main():
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):  # ten virtual seconds, which would be over at once
            answer = await asyncio.to_thread(lambda: time.sleep(0.05) or "done")
        before = loop.time()
        await asyncio.sleep(1.0)
        return answer, before, loop.time()

    assert run_virtually(main()) == ("done", 0.0, 1.0)


def test_time_limits_go_off_on_virtual_time():
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.Event().wait()
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 60.0


def test_every_loop_begins_at_zero():
    loop = VirtualLoop()
    assert loop.time() == 0.0
    loop.close()
