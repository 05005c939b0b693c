"""Anthropic's Messages API as the simulated service speaks it."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import assert_never

from orchestrator.core.chat import estimate_tokens
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.caching import Prefixes, marked
from orchestrator.stub_server.dialect import (
    Answer,
    Asked,
    CallPart,
    Rejection,
    ServerEvent,
    TextPart,
    arguments_object,
    pieces,
)
from orchestrator.stub_server.messages_request import read_messages

_ERRORS: Mapping[str, tuple[int, str]] = {
    "rate_limit": (429, "rate_limit_error"),
    # This provider tells an empty account by a sentence.
    "insufficient_quota": (400, "invalid_request_error"),
    "overloaded": (529, "overloaded_error"),
    "server_error": (500, "api_error"),
    "auth": (401, "authentication_error"),
    "billing": (402, "billing_error"),
    "forbidden": (403, "permission_error"),
    "unknown_model": (404, "not_found_error"),
    "too_large": (413, "request_too_large"),
    "context_too_long": (400, "invalid_request_error"),
    "invalid_request": (400, "invalid_request_error"),
    "policy": (400, "invalid_request_error"),
}
_WORDS: Mapping[str, str] = {
    "insufficient_quota": "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.",
    "context_too_long": "prompt is too long: 210000 tokens > 200000 maximum",
    "policy": "Output blocked by content filtering policy",
}


class MessagesApi:
    """`POST /v1/messages`."""

    def read(self, body: Mapping[str, object]) -> Asked:
        """Read a request's body. Raises `UnreadableRequest`."""
        return read_messages(body)

    def prefixes(self, asked: Asked, from_tokens: int) -> Prefixes:
        """What the client marks."""
        return marked(asked.model, asked.blocks, from_tokens)

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        blocks = [_block(part) for part in answer.parts]
        return {**_head(answer), "content": blocks, "stop_reason": answer.stop_reason, "usage": _usage(answer)}

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream."""
        opening = {**_usage(answer), "output_tokens": 1}
        yield _event(
            "message_start", {"message": {**_head(answer), "content": [], "stop_reason": None, "usage": opening}}
        )
        yield ServerEvent(self.ping())
        for index, part in enumerate(answer.parts):
            opening_block, said, kind, field = _opened(part)
            yield _event("content_block_start", {"index": index, "content_block": opening_block})
            for piece in pieces(said, piece_chars):
                delta = {"type": kind, field: piece}
                yield _event("content_block_delta", {"index": index, "delta": delta}, estimate_tokens(piece))
            yield _event("content_block_stop", {"index": index})
        ending = {"stop_reason": answer.stop_reason, "stop_sequence": None}
        yield _event("message_delta", {"delta": ending, "usage": _usage(answer)})
        yield _event("message_stop", {})

    def ping(self) -> bytes:
        """A keep-alive."""
        return _event("ping", {}).body

    def error_event(self) -> bytes:
        """Overload, told within a stream."""
        return _event("error", {"error": {"type": "overloaded_error", "message": "Overloaded"}}).body

    def rejection(self, kind: str, message: str) -> Rejection:
        """An error of one of the server's kinds."""
        status, name = _ERRORS[kind]
        return Rejection(status, {"type": "error", "error": {"type": name, "message": _WORDS.get(kind, message)}})

    def limit_headers(self, account: Account, now: float) -> Mapping[str, str]:
        """The published limits, with the time when each is full again."""
        headers = {}
        for name, bucket in account.buckets.items():
            full = datetime.fromtimestamp(now + bucket.full_s(now), tz=UTC)
            headers[f"anthropic-ratelimit-{name}-limit"] = str(bucket.per_minute)
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(max(0, int(bucket.now_at(now))))
            headers[f"anthropic-ratelimit-{name}-reset"] = full.strftime("%Y-%m-%dT%H:%M:%SZ")
        return headers


def _block(part: TextPart | CallPart) -> dict[str, object]:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case CallPart():
            return {"type": "tool_use", "id": part.id, "name": part.name, "input": arguments_object(part.arguments)}
        case _:
            assert_never(part)


def _opened(part: TextPart | CallPart) -> tuple[dict[str, object], str, str, str]:
    """A part as it begins in a stream, what then comes in pieces, and the names of a piece's type and field."""
    match part:
        case TextPart():
            return {"type": "text", "text": ""}, part.text, "text_delta", "text"
        case CallPart():
            start: dict[str, object] = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            return start, part.arguments, "input_json_delta", "partial_json"
        case _:
            assert_never(part)


def _head(answer: Answer) -> dict[str, object]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "stop_sequence": None,
    }


def _usage(answer: Answer) -> dict[str, object]:
    counts = answer.counts
    return {
        "input_tokens": counts.input_tokens - counts.cached_tokens - counts.written_tokens,
        "cache_creation_input_tokens": counts.written_tokens,
        "cache_read_input_tokens": counts.cached_tokens,
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"thinking_tokens": counts.reasoning_tokens},
        "service_tier": "standard",
    }


def _event(name: str, fields: Mapping[str, object], tokens: int = 0) -> ServerEvent:
    body = json.dumps({"type": name, **fields}, separators=(",", ":"), ensure_ascii=False)
    return ServerEvent(f"event: {name}\ndata: {body}\n\n".encode("utf-8", "replace"), tokens)
