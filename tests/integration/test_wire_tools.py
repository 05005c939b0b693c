"""Tools over a real connection, for each of the three APIs: offered, called, answered; and what goes wrong on the way."""

import json

import httpx2
import pytest

from orchestrator.core.chat import Completion, Message, Tool, ToolCall, ToolResult, after
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan
from tests.fakes_backends import ScriptedModel, prompt_for
from tests.integration.wire import APIS, TEXT, USAGE, Brain, service

each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS.keys())

CLOSED = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}
TOOLS = (
    Tool(name="read", description="Reads a file.", parameters=CLOSED),
    Tool(name="done", description="Ends it.", parameters={"type": "object", "properties": {}}),
)
ODD = {"path": 'naïve "café"\\\n\u2028 \U0001f600', "nested": {"list": [1, 2.5, None, True, {}]}, "long": "x" * 300}
CALLS = (
    ToolCall(id="call_one", name="read", arguments={"path": "a.py"}),
    ToolCall(id="call_two", name="read", arguments=ODD),
    ToolCall(id="call_three", name="done"),
)


def results(*calls):
    return Message(role="user", results=tuple(ToolResult(call=call.id, text=f"of {call.id}") for call in calls))


def scripted(*answers):
    """A brain that gives one answer after the other: a text, or calls."""
    usage = Usage(requests=1, input_tokens=10, output_tokens=10)
    return ScriptedModel(
        *(
            each if isinstance(each, str) else Completion(text="", stop_reason="tool_use", usage=usage, calls=each)
            for each in answers
        )
    )


@each_api
@pytest.mark.parametrize("piece_chars", [1, 24])
@pytest.mark.parametrize("text", ["", TEXT])
async def test_calls_come_through_unchanged_however_their_arguments_are_cut(api, text, piece_chars):
    async with service(Brain(text, calls=CALLS), piece_chars=piece_chars) as server, api.over(server.url) as model:
        meter = Meter()
        completion = await model.complete(prompt_for(tools=TOOLS), meter)
        (asked,) = server.house.brain.prompts
    assert asked.tools == TOOLS
    assert completion.calls == CALLS
    assert completion.text == text
    assert completion.stop_reason == "tool_use"
    assert completion.usage == USAGE
    assert meter.output_tokens == USAGE.output_tokens
    assert completion.opaque == ""


@each_api
async def test_a_conversation_with_tools_reads_at_the_other_end_as_it_was_held(api):
    texts = ("", "Let me see.")
    turns = [Message(role="user", text="do it")]
    for text in texts:
        turns.append(Message(role="assistant", text=text, calls=CALLS[:2]))
        turns.append(results(*CALLS[:2]).model_copy(update={"text": "" if not text else "Go on."}))
    prompt = prompt_for(tools=TOOLS).model_copy(update={"messages": tuple(turns)})
    async with service() as server, api.over(server.url) as model:
        await model.complete(prompt, Meter())
        (read,) = server.house.brain.prompts
    assert read.messages == tuple(turns)
    assert read.tools == TOOLS


@each_api
async def test_a_failed_call_is_told_as_one(api):
    failed = Message(role="user", results=(ToolResult(call="call_one", text="no such file", is_error=True),))
    prompt = after(prompt_for(tools=TOOLS), [Message(role="assistant", calls=CALLS[:1]), failed])
    async with service() as server, api.over(server.url) as model:
        await model.complete(prompt, Meter())
        (result,) = server.house.brain.prompts[0].messages[-1].results
    if api.name == "messages":
        assert result == failed.results[0]
    else:
        # These formats have no field for it, so the words say it.
        assert result == ToolResult(call="call_one", text="Error: no such file")


@each_api
async def test_a_loop_calls_answers_and_ends(api):
    prompt = prompt_for(tools=TOOLS)
    async with service(scripted(CALLS[:1], CALLS[1:], "finished")) as server, api.over(server.url) as model:
        completion = await model.complete(prompt, Meter())
        while completion.calls:
            prompt = after(prompt, [completion.turn, results(*completion.calls)])
            completion = await model.complete(prompt, Meter())
        assert completion.text == "finished"
        assert completion.stop_reason == "end_turn"
        assert server.statuses() == {200: 3}
        assert [len(asked.messages) for asked in server.house.brain.prompts] == [1, 3, 5]


@each_api
async def test_tools_and_a_schema_go_together(api):
    prompt = prompt_for(tools=TOOLS, response_schema=CLOSED)
    async with service(Brain(calls=CALLS)) as server, api.over(server.url) as model:
        completion = await model.complete(prompt, Meter())
        (asked,) = server.house.brain.prompts
    assert asked.tools == TOOLS
    assert asked.response_schema["properties"] == CLOSED["properties"]
    assert completion.calls == CALLS


@each_api
@pytest.mark.parametrize(
    ("told", "read", "calls"),
    [("refusal", "refusal", ()), ("max_tokens", "max_tokens", CALLS), ("end_turn", "tool_use", CALLS)],
)
async def test_the_stop_reason_fits_the_calls(api, told, read, calls):
    # The last call needs arguments of its own to be seen to be whole.
    whole = (*CALLS[:2], ToolCall(id="call_three", name="done", arguments={"now": True}))
    async with service(Brain("text", calls=whole, stop_reason=told)) as server, api.over(server.url) as model:
        completion = await model.complete(prompt_for(tools=TOOLS), Meter())
    assert completion.stop_reason == read
    assert completion.calls == (whole if calls else ())


