"""Which backends are ready, and whether the machine is: everything that would stop a run, found before one is started.

Without `is_live` nothing leaves the machine and no command of a configuration is run. With it, keys are looked up as a run
would look them up, and each API that is asked about gets one cheap request.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.backends.custom import is_custom
from orchestrator.backends.settings import (
    ClaudeConfig,
    CompatibleConfig,
    OpenAIConfig,
    ReplayConfig,
    ServiceConfig,
    StubConfig,
)
from orchestrator.catalog import LoadedConfig, config_names, find_config, load_config, parse_config
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.core.needs import hint
from orchestrator.engine.clock import SystemClock
from orchestrator.views.doctor import Finding, State, Topic
from orchestrator.wiring.backends import find_backend
from orchestrator.wiring.keys import find_key, key_advice, missing_key
from orchestrator.wiring.machine import cli_findings, machine_findings
from orchestrator.wiring.surroundings import Surroundings

_API_TYPES: Mapping[str, type[ServiceConfig]] = {
    "claude": ClaudeConfig,
    "openai": OpenAIConfig,
    "openai-compatible": CompatibleConfig,
}
_LOCAL_TYPES: Mapping[str, type[StubConfig] | type[ReplayConfig]] = {"stub": StubConfig, "replay": ReplayConfig}
_REPLAY = "replay:"
_SDKS = {"claude": "anthropic", "openai": "openai", "openai-compatible": "openai"}


@dataclass(frozen=True, slots=True)
class Examination:
    """What to look at: the named configurations, or all that are found. `store` is where runs are kept, if not by default."""

    configs: Sequence[str]
    is_live: bool
    store: Path | None = None


@dataclass(frozen=True, slots=True)
class _Config:
    """A configuration's file, as it is shown; one that was named is needed."""

    path: Path
    shown: Path
    is_needed: bool

    def found(self, state: State, detail: str, advice: str = "") -> Finding:
        """Say how it is."""
        name, is_needed = self.path.stem, self.is_needed
        return Finding(topic="backend", name=name, state=state, detail=detail, advice=advice, is_needed=is_needed)


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was found about a configuration; `settings` are those of a model API that could be asked."""

    config: _Config
    finding: Finding
    settings: ServiceConfig | None = None


def examine(surroundings: Surroundings, wanted: Examination) -> list[Finding]:
    """Look at everything. Raises `SpecError` for a name that no configuration has."""
    is_named = bool(wanted.configs)
    looked = [_look(config, surroundings.env) for config in _configs(surroundings, wanted.configs)]
    return [
        *machine_findings(surroundings, surroundings.store(wanted.store).root),
        *asyncio.run(cli_findings(surroundings)),
        *(each.finding for each in looked),
        *(_ask(looked, surroundings.env, is_named=is_named) if wanted.is_live else ()),
    ]


def is_fit(findings: Sequence[Finding]) -> bool:
    """Whether a run could start: a backend is ready, one that was asked answers, and nothing is missing that is needed."""

    def some(topic: Topic) -> bool:
        return any(finding.topic == topic and finding.state != "missing" for finding in findings)

    was_asked = any(finding.topic == "live" for finding in findings)
    is_all_there = not any(finding.is_needed and finding.state == "missing" for finding in findings)
    return is_all_there and some("backend") and (some("live") or not was_asked)


def _configs(surroundings: Surroundings, names: Sequence[str]) -> Iterator[_Config]:
    folders = surroundings.config_folders(surroundings.cwd / "tasks")
    for name in names or config_names(folders):
        try:
            is_recording = name.startswith(_REPLAY)
            path = find_backend(name, folders, surroundings.cwd).path if is_recording else find_config(name, folders)
        except SpecError:
            if names:
                raise
            continue  # a folder, or a link to nowhere, of that name
        is_here = path.is_relative_to(surroundings.cwd)
        yield _Config(path, path.relative_to(surroundings.cwd) if is_here else path, is_needed=bool(names))


def _look(config: _Config, env: Mapping[str, str]) -> _Looked:
    try:
        loaded = load_config(config.path)
        if loaded.backend in _LOCAL_TYPES:
            parse_config(loaded, _LOCAL_TYPES[loaded.backend])
            return _Looked(config, config.found("ok", f"{loaded.backend}, simulated; {config.shown}"))
        if loaded.backend in _API_TYPES:
            return _look_at_api(config, loaded, env)
    except SpecError as error:
        return _Looked(config, config.found("missing", " · ".join(error.problems), "correct the file"))
    if is_custom(loaded.backend):
        own = f"{loaded.backend}, your own; {config.shown}; not tried: its code runs when a run begins"
        return _Looked(config, config.found("warning", own))
    unknown = f"unknown backend {loaded.backend!r}{hint(loaded.backend, (*_LOCAL_TYPES, *_API_TYPES))}"
    return _Looked(config, config.found("missing", f"{config.shown}: {unknown}", "correct the file"))


def _look_at_api(config: _Config, loaded: LoadedConfig, env: Mapping[str, str]) -> _Looked:
    settings = parse_config(loaded, _API_TYPES[loaded.backend])
    simulated = ", simulated" if settings.is_simulated else ""
    about = f"{loaded.backend}, model {settings.model}{simulated}; {config.shown}"
    sdk = _SDKS[loaded.backend]
    try:
        about += f"; {sdk} {version(sdk)}"
    except PackageNotFoundError:
        missing = f"{about}; the package {sdk} is not installed"
        return _Looked(config, config.found("missing", missing, f"pip install {sdk}"))
    problem = missing_key(settings, env)
    if problem:
        return _Looked(config, config.found("missing", f"{about}; {problem}", key_advice(settings, config.shown)))
    about += f"; {_key_text(settings)}"
    host = _host(settings)
    if host is None:
        return _Looked(config, config.found("missing", f"{about}; base_url is no URL", f"correct it in {config.shown}"))
    if settings.base_url.startswith("http:") and not _is_local(host):
        exposed = f"{about}; all that is sent goes to {host} unencrypted"
        return _Looked(config, config.found("warning", exposed, "write https:// in base_url"), settings)
    return _Looked(config, config.found("ok", about), settings)


def _key_text(settings: ServiceConfig) -> str:
    if settings.api_key_command:
        return f"key by the command {settings.api_key_command[0]!r}, which --live runs"
    key = "no key asked for" if settings.api_key_env is None else f"key in ${settings.api_key_env}"
    return f"{key}; --live tries it"


def _host(settings: ServiceConfig) -> str | None:
    """The host of base_url; None where it is no URL."""
    try:
        parts = urlsplit(settings.base_url)
        has_port = parts.port != 0
    except ValueError:
        return None
    return (parts.hostname or None) if has_port else None


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _ask(looked: Sequence[_Looked], env: Mapping[str, str], *, is_named: bool) -> Iterator[Finding]:
    """Ask those that were named, or all that are real. Their keys are looked up one after the other: a command may ask."""
    from orchestrator.wiring.probe import Target, ask_each  # noqa: PLC0415 — loads an HTTP client, for --live alone

    targets: list[Target] = []
    for each in looked:
        if each.settings is None or (each.settings.is_simulated and not is_named):
            continue
        name = each.finding.name
        try:
            key = find_key(each.settings, env, each.config.shown)
            targets.append(Target(name, each.settings, key, is_named))
        except EnvironmentFault as error:
            yield Finding(topic="live", name=name, state="missing", detail=str(error), is_needed=is_named)
    if targets:
        yield from asyncio.run(ask_each(targets, SystemClock()))
