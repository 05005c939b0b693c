"""Backends behind an API: the model of a configuration, its key, its account's limiter, its prices."""

from contextlib import AbstractAsyncContextManager

from pydantic import SecretStr

from orchestrator.backends.batches.settings import PRICE_FACTOR, BatchSettings
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.rate_headers import RateFeedback, anthropic_rate_headers, openai_rate_headers
from orchestrator.backends.settings import ClaudeConfig, CompatibleConfig, OpenAIConfig, ServiceConfig
from orchestrator.backends.tariffs import FlatTariff, NoTariff, Prices, Tariff, most_usd
from orchestrator.catalog import LoadedConfig, parse_config
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.core.values import Usage
from orchestrator.measure.forecast import Pace
from orchestrator.ports import ChatModel
from orchestrator.wiring.assembly import ChosenBackend, Layers, Means, costing_of, session_around, surrounded
from orchestrator.wiring.batching import OpenProvider, RunBatches
from orchestrator.wiring.keys import find_key
from orchestrator.wiring.recording import Subject, recorder

_OUTPUT_TOKENS = 16_000
_PRICED_TOKENS = 10_000
_CONFIGS: dict[str, type[ClaudeConfig] | type[OpenAIConfig] | type[CompatibleConfig]] = {
    "claude": ClaudeConfig,
    "openai": OpenAIConfig,
    "openai-compatible": CompatibleConfig,
}
_PROVIDERS = {"claude": "anthropic", "openai": "openai"}


def build_service(config: LoadedConfig, means: Means) -> ChosenBackend:
    """Build a backend behind an API. Raises `SpecError`, and `EnvironmentFault` for a key that is missing."""
    settings: ServiceConfig = parse_config(config, _CONFIGS[config.backend])
    key = find_key(settings, means.env, config.path)
    limiter = _limiter(settings, means)
    if settings.batch is None:
        raw, resource = _model(settings, key, means, limiter)
    elif isinstance(settings, CompatibleConfig):
        line = config.line_of("batch")
        raise SpecError([f"{config.path}:{line}: batch: only Anthropic and OpenAI have a batch API; leave it out"])
    else:
        raw, resource = _batched(settings, settings.batch, key, means)
    output_tokens = settings.output_limit(_OUTPUT_TOKENS if settings.max_output_tokens is None else 10**9)
    factor = 1.0 if settings.batch is None else PRICE_FACTOR
    tariff = tariff_of(settings.prices, _priced_as(settings), factor)
    subject = Subject(config.name, output_tokens, settings.prices, _priced_as(settings), factor)
    layers = Layers(
        tariff,
        output_tokens,
        is_simulated=settings.is_simulated,
        limiter=None if settings.batch is not None else limiter,
        cache=None if settings.batch is not None else settings.cache,
        recorded=recorder(settings, subject, means, [] if key is None else [key]),
    )
    model = surrounded(raw, layers, _with_fences(settings), means.clock)
    return ChosenBackend(
        backend=session_around(model, settings, means.clock, output_tokens),
        model=model,
        name=config.name,
        digest=config.digest,
        source=str(config.path),
        pace=pace_of(tariff),
        is_simulated=settings.is_simulated,
        costing=costing_of(settings, tariff, output_tokens),
        rehearses=settings.session == "tools",
        resources=(resource,),
    )


def _model(
    settings: ServiceConfig, key: SecretStr | None, means: Means, limiter: AccountLimiter
) -> tuple[ChatModel, AbstractAsyncContextManager[object]]:
    """The model itself, and what is to be closed with it. Imports the SDK that it needs."""
    from orchestrator.backends.wire.api_model import Connection  # noqa: PLC0415 — the SDKs take a second to import

    def connection(hear: RateFeedback) -> Connection:
        return Connection(key, means.clock, on_response=hear)

    match settings:
        case ClaudeConfig():
            from orchestrator.backends.anthropic import AnthropicModel  # noqa: PLC0415 — the same

            claude = AnthropicModel(settings, connection(limiter.listener(anthropic_rate_headers)))
            return claude, claude
        case OpenAIConfig():
            from orchestrator.backends.openai import OpenAIModel  # noqa: PLC0415 — the same

            openai = OpenAIModel(settings, connection(limiter.listener(openai_rate_headers)))
            return openai, openai
        case CompatibleConfig():
            from orchestrator.backends.openai_chat import ChatCompletionsModel  # noqa: PLC0415 — the same

            chat = ChatCompletionsModel(settings, connection(limiter.listener(openai_rate_headers)))
            return chat, chat


