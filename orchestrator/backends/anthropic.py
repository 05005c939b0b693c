"""Claude through Anthropic's Messages API, streamed. Importing this module imports the SDK, which takes a second or two.

The system text ends with a cache breakpoint, since siblings share it. The API counts as `input_tokens` only what was
neither read from the cache nor written to it; `Usage` counts all input.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import anthropic
from anthropic.types import CacheControlEphemeralParam, MessageParam, OutputConfigParam, TextBlockParam

from orchestrator.backends.wire.api_model import ApiModel, Connection, Faults, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import ClaudeSettings
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.streams import count, fields, text
from orchestrator.backends.wire.wire_faults import WIRE_FAULTS
from orchestrator.core.chat import Message, Prompt
from orchestrator.core.values import StopReason, Usage

STOP_REASONS: Mapping[str, StopReason] = {
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    # Only server tools pause a turn, and none are asked for: whatever it is, the reply is not whole.
    "pause_turn": "max_tokens",
    "refusal": "refusal",
    "tool_use": "tool_use",
}
# What has a status is judged by it and by its body (`wire.faults`); this is for the rest.
FAULTS: Faults = {
    **WIRE_FAULTS,
    anthropic.APIConnectionError: ("transient", "cannot connect, or the connection was lost"),
    anthropic.APITimeoutError: ("transient", "cannot connect in time"),
    anthropic.APIResponseValidationError: ("malformed_response", "the answer is not what the API promises"),
    anthropic.APIWebhookValidationError: ("malformed_response", "the answer is not what the API promises"),
    anthropic.RetryableError: ("transient", "the SDK asks to try again"),
    anthropic.CredentialsError: ("auth", "the SDK found no usable key"),
}


class AnthropicModel(ApiModel):
    """A `ChatModel` of the Messages API. Raises `BackendError` at once for a key that no header can carry."""

    faults = FAULTS
    sdk_error = anthropic.AnthropicError

    def __init__(self, settings: ClaudeSettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._claude = settings
        self._client = anthropic.AsyncAnthropic(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url,
            max_retries=0,
            timeout=self._http.timeout,
            http_client=self._http,
        )
        # The SDK imports a resource at its first use: not within a request's time limits.
        self._messages = self._client.messages.with_streaming_response

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        settings = self._claude
        return self._messages.create(
            model=settings.model,
            max_tokens=settings.output_limit(prompt.max_output_tokens),
            system=_system(prompt),
            messages=[_message(turn) for turn in prompt.messages],
            output_config=_output_config(settings, prompt),
            stream=True,
            extra_headers=self._headers(prompt),
            # The method's signature has no temperature any more; the API still takes it for the models that have one.
            extra_body=None if settings.temperature is None else {"temperature": settings.temperature},
        )

    def _reply(self) -> Reply:
        return _Reply()

    def _reported(self, error: BaseException) -> Reported | None:
        if not isinstance(error, anthropic.APIStatusError):
            return None
        return reported(error.status_code, error.body, error.response.headers)


@dataclass(slots=True)
class _Reply(Transcript):
    counts: dict[str, object] = field(default_factory=dict)

    def take(self, event: Mapping[str, object]) -> int | None:
        match event.get("type"):
            case "content_block_delta":
                delta = fields(event.get("delta"))
                said = text(delta.get("text"))
                self.parts.append(said)
                return len(said) + len(text(delta.get("thinking"))) + len(text(delta.get("partial_json")))
            case "content_block_start":
                opening = text(fields(event.get("content_block")).get("text"))
                self.parts.append(opening)
                return len(opening)
            case "message_start":
                self._count(fields(event.get("message")).get("usage"))
            case "message_delta":
                self.stop_reason = STOP_REASONS.get(text(fields(event.get("delta")).get("stop_reason")))
                self._count(event.get("usage"))
                self._settle(event.get("usage"))
            case "content_block_stop" | "message_stop":
                return 0
            case "error":
                self.failure = reported(None, event)
            case _:
                return None
        return 0

    def _count(self, usage: object) -> None:
        """Later counts are cumulative and replace earlier ones; what a later event leaves out stays."""
        self.counts.update({name: value for name, value in fields(usage).items() if value is not None})

    def _settle(self, final: object) -> None:
        output, rest = count(fields(final).get("output_tokens")), count(self.counts.get("input_tokens"))
        read = count(self.counts.get("cache_read_input_tokens"))
        written = count(self.counts.get("cache_creation_input_tokens"))
        if output is None or rest is None:
            return
        self.usage = Usage(
            requests=1,
            input_tokens=None if read is None or written is None else rest + read + written,
            cached_input_tokens=read,
            cache_write_tokens=written,
            output_tokens=output,
            reasoning_tokens=count(fields(self.counts.get("output_tokens_details")).get("thinking_tokens")),
            cost_usd=None,
        )


def _message(turn: Message) -> MessageParam:
    if turn.role == "user":
        return {"role": "user", "content": turn.text}
    return {"role": "assistant", "content": turn.text}


def _system(prompt: Prompt) -> list[TextBlockParam] | anthropic.Omit:
    if not prompt.system:
        return anthropic.omit
    breakpoint_ = CacheControlEphemeralParam(type="ephemeral")
    return [TextBlockParam(type="text", text=prompt.system, cache_control=breakpoint_)]


def _output_config(settings: ClaudeSettings, prompt: Prompt) -> OutputConfigParam | anthropic.Omit:
    config = OutputConfigParam()
    if settings.effort is not None:
        config["effort"] = settings.effort
    if prompt.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": anthropic.transform_schema(dict(prompt.response_schema))}
    return config or anthropic.omit
