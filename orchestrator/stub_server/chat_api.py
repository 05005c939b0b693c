"""OpenAI's Chat Completions as the simulated service speaks it."""

import json
from collections.abc import Iterator, Mapping

from orchestrator.core.chat import estimate_tokens
from orchestrator.core.values import StopReason
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.dialect import (
    Answer,
    Asked,
    Rejection,
    ServerEvent,
    UnreadableRequest,
    conversation,
    limit_of,
    mapping_of,
    pieces,
    system_of,
    turns_of,
)
from orchestrator.stub_server.openai_errors import openai_limit_headers, openai_rejection

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
        turns = turns_of(body.get("messages"), "messages")
        messages = conversation(turns)
        if not messages:
            raise UnreadableRequest("messages: at least one turn of the user is expected")
        limit = limit_of(body.get("max_completion_tokens"), "max_completion_tokens")
        schema = mapping_of(mapping_of(body.get("response_format")).get("json_schema")).get("schema")
        return Asked(
            model=str(body.get("model", "")),
            system=system_of(turns),
            messages=messages,
            max_output_tokens=limit or limit_of(body.get("max_tokens"), "max_tokens"),
            response_schema=mapping_of(schema) if schema is not None else None,
            is_streamed=body.get("stream") is True,
            is_usage_wanted=mapping_of(body.get("stream_options")).get("include_usage") is True,
        )

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        message = {"role": "assistant", "content": answer.text, "refusal": None}
        choice = {"index": 0, "message": message, "finish_reason": _FINISH[answer.stop_reason], "logprobs": None}
        return {**_head(answer), "object": "chat.completion", "choices": [choice], "usage": _usage(answer)}

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream."""
        head = {**_head(answer), "object": "chat.completion.chunk"}
        yield _chunk(head, {"role": "assistant", "content": ""})
        for piece in pieces(answer.text, piece_chars):
            yield _chunk(head, {"content": piece}, tokens=estimate_tokens(piece))
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
