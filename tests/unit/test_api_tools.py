"""Tools in single exchanges without a network: the fields that are sent, and the pieces that all formats share."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.wire.calls import CallDraft, read_arguments, settled, wire_id, wire_name
from orchestrator.core.chat import Completion, Message, ToolCall, ToolResult
from orchestrator.core.values import Usage
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS
from tests.unit.tool_streams import CALL, CLOSED, OPEN, RESULT, held, sent_by


async def test_messages_offer_tools_and_send_calls_and_results():
    failed = ToolResult(call="call_2", text="", is_error=True)
    calls = (CALL, ToolCall(id="call_2", name="list"))
    turns = (
        Message(role="assistant", text="I read.", calls=calls),
        Message(role="user", text="and now", results=(RESULT, failed)),
    )
    sent = await sent_by("messages", held(*turns))
    assert sent["tools"] == [
        {"name": "read", "description": "Reads.", "input_schema": CLOSED},
        {"name": "list", "description": "", "input_schema": OPEN},
    ]
    assert sent["messages"][1]["content"] == [
        {"type": "text", "text": "I read."},
        {"type": "tool_use", "id": "call_1", "name": "read", "input": {"path": "ä.py"}},
        {"type": "tool_use", "id": "call_2", "name": "list", "input": {}},
    ]
    first, second, text = sent["messages"][2]["content"]
    assert first == {"type": "tool_result", "tool_use_id": "call_1", "content": "text of it"}
    assert second == {"type": "tool_result", "tool_use_id": "call_2", "is_error": True}
    assert text["text"] == "and now"


@pytest.mark.parametrize(
    ("base_url", "asked", "is_sent"),
    [
        ("http://127.0.0.1:9", None, False),
        ("https://api.anthropic.com", None, True),
        ("http://127.0.0.1:9", True, True),
        ("https://api.anthropic.com", False, False),
    ],
)
async def test_arguments_are_asked_for_as_they_are_written_where_that_is_known(base_url, asked, is_sent):
    sent = await sent_by("messages", held(), base_url=base_url, is_tool_input_streamed=asked)
    assert [tool.get("eager_input_streaming", False) for tool in sent["tools"]] == [is_sent, is_sent]


async def test_responses_offer_tools_strictly_where_they_hold_and_send_items():
    turns = (Message(role="assistant", calls=(CALL,)), Message(role="user", text="and now", results=(RESULT,)))
    sent = await sent_by("responses", held(*turns))
    assert [(tool["type"], tool["name"], tool["strict"]) for tool in sent["tools"]] == [
        ("function", "read", True),
        ("function", "list", False),
    ]
    assert sent["tools"][0]["parameters"] == CLOSED
    assert sent["include"] == ["reasoning.encrypted_content"]
    assert sent["input"][1:] == [
        {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": '{"path": "ä.py"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "text of it"},
        {"role": "user", "content": "and now"},
    ]


async def test_chat_offers_functions_and_sends_tool_messages():
    turns = (Message(role="assistant", calls=(CALL,)), Message(role="user", results=(RESULT,)))
    sent = await sent_by("chat", held(*turns))
    assert sent["tools"][0] == {
        "type": "function",
        "function": {"name": "read", "description": "Reads.", "parameters": CLOSED},
    }
    function = {"name": "read", "arguments": '{"path": "ä.py"}'}
    assert sent["messages"][2:] == [
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "text of it"},
    ]


@pytest.mark.parametrize("api", APIS)
async def test_without_tools_nothing_of_tools_is_sent(api):
    sent = await sent_by(api, prompt_for())
    assert not {"tools", "include", "tool_choice"} & sent.keys()


async def test_a_model_that_does_not_reason_is_not_asked_for_its_thoughts():
    assert "include" not in await sent_by("responses", held(), is_reasoning_sent_back=False)


@pytest.mark.parametrize("api", ["messages", "responses"])
async def test_ids_and_names_that_an_api_would_refuse_are_spelled_so_that_call_and_result_still_meet(api):
    odd = "functions.read:0 ü" * 9
    turns = (
        Message(role="assistant", calls=(ToolCall(id=odd, name="my tool/read"),)),
        Message(role="user", results=(ToolResult(call=odd, text="x"),)),
    )
    sent = json.dumps(await sent_by(api, held(*turns)))
    assert sent.count(wire_id(odd)) == 2
    assert "functions.read" not in sent
    assert '"my_tool_read"' in sent


async def test_empty_turns_are_left_out_where_they_are_refused():
    sent = await sent_by("messages", held(Message(role="assistant", text=" \n"), Message(role="user", text="go on")))
    assert [turn["role"] for turn in sent["messages"]] == ["user", "user"]


@pytest.mark.parametrize(
    ("result", "told"),
    [
        (ToolResult(call="call_1", text="no such file", is_error=True), "Error: no such file"),
        (ToolResult(call="call_1", text="error: no such file", is_error=True), "error: no such file"),
        (ToolResult(call="call_1", text="an error message", is_error=False), "an error message"),
    ],
)
async def test_where_no_field_tells_an_error_the_words_do(result, told):
    turns = (Message(role="assistant", calls=(CALL,)), Message(role="user", results=(result,)))
    assert (await sent_by("responses", held(*turns)))["input"][-1]["output"] == told
    assert (await sent_by("chat", held(*turns)))["messages"][-1]["content"] == told


@given(st.text(max_size=40) | st.recursive(st.none() | st.text(max_size=3), st.lists).map(json.dumps))
def test_any_text_is_arguments_or_a_problem(text):
    arguments, problem = read_arguments(text)
    assert isinstance(arguments, dict)
    assert not (arguments and problem)
    call = ToolCall(id="x", name="y", arguments=arguments, problem=problem)
    assert Completion.model_validate_json(
        Completion(text="", stop_reason="tool_use", usage=Usage(), calls=(call,)).model_dump_json()
    ).calls == (call,)


@given(
    st.dictionaries(st.text(max_size=5), st.text(max_size=5) | st.integers() | st.booleans()),
    st.lists(st.integers(0, 200)),
)
def test_arguments_are_the_same_however_they_are_cut(arguments, cuts):
    text = json.dumps(arguments)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    draft = CallDraft("a", "f", [text[start:end] for start, end in pairwise(bounds)])
    (call,) = settled([draft], prompt_for(), is_cut=False)
    assert call.arguments == arguments


@given(st.text())
def test_ids_and_names_fit_every_api_and_fitting_ones_stay(text):
    assert wire_id(wire_id(text)) == wire_id(text)
    assert wire_name(wire_name(text)) == wire_name(text)
    for spelled in (wire_id(text), wire_name(text)):
        assert 0 < len(spelled) <= 64
        assert all(char.isascii() and (char.isalnum() or char in "_-") for char in spelled)
