"""OpenAI's Responses API as the simulated service speaks it."""

import json
from collections.abc import Iterator, Mapping
from itertools import count

from orchestrator.core.chat import estimate_tokens
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


class ResponsesApi:
    """`POST /v1/responses`."""

    def read(self, body: Mapping[str, object]) -> Asked:
        """Read a request's body. Raises `UnreadableRequest`."""
        asked = body.get("input")
        turns = (("user", asked),) if isinstance(asked, str) else turns_of(asked, "input")
        instructions = body.get("instructions")
        wanted = mapping_of(mapping_of(body.get("text")).get("format"))
        is_json = wanted.get("type") == "json_schema"
        messages = conversation(turns)
        if not messages:
            raise UnreadableRequest("input: at least one turn of the user is expected")
        return Asked(
            model=str(body.get("model", "")),
            system=system_of(turns, instructions if isinstance(instructions, str) else ""),
            messages=messages,
            max_output_tokens=limit_of(body.get("max_output_tokens"), "max_output_tokens"),
            response_schema=mapping_of(wanted.get("schema")) if is_json else None,
            is_streamed=body.get("stream") is True,
        )

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        status, details = "completed", None
        if answer.stop_reason == "max_tokens":
            status, details = "incomplete", {"reason": "max_output_tokens"}
        return {
            **_head(answer),
            "status": status,
            "incomplete_details": details,
            "output": [_item(answer)],
            "usage": _usage(answer),
        }

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream."""
        numbers = count()

        def event(name: str, fields: Mapping[str, object], tokens: int = 0) -> ServerEvent:
            body = json.dumps(
                {"type": name, "sequence_number": next(numbers), **fields}, separators=(",", ":"), ensure_ascii=False
            )
            return ServerEvent(f"event: {name}\ndata: {body}\n\n".encode("utf-8", "replace"), tokens)

        begun = {**_head(answer), "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        yield event("response.created", {"response": begun})
        yield event("response.in_progress", {"response": begun})
        item, part = _item(answer), _part(answer)
        where = {"item_id": item["id"], "output_index": 0, "content_index": 0}
        kind, field = ("refusal", "refusal") if answer.stop_reason == "refusal" else ("output_text", "text")
        opening = {**item, "status": "in_progress", "content": []}
        yield event("response.output_item.added", {"output_index": 0, "item": opening})
        yield event("response.content_part.added", {**where, "part": {**part, field: ""}})
        for piece in pieces(answer.text, piece_chars):
            yield event(f"response.{kind}.delta", {**where, "delta": piece}, estimate_tokens(piece))
        yield event(f"response.{kind}.done", {**where, field: answer.text})
        yield event("response.content_part.done", {**where, "part": part})
        yield event("response.output_item.done", {"output_index": 0, "item": item})
        whole = self.whole(answer)
        yield event(f"response.{whole['status']}", {"response": whole})

    def ping(self) -> bytes:
        """A keep-alive: a comment, and the event that this API sends for it."""
        return b': keepalive\n\nevent: keepalive\ndata: {"type":"keepalive","sequence_number":0}\n\n'

    def error_event(self) -> bytes:
        """Overload, told within a stream."""
        error = {"code": "server_is_overloaded", "message": "Our servers are currently overloaded.", "param": None}
        body = json.dumps({"type": "error", **error, "sequence_number": 9})
        return f"event: error\ndata: {body}\n\n".encode()

    def rejection(self, kind: str, message: str) -> Rejection:
        """An error of one of the server's kinds."""
        return openai_rejection(kind, message)

    def limit_headers(self, account: Account, now: float) -> Mapping[str, str]:
        """The published limits."""
        return openai_limit_headers(account, now)


def _head(answer: Answer) -> dict[str, object]:
    return {
        "id": f"resp_{answer.id}",
        "object": "response",
        "created_at": answer.created_s,
        "model": answer.model,
        "error": None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "store": False,
    }


def _part(answer: Answer) -> dict[str, object]:
    if answer.stop_reason == "refusal":
        return {"type": "refusal", "refusal": answer.text}
    return {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}


def _item(answer: Answer) -> dict[str, object]:
    return {
        "id": f"msg_{answer.id}",
        "type": "message",
        "status": "incomplete" if answer.stop_reason == "max_tokens" else "completed",
        "role": "assistant",
        "content": [_part(answer)],
    }


def _usage(answer: Answer) -> dict[str, object]:
    counts = answer.counts
    return {
        "input_tokens": counts.input_tokens,
        "input_tokens_details": {"cached_tokens": counts.cached_tokens, "cache_write_tokens": counts.written_tokens},
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"reasoning_tokens": counts.reasoning_tokens},
        "total_tokens": counts.input_tokens + counts.output_tokens,
    }
