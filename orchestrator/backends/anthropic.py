"""Claude through Anthropic's Messages API, streamed. Importing this module imports the SDK, which takes a second or two.

The system text ends with a cache breakpoint, since siblings share it, and so do the last two turns of the user in a
conversation, which its next request sends again (`wire.claude_blocks`). The API counts as `input_tokens` only what was
neither read from the cache nor written to it; `Usage` counts all input.

Of what the SDK would find in the environment nothing is sent, wherever base_url points: no headers, no trace context.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import anthropic
from anthropic.types import OutputConfigParam
from anthropic.types.message_create_params import MessageCreateParamsBase

from orchestrator.backends.wire.api_model import DRAW_HEADER, ApiModel, Connection, Faults, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import ClaudeSettings, is_at
from orchestrator.backends.wire.calls import CallDraft
from orchestrator.backends.wire.claude_blocks import Blocks, messages_of, system_of, tools_of
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.streams import count, fields, text
from orchestrator.backends.wire.wire_faults import WIRE_FAULTS
from orchestrator.core.chat import Prompt
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
_ANTHROPIC = "api.anthropic.com"
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
            open_telemetry=False,
        )
        # Whatever ANTHROPIC_CUSTOM_HEADERS says, a credential of another server too; no argument keeps the SDK from it.
        self._client._custom_headers = {}
        # The SDK imports a resource at its first use: not within a request's time limits.
        self._messages = self._client.messages.with_streaming_response

    def body(self, prompt: Prompt) -> dict[str, object]:
        """What a request for a prompt sends, whichever way its answer comes."""
        temperature = self._claude.temperature
        draw = self._batched_headers(prompt)
        return {
            **self._params(prompt),
            **({} if temperature is None else {"temperature": temperature}),
            # A batch has no headers for each of its requests.
            **({} if draw is None else {"metadata": {"user_id": draw[DRAW_HEADER]}}),
        }

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        temperature = self._claude.temperature
        return self._messages.create(
            **self._params(prompt),
            stream=True,
            extra_headers=self._headers(prompt),
            # The method's signature has no temperature any more; the API still takes it for the models that have one.
            extra_body=None if temperature is None else {"temperature": temperature},
        )

    def _params(self, prompt: Prompt) -> MessageCreateParamsBase:
        settings = self._claude
        params = MessageCreateParamsBase(
            model=settings.model,
            max_tokens=settings.output_limit(prompt.max_output_tokens),
            messages=messages_of(prompt),
        )
        if system := system_of(prompt):
            params["system"] = system
        is_streamed = settings.is_tool_input_streamed
        if is_streamed is None:
            is_streamed = is_at(settings, _ANTHROPIC)
        if tools := tools_of(prompt, is_input_streamed=is_streamed):
            params["tools"] = tools
        if config := _output_config(settings, prompt):
            params["output_config"] = config
        return params

    def _reply(self) -> Reply:
        return _Reply()

    def _reported(self, error: BaseException) -> Reported | None:
        if not isinstance(error, anthropic.APIStatusError):
            return None
        return reported(error.status_code, error.body, error.response.headers)


@dataclass(slots=True)
class _Reply(Transcript):
    counts: dict[str, object] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)

    def take(self, event: Mapping[str, object]) -> int | None:
        match event.get("type"):
            case "content_block_delta":
                self.blocks.extend(event)
                delta = fields(event.get("delta"))
                said = text(delta.get("text"))
                self.parts.append(said)
                return len(said) + len(text(delta.get("thinking"))) + len(text(delta.get("partial_json")))
            case "content_block_start":
                self.blocks.open(event)
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

    def drafts(self) -> Sequence[CallDraft]:
        return self.blocks.calls

    def sealed_turn(self) -> str:
        return self.blocks.sealed(self.text, self.calls)

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


def _output_config(settings: ClaudeSettings, prompt: Prompt) -> OutputConfigParam:
    config = OutputConfigParam()
    if settings.effort is not None:
        config["effort"] = settings.effort
    if prompt.response_schema is not None:
        config["format"] = {"type": "json_schema", "schema": anthropic.transform_schema(dict(prompt.response_schema))}
    return config
