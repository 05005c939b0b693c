"""Calls in streams, in all the forms that servers send them in, and what is made of broken ones."""

import json

import pytest

from orchestrator.core.chat import Message, ToolCall, ToolResult
from orchestrator.core.errors import BackendError
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS
from tests.unit.test_api_replies import CHAT_USAGE, Exchange, ask, chunk, response, stream
from tests.unit.tool_streams import (
    PIECES,
    RESULT,
    TEXT,
    blocks,
    function,
    function_item,
    held,
    part,
    sent_by,
    tool_chunk,
    used,
)


async def test_messages_calls_are_read_from_their_pieces():
    body = blocks(
        TEXT, [used(), part(""), part('{"pa'), part('th": "a'), part('.py"}')], [used("toolu_2", "list"), part("")]
    )
    completion = await ask("messages", Exchange(body))
    assert completion.text == "I read it."
    assert completion.stop_reason == "tool_use"
    assert completion.calls == (
        ToolCall(id="toolu_1", name="read", arguments={"path": "a.py"}),
        ToolCall(id="toolu_2", name="list"),
    )
    assert completion.opaque == ""


async def test_messages_an_input_that_comes_at_once_is_read():
    completion = await ask("messages", Exchange(blocks([used(input={"path": "a.py"})])))
    assert completion.calls[0].arguments == {"path": "a.py"}


async def chat_calls(*chunks, finish="tool_calls", prompt=None):
    return (await ask("chat", Exchange(stream(*chunks, chunk(finish=finish), CHAT_USAGE)), prompt)).calls


TWO = (("read", {"path": "a"}), ("list", {}))


@pytest.mark.parametrize(
    "chunks",
    [
        pytest.param(
            [
                tool_chunk(function("read", "", index=0, id="a")),
                tool_chunk(function(None, '{"path"', index=0), function("list", "", index=1, id="b")),
                tool_chunk(function(None, "{}", index=1), function(None, ': "a"}', index=0)),
            ],
            id="in turns",
        ),
        pytest.param(
            [
                tool_chunk(function("read", '{"path": "a"}', index=0, id="a")),
                tool_chunk(function("list", "{}", index=0, id="b")),
            ],
            id="every index 0",
        ),
        pytest.param(
            [
                tool_chunk(function("read", '{"path": "a"}', id="a"), function("list", "", id="b")),
                tool_chunk(function(None, "{}", id="b")),
            ],
            id="no index",
        ),
        pytest.param(
            [
                tool_chunk(function("read", '{"pa')),
                tool_chunk(function(None, 'th": "a"}')),
                tool_chunk(function("list", {})),
            ],
            id="neither index nor id, and an object",
        ),
        pytest.param(
            [
                tool_chunk(
                    function("read", '{"path": "a"}', index=0, id="same"), function("list", "{}", index=1, id="same")
                )
            ],
            id="one id for both",
        ),
        pytest.param(
            [
                tool_chunk(function("read", '{"path"', index=0, id="a", type="function")),
                tool_chunk(function("read", ': "a"}', index=0, id="a", type="function")),
                tool_chunk(function("list", "{}", index=1, id="")),
            ],
            id="name and id in every piece",
        ),
    ],
)
async def test_chat_calls_are_read_however_a_server_spells_them(chunks):
    calls = await chat_calls(*chunks)
    assert tuple((call.name, call.arguments) for call in calls) == TWO
    assert not any(call.problem for call in calls)
    assert len({call.id for call in calls}) == 2
    assert all(call.id for call in calls)


async def test_ids_that_a_server_leaves_out_are_the_same_again_and_new_in_the_next_turn():
    chunks = [tool_chunk(function("read", "{}", index=0), function("read", "{}", index=1))]
    first = await chat_calls(*chunks, prompt=held())
    again = await chat_calls(*chunks, prompt=held())
    turn = Message(role="assistant", calls=first)
    later = await chat_calls(*chunks, prompt=held(turn, Message(role="user", results=(RESULT,))))
    assert [call.id for call in first] == [call.id for call in again]
    assert len({call.id for call in (*first, *later)}) == 4


async def test_chat_calls_of_a_server_that_says_stop_are_calls():
    body = stream(tool_chunk(function("read", "{}", index=0, id="a")), chunk(finish="stop"), CHAT_USAGE)
    assert (await ask("chat", Exchange(body))).stop_reason == "tool_use"


ENDS = {
    "listed at the end": [response(output=[function_item()])],
    "an item that is done": [
        {"type": "response.output_item.done", "output_index": 0, "item": function_item()},
        response(output=[]),
    ],
    "arguments that are done": [
        {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"path": "a"}'},
        response(output=[]),
    ],
    "pieces alone": [response(output=[])],
}


