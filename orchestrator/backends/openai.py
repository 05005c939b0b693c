"""OpenAI through the Responses API, streamed. Importing this module imports the SDK, which takes about a second.

Its `input_tokens` already includes what came from the cache. Nothing is stored at the provider, so what a model thought
before it called a tool comes encrypted and is sent back with the results. Siblings that share system text and tools send
the same cache key, so that they meet the same cache.

The SDK reads more of the environment than a key. OPENAI_ORG_ID and OPENAI_PROJECT_ID say whose account pays: they are sent
to api.openai.com, and to no other server. OPENAI_CUSTOM_HEADERS and OPENAI_ADMIN_KEY are sent nowhere.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import cast

import openai
from openai.types.responses import (
    EasyInputMessageParam,
    FunctionToolParam,
    ResponseFunctionToolCallParam,
    ResponseIncludable,
    ResponseInputItemParam,
    ResponseTextConfigParam,
)
from openai.types.responses.response_create_params import ResponseCreateParamsBase
from openai.types.responses.response_input_item_param import FunctionCallOutput

from orchestrator.backends.wire.api_model import Connection, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import OpenAICompatibleSettings, OpenAISettings, is_at
from orchestrator.backends.wire.calls import (
    CallDraft,
    is_of,
    marked_text,
    sealed,
    unsealed,
    wire_id,
    wire_name,
    written_arguments,
)
from orchestrator.backends.wire.faults import reported
from orchestrator.backends.wire.openai_api import FAULTS, OpenAIApi, cache_key, described_schema, usage_of
from orchestrator.backends.wire.schemas import allows_strict
from orchestrator.backends.wire.streams import count, fields, items, text
from orchestrator.core.chat import Message, Prompt
from orchestrator.core.values import StopReason

__all__ = ["FAULTS", "HOST", "OpenAIModel", "forget_environment"]

PROVIDER = "openai"
HOST = "api.openai.com"
_INCOMPLETE: Mapping[str, StopReason] = {"content_filter": "refusal"}
_KEEP_ALIVES = frozenset({"response.queued", "response.in_progress"})
_TEXT = "response.output_text.delta"
_REFUSAL = "response.refusal.delta"
_THOUGHTS: list[ResponseIncludable] = ["reasoning.encrypted_content"]
Item = dict[str, object]


class OpenAIModel(OpenAIApi):
    """A `ChatModel` of the Responses API. Raises `BackendError` at once for a key that no header can carry."""

    def __init__(self, settings: OpenAISettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        forget_environment(self._client, settings)
        self._openai = settings
        # The SDK imports a resource at its first use, which holds up the whole loop: not while requests are on their way.
        self._responses = self._client.responses.with_streaming_response

    def body(self, prompt: Prompt) -> dict[str, object]:
        """What a request for a prompt sends, whichever way its answer comes."""
        draw = self._batched_headers(prompt)
        # A batch has no headers for each of its requests.
        return {**self._params(prompt), **({} if draw is None else {"metadata": draw})}

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        return self._responses.create(**self._params(prompt), stream=True, extra_headers=self._headers(prompt))

    def _params(self, prompt: Prompt) -> ResponseCreateParamsBase:
        settings = self._openai
        params = ResponseCreateParamsBase(
            model=settings.model,
            input=[item for turn in prompt.messages for item in _items(turn)],
            max_output_tokens=settings.output_limit(prompt.max_output_tokens),
            prompt_cache_key=cache_key(prompt),
            store=False,
        )
        if prompt.system:
            params["instructions"] = prompt.system
        if prompt.tools:
            params["tools"] = [_tool(tool.name, tool.description, tool.parameters) for tool in prompt.tools]
            if settings.is_reasoning_sent_back:
                params["include"] = _THOUGHTS
        if prompt.response_schema is not None:
            params["text"] = _text_config(prompt.response_schema)
        if settings.effort is not None:
            params["reasoning"] = {"effort": settings.effort}
        if settings.temperature is not None:
            params["temperature"] = settings.temperature
        return params

    def _reply(self) -> Reply:
        return _Reply()


def forget_environment(client: openai.AsyncOpenAI, settings: OpenAISettings | OpenAICompatibleSettings) -> None:
    """Drop what a new client took from the environment and the server of these settings has no business to know.

    The client's arguments cannot say it: it reads the environment for None, and sends "" as an empty header.
    """
    client._custom_headers = {}
    client.admin_api_key = None
    if not is_at(settings, HOST):
        client.organization = client.project = None


@dataclass(slots=True)
class _Output:
    """The items of an answer: as the last event lists them, or as they came, for servers whose last event lists none."""

    items: dict[int, Item] = field(default_factory=dict)
    pieces: dict[int, list[str]] = field(default_factory=dict)
    whole: list[tuple[Item, CallDraft | None]] = field(default_factory=list)

    @property
    def calls(self) -> list[CallDraft]:
        """The calls among the items, once they are whole."""
        return [draft for _, draft in self.whole if draft is not None]

    def take(self, kind: str, event: Mapping[str, object]) -> None:
        index = count(event.get("output_index"))
        if index is None:
            return
        if kind in {"response.output_item.added", "response.output_item.done"}:
            self.items[index] = dict(fields(event.get("item")))
        elif kind == "response.function_call_arguments.delta":
            self.pieces.setdefault(index, []).append(text(event.get("delta")))
        elif kind == "response.function_call_arguments.done":
            self.pieces[index] = [text(event.get("arguments"))]

    def end(self, listed: Sequence[object]) -> None:
        """The answer is over; what came in pieces is put together, unless the whole was listed."""
        came = dict(enumerate(map(fields, listed))) if listed else dict(sorted(self.items.items()))
        self.whole = [(_without_nulls(item), self._draft(index, item)) for index, item in came.items()]

    def sealed(self) -> str:
        """The items to send back, sealed; nothing where text and calls are all there is. The calls have to be settled."""
        kept = []
        for item, draft in self.whole:
            if draft is None:
                kept.append(item)
            elif draft.call is not None:
                named: Item = {"call_id": wire_id(draft.call.id), "name": wire_name(draft.call.name)}
                kept.append({**item, **named, "arguments": draft.arguments or "{}"})
        while kept and kept[-1].get("type") == "reasoning":
            # Thoughts that nothing follows were cut off, and are not taken back.
            kept.pop()
        return sealed(PROVIDER, kept) if _holds_more(kept) else ""

    def _draft(self, index: int, item: Mapping[str, object]) -> CallDraft | None:
        if item.get("type") != "function_call":
            return None
        pieces = [text(item.get("arguments"))]
        is_cut = item.get("status") in ("in_progress", "incomplete")
        if not pieces[0]:
            pieces = self.pieces.get(index, [])
        return CallDraft(text(item.get("call_id")), text(item.get("name")), pieces, is_cut=is_cut)


def _without_nulls(item: Mapping[str, object]) -> Item:
    """An item as it may go back: the API shows fields as null that it does not take as such."""
    return {name: value for name, value in item.items() if value is not None}


@dataclass(slots=True)
class _Reply(Transcript):
    is_refused: bool = False
    output: _Output = field(default_factory=_Output)

    def take(self, event: Mapping[str, object]) -> int | None:
        kind = text(event.get("type"))
        if kind in _KEEP_ALIVES or not kind.startswith(("response.", "error")):
            # Some gateways wrap an error like the body of a status.
            self.failure = reported(None, event) if event.get("error") is not None else None
            return None
        self.output.take(kind, event)
        if kind in {"response.completed", "response.incomplete", "response.failed"}:
            self._end(fields(event.get("response")))
        elif kind == "error":
            self.failure = reported(None, event)
        elif kind.endswith(".delta"):
            piece = text(event.get("delta"))
            if kind in {_TEXT, _REFUSAL}:
                self.parts.append(piece)
                self.is_refused = self.is_refused or kind == _REFUSAL
            return len(piece)
        return 0

    def drafts(self) -> Sequence[CallDraft]:
        return self.output.calls

    def sealed_turn(self) -> str:
        return self.output.sealed()

    def _end(self, response: Mapping[str, object]) -> None:
        self.usage = usage_of(response.get("usage"), "input_tokens", "output_tokens")
        self.output.end(items(response.get("output")))
        error = response.get("error")
        status = response.get("status")
        if error is not None or status == "failed":
            self.failure = reported(None, fields(error))
        elif status == "incomplete":
            reason = text(fields(response.get("incomplete_details")).get("reason"))
            self.stop_reason = _INCOMPLETE.get(reason, "max_tokens")
        elif status == "completed":
            self._read_output(response)

    def _read_output(self, response: Mapping[str, object]) -> None:
        """The finished output counts; the pieces are what there is when it is left out."""
        whole: list[str] = []
        is_calling = False
        for item in map(fields, items(response.get("output"))):
            is_calling = is_calling or text(item.get("type")).endswith("_call")
            for part in map(fields, items(item.get("content"))):
                if part.get("type") == "output_text":
                    whole.append(text(part.get("text")))
                elif part.get("type") == "refusal":
                    whole.append(text(part.get("refusal")))
                    self.is_refused = True
        if whole:
            self.parts = whole
        self.stop_reason = "refusal" if self.is_refused else "tool_use" if is_calling else "end_turn"


def _holds_more(kept: Sequence[Item]) -> bool:
    """Whether items hold more than a text and calls after it, and can be sent back: thoughts only in their encrypted form."""
    kinds = [text(item.get("type")) for item in kept]
    thoughts = [item for item in kept if item.get("type") == "reasoning"]
    if not all(kinds) or not all(text(item.get("encrypted_content")) for item in thoughts):
        return False
    is_plain = kinds[1:].count("message") == 0 and set(kinds) <= {"message", "function_call"}
    return not is_plain or any(item.get("phase") for item in kept)


def _items(turn: Message) -> list[ResponseInputItemParam]:
    """A turn as items: what the model called, or what came of it, and what was said."""
    sent: list[ResponseInputItemParam] = []
    if turn.role == "user":
        for result in turn.results:
            output = marked_text(result)
            sent.append(FunctionCallOutput(type="function_call_output", call_id=wire_id(result.call), output=output))
        if turn.text or not turn.results:
            sent.append(EasyInputMessageParam(role="user", content=turn.text))
        return sent
    kept = [fields(item) for item in items(unsealed(PROVIDER, turn))]
    if kept and is_of(turn, (item.get("call_id") for item in kept if item.get("type") == "function_call")):
        return cast(list[ResponseInputItemParam], kept)
    if turn.text or not turn.calls:
        sent.append(EasyInputMessageParam(role="assistant", content=turn.text))
    for call in turn.calls:
        name, arguments = wire_name(call.name), written_arguments(call)
        sent.append(
            ResponseFunctionToolCallParam(
                type="function_call", call_id=wire_id(call.id), name=name, arguments=arguments
            )
        )
    return sent


def _tool(name: str, description: str, parameters: Mapping[str, object]) -> FunctionToolParam:
    return FunctionToolParam(
        type="function",
        name=name,
        description=description,
        parameters=dict(parameters),
        strict=allows_strict(parameters),
    )


def _text_config(schema: Mapping[str, object]) -> ResponseTextConfigParam:
    described = {"type": "json_schema", **described_schema(schema)}
    return cast(ResponseTextConfigParam, {"format": described})
