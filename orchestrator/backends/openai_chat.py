"""Any server that speaks OpenAI's Chat Completions, streamed: local servers, gateways, other providers.

The usage comes in a last chunk of its own, which has to be asked for. Fields that only OpenAI knows are left out, since
such servers refuse what they do not know.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import openai
from openai.types.chat import ChatCompletionMessageParam

from orchestrator.backends.openai import FAULTS, reported_by
from orchestrator.backends.wire.api_model import UNKNOWN_USAGE, ApiModel, Connection, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import OpenAICompatibleSettings
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.schemas import allows_strict
from orchestrator.backends.wire.streams import count, fields, items, text
from orchestrator.core.chat import Prompt
from orchestrator.core.values import StopReason, Usage

STOP_REASONS: Mapping[str, StopReason] = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}


class ChatCompletionsModel(ApiModel):
    """A `ChatModel` of a Chat Completions server. Raises `BackendError` at once for a key that no header can carry."""

    faults = FAULTS
    sdk_error = openai.OpenAIError

    def __init__(self, settings: OpenAICompatibleSettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._compatible = settings
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url,
            max_retries=0,
            timeout=self._http.timeout,
            http_client=self._http,
        )
        # The SDK imports a resource at its first use: not within a request's time limits.
        self._completions = self._client.chat.completions.with_streaming_response

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        settings = self._compatible
        optional: dict[str, Any] = {settings.output_limit_field: settings.output_limit(prompt.max_output_tokens)}
        if settings.temperature is not None:
            optional["temperature"] = settings.temperature
        if settings.effort is not None:
            optional["reasoning_effort"] = settings.effort
        if settings.is_usage_reported:
            optional["stream_options"] = {"include_usage": True}
        if prompt.response_schema is not None:
            optional["response_format"] = _format(prompt.response_schema)
        return self._completions.create(
            model=settings.model,
            messages=_messages(prompt),
            stream=True,
            extra_headers=self._headers(prompt),
            extra_body=optional,
        )

    def _reply(self) -> Reply:
        return _Reply(usage=None if self._compatible.is_usage_reported else UNKNOWN_USAGE)

    def _reported(self, error: BaseException) -> Reported | None:
        return reported_by(error)


@dataclass(slots=True)
class _Reply(Transcript):
    is_refused: bool = False

    def take(self, event: Mapping[str, object]) -> int | None:
        if event.get("error") is not None:
            self.failure = reported(None, event)
            return None
        usage = _usage(event.get("usage"))
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
            new = len(said) + len(refused) + _hidden_chars(delta)
            is_content = is_content or new > 0 or bool(finish)
            chars += new
        return chars if is_content else None


def _hidden_chars(delta: Mapping[str, object]) -> int:
    """Characters that are output but no text: thoughts, as different servers spell them, and tool calls."""
    thoughts = len(text(delta.get("reasoning_content"))) + len(text(delta.get("reasoning")))
    calls = (fields(fields(call).get("function")) for call in items(delta.get("tool_calls")))
    return thoughts + sum(len(text(call.get("name"))) + len(text(call.get("arguments"))) for call in calls)


def _usage(value: object) -> Usage | None:
    usage = fields(value)
    read, output = count(usage.get("prompt_tokens")), count(usage.get("completion_tokens"))
    if read is None or output is None:
        return None
    details = fields(usage.get("prompt_tokens_details"))
    return Usage(
        requests=1,
        input_tokens=read,
        cached_input_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        output_tokens=output,
        reasoning_tokens=count(fields(usage.get("completion_tokens_details")).get("reasoning_tokens")),
        cost_usd=None,
    )


def _messages(prompt: Prompt) -> list[ChatCompletionMessageParam]:
    messages: list[ChatCompletionMessageParam] = []
    if prompt.system:
        messages.append({"role": "system", "content": prompt.system})
    for turn in prompt.messages:
        if turn.role == "user":
            messages.append({"role": "user", "content": turn.text})
        else:
            messages.append({"role": "assistant", "content": turn.text})
    return messages


def _format(schema: Mapping[str, object]) -> dict[str, object]:
    described = {"name": "answer", "schema": dict(schema), "strict": allows_strict(schema)}
    return {"type": "json_schema", "json_schema": described}
