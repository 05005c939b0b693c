"""Batches over the real wire: each request its own answer, whatever goes wrong, and never paid for twice."""

import asyncio

import pytest

from orchestrator.core.chat import Completion, Message, Tool, ToolCall, ToolResult
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan
from tests.fakes_backends import prompt_for
from tests.integration.batch_wire import (
    BATCH_S,
    BATCHED,
    TEXTS,
    USAGE,
    Upper,
    ask_all,
    killed_when,
    process,
    submitted,
    upper,
)
from tests.integration.wire import APIS, KEY, Brain, service

TOOL = Tool(name="look", description="Look.", parameters={"type": "object", "properties": {"at": {"type": "string"}}})


@pytest.fixture(params=BATCHED.values(), ids=BATCHED.keys())
def api(request):
    return request.param


@pytest.fixture
def path(tmp_path):
    return tmp_path / "batches.sqlite"


def serving(brain=None, **settings):
    return service(brain or Upper(), **{"batch_s": BATCH_S, **settings})


def faults(nth):
    return FaultPlan(
        nth={number: fault if isinstance(fault, Fault) else Fault(kind=fault) for number, fault in nth.items()}
    )


async def test_thirty_requests_go_out_as_one_batch_and_each_gets_its_own_answer(api, path):
    async with serving() as server:
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert api.creations(server) == 1
        assert len(server.batches.store.batches) == 1


async def test_a_batch_asks_exactly_what_a_single_request_would(api, path):
    prompt = prompt_for(
        {"a.py": "x = 'naïve → \u2028'\n"},
        text="do it",
        tools=(TOOL,),
        response_schema={"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]},
        max_output_tokens=123,
    )
    called = Completion(text="I look", stop_reason="tool_use", usage=USAGE, calls=(ToolCall(id="c1", name="look"),))
    prompt = prompt.model_copy(
        update={
            "messages": (
                *prompt.messages,
                called.turn,
                Message(role="user", results=(ToolResult(call="c1", text="nothing"),)),
            )
        }
    )
    settings = {"temperature": 0.5, "effort": "low"}
    async with serving(Brain()) as server:
        single = APIS[api.name].over(server.url, **settings)
        async with single:
            await single.complete(prompt, Meter())
        (asked,) = [dict(seen.body) for seen in server.requests]
        is_streamed = asked.pop("stream")
        async with process(api, server.url, path, limits=settings) as model:
            await model.complete(prompt, Meter())
        (batch,) = server.batches.store.batches.values()
        assert is_streamed
        assert batch.members[0].body == asked


@pytest.mark.parametrize(
    "answer",
    [
        Completion(text="plain", stop_reason="end_turn", usage=USAGE),
        Completion(text="cut", stop_reason="max_tokens", usage=USAGE),
        Completion(text="no", stop_reason="refusal", usage=USAGE),
        Completion(
            text="I look",
            stop_reason="tool_use",
            usage=USAGE,
            calls=(ToolCall(id="c1", name="look", arguments={"at": "é"}), ToolCall(id="c2", name="look")),
        ),
        Completion(text="", stop_reason="tool_use", usage=USAGE, calls=(ToolCall(id="c1", name="look"),)),
    ],
    ids=lambda answer: answer.text or "call alone",
)
async def test_an_answer_means_the_same_in_a_batch_as_alone(api, path, answer):
    brain = Brain()
    brain.completion = answer
    prompt = prompt_for(text="do it", tools=(TOOL,))
    async with serving(brain) as server:
        async with APIS[api.name].over(server.url) as single:
            alone = await single.complete(prompt, Meter())
        meter = Meter()
        async with process(api, server.url, path) as model:
            batched = await model.complete(prompt, meter)
        assert batched == alone
        assert batched.usage == USAGE
        assert meter.output_tokens == USAGE.output_tokens


async def test_a_process_killed_after_submission_comes_back_to_its_batch(api, path):
    async with serving() as server:
        async with process(api, server.url, path) as model:
            await killed_when(model, TEXTS, lambda: len(server.requests) > api.submission)
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)


async def test_a_process_killed_before_it_hears_the_id_finds_its_batch(api, path):
    # The batch is accepted, and the answer never comes.
    async with serving(faults=faults({api.submission: "no_headers"})) as server:
        async with process(api, server.url, path) as model:
            await killed_when(model, TEXTS, lambda: server.batches.store.batches)
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)
        assert api.creations(server) == 1


@pytest.mark.parametrize("fault", ["reset", "short_body", "html", "wrong_object", "truncated_json"])
async def test_an_answer_to_a_submission_that_is_lost_costs_nothing(api, path, fault):
    async with serving(faults=faults({api.submission: fault})) as server:
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)


async def test_a_submission_that_failed_before_it_was_accepted_is_repeated(api, path):
    refusals = {api.submission: Fault(kind="rate_limit", retry_after_s=0.1)}
    async with serving(faults=faults(refusals)) as server:
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)
    async with serving(faults=faults({api.submission: "server_error"})) as server:
        async with process(api, server.url, path.with_name("other")) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)


@pytest.mark.parametrize(
    ("fault", "kind"), [("auth", "auth"), ("insufficient_quota", "billing"), ("too_large", "invalid_request")]
)
async def test_a_submission_that_cannot_be_accepted_fails_at_once_without_a_word_of_the_key(api, path, fault, kind):
    async with (
        serving(faults=FaultPlan(every=Fault(kind=fault))) as server,
        process(api, server.url, path) as model,
    ):
        answers = await ask_all(model, TEXTS)
        assert {answer.kind for answer in answers.values()} == {kind}
        assert not any(KEY in str(answer) for answer in answers.values())
        assert len(server.requests) == 1