@each_api
async def test_broken_arguments_are_a_call_with_a_problem_and_the_loop_goes_on(api):
    plan = FaultPlan(nth={1: Fault(kind="broken_arguments")})
    prompt = prompt_for(tools=TOOLS)
    async with service(scripted(CALLS[:2], "finished"), faults=plan) as server, api.over(server.url) as model:
        completion = await model.complete(prompt, Meter())
        assert [call.arguments for call in completion.calls] == [{}, {}]
        assert all("no JSON" in call.problem for call in completion.calls)
        assert completion.stop_reason == "tool_use"
        failed = [ToolResult(call=call.id, text=call.problem, is_error=True) for call in completion.calls]
        prompt = after(prompt, [completion.turn, Message(role="user", results=tuple(failed))])
        assert (await model.complete(prompt, Meter())).text == "finished"
        assert server.statuses() == {200: 2}


@each_api
@pytest.mark.parametrize(
    ("kind", "called"),
    [
        ("stream_ends", "malformed_response"),
        ("stream_cut", "transient"),
        ("error_event", "overloaded"),
        ("broken_event", "malformed_response"),
    ],
)
async def test_a_stream_that_goes_wrong_in_the_middle_of_arguments_is_one_request_and_no_call(api, kind, called):
    plan = FaultPlan(every=Fault(kind=kind, after_pieces=5))
    async with service(Brain("", calls=CALLS), faults=plan) as server, api.over(server.url) as model:
        meter = Meter()
        with pytest.raises(BackendError) as caught:
            await model.complete(prompt_for(tools=TOOLS), meter)
        assert caught.value.kind == called
        assert len(server.requests) == 1
        assert meter.output_tokens > 5


CALL = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {}}]}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}
USER = {"role": "user", "content": "hi"}
CHAT_CALL = {
    "role": "assistant",
    "content": None,
    "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
MARK = {"cache_control": {"type": "ephemeral"}}
REFUSED = {
    "a call without its result": ("messages", [USER, CALL, USER]),
    "a call at the end": ("messages", [USER, CALL]),
    "a result a turn too late": ("messages", [USER, CALL, USER, {"role": "user", "content": [RESULT]}]),
    "a result without its call": ("messages", [{"role": "user", "content": [RESULT]}]),
    "text before results": (
        "messages",
        [USER, CALL, {"role": "user", "content": [{"type": "text", "text": "x"}, RESULT]}],
    ),
    "an empty text": ("messages", [{"role": "user", "content": [{"type": "text", "text": ""}]}]),
    "thoughts at the end": (
        "messages",
        [USER, {"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}, USER],
    ),
    "five breakpoints": ("messages", [{"role": "user", "content": [{"type": "text", "text": "x", **MARK}] * 5}]),
    "a call without a name": ("messages", [USER, {"role": "assistant", "content": [{"type": "tool_use", "id": "t1"}]}]),
    "a call without its output": (
        "responses",
        [USER, {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"}],
    ),
    "an output without its call": (
        "responses",
        [USER, {"type": "function_call_output", "call_id": "t1", "output": "x"}],
    ),
    "a call without its message": ("chat/completions", [USER, CHAT_CALL, USER]),
    "a message without its call": ("chat/completions", [USER, {"role": "tool", "tool_call_id": "t1", "content": "x"}]),
    "a call that nothing follows": ("chat/completions", [USER, CHAT_CALL]),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_the_service_refuses_what_the_real_ones_refuse(name):
    path, turns = REFUSED[name]
    body = {"model": "m", "max_tokens": 9, "input" if path == "responses" else "messages": turns}
    async with service() as server, httpx2.AsyncClient(base_url=server.url) as client:
        answer = await client.post(f"/v1/{path}", json=body)
        assert not server.house.brain.prompts
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] != "simulated"


WHOLE = {
    "messages": {"messages": [USER], "max_tokens": 9},
    "responses": {"input": "hi"},
    "chat/completions": {"messages": [USER]},
}


@pytest.mark.parametrize("path", WHOLE)
async def test_calls_that_are_not_streamed_have_the_same_ids_names_and_arguments(path):
    async with service(Brain("", calls=CALLS)) as server, httpx2.AsyncClient(base_url=server.url) as client:
        answer = (await client.post(f"/v1/{path}", json={"model": "m", **WHOLE[path]})).json()
    if path == "messages":
        read = [(block["id"], block["name"], block["input"]) for block in answer["content"]]
    elif path == "responses":
        read = [(item["call_id"], item["name"], json.loads(item["arguments"])) for item in answer["output"]]
    else:
        calls = answer["choices"][0]["message"]["tool_calls"]
        read = [(each["id"], each["function"]["name"], json.loads(each["function"]["arguments"])) for each in calls]
    assert read == [(call.id, call.name, call.arguments) for call in CALLS]
