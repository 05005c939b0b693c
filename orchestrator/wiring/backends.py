"""From a configuration file to a backend: `backend: <type>` in it chooses, everything else is that type's settings."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.catalog import LoadedConfig, parse_config
from orchestrator.core.errors import SpecError
from orchestrator.core.values import Digest, SubtaskId
from orchestrator.measure.forecast import Pace
from orchestrator.ports import Backend, ChatModel, Clock

DEFAULT = "stub"


@dataclass(frozen=True, slots=True)
class ChosenBackend:
    """A backend, the model that plans for it, and what the journal says about it."""

    backend: Backend
    model: ChatModel
    name: str
    digest: Digest
    source: str
    pace: Pace
    is_simulated: bool


@dataclass(frozen=True, slots=True)
class Means:
    """What a backend may be built from, besides its own settings."""

    clock: Clock
    reference: Path | None


def choose_backend(config: LoadedConfig, means: Means) -> ChosenBackend:
    """Build the backend that a configuration asks for. Raises `SpecError` for a type or a setting that there is not."""
    build = _TYPES.get(config.backend)
    if build is None:
        known = ", ".join(sorted(_TYPES))
        raise SpecError(
            [f"{config.path}:{config.line_of(('backend',))}: unknown backend {config.backend!r}; write one of: {known}"]
        )
    return build(config, means)


def _stub(config: LoadedConfig, means: Means) -> ChosenBackend:
    profile = parse_config(config, StubProfile)
    stub = StubModel(profile, means.clock, _reader(means.reference))
    model = ResilientModel(stub, ResilienceSettings(), means.clock)
    pace = Pace(
        ttft_s=profile.ttft_s * profile.time_scale,
        tokens_per_s=profile.tokens_per_s / profile.time_scale if profile.time_scale else None,
        input_usd_per_million=profile.input_usd_per_million,
        output_usd_per_million=profile.output_usd_per_million,
    )
    backend = EditingBackend(model, means.clock)
    return ChosenBackend(backend, model, profile.name, config.digest, str(config.path), pace, is_simulated=True)


def _reader(reference: Path | None) -> Callable[[SubtaskId], str | None]:
    """Return a function that reads reference solutions; ids are checked to be file names when a task is split."""

    def read(subtask: SubtaskId) -> str | None:
        if reference is None:
            return None
        for name in (f"{subtask}.diff", f"{subtask}.json"):
            file = reference / name
            if file.is_file():
                return file.read_text()
        return None

    return read


_TYPES: dict[str, Callable[[LoadedConfig, Means], ChosenBackend]] = {"stub": _stub}
