"""What OpenAI's two APIs share: the SDK's client, what its failures mean, usage, schemas, and the key of the prompt cache.

Importing this module imports the SDK.
"""

import json
from collections.abc import Mapping
from hashlib import sha256

import openai

from orchestrator.backends.wire.api_model import ApiModel, Connection, Faults
from orchestrator.backends.wire.api_settings import OpenAICompatibleSettings, OpenAISettings
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.schemas import allows_strict
from orchestrator.backends.wire.streams import count, fields
from orchestrator.backends.wire.wire_faults import WIRE_FAULTS
from orchestrator.core.chat import Prompt
from orchestrator.core.values import Usage

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


class OpenAIApi(ApiModel):
    """A model behind OpenAI's SDK. Raises `BackendError` at once for a key that no header can carry."""

    faults = FAULTS
    sdk_error = openai.OpenAIError

    def __init__(self, settings: OpenAISettings | OpenAICompatibleSettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._client = openai.AsyncOpenAI(
            api_key=self._key.get_secret_value(),
            base_url=settings.base_url,
            max_retries=0,
            timeout=self._http.timeout,
            http_client=self._http,
        )

    def _reported(self, error: BaseException) -> Reported | None:
        if isinstance(error, openai.APIStatusError):
            return reported(error.status_code, error.body, error.response.headers)
        return None


def usage_of(value: object, inputs: str, outputs: str) -> Usage | None:
    """Read a usage, whose counts each API names in its own way; None without both counts. Input includes what was cached."""
    usage = fields(value)
    read, output = count(usage.get(inputs)), count(usage.get(outputs))
    if read is None or output is None:
        return None
    details = fields(usage.get(f"{inputs}_details"))
    return Usage(
        requests=1,
        input_tokens=read,
        cached_input_tokens=count(details.get("cached_tokens")),
        cache_write_tokens=count(details.get("cache_write_tokens")),
        output_tokens=output,
        reasoning_tokens=count(fields(usage.get(f"{outputs}_details")).get("reasoning_tokens")),
        cost_usd=None,
    )


def described_schema(schema: Mapping[str, object]) -> dict[str, object]:
    """A schema that the answer has to fit, held to strictly where it can be."""
    return {"name": "answer", "schema": dict(schema), "strict": allows_strict(schema)}


def cache_key(prompt: Prompt) -> str:
    """A short digest of what siblings share, so that their requests meet the same cache."""
    tools = [tool.model_dump(mode="json") for tool in prompt.tools]
    shared = json.dumps([prompt.system, tools], sort_keys=True)
    return sha256(shared.encode()).hexdigest()[:32]
