"""The simulated model service as a command: from options to a service that answers, and what it came to.

The brain is the simulated model of a profile. It answers at once, and the service streams at the profile's pace, so that a
client sees tokens come as they would; what the service's own settings say goes before that.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import get_args

from orchestrator.backends.settings import StubConfig
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.catalog import find_config, load_config, load_skills, load_task, parse_config
from orchestrator.catalog.explain import validate
from orchestrator.catalog.files import fail, read_yaml
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.core.needs import hint
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import ChatModel
from orchestrator.stub_server import FaultKind, FaultPlan, RateLimits, ServerSettings, StubServer, serving
from orchestrator.views.serving import Address, ServiceSummary
from orchestrator.wiring.backends import solutions
from orchestrator.wiring.surroundings import Surroundings

_FORGET_EVERY_S = 1.0
_TOTAL_SLACK = 1e-9


@dataclass(frozen=True, slots=True)
class ServiceOptions:
    """What the command line may say; None leaves it to the file, or to the service's defaults.

    `faults` are as written, KIND=SHARE. Limits are a minute's, `seed` is what the faults are drawn from.
    """

    profile: str = "stub"
    config: Path | None = None
    task: Path | None = None
    faults: Sequence[str] = ()
    seed: int | None = None
    requests_per_minute: int | None = None
    input_tokens_per_minute: int | None = None
    output_tokens_per_minute: int | None = None
    tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A service that is ready to be started."""

    brain: ChatModel
    clock: SystemClock
    settings: ServerSettings


def prepare_service(surroundings: Surroundings, options: ServiceOptions) -> Service:
    """Load what the options name. Raises `SpecError` with everything that is wrong in one of them."""
    clock = SystemClock()
    folders = surroundings.config_folders(surroundings.cwd / "tasks")
    config = load_config(find_config(options.profile, folders))
    if config.backend != "stub":
        problem = f"`{config.backend}` is no simulated backend; name a configuration with `backend: stub`"
        raise fail(config.path, problem, config.line_of("backend"))
    profile = parse_config(config, StubConfig)
    reference = None if options.task is None else _reference(surroundings, options.task)
    brain = StubModel(profile.model_copy(update={"time_scale": 0.0}), clock, solutions(reference))
    given = ServerSettings() if options.config is None else _settings(surroundings.cwd / options.config)
    return Service(brain, clock, _with_options(_at_pace(given, profile), options))


@asynccontextmanager
async def open_service(service: Service, port: int) -> AsyncIterator[StubServer]:
    """Serve on loopback until the context is left. Raises `EnvironmentFault` for a port that cannot be had."""
    async with AsyncExitStack() as stack:
        try:
            opening = serving(service.brain, service.clock, service.settings, port=port)
            server = await stack.enter_async_context(opening)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise EnvironmentFault(
                f"cannot listen on port {port} of 127.0.0.1: {why}; give another with --port, 0 takes a free one"
            ) from error
        yield server


async def serve_until(stopped: asyncio.Event, server: StubServer) -> None:
    """Wait until the event is set. What requests said is let go of meanwhile, so that a service may run for days."""
    first = 0
    while not stopped.is_set():
        try:
            async with asyncio.timeout(_FORGET_EVERY_S):
                await stopped.wait()
        except TimeoutError:
            # The service reads a request when it comes; only tests read it again.
            for seen in server.requests[first:]:
                seen.body, seen.headers = {}, {}
            first = len(server.requests)


def address_of(server: StubServer) -> Address:
    """Where a service listens."""
    return Address(url=server.url, openai_url=server.openai_url, pid=os.getpid())


def summary_of_service(server: StubServer) -> ServiceSummary:
    """What a service has done so far."""
    statuses = Counter(str(seen.status or "none") for seen in server.requests)
    faults = Counter(seen.fault for seen in server.requests if seen.fault is not None)
    return ServiceSummary(
        requests=len(server.requests),
        statuses=dict(sorted(statuses.items())),
        faults={str(kind): number for kind, number in sorted(faults.items())},
        input_tokens=sum(seen.input_tokens for seen in server.requests),
        output_tokens=sum(seen.output_tokens for seen in server.requests),
        connections=server.accepted,
    )


def parse_faults(texts: Sequence[str]) -> Mapping[FaultKind, float]:
    """Read `KIND=SHARE` each. Raises `SpecError` for every one that says something else, and for more than 1 in all."""
    problems: list[str] = []
    shares: dict[FaultKind, float] = {}
    for text in texts:
        name, sign, number = text.partition("=")
        kind = next((known for known in get_args(FaultKind) if known == name.strip()), None)
        share = _share(number)
        if not sign:
            problems.append(f"--fault {text}: write KIND=SHARE, as in overloaded=0.1")
        elif kind is None:
            problems.append(f"--fault {text}: there is no fault `{name}`{hint(name, get_args(FaultKind))}")
        elif share is None:
            problems.append(f"--fault {text}: the share must be a number from 0 to 1, not {number!r}")
        else:
            shares[kind] = share
    if problems:
        raise SpecError(problems)
    return shares


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if isfinite(share) and 0 <= share <= 1 else None


def _settings(path: Path) -> ServerSettings:
    document = read_yaml(path)
    settings, problems = validate(document, ServerSettings)
    document.refuse(problems)
    if settings is None:
        raise fail(path, "the settings cannot be read")
    if not settings.models:
        raise fail(path, "`models` must not be empty; name at least one", document.line_of(("models",)))
    return settings


def _at_pace(settings: ServerSettings, profile: StubProfile) -> ServerSettings:
    """The settings with the profile's pace, where they have none of their own."""
    scale = profile.time_scale
    pace = {
        "ttft_s": profile.ttft_s * scale,
        "tokens_per_s": profile.tokens_per_s / scale if scale else None,
    }
    given = settings.model_fields_set
    return settings.model_copy(update={name: value for name, value in pace.items() if name not in given})


def _with_options(settings: ServerSettings, options: ServiceOptions) -> ServerSettings:
    limits = {name: value for name in RateLimits.model_fields if (value := getattr(options, name)) is not None}
    update: dict[str, object] = {
        "limits": settings.limits.model_copy(update=limits),
        "faults": _with_shares(settings.faults, options),
    }
    if options.tokens_per_s is not None:
        update["tokens_per_s"] = options.tokens_per_s
    return settings.model_copy(update=update)


def _with_shares(plan: FaultPlan, options: ServiceOptions) -> FaultPlan:
    """The plan with the shares that were asked for; what goes wrong with every other request gives way to them."""
    said = parse_faults(options.faults)
    shares = {**plan.shares, **said}
    total = sum(shares.values())
    if total > 1 + _TOTAL_SLACK:
        raise SpecError([f"--fault: the shares add up to {total:g}; a request has at most one fault, so at most 1"])
    update: dict[str, object] = {"shares": shares, "seed": plan.seed if options.seed is None else options.seed}
    return plan.model_copy(update=update | ({"every": None} if said else {}))


def _reference(surroundings: Surroundings, spec: Path) -> Path:
    path = surroundings.cwd / spec
    task = load_task(path, skills=frozenset(load_skills(surroundings.skill_folders(path.parent))))
    if task.reference is None:
        raise fail(path, "the task has no `reference` solutions to answer from; leave --task out", 1)
    return task.reference
