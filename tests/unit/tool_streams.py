"""Tools as the three formats stream them, and prompts with tools: what the tests of tools share."""

from orchestrator.core.chat import Tool, ToolCall, ToolResult, after
from tests.fakes_backends import prompt_for
from tests.unit.test_api_replies import CHAT_USAGE, Exchange, ask, chunk, claude, response, said, stream

OPEN = {"type": "object", "properties": {"path": {"type": "string"}}}
CLOSED = {**OPEN, "required": ["path"], "additionalProperties": False}
TOOLS = (Tool(name="read", description="Reads.", parameters=CLOSED), Tool(name="list", description="", parameters=OPEN))
CALL = ToolCall(id="call_1", name="read", arguments={"path": "ä.py"})
RESULT = ToolResult(call="call_1", text="text of it")
USAGE = {"output_tokens": 7}
EMPTY = {
    "messages": claude(),
    "responses": stream(response(output=[said("x")])),
    "chat": stream(chunk(finish="stop"), CHAT_USAGE),
}


def held(*turns, tools=TOOLS, **fields):
    return after(prompt_for(tools=tools, **fields), turns)


async def sent_by(api, prompt, **settings):
    exchange = Exchange(EMPTY[api])
    await ask(api, exchange, prompt, **settings)
    return exchange.sent


def blocks(*events, stop_reason="tool_use"):
    """A stream of Anthropic's: each block is its start and its deltas."""
    told = [{"type": "message_start", "message": {"usage": {"input_tokens": 5, "output_tokens": 1}}}]
    for index, (start, *deltas) in enumerate(events):
        told.append({"type": "content_block_start", "index": index, "content_block": start})
        told += [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
        told.append({"type": "content_block_stop", "index": index})
    told.append({"type": "message_delta", "delta": {"stop_reason": stop_reason}, "usage": USAGE})
    return stream(*told, {"type": "message_stop"})


def used(identity="toolu_1", name="read", **fields):
    return {"type": "tool_use", "id": identity, "name": name, "input": {}, **fields}


def part(text):
    return {"type": "input_json_delta", "partial_json": text}


THINKING = {"type": "thinking", "thinking": "", "signature": ""}
THOUGHT = [
    THINKING,
    {"type": "thinking_delta", "thinking": "Let me "},
    {"type": "thinking_delta", "thinking": "think: ä."},
    {"type": "signature_delta", "signature": "c2lnbmVk=="},
]
REDACTED = [{"type": "redacted_thinking", "data": "ZW5jcnlwdGVk"}]
TEXT = [{"type": "text", "text": ""}, {"type": "text_delta", "text": "I read it."}]


def tool_chunk(*calls):
    return chunk({"tool_calls": list(calls)})


def function(name=None, arguments=None, **fields):
    named = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**fields, "function": named}


def function_item(**fields):
    return {"type": "function_call", "call_id": "call_1", "name": "read", "arguments": '{"path": "a"}', **fields}


PIECES = [
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": function_item(arguments="", status="in_progress"),
    },
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": '{"path"'},
    {"type": "response.function_call_arguments.delta", "output_index": 0, "delta": ': "a"}'},
]
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "Z2VoZWlt"}


def message_item(text="I read it.", **fields):
    return {
        "type": "message",
        "id": "msg_1",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
        **fields,
    }


SEALED = {
    "messages": blocks(THOUGHT, [used("call_1"), part('{"path": "ä.py"}')]),
    "responses": stream(*PIECES, response(output=[REASONING, function_item(arguments='{"path": "ä.py"}')])),
    "chat": stream(
        chunk({"reasoning_content": "Hm."}),
        tool_chunk(function("read", '{"path": "ä.py"}', index=0, id="call_1")),
        chunk(finish="tool_calls"),
        CHAT_USAGE,
    ),
}
