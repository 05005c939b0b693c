"""Single exchanges without a network: what is sent, and how answers in all their forms are read."""

import json

import httpx2
import pytest

from orchestrator.backends.wire.schemas import allows_strict
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS, KEY


class Exchange:
    """Answers each request with the same body; keeps the requests."""

    def __init__(self, body, status=200, headers=None):
        self.requests = []
        self.body, self.status = body, status
        self.headers = {"content-type": "text/event-stream", **(headers or {})}

    def __call__(self, request):
        self.requests.append(request)
        return httpx2.Response(self.status, headers=self.headers, content=self.body)

    @property
    def sent(self):
        return json.loads(self.requests[0].content)


def stream(*events):
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def claude(stop_reason="end_turn", start=None, usage=None, blocks=("hi",)):
    start = (
        {"input_tokens": 5, "cache_creation_input_tokens": 2, "cache_read_input_tokens": 3} if start is None else start
    )
    usage = {"output_tokens": 7} if usage is None else usage
    deltas = [{"type": "content_block_delta", "delta": {"type": "text_delta", "text": text}} for text in blocks]
    return stream(
        {"type": "message_start", "message": {"usage": {**start, "output_tokens": 1}}},
        *deltas,
        {"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": usage},
        {"type": "message_stop"},
    )


def response(status="completed", output=(), usage=None, **fields):
    usage = {"input_tokens": 10, "output_tokens": 7} if usage is None else usage
    return {
        "type": f"response.{status}",
        "response": {"status": status, "output": list(output), "usage": usage, **fields},
    }


def said(text):
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def chunk(delta=None, finish=None, **fields):
    return {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}], **fields}


CHAT_USAGE = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 7}}


async def ask(api, exchange, prompt=None, meter=None, **settings):
    async with APIS[api].over("http://127.0.0.1:9", transport=httpx2.MockTransport(exchange), **settings) as model:
        return await model.complete(prompt or prompt_for(), meter or Meter())


async def error_of(api, body, **fields):
    with pytest.raises(BackendError) as caught:
        await ask(api, Exchange(body, **fields))
    return caught.value


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ("end_turn", "end_turn"),
        ("stop_sequence", "end_turn"),
        ("max_tokens", "max_tokens"),
        ("model_context_window_exceeded", "max_tokens"),
        ("pause_turn", "max_tokens"),
        ("refusal", "refusal"),
        ("tool_use", "tool_use"),
    ],
)
async def test_messages_stop_reasons(told, read):
    assert (await ask("messages", Exchange(claude(told)))).stop_reason == read


async def test_messages_usage_counts_all_input_and_later_counts_replace_earlier_ones():
    usage = {"output_tokens": 70, "input_tokens": 50, "output_tokens_details": {"thinking_tokens": 30}}
    read = (await ask("messages", Exchange(claude(usage=usage)))).usage
    assert (read.input_tokens, read.cached_input_tokens, read.cache_write_tokens) == (55, 3, 2)
    assert (read.output_tokens, read.reasoning_tokens, read.cost_usd) == (70, 30, None)


async def test_messages_usage_that_is_not_told_is_unknown_not_zero():
    read = (await ask("messages", Exchange(claude(start={"input_tokens": 5})))).usage
    assert (read.input_tokens, read.cached_input_tokens, read.cache_write_tokens) == (None, None, None)
    assert read.reasoning_tokens is None


@pytest.mark.parametrize("usage", [{}, {"output_tokens": None}, {"output_tokens": "7"}, {"output_tokens": -1}])
async def test_messages_without_a_final_count_of_output_are_malformed(usage):
    assert (await error_of("messages", claude(usage=usage))).kind == "malformed_response"


@pytest.mark.parametrize("reason", [None, "", "something_new", 7])
async def test_messages_without_a_known_stop_reason_are_malformed(reason):
    assert (await error_of("messages", claude(reason))).kind == "malformed_response"


@pytest.mark.parametrize(
    ("last", "stop_reason", "text"),
    [
        (response(output=[said("whole")]), "end_turn", "whole"),
        (response(output=[]), "end_turn", "pie"),
        (response("incomplete", incomplete_details={"reason": "max_output_tokens"}), "max_tokens", "pie"),
        (response("incomplete", incomplete_details={"reason": "content_filter"}), "refusal", "pie"),
        (response("incomplete", incomplete_details=None), "max_tokens", "pie"),
        (response(output=[{"type": "function_call", "name": "f", "arguments": "{}"}]), "tool_use", "pie"),
        (response(output=[{"type": "message", "content": [{"type": "refusal", "refusal": "no"}]}]), "refusal", "no"),
        (response("failed", error={"code": "bio_policy", "message": "no"}), "refusal", "pie"),
    ],
)
async def test_responses_end_in_these_ways(last, stop_reason, text):
    exchange = Exchange(stream({"type": "response.output_text.delta", "delta": "pie"}, last))
    completion = await ask("responses", exchange)
    assert (completion.stop_reason, completion.text) == (stop_reason, text)


@pytest.mark.parametrize(
    ("last", "kind"),
    [
        (response("failed", error={"code": "server_error", "message": "x"}), "transient"),
        (response("failed", error={"code": "rate_limit_exceeded", "message": "x"}), "rate_limit"),
        (response("failed", error={"code": "server_is_overloaded", "message": "x"}), "overloaded"),
        (response("failed", error=None), "transient"),
        ({"type": "error", "code": "insufficient_quota", "message": "x"}, "billing"),
        ({"error": {"code": "rate_limit_exceeded", "message": "x"}}, "rate_limit"),
        (response(usage={}), "malformed_response"),
        (response("cancelled"), "malformed_response"),
    ],
)
async def test_responses_fail_in_these_ways(last, kind):
    assert (await error_of("responses", stream(last))).kind == kind