def _batched(
    settings: ServiceConfig, batch: BatchSettings, key: SecretStr | None, means: Means
) -> tuple[ChatModel, AbstractAsyncContextManager[object]]:
    """The same model behind its provider's batch API."""

    def opened() -> OpenProvider:
        from orchestrator.backends.wire.api_model import Connection  # noqa: PLC0415 — the SDKs take a second to import

        connection = Connection(key, means.clock)
        match settings:
            case ClaudeConfig():
                from orchestrator.backends.batches.anthropic_batches import AnthropicBatches  # noqa: PLC0415 — the same

                return AnthropicBatches(settings, connection)
            case OpenAIConfig():
                from orchestrator.backends.batches.openai_batches import OpenAIBatches  # noqa: PLC0415 — the same

                return OpenAIBatches(settings, connection)
            case _:
                raise EnvironmentFault("only Anthropic and OpenAI have a batch API")

    model = RunBatches(settings.model, opened, batch, means.clock, means.state)
    return model, model


def _limiter(settings: ServiceConfig, means: Means) -> AccountLimiter:
    """The limiter of the account, one for all backends of this process that use it."""
    source = " ".join(settings.api_key_command) or settings.api_key_env or "no key"
    account = settings.account or f"{settings.base_url} ({source})"
    if account not in means.accounts:
        limits = settings.limits
        if isinstance(settings, ClaudeConfig) and "counts_cached_input" not in limits.model_fields_set:
            limits = limits.model_copy(update={"counts_cached_input": False})
        means.accounts[account] = AccountLimiter(settings.account or settings.model, limits, means.clock)
    return means.accounts[account]


def tariff_of(prices: Prices | None, priced_as: str | None, factor: float = 1.0) -> Tariff:
    """The prices that are given, else the published ones of `provider:model`, else none."""
    if prices is not None:
        return FlatTariff(prices, factor)
    if priced_as is None:
        return NoTariff()
    from orchestrator.backends.price_table import TableTariff  # noqa: PLC0415 — a quarter of a second

    provider, _, model = priced_as.partition(":")
    table = TableTariff(model, provider, factor)
    return table if table.is_known else NoTariff()


def _priced_as(settings: ServiceConfig) -> str | None:
    provider = _PROVIDERS.get(settings.backend)
    return None if provider is None else f"{provider}:{settings.model}"


def _with_fences(settings: ServiceConfig) -> ServiceConfig:
    """The adapter watches its stream itself; the watch around it must not be the stricter one, unless somebody said so."""
    retries = settings.retries
    if "idle_s" not in retries.model_fields_set:
        retries = retries.model_copy(update={"idle_s": max(retries.idle_s, settings.idle_s + settings.first_byte_s)})
    if "deadline_s" not in retries.model_fields_set:
        retries = retries.model_copy(update={"deadline_s": max(retries.deadline_s, 2 * settings.deadline_s)})
    return settings.model_copy(update={"retries": retries})


def pace_of(tariff: Tariff) -> Pace:
    """Prices for a forecast; how fast a model is, nobody knows beforehand."""
    inputs = tariff.cost_usd(Usage(requests=1, input_tokens=_PRICED_TOKENS))
    outputs = most_usd(tariff, 0, _PRICED_TOKENS)
    if inputs is None or outputs is None:
        return Pace()
    scale = 1_000_000 / _PRICED_TOKENS
    return Pace(input_usd_per_million=inputs * scale, output_usd_per_million=outputs * scale)
