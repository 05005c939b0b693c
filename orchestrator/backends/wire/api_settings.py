"""The settings of model APIs: which model, where, whose key, how long to wait. Free of SDKs, which are slow to import.

A configuration names a key's place, never the key: an environment variable, or a command that prints it. Whoever builds the
model looks it up there and hands it over as a `SecretStr`. Model names change monthly, so none is built in.
"""

from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from orchestrator.core.values import Value

Effort = Literal["low", "medium", "high", "xhigh", "max"]
OpenAIEffort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _address(text: str) -> str:
    try:
        parts = urlsplit(text)
        has_host = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: {error}") from None
    if not has_host or any(each.isspace() for each in text):
        raise ValueError(f"{text!r} is no address; write one like https://host or http://127.0.0.1:8080/v1")
    return text


Address = Annotated[str, AfterValidator(_address)]


class ApiSettings(Value):
    """What all model APIs have in common."""

    model: str = Field(min_length=1, description="The model's id, as the provider spells it.")
    api_key_command: tuple[str, ...] = Field(
        default=(), description="A command that prints the key, as a list; goes before api_key_env."
    )
    max_output_tokens: int | None = Field(
        default=None, gt=0, description="Tokens that one reply may have at most; a prompt may ask for fewer."
    )
    temperature: float | None = Field(
        default=None, ge=0, le=2, description="Sampling temperature; left to the provider unless given."
    )
    connect_s: float = Field(default=10.0, gt=0, description="Seconds to connect.")
    first_byte_s: float = Field(
        default=120.0, gt=0, description="Seconds from the start of a request to the head of its response."
    )
    idle_s: float = Field(
        default=120.0,
        gt=0,
        description="Seconds without content after which a stream is dropped; keep-alives are no content. A model that "
        "thinks silently needs a longer one.",
    )
    deadline_s: float = Field(default=900.0, gt=0, description="Seconds that one request may take in all.")
    is_simulated: bool = Field(
        default=False,
        description="True where base_url is this program's own simulated service: its usage is marked as simulated, and "
        "each request carries the key of its random choices.",
    )

    def output_limit(self, wanted: int) -> int:
        """Tokens to ask for: what a prompt wants, within these settings."""
        return wanted if self.max_output_tokens is None else min(wanted, self.max_output_tokens)


class ClaudeSettings(ApiSettings):
    """Claude, through Anthropic's Messages API."""

    backend: Literal["claude"] = Field(default="claude", description="Which kind of backend this is.")
    base_url: Address = Field(default="https://api.anthropic.com", description="Where the API is, without /v1.")
    api_key_env: str | None = Field(
        default="ANTHROPIC_API_KEY", description="The environment variable that holds the key."
    )
    effort: Effort | None = Field(default=None, description="How hard to think; left to the provider unless given.")
    is_tool_input_streamed: bool | None = Field(
        default=None,
        description="Whether a tool's arguments come as they are written, instead of each one at once when it is whole, which "
        "for a long file is a long silence (idle_s). Unless given, asked of api.anthropic.com alone, since other servers may "
        "refuse the field.",
    )


class OpenAISettings(ApiSettings):
    """OpenAI, through the Responses API."""

    backend: Literal["openai"] = Field(default="openai", description="Which kind of backend this is.")
    base_url: Address = Field(default="https://api.openai.com/v1", description="Where the API is, with /v1.")
    api_key_env: str | None = Field(
        default="OPENAI_API_KEY", description="The environment variable that holds the key."
    )
    effort: OpenAIEffort | None = Field(
        default=None, description="How hard to reason; left to the provider unless given."
    )
    is_reasoning_sent_back: bool = Field(
        default=True,
        description="Whether a model that calls tools gets its thoughts back, encrypted, with the results. False for a model "
        "that does not reason, which refuses to be asked for them.",
    )


class OpenAICompatibleSettings(ApiSettings):
    """Any server that speaks OpenAI's Chat Completions: a local one, a gateway, another provider."""

    backend: Literal["openai-compatible"] = Field(
        default="openai-compatible", description="Which kind of backend this is."
    )
    base_url: Address = Field(description="Where the API is, usually ending in /v1.")
    api_key_env: str | None = Field(
        default=None, description="The environment variable that holds the key; none for a server that asks for none."
    )
    effort: OpenAIEffort | None = Field(
        default=None, description="How hard to reason; left to the server unless given."
    )
    output_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="How the server spells the limit on output tokens."
    )
    is_usage_reported: bool = Field(
        default=True, description="False for a server that never counts tokens: they are unknown then, not zero."
    )
    is_cache_key_sent: bool | None = Field(
        default=None,
        description="Whether to send prompt_cache_key; unless given, to api.openai.com alone, since other servers may refuse it.",
    )
    is_reasoning_sent_back: bool = Field(
        default=True,
        description="Whether a model that calls tools gets the thoughts that the server showed back with the results, in the "
        "field they came in: some models require it. False for a server that refuses the field.",
    )


def is_at(settings: "AnyApiSettings", host: str) -> bool:
    """Whether a provider's own server is asked, which knows all of its fields."""
    return urlsplit(settings.base_url).hostname == host


AnyApiSettings = ClaudeSettings | OpenAISettings | OpenAICompatibleSettings


def key_place(settings: AnyApiSettings) -> str:
    """Where the key comes from, in words for a message."""
    if settings.api_key_command:
        # Its first word alone: people put secrets into arguments too.
        return f"the key that the command {settings.api_key_command[0]!r} prints"
    if settings.api_key_env is None:
        return "the missing key (api_key_env is not set)"
    return f"the key in ${settings.api_key_env}"
