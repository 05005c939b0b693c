"""OpenAI through the Responses API, streamed. Importing this module imports the SDK, which takes about a second.

Its `input_tokens` already includes what came from the cache. Nothing is stored at the provider; siblings that share a
system text send the same cache key, so that they meet the same cache.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from hashlib import sha256

import openai
from openai.types.responses import EasyInputMessageParam, ResponseTextConfigParam

from orchestrator.backends.wire.api_model import ApiModel, Connection, Faults, Reply, Response, Transcript
from orchestrator.backends.wire.api_settings import OpenAISettings
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.schemas import allows_strict
from orchestrator.backends.wire.streams import count, fields, items, text
from orchestrator.backends.wire.wire_faults import WIRE_FAULTS
from orchestrator.core.chat import Prompt
from orchestrator.core.values import StopReason, Usage

# What has a status or a body is judged by that (`wire.faults`); this is for the rest.
FAULTS: Faults = {
    **WIRE_FAULTS,
    openai.APIConnectionError: ("transient", "cannot connect, or the connection was lost"),
    openai.APITimeoutError: ("transient", "cannot connect in time"),
    openai.APIResponseValidationError: ("malformed_response", "the answer is not what the API promises"),
    openai.LengthFinishReasonError: ("malformed_response", "the answer was cut off at its length"),
    openai.ContentFilterFinishReasonError: ("malformed_response", "the answer was filtered"),
    openai.InvalidWebhookSignatureError: ("malformed_response", "the answer is not what the API promises"),
    openai.WebSocketConnectionClosedError: ("transient", "the connection was lost"),
    openai.WebSocketQueueFullError: ("transient", "the connection does not keep up"),
}
_INCOMPLETE: Mapping[str, StopReason] = {"content_filter": "refusal"}
_KEEP_ALIVES = frozenset({"response.queued", "response.in_progress"})
_TEXT = "response.output_text.delta"
_REFUSAL = "response.refusal.delta"


class OpenAIModel(ApiModel):
    """A `ChatModel` of the Responses API. Raises `BackendError` at once for a key that no header can carry."""

    faults = FAULTS
    sdk_error = openai.OpenAIError

    def __init__(self, settings: OpenAISettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._openai = settings
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url,
            max_retries=0,
            timeout=self._http.timeout,
            http_client=self._http,
        )
        # The SDK imports a resource at its first use, which holds up the whole loop: not while requests are on their way.
        self._responses = self._client.responses.with_streaming_response

    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        settings = self._openai
        return self._responses.create(
            model=settings.model,
            instructions=prompt.system or openai.omit,
            input=[EasyInputMessageParam(role=turn.role, content=turn.text) for turn in prompt.messages],
            max_output_tokens=settings.output_limit(prompt.max_output_tokens),
            text=_text_config(prompt),
            reasoning=openai.omit if settings.effort is None else {"effort": settings.effort},
            temperature=openai.omit if settings.temperature is None else settings.temperature,
            prompt_cache_key=sha256(prompt.system.encode("utf-8", "backslashreplace")).hexdigest()[:32],
            store=False,
            stream=True,
            extra_headers=self._headers(prompt),
        )

    def _reply(self) -> Reply:
        return _Reply()

    def _reported(self, error: BaseException) -> Reported | None:
        return reported_by(error)


def reported_by(error: BaseException) -> Reported | None:
    """What the provider said with an exception of the SDK; None where the SDK itself or the connection failed."""
    if isinstance(error, openai.APIStatusError):
        return reported(error.status_code, error.body, error.response.headers)
    return None


@dataclass(slots=True)
class _Reply(Transcript):
    is_refused: bool = False

    def take(self, event: Mapping[str, object]) -> int | None:
        kind = text(event.get("type"))
        if kind in _KEEP_ALIVES or not kind.startswith(("response.", "error")):
            # Some gateways wrap an error like the body of a status.
            self.failure = reported(None, event) if event.get("error") is not None else None
            return None
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

    def _end(self, response: Mapping[str, object]) -> None:
        self.usage = _usage(response.get("usage"))
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


def _usage(value: object) -> Usage | None:
    usage = fields(value)
    read, output = count(usage.get("input_tokens")), count(usage.get("output_tokens"))
    if read is None or output is None:
        return None
    details = fields(usage.get("input_tokens_details"))
    return Usage(
        requests=1,
        input_tokens=read,
        cached_input_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        output_tokens=output,
        reasoning_tokens=count(fields(usage.get("output_tokens_details")).get("reasoning_tokens")),
        cost_usd=None,
    )


def _text_config(prompt: Prompt) -> ResponseTextConfigParam | openai.Omit:
    schema = prompt.response_schema
    if schema is None:
        return openai.omit
    return {
        "format": {"type": "json_schema", "name": "answer", "schema": dict(schema), "strict": allows_strict(schema)}
    }
