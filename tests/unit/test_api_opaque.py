"""What a provider wants back unread with a turn: unchanged, in order, and to itself alone."""

import json

import pytest

from orchestrator.core.chat import Message, ToolCall, ToolResult
from tests.integration.wire import APIS
from tests.unit.test_api_replies import CHAT_USAGE, Exchange, ask, chunk, response, stream
from tests.unit.tool_streams import (
    CALL,
    PIECES,
    REASONING,
    REDACTED,
    RESULT,
    SEALED,
    TEXT,
    THINKING,
    THOUGHT,
    blocks,
    function,
    function_item,
    held,
    message_item,
    part,
    sent_by,
    tool_chunk,
    used,
)


async def test_thoughts_come_back_unchanged_and_in_order_with_the_results():
    called = [used("toolu_1", caller={"type": "direct"}), part('{"path": '), part('"ä.py"}')]
    late = [{"type": "text", "text": ""}, {"type": "text_delta", "text": "And on."}]
    completion = await ask("messages", Exchange(blocks(THOUGHT, TEXT, called, REDACTED, late)))
    assert completion.text == "I read it.And on."
    results = Message(role="user", results=(ToolResult(call="toolu_1", text="x"),))
    sent = await sent_by("messages", held(completion.turn, results, Message(role="assistant", text="y"), results))
    assert sent["messages"][1] == {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "Let me think: ä.", "signature": "c2lnbmVk=="},
            {"type": "text", "text": "I read it."},
            {
                "type": "tool_use",
                "id": "toolu_1",
                "name": "read",
                "input": {"path": "ä.py"},
                "caller": {"type": "direct"},
            },
            {"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"},
            {"type": "text", "text": "And on."},
        ],
    }


async def test_thoughts_without_words_keep_their_signature():
    thought = [THINKING, {"type": "signature_delta", "signature": "only"}]
    completion = await ask("messages", Exchange(blocks(thought, [used(), part("{}")])))
    sent = await sent_by("messages", held(completion.turn))
    assert sent["messages"][1]["content"][0] == {"type": "thinking", "thinking": "", "signature": "only"}


@pytest.mark.parametrize("stop_reason", ["max_tokens", "end_turn"])
async def test_thoughts_that_nothing_follows_do_not_go_back(stop_reason):
    completion = await ask("messages", Exchange(blocks(TEXT, THOUGHT, stop_reason=stop_reason)))
    sent = await sent_by("messages", held(completion.turn, Message(role="user", text="go on")))
    assert sent["messages"][1] == {"role": "assistant", "content": "I read it."}


async def test_reasoning_items_come_back_unchanged_and_in_order():
    output = [
        REASONING,
        message_item(phase="commentary"),
        {**REASONING, "id": "rs_2"},
        function_item(id="fc_1", status="completed"),
    ]
    completion = await ask("responses", Exchange(stream(response(output=output))))
    sent = await sent_by("responses", held(completion.turn, Message(role="user", results=(RESULT,))))
    assert sent["input"][1:-1] == output
    assert sent["input"][-1]["type"] == "function_call_output"


async def test_the_phase_of_a_message_comes_back():
    output = [message_item(phase="commentary"), function_item()]
    completion = await ask("responses", Exchange(stream(response(output=output))))
    sent = await sent_by("responses", held(completion.turn, Message(role="user", results=(RESULT,))))
    assert sent["input"][1:-1] == output


async def test_reasoning_that_nothing_follows_or_that_came_without_its_content_does_not_go_back():
    cut = response("incomplete", output=[message_item(), REASONING], incomplete_details={"reason": "max_output_tokens"})
    bare = response(output=[{**REASONING, "encrypted_content": None}, function_item(id="fc_1")])
    for last in (cut, bare):
        completion = await ask(
            "responses", Exchange(stream({"type": "response.output_text.delta", "delta": "t"}, last))
        )
        assert completion.opaque == ""
        sent = await sent_by("responses", held(completion.turn, Message(role="user", results=(RESULT,))))
        assert "rs_1" not in json.dumps(sent)
        assert "fc_1" not in json.dumps(sent)


