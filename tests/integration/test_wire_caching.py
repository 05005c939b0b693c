"""Prompt caching as it shows in the usage: over real connections, against the simulated cache of each provider."""

import asyncio
from contextlib import suppress
from itertools import pairwise

import pytest

from orchestrator.core.chat import Completion, Message, Tool, ToolCall, ToolResult, after
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan, RateLimits
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS, Brain, service

each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS.keys())

SYSTEM = "the shared rules\n" * 500
PLAIN = Usage(requests=1, input_tokens=None, output_tokens=5)
TOOLS = (Tool(name="read", description="Reads.", parameters={"type": "object"}),)


def sibling(number, **fields):
    return prompt_for(text=f"subtask {number}", **fields).model_copy(update={"system": SYSTEM})


class Together(Brain):
    """Answers when so many are asking at once."""

    def __init__(self, parties):
        super().__init__("ok", PLAIN)
        self.barrier = asyncio.Barrier(parties)

    async def complete(self, prompt, meter):
        await self.barrier.wait()
        return await super().complete(prompt, meter)


async def usages_of(model, prompts):
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(model.complete(prompt, Meter())) for prompt in prompts]
    return [task.result().usage for task in asked]


def totals(usages):
    total = sum(usages, Usage())
    return total.input_tokens, total.cached_input_tokens, total.cache_write_tokens, total.output_tokens


def charged(server):
    seen = server.requests
    return tuple(
        sum(getattr(each, name) for each in seen)
        for name in ("input_tokens", "cached_tokens", "written_tokens", "output_tokens")
    )


@each_api
async def test_one_that_goes_first_writes_what_the_seven_others_read(api):
    async with service(Brain("ok", PLAIN)) as server, api.over(server.url) as model:
        first = await usages_of(model, [sibling(0)])
        others = await usages_of(model, [sibling(number) for number in range(1, 8)])
        assert totals([*first, *others]) == charged(server)
    assert first[0].cached_input_tokens == 0
    shared = {usage.cached_input_tokens for usage in others}
    assert len(shared) == 1
    assert 2_000 <= min(shared) <= len(SYSTEM) // 4 + 1
    if api.name == "messages":
        assert [usage.cache_write_tokens for usage in (*first, *others)] == [*shared, 0, 0, 0, 0, 0, 0, 0]


@each_api
async def test_eight_that_go_at_once_all_write_and_none_reads(api):
    async with service(Together(8)) as server, api.over(server.url) as model:
        usages = await usages_of(model, [sibling(number) for number in range(8)])
        assert totals(usages) == charged(server)
    assert {usage.cached_input_tokens for usage in usages} == {0}
    if api.name == "messages":
        assert all(usage.cache_write_tokens > 2_000 for usage in usages)


@each_api
async def test_a_loop_reads_its_own_history_from_the_cache(api):
    call = ToolCall(id="call_1", name="read")
    prompt = sibling(0, tools=TOOLS)
    async with service(Brain("ok", PLAIN)) as server, api.over(server.url) as model:
        usages = []
        for number in range(6):
            usages += await usages_of(model, [prompt])
            calling = Completion(text=f"Step {number}.", stop_reason="tool_use", usage=PLAIN, calls=(call,))
            result = ToolResult(call="call_1", text=f"line {number}\n" * 300)
            prompt = after(prompt, [calling.turn, Message(role="user", results=(result,))])
        assert totals(usages) == charged(server)
    for before, usage in pairwise(usages):
        # All that was sent before, but for what fits no step of 128 tokens.
        assert before.input_tokens - 200 <= usage.cached_input_tokens <= before.input_tokens
    if api.name == "messages":
        assert sum(usage.cache_write_tokens for usage in usages) <= usages[-1].input_tokens


@each_api
async def test_a_prefix_ends_with_its_lifetime_and_none_is_cached_where_that_is_not_simulated(api):
    prompts = [sibling(0), sibling(1)]
    for settings in ({"cache_lifetime_s": 0.001}, {"is_cache_simulated": False}, {"cache_from_tokens": 100_000}):
        async with service(Brain("ok", PLAIN), **settings) as server, api.over(server.url) as model:
            for prompt in prompts:
                (usage,) = await usages_of(model, [prompt])
                assert usage.cached_input_tokens == 0
                await asyncio.sleep(0.01)


@each_api
async def test_what_failed_before_its_answer_began_has_written_nothing(api):
    plan = FaultPlan(nth={1: Fault(kind="overloaded")})
    async with service(Brain("ok", PLAIN), faults=plan) as server, api.over(server.url) as model:
        with pytest.raises(BackendError):
            await model.complete(sibling(0), Meter())
        assert (await model.complete(sibling(1), Meter())).usage.cached_input_tokens == 0


async def test_what_is_read_counts_against_openais_limits_and_not_against_anthropics():
    admitted = {}
    for name, api in APIS.items():
        limits = RateLimits(input_tokens_per_minute=5_000)
        async with service(Brain("ok", PLAIN), limits=limits) as server, api.over(server.url) as model:
            for number in range(4):
                with suppress(BackendError):
                    await model.complete(sibling(number), Meter())
            admitted[name] = server.statuses()[200]
    assert admitted == {"messages": 4, "responses": 2, "chat": 2}
