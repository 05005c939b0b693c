"""OpenAI's Responses API as the simulated service speaks it."""

import json
from collections.abc import Iterator, Mapping
from itertools import count

from orchestrator.core.chat import ToolResult, estimate_tokens
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
    text_of,
    tools_of,
)


class ResponsesApi:
    """`POST /v1/responses`."""

    def read(self, body: Mapping[str, object]) -> Asked:
        """Read a request's body. Raises `UnreadableRequest`."""
        asked, instructions = body.get("input"), body.get("instructions")
        gathered = Gathering(opening=instructions if isinstance(instructions, str) else "")
        if isinstance(asked, str):
            gathered.say("user", asked)
        else:
            _gather(gathered, listed(asked, "input"))
        wanted = mapping_of(mapping_of(body.get("text")).get("format"))
        is_json = wanted.get("type") == "json_schema"
        return Asked(
            model=str(body.get("model", "")),
            system=gathered.system,
            messages=gathered.turns("input"),
            max_output_tokens=limit_of(body.get("max_output_tokens"), "max_output_tokens"),
            response_schema=mapping_of(wanted.get("schema")) if is_json else None,
            is_streamed=body.get("stream") is True,
            tools=tools_of(body.get("tools"), _tool),
        )

    def prefixes(self, asked: Asked, from_tokens: int) -> Prefixes:
        """What the service caches by itself."""
        return automatic(asked.model, asked.text, from_tokens)

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        status, details = "completed", None
        if answer.stop_reason == "max_tokens":
            status, details = "incomplete", {"reason": "max_output_tokens"}
        return {
            **_head(answer),
            "status": status,
            "incomplete_details": details,
            "output": _output(answer),
            "usage": _usage(answer),
        }

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream."""
        told = _Told(piece_chars)
        begun = {**_head(answer), "status": "in_progress", "incomplete_details": None, "output": [], "usage": None}
        yield told.event("response.created", {"response": begun})
        yield told.event("response.in_progress", {"response": begun})
        for index, item in enumerate(_output(answer)):
            yield from told.item(answer, index, item)
        whole = self.whole(answer)
        yield told.event(f"response.{whole['status']}", {"response": whole})

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


class _Told:
    """The events of one stream, numbered."""

    def __init__(self, piece_chars: int) -> None:
        self._numbers = count()
        self._piece_chars = piece_chars

    def event(self, name: str, fields: Mapping[str, object], tokens: int = 0) -> ServerEvent:
        body = json.dumps(
            {"type": name, "sequence_number": next(self._numbers), **fields}, separators=(",", ":"), ensure_ascii=False
        )
        return ServerEvent(f"event: {name}\ndata: {body}\n\n".encode("utf-8", "replace"), tokens)

    def item(self, answer: Answer, index: int, item: Mapping[str, object]) -> Iterator[ServerEvent]:
        is_call = item["type"] == "function_call"
        opening = {**item, "status": "in_progress", **({"arguments": ""} if is_call else {"content": []})}
        yield self.event("response.output_item.added", {"output_index": index, "item": opening})
        where = {"item_id": item["id"], "output_index": index}
        yield from self._call(item, where) if is_call else self._message(answer, where)
        yield self.event("response.output_item.done", {"output_index": index, "item": item})

    def _message(self, answer: Answer, where: Mapping[str, object]) -> Iterator[ServerEvent]:
        kind, field = ("refusal", "refusal") if answer.stop_reason == "refusal" else ("output_text", "text")
        where, part = {**where, "content_index": 0}, _part(answer)
        yield self.event("response.content_part.added", {**where, "part": {**part, field: ""}})
        yield from self._pieces(f"response.{kind}.delta", where, answer.text)
        yield self.event(f"response.{kind}.done", {**where, field: answer.text})
        yield self.event("response.content_part.done", {**where, "part": part})

    def _call(self, item: Mapping[str, object], where: Mapping[str, object]) -> Iterator[ServerEvent]:
        arguments = str(item["arguments"])
        yield from self._pieces("response.function_call_arguments.delta", where, arguments)
        yield self.event("response.function_call_arguments.done", {**where, "arguments": arguments})

    def _pieces(self, name: str, where: Mapping[str, object], text: str) -> Iterator[ServerEvent]:
        for piece in pieces(text, self._piece_chars):
            yield self.event(name, {**where, "delta": piece}, estimate_tokens(piece))


def _gather(gathered: Gathering, items: list[Mapping[str, object]]) -> None:
    """Gather items into turns. Raises `UnreadableRequest` where a call lacks its output, or an output its call."""
    called: set[str] = set()
    answered: set[str] = set()
    for item in items:
        match item.get("type", "message"):
            case "function_call":
                call = call_of(item.get("call_id"), item.get("name"), item.get("arguments"))
                called.add(call.id)
                gathered.call(call)
            case "function_call_output":
                identity = str(item.get("call_id", ""))
                if identity not in called:
                    raise UnreadableRequest(f"No tool call found for function call output with call_id {identity}.")
                answered.add(identity)
                gathered.result(ToolResult(call=identity, text=text_of(item.get("output", ""))))
            case "message":
                gathered.go_on(item.get("role", "user"), text_of(item.get("content", "")))
            case _:
                # Thoughts, and what other tools left: nothing that the brain could read.
                continue
    if called > answered:
        raise UnreadableRequest(f"No tool output found for function call {min(called - answered)}.")


def _tool(tool: Mapping[str, object]) -> tuple[object, object, object]:
    return tool.get("name"), tool.get("description"), tool.get("parameters")


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


def _output(answer: Answer) -> list[dict[str, object]]:
    """The items: what is said, unless there are only calls, and each call."""
    calls = [_call_item(answer, index, call) for index, call in enumerate(answer.calls)]
    return [_message_item(answer), *calls] if answer.text or not calls else calls


def _call_item(answer: Answer, index: int, call: CallPart) -> dict[str, object]:
    return {
        "id": f"fc_{answer.id}_{index}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
    }


def _message_item(answer: Answer) -> dict[str, object]:
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