async def test_a_server_that_is_not_there_accepts_nothing(api, path):
    async with process(api, "http://127.0.0.1:9", path, submit_tries=2) as model:
        answers = await ask_all(model, TEXTS[:2])
    assert {answer.kind for answer in answers.values()} == {"transient"}


@pytest.mark.parametrize(
    "fault",
    ["server_error", "reset", "overloaded", "html", "wrong_object", "truncated_json", "short_body", "rate_limit"],
)
async def test_polls_that_fail_lose_nothing(api, path, fault):
    plan = {api.poll: fault, api.poll + 1: fault, api.poll + 3: fault}
    async with serving(faults=faults(plan)) as server:
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys(TEXTS, 1)
        assert any(seen.fault == fault for seen in server.requests)


@pytest.mark.parametrize("fault", ["reset", "short_body", "html", "truncated_json", "server_error"])
async def test_results_that_break_off_are_read_again(api, path, fault):
    # Everything is over at the first look, so that the numbers of the requests are known.
    at = api.poll + 2
    async with serving(faults=faults({at: fault}), batch_s=0.0) as server:
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert server.requests[at - 1].path.endswith(api.results)
        assert server.requests[at - 1].fault == fault
        assert submitted(server) == dict.fromkeys(TEXTS, 1)


async def test_a_request_that_errored_raises_for_its_own_waiter_alone(api, path):
    bad = {"too long": "context_too_long", "busy": "overloaded"}
    async with serving() as server, process(api, server.url, path) as model:
        answers = await ask_all(model, [*TEXTS, *bad])
        assert {text: answers.pop(text).kind for text in bad} == bad
        assert answers == upper(TEXTS)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("no_headers", "transient"),
        ("invalid_request", "invalid_request"),
        ("server_error", "transient"),
        ("rate_limit", "rate_limit"),
        ("wrong_object", "malformed_response"),
    ],
)
async def test_what_a_single_request_comes_to_is_told_in_the_words_of_single_requests(api, path, fault, kind):
    async with (
        serving(sessions={"batch": faults({3: fault})}) as server,
        process(api, server.url, path) as model,
    ):
        answers = await ask_all(model, TEXTS)
        failed = {text: answer for text, answer in answers.items() if not isinstance(answer, str)}
        assert [error.kind for error in failed.values()] == [kind]
        assert len(answers) == len(TEXTS)


async def test_a_request_that_expired_is_asked_anew_by_the_next_process(api, path):
    async with serving(sessions={"batch": faults({3: "no_headers"})}) as server:
        async with process(api, server.url, path) as model:
            first = await ask_all(model, TEXTS)
        (expired,) = [text for text, answer in first.items() if not isinstance(answer, str)]
        assert "expired" in str(first[expired])
        async with process(api, server.url, path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == {**dict.fromkeys(TEXTS, 1), expired: 2}


async def test_a_request_declined_by_policy_is_a_refusal_and_no_error(api, path):
    async with (
        serving(sessions={"batch": faults({1: "policy"})}) as server,
        process(api, server.url, path) as model,
    ):
        completion = await model.complete(prompt_for(text="one"), Meter())
        assert completion.stop_reason == "refusal"
        assert completion.usage.output_tokens is None


async def test_a_resumed_process_whose_prompts_changed_submits_only_the_changed_ones(api, path):
    async with serving() as server:
        async with process(api, server.url, path) as model:
            await killed_when(model, TEXTS, lambda: len(server.requests) > api.submission)
        changed = [*TEXTS[:20], "changed 1", "changed 2"]
        async with process(api, server.url, path) as model:
            assert await ask_all(model, changed) == upper(changed)
        assert submitted(server) == dict.fromkeys([*TEXTS, "changed 1", "changed 2"], 1)


async def test_cancelling_one_waiter_does_not_disturb_the_others(api, path):
    async with serving() as server, process(api, server.url, path) as model:
        dropped = asyncio.ensure_future(model.complete(prompt_for(text="dropped"), Meter()))
        others = asyncio.ensure_future(ask_all(model, TEXTS))
        while len(server.requests) <= api.submission:
            await asyncio.sleep(0.01)
        dropped.cancel()
        assert await others == upper(TEXTS)
        assert await ask_all(model, ["dropped"]) == upper(["dropped"])
        assert submitted(server) == dict.fromkeys([*TEXTS, "dropped"], 1)


async def test_a_strangers_batch_of_the_same_size_is_not_taken_for_ours(api, path):
    others = [f"other {number}" for number in range(len(TEXTS))]
    ours = faults({api.submission: "server_error"})
    async with serving(sessions={"ours": ours}, batch_s=0.5) as server:
        async with process(api, server.url, path.with_name("stranger")) as stranger:
            await killed_when(stranger, others, lambda: server.batches.store.batches)
        async with process(api, server.session_url("ours"), path) as model:
            assert await ask_all(model, TEXTS) == upper(TEXTS)
        assert submitted(server) == dict.fromkeys([*TEXTS, *others], 1)


async def test_the_usage_of_a_simulated_service_is_marked_as_such(api, path):
    async with serving() as server, process(api, server.url, path, limits={"is_simulated": True}) as model:
        completion = await model.complete(prompt_for(text="one"), Meter())
        assert completion.usage.is_simulated
