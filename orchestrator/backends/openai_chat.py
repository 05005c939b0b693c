"""Any server that speaks OpenAI's Chat Completions, streamed: local servers, gateways, other providers.

The usage comes in a last chunk of its own, which has to be asked for. Fields that only OpenAI knows are left out, since
such servers refuse what they do not know. What a server itself puts beside a call, such as a signature, or shows of the
thoughts that led to it, goes back to it with the results: some models go on only then.
"""

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, cast

import openai
from openai.types.chat import ChatCompletionFunctionToolParam, ChatCompletionMessageParam

from orchestrator.backends.openai import HOST, forget_environment
from orchestrator.backends.wire.api_model import UNKNOWN_USAGE, Connection, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import OpenAICompatibleSettings, is_at
from orchestrator.backends.wire.calls import CallDraft, marked_text, sealed, unsealed, wire_name, written_arguments
from orchestrator.backends.wire.faults import reported
from orchestrator.backends.wire.openai_api import OpenAIApi, cache_key, described_schema, usage_of
from orchestrator.backends.wire.streams import count, fields, items, mended, text
from orchestrator.core.chat import Message, Prompt
from orchestrator.core.values import StopReason

PROVIDER = "chat-completions"
STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}
# The fields in which servers show thoughts.
_THOUGHTS = ("reasoning_content", "reasoning")
_OF_A_CALL = frozenset({"index", "id", "type", "function"})