async def test_what_a_chat_server_keeps_with_its_calls_comes_back_to_it():
    signature = {"google": {"thought_signature": "c2ln"}}
    body = stream(
        chunk({"reasoning_content": "First "}),
        chunk({"reasoning_content": "I think."}),
        tool_chunk(function("read", "{}", index=0, id="a", extra_content=signature)),
        tool_chunk(function("list", "{}", index=1, id="b")),
        chunk(finish="tool_calls"),
        CHAT_USAGE,
    )
    completion = await ask("chat", Exchange(body))
    sent = (await sent_by("chat", held(completion.turn)))["messages"][2]
    assert sent["reasoning_content"] == "First I think."
    assert [call.get("extra_content") for call in sent["tool_calls"]] == [signature, None]
    quiet = await ask("chat", Exchange(body), is_reasoning_sent_back=False)
    sent = (await sent_by("chat", held(quiet.turn)))["messages"][2]
    assert "reasoning_content" not in sent
    assert sent["tool_calls"][0]["extra_content"] == signature


async def test_thoughts_that_led_to_no_call_do_not_go_back():
    body = stream(chunk({"reasoning_content": "Hm."}), chunk({"content": "hi"}), chunk(finish="stop"), CHAT_USAGE)
    assert (await ask("chat", Exchange(body))).opaque == ""


@pytest.mark.parametrize("maker", APIS)
@pytest.mark.parametrize("reader", APIS)
async def test_a_session_that_switches_takes_text_and_calls_along_and_no_thoughts(maker, reader):
    turn = (await ask(maker, Exchange(SEALED[maker]))).turn
    assert turn.opaque
    assert turn.calls == (CALL,)
    results = Message(role="user", results=(RESULT,))
    plain = await sent_by(reader, held(Message(role="assistant", calls=(CALL,)), results))
    switched = await sent_by(reader, held(turn, results))
    assert (plain == switched) is (maker != reader)


@pytest.mark.parametrize(
    "opaque",
    ["no json", "[]", "null", '{"provider": "anthropic"}', '{"provider": "openai", "content": 7}', "[" * 100_000]
    + [json.dumps({"provider": name, "content": content})
       for name in ("anthropic", "openai", "chat-completions")
       for content in ([1], [{}], {"calls": 1}, {"calls": [1], "thoughts": 1}, [{"type": []}])],
    ids=lambda text: text[:40],
)  # fmt: skip
@pytest.mark.parametrize("api", APIS)
async def test_what_cannot_be_read_of_an_opaque_is_passed_over(api, opaque):
    turn = Message(role="assistant", calls=(CALL,), opaque=opaque)
    assert "read" in json.dumps(await sent_by(api, held(turn)))


@pytest.mark.parametrize("api", ["messages", "responses"])
async def test_an_opaque_that_no_longer_is_its_turns_is_passed_over(api):
    turn = (await ask(api, Exchange(SEALED[api]))).turn
    fewer = turn.model_copy(update={"calls": ()})
    sent = json.dumps(await sent_by(api, held(fewer, Message(role="user", text="go on"))))
    assert "call_1" not in sent


async def test_events_after_the_end_change_nothing():
    late = stream(response(output=[REASONING, function_item()]), *PIECES, {**PIECES[0], "output_index": 3})
    completion = await ask("responses", Exchange(late))
    assert completion.calls == (ToolCall(id="call_1", name="read", arguments={"path": "a"}),)
    assert completion.opaque


@pytest.mark.parametrize("api", APIS)
async def test_a_refusal_calls_nothing_and_leaves_nothing_to_send_back(api):
    bodies = {
        "messages": blocks(THOUGHT, [used(), part("{}")], stop_reason="refusal"),
        "responses": stream(
            {"type": "response.refusal.delta", "delta": "no"}, response(output=[REASONING, function_item()])
        ),
        "chat": stream(tool_chunk(function("read", "{}", index=0, id="a")), chunk(finish="content_filter"), CHAT_USAGE),
    }
    completion = await ask(api, Exchange(bodies[api]))
    assert (completion.stop_reason, completion.calls, completion.opaque) == ("refusal", (), "")
