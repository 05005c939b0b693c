"""OpenAI's Chat Completions as the simulated service speaks it."""

import json
from collections.abc import Iterator, Mapping

from orchestrator.core.chat import ToolCall, ToolResult, estimate_tokens
from orchestrator.core.values import StopReason
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.caching import Prefixes, automatic
from orchestrator.stub_server.dialect import (
    Answer,
    Asked,
    CallPart,
    Rejection,
    ServerEvent,
    UnreadableRequest,
    mapping_of,
    pieces,
)
from orchestrator.stub_server.openai_errors import openai_limit_headers, openai_rejection
from orchestrator.stub_server.reading import (
    Gathering,
    call_of,
    limit_of,
    listed,
    mappings_of,
    text_of,
    tools_of,
)

_FINISH: Mapping[StopReason, str] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "refusal": "content_filter",
    "tool_use": "tool_calls",
}
_DONE = b"data: [DONE]\n\n"


class ChatApi:
    """`POST /v1/chat/completions`."""

    def read(self, body: Mapping[str, object]) -> Asked:
        """Read a request's body. Raises `UnreadableRequest`."""
        gathered = _gathered(listed(body.get("messages"), "messages"))
        limit = limit_of(body.get("max_completion_tokens"), "max_completion_tokens")
        schema = mapping_of(mapping_of(body.get("response_format")).get("json_schema")).get("schema")
        return Asked(
            model=str(body.get("model", "")),
            system=gathered.system,
            messages=gathered.turns("messages"),
            max_output_tokens=limit or limit_of(body.get("max_tokens"), "max_tokens"),
            response_schema=mapping_of(schema) if schema is not None else None,
            is_streamed=body.get("stream") is True,
            is_usage_wanted=mapping_of(body.get("stream_options")).get("include_usage") is True,
            tools=tools_of(body.get("tools"), _tool),
        )

    def prefixes(self, asked: Asked, from_tokens: int) -> Prefixes:
        """What the service caches by itself."""
        return automatic(asked.model, asked.text, from_tokens)

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        message: dict[str, object] = {"role": "assistant", "content": answer.text, "refusal": None}
        if answer.calls:
            message["content"] = answer.text or None
            message["tool_calls"] = [_call(call, call.arguments) for call in answer.calls]
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[answer.stop_reason], "logprobs": None}
        return {**_head(answer), "object": "chat.completion", "choices": [choice], "usage": _usage(answer)}

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream."""
        head = {**_head(answer), "object": "chat.completion.chunk"}
        yield _chunk(head, {"role": "assistant", "content": ""})
        for piece in pieces(answer.text, piece_chars):
            yield _chunk(head, {"content": piece}, tokens=estimate_tokens(piece))
        for index, call in enumerate(answer.calls):
            yield _chunk(head, {"tool_calls": [{"index": index, **_call(call, "")}]})
            for piece in pieces(call.arguments, piece_chars):
                more = {"index": index, "function": {"arguments": piece}}
                yield _chunk(head, {"tool_calls": [more]}, tokens=estimate_tokens(piece))
        yield _chunk(head, {}, finish=_FINISH[answer.stop_reason])
        if answer.is_usage_wanted:
            yield _event({**head, "choices": [], "usage": _usage(answer)})
        yield ServerEvent(_DONE)

    def ping(self) -> bytes:
        """A keep-alive: a comment, and the empty chunk that some servers send for it."""
        return (
            b': keepalive\n\ndata: {"id":"","object":"chat.completion.chunk","created":0,"model":"","choices":[]}\n\n'
        )

    def error_event(self) -> bytes:
        """Overload, told within a stream."""
        error = {"message": "Overloaded", "type": "server_error", "param": None, "code": "server_is_overloaded"}
        return _event({"error": error}).body

    def rejection(self, kind: str, message: str) -> Rejection:
        """An error of one of the server's kinds."""
        return openai_rejection(kind, message)

    def limit_headers(self, account: Account, now: float) -> Mapping[str, str]:
        """The published limits."""
        return openai_limit_headers(account, now)


def _gathered(messages: list[Mapping[str, object]]) -> Gathering:
    """The turns. Raises `UnreadableRequest` where a call lacks its answer, or an answer its call."""
    gathered = Gathering()
    waiting: list[str] = []
    for message in messages:
        role, content = message.get("role", "user"), message.get("content", "")
        if role == "tool":
            identity = str(message.get("tool_call_id", ""))
            if identity not in waiting:
                raise UnreadableRequest(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceding message with "
                    "'tool_calls'."
                )
            waiting.remove(identity)
            gathered.result(ToolResult(call=identity, text=text_of(content)))
            continue
        _check_answered(waiting)
        sent = mappings_of(message.get("tool_calls")) if role == "assistant" else []
        calls = [_call_in(each) for each in sent]
        waiting = [call.id for call in calls]
        gathered.say(role, text_of("" if calls and content is None else content), calls=calls)
    _check_answered(waiting)
    return gathered


def _call_in(sent: Mapping[str, object]) -> ToolCall:
    function = mapping_of(sent.get("function"))
    return call_of(sent.get("id"), function.get("name"), function.get("arguments"))


def _check_answered(waiting: list[str]) -> None:
    if waiting:
        raise UnreadableRequest(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(waiting)}"
        )


def _tool(tool: Mapping[str, object]) -> tuple[object, object, object]:
    function = mapping_of(tool.get("function"))
    return function.get("name"), function.get("description"), function.get("parameters")


def _call(call: CallPart, arguments: str) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _head(answer: Answer) -> dict[str, object]:
    return {"id": f"chatcmpl-{answer.id}", "created": answer.created_s, "model": answer.model}


def _chunk(
    head: Mapping[str, object], delta: Mapping[str, object], *, finish: str | None = None, tokens: int = 0
) -> ServerEvent:
    choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
    return _event({**head, "choices": [choice]}, tokens)


def _event(value: Mapping[str, object], tokens: int = 0) -> ServerEvent:
    return ServerEvent(
        f"data: {json.dumps(value, separators=(',', ':'), ensure_ascii=False)}\n\n".encode("utf-8", "replace"), tokens
    )


def _usage(answer: Answer) -> dict[str, object]:
    counts = answer.counts
    return {
        "prompt_tokens": counts.input_tokens,
        "completion_tokens": counts.output_tokens,
        "total_tokens": counts.input_tokens + counts.output_tokens,
        "prompt_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": counts.written_tokens},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
    }