@pytest.mark.parametrize(
    ("finish", "read"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("tool_calls", "tool_use")],
)
async def test_chat_finish_reasons(finish, read):
    exchange = Exchange(stream(chunk({"content": "hi"}), chunk(finish=finish), CHAT_USAGE))
    completion = await ask("chat", exchange)
    assert (completion.stop_reason, completion.text, completion.usage.input_tokens) == (read, "hi", 10)


async def test_chat_usage_may_come_with_the_last_choice_and_counts_again_replace_it():
    early = chunk({"content": "hi"}, usage={"prompt_tokens": 10, "completion_tokens": 1})
    late = chunk(finish="stop", usage={"prompt_tokens": 10, "completion_tokens": 9})
    assert (await ask("chat", Exchange(stream(early, late)))).usage.output_tokens == 9


async def test_chat_without_usage_is_malformed_unless_the_server_is_known_never_to_count():
    body = stream(chunk({"content": "hi"}), chunk(finish="stop"))
    assert (await error_of("chat", body)).kind == "malformed_response"
    exchange = Exchange(body)
    completion = await ask("chat", exchange, is_usage_reported=False)
    assert completion.usage.output_tokens is None
    assert "stream_options" not in exchange.sent


async def test_thoughts_move_the_meter_and_are_no_text():
    meter = Meter()
    body = stream(chunk({"reasoning_content": "x" * 40}), chunk({"content": "hi"}), chunk(finish="stop"))
    completion = await ask("chat", Exchange(body), meter=meter, is_usage_reported=False)
    assert completion.text == "hi"
    assert meter.output_tokens == 42 // 4


async def test_what_messages_are_asked():
    exchange = Exchange(claude())
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}
    prompt = prompt_for(response_schema=schema, max_output_tokens=99)
    await ask("messages", exchange, prompt, effort="high", temperature=0.5)
    sent = exchange.sent
    assert (sent["model"], sent["max_tokens"], sent["stream"], sent["temperature"]) == ("the-model", 99, True, 0.5)
    assert sent["output_config"]["effort"] == "high"
    assert sent["output_config"]["format"]["type"] == "json_schema"
    assert sent["output_config"]["format"]["schema"]["additionalProperties"] is False
    assert sent["messages"] == [{"role": "user", "content": "do it"}]
    assert exchange.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_what_responses_are_asked():
    exchange = Exchange(stream(response(output=[said("x")])))
    prompt = prompt_for(
        response_schema={"type": "object", "properties": {"n": {"type": "integer"}}}, max_output_tokens=99
    )
    await ask("responses", exchange, prompt, effort="low", temperature=0.5)
    sent = exchange.sent
    assert (sent["model"], sent["max_output_tokens"], sent["stream"], sent["store"]) == ("the-model", 99, True, False)
    assert sent["reasoning"] == {"effort": "low"}
    assert sent["temperature"] == 0.5
    assert sent["instructions"] == "system"
    assert sent["text"]["format"]["strict"] is False
    assert exchange.requests[0].headers["authorization"] == f"Bearer {KEY}"


async def test_what_chat_is_asked():
    exchange = Exchange(stream(chunk(finish="stop"), CHAT_USAGE))
    await ask(
        "chat", exchange, prompt_for(max_output_tokens=99), output_limit_field="max_completion_tokens", effort="low"
    )
    assert exchange.sent == {
        "model": "the-model",
        "messages": [{"role": "system", "content": "system"}, {"role": "user", "content": "do it"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_completion_tokens": 99,
        "reasoning_effort": "low",
    }


@pytest.mark.parametrize("api", APIS)
async def test_what_is_not_set_is_not_sent(api):
    bodies = {"messages": claude(), "responses": stream(response()), "chat": stream(chunk(finish="stop"), CHAT_USAGE)}
    exchange = Exchange(bodies[api])
    await ask(api, exchange)
    assert not {
        "temperature",
        "effort",
        "output_config",
        "reasoning",
        "reasoning_effort",
        "text",
        "response_format",
    } & {*exchange.sent}
    assert "x-orchestrate-draw" not in exchange.requests[0].headers


@pytest.mark.parametrize("api", APIS)
async def test_a_redirect_is_not_followed_with_the_key(api):
    exchange = Exchange(b"", status=307, headers={"location": "http://127.0.0.1:1/elsewhere"})
    with pytest.raises(BackendError) as caught:
        await ask(api, exchange)
    assert len(exchange.requests) == 1
    assert "http://127.0.0.1:1/elsewhere" in str(caught.value)


CLOSED = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "allowed"),
    [
        (CLOSED, True),
        ({"type": "array", "items": CLOSED}, True),
        ({**CLOSED, "required": []}, False),
        ({**CLOSED, "additionalProperties": True}, False),
        ({"type": "object"}, False),
        ({"$defs": {"x": {"type": "object", "properties": {}}}, **CLOSED}, False),
    ],
)
def test_strict_mode_is_asked_only_of_schemas_that_it_takes(schema, allowed):
    assert allows_strict(schema) is allowed
