"""What a configuration may say besides the model's own settings: how a session works, and what stands around its model."""

from typing import Literal

from pydantic import Field

from orchestrator.backends.batches.settings import BatchSettings
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.resilience import ResilienceSettings
from orchestrator.backends.sessions.tool_settings import ToolSettings
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.backends.tariffs import Prices
from orchestrator.backends.warming import CacheSettings
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAICompatibleSettings, OpenAISettings
from orchestrator.core.edits.formats import DEFAULT_FORMAT, EditFormat
from orchestrator.core.values import Value


class SessionSettings(Value):
    """How a chat model works at a subtask."""

    session: Literal["single", "tools"] = Field(
        default="single", description="One reply with edits, or an agent loop with tool calls."
    )
    edit_format: EditFormat = Field(
        default=DEFAULT_FORMAT, description="How a single reply states its edits: search_replace, whole_file or patch."
    )
    corrections: int = Field(
        default=0, ge=0, description="Replies that do not apply and are sent back within one attempt."
    )
    tools: ToolSettings = Field(default=ToolSettings(), description="The limits of a session with tools.")
    retries: ResilienceSettings = Field(
        default=ResilienceSettings(), description="How often and how long one request is tried."
    )


class ServiceSettings(SessionSettings):
    """What stands around a model behind an API."""

    account: str | None = Field(
        default=None,
        description="Whose rate limits count: backends with the same account share them. Default: the same address and key.",
    )
    limits: LimiterSettings = Field(default=LimiterSettings(), description="What is known of its rate limits.")
    cache: CacheSettings = Field(default=CacheSettings(), description="How siblings share the prompt cache.")
    prices: Prices | None = Field(
        default=None, description="Dollars per million tokens; without it, the published prices of the model."
    )
    batch: BatchSettings | None = Field(
        default=None, description="Go through the provider's batch API, at half the price; {} takes the defaults."
    )


class ClaudeConfig(ServiceSettings, ClaudeSettings):
    """A configuration of type `claude`."""


class OpenAIConfig(ServiceSettings, OpenAISettings):
    """A configuration of type `openai`."""


class CompatibleConfig(ServiceSettings, OpenAICompatibleSettings):
    """A configuration of type `openai-compatible`."""


class StubConfig(SessionSettings, StubProfile):
    """A configuration of type `stub`."""


class ReplayConfig(SessionSettings):
    """A configuration of type `replay`: what `--record` wrote. `exchanges` is relative to the file."""

    name: str = Field(min_length=1, description="The backend that was recorded.")
    exchanges: str = Field(default="exchanges", description="The folder of the exchanges, relative to this file.")
    max_output_tokens: int = Field(default=16_000, gt=0, description="As it was recorded; part of what was asked.")
    prices: Prices | None = Field(
        default=None, description="The prices that it was recorded with, where some were given."
    )
    priced_as: str | None = Field(
        default=None, description="The provider and model of the published prices, as `provider:model`."
    )
    price_factor: float = Field(default=1.0, gt=0, description="What of these prices was paid.")
    time_scale: float = Field(
        default=0.0, ge=0, description="The recorded times are multiplied by this: 1 as they were, 0 at once."
    )


ServiceConfig = ClaudeConfig | OpenAIConfig | CompatibleConfig


class CustomConfig(Value):
    """What a configuration of somebody's own class says besides the class's settings."""

    around: ServiceSettings = Field(
        default=ServiceSettings(), description="The session, and what stands around a chat model of your own."
    )
