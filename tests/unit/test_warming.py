"""Siblings with one prefix: one request writes the provider's cache, the others read it."""

import asyncio

import pytest

from orchestrator.backends.warming import CacheSettings, WarmingModel
from orchestrator.core.chat import Completion, Draw, Message, Prompt
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.virtual_time import VirtualClock, run_virtually

LONG = "x" * 8_000


class Provider:
    """Writes a prefix to its cache once an answer has begun; counts who wrote and who read."""

    name = "provider"

    def __init__(self, clock, first_output_s=2.0, fails=0, answer_s=8.0):
        self.clock, self.first_output_s, self.fails, self.answer_s = clock, first_output_s, fails, answer_s
        self.cached = set()
        self.reads = self.writes = self.asked = 0

    async def complete(self, prompt, meter):
        self.asked += 1
        if prompt.system in self.cached:
            self.reads += 1
        else:
            self.writes += 1
        await self.clock.sleep(self.first_output_s)
        if self.asked <= self.fails:
            raise BackendError("no", kind="overloaded")
        self.cached.add(prompt.system)
        meter.output_tokens += 1
        await self.clock.sleep(self.answer_s)
        return Completion(text="", stop_reason="end_turn", usage=Usage(requests=1))


def prompt(system=LONG, subtask="one"):
    return Prompt(system=system, messages=(Message(role="user", text="do"),), draw=Draw(seed=0, subtask=subtask))


def eight(settings=None, systems=(LONG,) * 8, **provider):
    async def main():
        clock = VirtualClock()
        answers = Provider(clock, **provider)
        model = WarmingModel(answers, settings or CacheSettings(), clock)
        meters = [Meter() for _ in systems]

        async def ask(system, meter):
            try:
                return await model.complete(prompt(system), meter)
            except BackendError as error:
                return error

        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(ask(*each)) for each in zip(systems, meters, strict=True)]
        return answers, meters, [task.result() for task in asked], clock.now()

    return run_virtually(main())


def test_one_request_warms_the_cache_and_seven_read_it():
    provider, meters, _, _ = eight()
    assert (provider.writes, provider.reads) == (1, 7)
    assert sorted(meter.queued_s > 0 for meter in meters) == [False] + [True] * 7
    assert all(wait.name == "prompt_cache" for meter in meters for wait in meter.waits)


def test_the_others_go_when_the_first_answer_begins_and_not_when_it_ends():
    took = {staggered: eight(CacheSettings(stagger=staggered))[3] for staggered in (True, False)}
    assert took[True] - took[False] == pytest.approx(2.0, abs=0.2)


def test_without_it_all_of_them_write():
    assert eight(CacheSettings(stagger=False))[0].writes == 8


def test_other_prefixes_and_short_ones_do_not_wait():
    provider, meters, _, _ = eight(systems=[f"{LONG}{n}" for n in range(4)] + ["short"] * 4)
    assert provider.writes == 4 + 4
    assert all(meter.queued_s == 0 for meter in meters)


def test_where_the_first_fails_the_next_takes_its_place():
    provider, _, outcomes, _ = eight(fails=2)
    assert sum(isinstance(outcome, BackendError) for outcome in outcomes) == 2
    assert (provider.writes, provider.reads) == (3, 5)


def test_nobody_waits_longer_than_the_limit_for_a_slow_one():
    provider, meters, _, _ = eight(CacheSettings(max_wait_s=5.0), first_output_s=60.0)
    assert provider.writes == 8
    assert max(meter.queued_s for meter in meters) == pytest.approx(5.0, abs=0.2)


def test_a_prefix_grows_cold_when_it_is_not_used():
    async def main():
        clock = VirtualClock()
        provider = Provider(clock)
        model = WarmingModel(provider, CacheSettings(lifetime_s=300), clock)
        await model.complete(prompt(), Meter())
        await clock.sleep(400)
        provider.cached.clear()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(model.complete(prompt(), Meter()))
        return provider

    provider = run_virtually(main())
    assert (provider.writes, provider.reads) == (2, 2)


def test_an_answer_that_outlasts_the_cache_stops_nobody():
    async def main():
        clock = VirtualClock()
        provider = Provider(clock, answer_s=1_000.0)
        model = WarmingModel(provider, CacheSettings(lifetime_s=300), clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(model.complete(prompt(), Meter()))
            await clock.sleep(500)
            late = tasks.create_task(model.complete(prompt(), Meter()))
            await late
        return provider.asked

    assert run_virtually(main()) == 2


def test_what_an_attempt_waited_for_before_is_not_taken_for_this_wait():
    async def main():
        clock = VirtualClock()
        model = WarmingModel(Provider(clock, first_output_s=600.0), CacheSettings(max_wait_s=5), clock)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(model.complete(prompt(), Meter(queued_s=400.0)))
            await clock.sleep(0.1)
            late = Meter()
            tasks.create_task(model.complete(prompt(), late))
        return late.queued_s

    assert run_virtually(main()) == pytest.approx(5.0, abs=0.3)


def test_cancelling_the_first_lets_the_next_go_and_leaves_no_task():
    async def main():
        clock = VirtualClock()
        provider = Provider(clock)
        model = WarmingModel(provider, CacheSettings(), clock)
        first = asyncio.ensure_future(model.complete(prompt(), Meter()))
        await clock.sleep(0.5)
        second = asyncio.ensure_future(model.complete(prompt(), Meter()))
        await clock.sleep(0.5)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        return provider.asked, len(asyncio.all_tasks())

    assert run_virtually(main()) == (2, 1)
