"""What stands around a model, from the inside out, and the session around all of it.

    session → resilience → warming → meter → limits → recording → the model

Each of them is a `ChatModel` around a `ChatModel`, so that each request passes what belongs to a request (record, rate,
count, price), and what belongs to several stands further out (siblings, retries).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.backends.limits.limited import LimitedModel
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.metered import MeteredModel
from orchestrator.backends.resilience import ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.sessions.tools import ToolBackend
from orchestrator.backends.settings import SessionSettings
from orchestrator.backends.tariffs import Tariff
from orchestrator.backends.warming import CacheSettings, WarmingModel
from orchestrator.core.prompt import editing_manner
from orchestrator.core.values import Digest
from orchestrator.measure.forecast import Pace
from orchestrator.ports import Backend, ChatModel, Clock

# A session that looks around is given room for so many requests at once, and more when it asks.
_TOOL_REQUESTS = 4


@dataclass(slots=True)
class Means:
    """What a backend may be built from, besides its own settings.

    `record` is where its exchanges are to be kept. `state` is the run's folder, for what has to outlive the process; None in a
    dry run. `accounts` are the limiters of this process.
    """

    clock: Clock
    reference: Path | None
    cwd: Path = field(default_factory=Path)
    env: Mapping[str, str] = field(default_factory=dict)
    record: Path | None = None
    state: Path | None = None
    accounts: dict[str, AccountLimiter] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Costing:
    """What is needed to say beforehand what an attempt may cost: `requests` are those of a session at most."""

    tariff: Tariff
    output_tokens: int
    requests: int


@dataclass(frozen=True, slots=True)
class ChosenBackend:
    """A backend, the model that plans for it, and what the journal says about it.

    `model` is None for a backend that is no chat model. `costing` is None where nobody can say what an attempt may cost at most.
    `rehearses` says whether it may run checks for itself. `resources` are entered while the run goes on.
    """

    backend: Backend
    model: ChatModel | None
    name: str
    digest: Digest
    source: str
    pace: Pace
    is_simulated: bool
    costing: Costing | None = None
    rehearses: bool = True
    resources: Sequence[AbstractAsyncContextManager[object]] = ()


@dataclass(frozen=True, slots=True)
class Layers:
    """What stands around one model; None leaves a layer out."""

    tariff: Tariff
    output_limit: int
    is_simulated: bool
    limiter: AccountLimiter | None = None
    cache: CacheSettings | None = None
    recorded: Callable[[ChatModel], ChatModel] = lambda model: model


def surrounded(model: ChatModel, layers: Layers, settings: SessionSettings, clock: Clock) -> ChatModel:
    """Put the layers around a model."""
    model = layers.recorded(model)
    if layers.limiter is not None:
        model = LimitedModel(model, layers.limiter)
    model = MeteredModel(model, layers.tariff, output_limit=layers.output_limit, is_simulated=layers.is_simulated)
    if layers.cache is not None and layers.cache.stagger:
        model = WarmingModel(model, layers.cache, clock)
    return ResilientModel(model, settings.retries, clock)


def session_around(model: ChatModel, settings: SessionSettings, clock: Clock, output_tokens: int) -> Backend:
    """Make the kind of session that the settings ask for."""
    if settings.session == "tools":
        return ToolBackend(model, clock, settings.tools, max_output_tokens=output_tokens)
    return EditingBackend(
        model,
        clock,
        manner=editing_manner(settings.edit_format, output_tokens),
        edit_format=settings.edit_format,
        corrections=settings.corrections,
    )


def costing_of(settings: SessionSettings, tariff: Tariff, output_tokens: int) -> Costing:
    """How many requests a session is given room for: its own, and one that breaks off."""
    requests = _TOOL_REQUESTS if settings.session == "tools" else 1 + settings.corrections
    return Costing(tariff, output_tokens, requests + 1)