class ChatCompletionsModel(OpenAIApi):
    """A `ChatModel` of a Chat Completions server. Raises `BackendError` at once for a key that no header can carry."""

    def __init__(self, settings: OpenAICompatibleSettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        forget_environment(self._client, settings)
        self._compatible = settings
        # The SDK imports a resource at its first use: not within a request's time limits.
        self._completions = self._client.chat.completions.with_streaming_response

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        settings = self._compatible
        return self._completions.create(
            model=settings.model,
            messages=_messages(prompt),
            tools=_tools(prompt) or openai.omit,
            stream=True,
            extra_headers=self._headers(prompt),
            extra_body=_optional(settings, prompt),
        )

    def _reply(self) -> Reply:
        settings = self._compatible
        usage = None if settings.is_usage_reported else UNKNOWN_USAGE
        return _Reply(usage=usage, are_thoughts_kept=settings.is_reasoning_sent_back)


@dataclass(slots=True)
class _Reply(Transcript):
    is_refused: bool = False
    are_thoughts_kept: bool = True
    thoughts: dict[str, list[str]] = field(default_factory=dict)
    asked: list[CallDraft] = field(default_factory=list)
    by_index: dict[int, CallDraft] = field(default_factory=dict)

    def take(self, event: Mapping[str, object]) -> int | None:
        if event.get("error") is not None:
            self.failure = reported(None, event)
            return None
        usage = usage_of(event.get("usage"), "prompt_tokens", "completion_tokens")
        chars = 0
        is_content = usage is not None
        if usage is not None:
            self.usage = usage
        for choice in map(fields, items(event.get("choices"))):
            delta = fields(choice.get("delta"))
            said, refused = text(delta.get("content")), text(delta.get("refusal"))
            self.parts.append(said + refused)
            self.is_refused = self.is_refused or bool(refused)
            finish = text(choice.get("finish_reason"))
            if finish:
                self.stop_reason = STOP_REASONS.get(finish)
                if self.is_refused and self.stop_reason == "end_turn":
                    self.stop_reason = "refusal"
            new = len(said) + len(refused) + self._think(delta) + self._call(delta)
            is_content = is_content or new > 0 or bool(finish)
            chars += new
        return chars if is_content else None

    def drafts(self) -> Sequence[CallDraft]:
        return self.asked

    def sealed_turn(self) -> str:
        thoughts = {name: mended("".join(pieces)) for name, pieces in self.thoughts.items()}
        extra = [draft.extra for draft in self.asked if draft.call is not None]
        if not self.calls or not (any(extra) or (thoughts and self.are_thoughts_kept)):
            return ""
        return sealed(PROVIDER, {"thoughts": thoughts if self.are_thoughts_kept else {}, "calls": extra})

    def _think(self, delta: Mapping[str, object]) -> int:
        """Take in thoughts, as different servers spell them; return their characters."""
        chars = 0
        for name in _THOUGHTS:
            piece = text(delta.get(name))
            if piece:
                self.thoughts.setdefault(name, []).append(piece)
                chars += len(piece)
        return chars

    def _call(self, delta: Mapping[str, object]) -> int:
        """Take in pieces of calls; return their characters."""
        chars = 0
        for piece in map(fields, items(delta.get("tool_calls"))):
            function = fields(piece.get("function"))
            name, arguments = text(function.get("name")), _arguments_in(function)
            draft = self._draft(piece, name)
            draft.name = draft.name or name
            draft.pieces.append(arguments)
            draft.extra |= {key: value for key, value in piece.items() if key not in _OF_A_CALL and value is not None}
            chars += len(name) + len(arguments)
        return chars

    def _draft(self, piece: Mapping[str, object], name: str) -> CallDraft:
        """The call that a piece belongs to: by its index, unless its id says that it is another; without one, the last.

        Some servers leave the index out, or write the same one for every call.
        """
        index, identity = count(piece.get("index")), text(piece.get("id"))
        if index is not None:
            found = self.by_index.get(index)
        elif identity:
            found = next((draft for draft in self.asked if draft.id == identity), None)
        else:
            found = self.asked[-1] if self.asked and not name else None
        if found is None or (identity and found.id and found.id != identity):
            found = CallDraft()
            self.asked.append(found)
            if index is not None:
                self.by_index[index] = found
        found.id = found.id or identity
        return found


def _arguments_in(function: Mapping[str, object]) -> str:
    """The piece of arguments; some servers send the object itself."""
    arguments = function.get("arguments")
    return json.dumps(arguments) if isinstance(arguments, Mapping) else text(arguments)


def _optional(settings: OpenAICompatibleSettings, prompt: Prompt) -> dict[str, Any]:
    """The fields that not every server knows."""
    optional: dict[str, Any] = {settings.output_limit_field: settings.output_limit(prompt.max_output_tokens)}
    if settings.temperature is not None:
        optional["temperature"] = settings.temperature
    if settings.effort is not None:
        optional["reasoning_effort"] = settings.effort
    if settings.is_usage_reported:
        optional["stream_options"] = {"include_usage": True}
    if prompt.response_schema is not None:
        described = described_schema(prompt.response_schema)
        optional["response_format"] = {"type": "json_schema", "json_schema": described}
    is_key_wanted = settings.is_cache_key_sent
    if is_at(settings, HOST) if is_key_wanted is None else is_key_wanted:
        optional["prompt_cache_key"] = cache_key(prompt)
    return optional


def _tools(prompt: Prompt) -> list[ChatCompletionFunctionToolParam]:
    tools: list[ChatCompletionFunctionToolParam] = []
    for tool in prompt.tools:
        parameters = dict(tool.parameters)
        tools.append(
            {
                "type": "function",
                "function": {"name": tool.name, "description": tool.description, "parameters": parameters},
            }
        )
    return tools


def _messages(prompt: Prompt) -> list[ChatCompletionMessageParam]:
    messages: list[ChatCompletionMessageParam] = []
    if prompt.system:
        messages.append({"role": "system", "content": prompt.system})
    for turn in prompt.messages:
        if turn.role == "assistant":
            messages.append(_said(turn))
            continue
        messages.extend(
            {"role": "tool", "tool_call_id": result.call, "content": marked_text(result)} for result in turn.results
        )
        if turn.text or not turn.results:
            messages.append({"role": "user", "content": turn.text})
    return messages


def _said(turn: Message) -> ChatCompletionMessageParam:
    """A turn of the model, with what the server kept beside it."""
    if not turn.calls:
        return {"role": "assistant", "content": turn.text}
    kept = fields(unsealed(PROVIDER, turn))
    extra = [dict(fields(each)) for each in items(kept.get("calls"))]
    if len(extra) != len(turn.calls):
        kept, extra = {}, [{} for _ in turn.calls]
    calls = [
        {
            **beside,
            "id": call.id,
            "type": "function",
            "function": {"name": wire_name(call.name), "arguments": written_arguments(call)},
        }
        for call, beside in zip(turn.calls, extra, strict=True)
    ]
    said = {"role": "assistant", "content": turn.text or None, "tool_calls": calls, **fields(kept.get("thoughts"))}
    return cast(ChatCompletionMessageParam, said)