@pytest.mark.parametrize("end", ENDS)
async def test_responses_calls_are_read_wherever_they_are_whole(end):
    completion = await ask("responses", Exchange(stream(*PIECES, *ENDS[end])))
    assert completion.calls == (ToolCall(id="call_1", name="read", arguments={"path": "a"}),)
    assert completion.stop_reason == "tool_use"


CUT = '{"path": "a'
CUT_OFF = {
    "messages": blocks([used("call_1"), part('{"path": "a"}')], [used("call_2"), part(CUT)], stop_reason="max_tokens"),
    "responses": stream(
        response(
            "incomplete",
            output=[
                function_item(status="completed"),
                function_item(call_id="call_2", arguments=CUT, status="incomplete"),
            ],
            incomplete_details={"reason": "max_output_tokens"},
        )
    ),
    "chat": stream(
        tool_chunk(function("read", '{"path": "a"}', index=0, id="call_1")),
        tool_chunk(function("read", CUT, index=1, id="call_2")),
        chunk(finish="length"),
        CHAT_USAGE,
    ),
}


@pytest.mark.parametrize("api", APIS)
async def test_a_call_that_the_length_cuts_off_is_left_out_and_whole_ones_stay(api):
    completion = await ask(api, Exchange(CUT_OFF[api]))
    assert completion.stop_reason == "max_tokens"
    assert completion.calls == (ToolCall(id="call_1", name="read", arguments={"path": "a"}),)
    sent = json.dumps(await sent_by(api, held(completion.turn, Message(role="user", results=(RESULT,)))))
    assert "call_2" not in sent


async def test_a_call_that_the_provider_says_was_cut_off_is_left_out_though_it_reads_well():
    output = [function_item(call_id="call_2", arguments="{}", status="incomplete"), function_item()]
    last = response("incomplete", output=output, incomplete_details={"reason": "max_output_tokens"})
    completion = await ask("responses", Exchange(stream(last)))
    assert [call.id for call in completion.calls] == ["call_1"]


BROKEN = {
    "messages": lambda text: blocks([used("call_1"), part(text)]),
    "responses": lambda text: stream(response(output=[function_item(arguments=text)])),
    "chat": lambda text: stream(
        tool_chunk(function("read", text, index=0, id="call_1")), chunk(finish="tool_calls"), CHAT_USAGE
    ),
}
NO_OBJECTS = [
    '{"path": ',
    "[1]",
    '"text"',
    "null",
    "NaN",
    '{"a": Infinity}',
    "{" * 100_000,
    '{"a":' * 200 + "1" + "}" * 200,
    '{"a": "\\ud800"}',
    '{"a": ' + "1" * 5_000 + "}",
    "{}{}",
    "\x00",
]


@pytest.mark.parametrize("text", NO_OBJECTS, ids=lambda text: text[:12])
@pytest.mark.parametrize("api", APIS)
async def test_arguments_that_are_no_usable_object_are_a_problem_and_can_be_answered(api, text):
    completion = await ask(api, Exchange(BROKEN[api](text)))
    (call,) = completion.calls
    assert call.arguments == {}
    assert call.problem
    assert len(call.problem) < 200
    assert completion.stop_reason == "tool_use"
    answered = Message(role="user", results=(ToolResult(call=call.id, text=call.problem, is_error=True),))
    assert await sent_by(api, held(Message.model_validate_json(completion.turn.model_dump_json()), answered))


async def test_messages_a_broken_input_goes_back_as_an_object_that_shows_it():
    completion = await ask("messages", Exchange(BROKEN["messages"](CUT)))
    sent = await sent_by("messages", held(completion.turn, Message(role="user", results=(RESULT,))))
    assert sent["messages"][1]["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "read", "input": {"INVALID_JSON": CUT}}
    ]


@pytest.mark.parametrize("api", APIS)
async def test_characters_that_come_in_two_halves_are_whole_again_and_half_ones_are_replaced(api):
    halves = ["\ud83d", "\ude00 and \ud83d"]
    bodies = {
        "messages": blocks([{"type": "text", "text": ""}, *({"type": "text_delta", "text": half} for half in halves)]),
        "responses": stream(
            *({"type": "response.output_text.delta", "delta": half} for half in halves), response(output=[])
        ),
        "chat": stream(*(chunk({"content": half}) for half in halves), chunk(finish="stop"), CHAT_USAGE),
    }
    completion = await ask(api, Exchange(bodies[api]))
    assert completion.text == "\U0001f600 and \ufffd"
    assert await sent_by(api, held(completion.turn))


async def test_a_prompt_that_no_request_can_carry_is_an_error_of_ours():
    for api in APIS:
        with pytest.raises(BackendError) as caught:
            await sent_by(api, prompt_for(text="\ud800"))
        assert caught.value.kind == "invalid_request"
