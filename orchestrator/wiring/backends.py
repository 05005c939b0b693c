"""From a configuration to a backend: `backend: <type>` in it chooses, everything else is that type's settings.

A type with a colon (`package.module:Class`) is somebody's own. The SDKs are imported where a backend needs them, since that takes
more than a second.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.backends.custom import CustomSource, is_custom, load_custom
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.recordings.folder import Recording, recording_digest
from orchestrator.backends.recordings.replay import ReplayModel
from orchestrator.backends.settings import CustomConfig, ReplayConfig, ServiceSettings, StubConfig
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.tariffs import Prices
from orchestrator.catalog import LoadedConfig, parse_config
from orchestrator.catalog.configs import find_config, load_config
from orchestrator.core.errors import SpecError
from orchestrator.core.values import SubtaskId, digest_of
from orchestrator.measure.forecast import Pace
from orchestrator.wiring.assembly import ChosenBackend, Layers, Means, costing_of, session_around, surrounded
from orchestrator.wiring.recording import REPLAY_FILE, Subject, recorder
from orchestrator.wiring.services import build_service, pace_of, tariff_of

DEFAULT = "stub"
_REPLAY = "replay:"
_AROUND = "around"
_OUTPUT_TOKENS = 16_000
_SERVICES = ("claude", "openai", "openai-compatible")


def find_backend(name: str, folders: Sequence[Path], cwd: Path) -> LoadedConfig:
    """Read the configuration that a name, a path, or `replay:DIR` means. Raises `SpecError`."""
    if name.startswith(_REPLAY):
        folder = cwd / name.removeprefix(_REPLAY)
        if not (folder / REPLAY_FILE).is_file():
            raise SpecError(
                [f"{folder}: nothing is recorded here; record a run first: `orchestrate run SPEC --record {folder}`"]
            )
        return load_config(folder / REPLAY_FILE)
    return load_config(find_config(name, folders).absolute())


def choose_backend(config: LoadedConfig, means: Means) -> ChosenBackend:
    """Build the backend that a configuration asks for.

    Raises `SpecError` for a type or a setting that there is not, and `EnvironmentFault` for a key that is missing.
    """
    if config.backend in _SERVICES:
        return build_service(config, means)
    build = _TYPES.get(config.backend)
    if build is None and is_custom(config.backend):
        build = _custom
    if build is None:
        known = ", ".join(sorted((*_TYPES, *_SERVICES)))
        raise SpecError(
            [
                f"{config.path}:{config.line_of(('backend',))}: unknown backend {config.backend!r}; "
                f"write one of: {known}, or package.module:Class"
            ]
        )
    return build(config, means)


def _stub(config: LoadedConfig, means: Means) -> ChosenBackend:
    settings = parse_config(config, StubConfig)
    prices = _stub_prices(settings)
    tariff = tariff_of(prices, None)
    layers = Layers(
        tariff,
        settings.max_output_tokens,
        is_simulated=True,
        recorded=recorder(settings, Subject(settings.name, settings.max_output_tokens, prices), means),
    )
    stub = StubModel(settings, means.clock, solutions(means.reference))
    model = surrounded(stub, layers, settings, means.clock)
    pace = Pace(
        ttft_s=settings.ttft_s * settings.time_scale,
        tokens_per_s=settings.tokens_per_s / settings.time_scale if settings.time_scale else None,
        input_usd_per_million=settings.input_usd_per_million,
        output_usd_per_million=settings.output_usd_per_million,
    )
    return ChosenBackend(
        backend=session_around(model, settings, means.clock, settings.max_output_tokens),
        model=model,
        name=settings.name,
        digest=config.digest,
        source=str(config.path),
        pace=pace,
        is_simulated=True,
        costing=costing_of(settings, tariff, settings.max_output_tokens),
        rehearses=settings.session == "tools",
    )


def _stub_prices(settings: StubConfig) -> Prices | None:
    inputs, outputs = settings.input_usd_per_million, settings.output_usd_per_million
    if inputs is None or outputs is None:
        return None
    return Prices(input_usd_per_million=inputs, output_usd_per_million=outputs)


def _replay(config: LoadedConfig, means: Means) -> ChosenBackend:
    settings = parse_config(config, ReplayConfig)
    folder = config.path.parent / settings.exchanges
    replay = ReplayModel(Recording.open(folder), means.clock, settings.time_scale)
    tariff = tariff_of(settings.prices, settings.priced_as, settings.price_factor)
    scale = settings.time_scale
    retries = settings.retries.model_copy(
        # Recorded rate limits and failures are repeated like everything else; so are the waits after them.
        update={
            name: getattr(settings.retries, name) * scale
            for name in ("first_wait_s", "max_wait_s", "retry_after_cap_s")
        }
    )
    settings = settings.model_copy(update={"retries": retries})
    layers = Layers(tariff, settings.max_output_tokens, is_simulated=True)
    model = surrounded(replay, layers, settings, means.clock)
    return ChosenBackend(
        backend=session_around(model, settings, means.clock, settings.max_output_tokens),
        model=model,
        name=f"replay of {settings.name}",
        # What is added to the folder is new, so a run over it is another run.
        digest=digest_of(f"{config.digest} {recording_digest(folder)}".encode()),
        source=str(config.path),
        pace=pace_of(tariff),
        is_simulated=True,
        costing=costing_of(settings, tariff, settings.max_output_tokens),
        rehearses=settings.session == "tools",
    )


def _custom(config: LoadedConfig, means: Means) -> ChosenBackend:
    """Somebody's own class: a chat model is surrounded like any other, a backend is taken as it is."""
    around = parse_config(_part(config, lambda key: key == _AROUND), CustomConfig).around
    own = _part(config, lambda key: key != _AROUND)

    def problem(text: str) -> SpecError:
        return SpecError([f"{config.path}:{config.line_of('backend')}: {text}"])

    folders = (config.path.parent, means.cwd)
    made = load_custom(
        CustomSource(config.backend, folders, lambda model: parse_config(own, model), problem), means.clock
    )
    tariff = tariff_of(around.prices, None)
    layers = Layers(
        tariff,
        _OUTPUT_TOKENS,
        is_simulated=made.is_simulated,
        limiter=_own_limiter(config, around, means),
        cache=around.cache,
        recorded=recorder(around, Subject(made.name, _OUTPUT_TOKENS, around.prices), means),
    )
    model = None if made.model is None else surrounded(made.model, layers, around, means.clock)
    backend = made.backend
    if backend is None and model is not None:
        backend = session_around(model, around, means.clock, _OUTPUT_TOKENS)
    if backend is None:
        raise problem("the class is neither a chat model nor a backend")
    return ChosenBackend(
        backend=backend,
        model=model,
        name=made.name,
        digest=config.digest,
        source=str(config.path),
        pace=pace_of(tariff),
        is_simulated=made.is_simulated,
        # What a backend of its own asks for, nobody can say beforehand.
        costing=None if made.backend is not None else costing_of(around, tariff, _OUTPUT_TOKENS),
        rehearses=made.backend is not None or around.session == "tools",
    )


def _own_limiter(config: LoadedConfig, around: ServiceSettings, means: Means) -> AccountLimiter | None:
    """A class of one's own is limited where limits are given; else it is as fast as it is."""
    if not around.limits.model_fields_set and around.account is None:
        return None
    account = around.account or str(config.path)
    return means.accounts.setdefault(account, AccountLimiter(account, around.limits, means.clock))


def _part(config: LoadedConfig, is_wanted: Callable[[str], bool]) -> LoadedConfig:
    return replace(config, settings={key: value for key, value in config.settings.items() if is_wanted(key)})


def solutions(reference: Path | None) -> Callable[[SubtaskId], str | None]:
    """Return a function that reads reference solutions. An id may have come over a wire: it is one plain name, or nothing."""

    def read(subtask: SubtaskId) -> str | None:
        if reference is None or not subtask or subtask.startswith(".") or not set(subtask).isdisjoint("/\\\0"):
            return None
        for name in (f"{subtask}.diff", f"{subtask}.json"):
            file = reference / name
            if file.is_file():
                return file.read_text(encoding="utf-8", errors="replace")
        return None

    return read


_TYPES: dict[str, Callable[[LoadedConfig, Means], ChosenBackend]] = {"stub": _stub, "replay": _replay}
