"""What comes of every fault of a model service where a model has everything around it: answered in the end, or raised at once.

The chain is the one that a configuration builds, for each of the three APIs, over real connections: retries, siblings, meter,
limits, adapter, SDK. Waits are shortened by the configuration alone.
"""

import asyncio
from contextlib import asynccontextmanager
from typing import get_args

import pytest
import yaml

from orchestrator.catalog.configs import load_config
from orchestrator.core.errors import BackendError
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultKind, FaultPlan
from orchestrator.wiring.assembly import Means
from orchestrator.wiring.backends import choose_backend
from tests.fakes_backends import prompt_for
from tests.integration.wire import TEXT, service

# Nothing here takes more than two seconds on an idle machine: what takes so long hangs.
HANG_S = 10.0
TRIES = 2
# Long enough for an answer on a busy machine, short enough to wait for.
SILENCE_S = 0.5
RETRIES = {"max_tries": TRIES, "first_wait_s": 0.01, "max_wait_s": 0.02, "retry_after_cap_s": 0.2}

AGAIN = {
    "overloaded": "overloaded",
    "server_error": "transient",
    "html": "malformed_response",
    "wrong_object": "malformed_response",
    "truncated_json": "malformed_response",
    "reset": "transient",
    "short_body": "transient",
    "no_headers": "stall",
    "stream_ends": "malformed_response",
    "stream_cut": "transient",
    "stream_silent": "stall",
    "pings_only": "stall",
    "error_event": "overloaded",
    "broken_event": "malformed_response",
}
AT_ONCE = {
    "insufficient_quota": "billing",
    "auth": "auth",
    "forbidden": "auth",
    "billing": "billing",
    "unknown_model": "unknown_model",
    "too_large": "context_too_long",
    "context_too_long": "context_too_long",
    "invalid_request": "invalid_request",
    "redirect": "invalid_request",
}
# Told below, one by one: no failed try, no failure, and none unless tools are called.
APART = {"rate_limit", "policy", "broken_arguments"}
# The only one that is turned away. All others may have been answered in part, and billed.
TURNED_AWAY = "overloaded"
SHORT = {
    "no_headers": {"first_byte_s": SILENCE_S},
    "stream_silent": {"idle_s": SILENCE_S},
    "pings_only": {"idle_s": SILENCE_S},
}

api = pytest.mark.parametrize("backend", ["claude", "openai", "openai-compatible"])


@asynccontextmanager
async def chain(server, backend, folder, **settings):
    """The model of a configuration with all that is around it; what it leaves open is an error."""
    written = {
        "backend": backend,
        "model": "the-model",
        "base_url": server.url if backend == "claude" else server.openai_url,
        "api_key_env": None,
        "is_simulated": True,
        "prices": {"input_usd_per_million": 3.0, "output_usd_per_million": 15.0},
        **settings,
        "retries": {**RETRIES, **settings.get("retries", {})},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(written))
    means = Means(SystemClock(), reference=None)
    chosen = choose_backend(load_config(path), means)
    async with asyncio.timeout(HANG_S):
        async with chosen.resources[0]:
            yield chosen.model
        (limiter,) = means.accounts.values()
        assert (limiter.in_flight, limiter.waiting) == (0, 0)
        while server.connections:
            await asyncio.sleep(0.01)


async def failure_of(model, meter):
    with pytest.raises(BackendError) as caught:
        await model.complete(prompt_for(), meter)
    return caught.value


def first(kind, **fields):
    return FaultPlan(nth={1: Fault(kind=kind, **fields)})


def always(kind, **fields):
    return FaultPlan(every=Fault(kind=kind, **fields))


def test_every_fault_of_the_service_has_an_outcome_here():
    assert {*AGAIN, *AT_ONCE, *APART} == set(get_args(FaultKind))


@api
@pytest.mark.parametrize("kind", AGAIN)
async def test_a_fault_that_passes_costs_one_more_request_and_is_answered(kind, backend, tmp_path):
    meter = Meter()
    async with service(faults=first(kind)) as server:
        async with chain(server, backend, tmp_path, **SHORT.get(kind, {})) as model:
            completion = await model.complete(prompt_for(), meter)
        assert completion.text == TEXT
        assert completion.usage.requests == 1
        assert completion.usage.cost_usd > 0
        assert len(server.requests) == 2
    assert meter.failed.requests == 1
    assert meter.failed.unknown_requests == (kind != TURNED_AWAY)
    assert [span.name for span in meter.waits if span.name != "rate_limit"] == ["failed_request", "backoff"]


@api
@pytest.mark.parametrize("kind", AGAIN)
async def test_a_fault_that_stays_is_raised_when_the_tries_are_used_up(kind, backend, tmp_path):
    meter = Meter()
    async with service(faults=always(kind)) as server:
        async with chain(server, backend, tmp_path, **SHORT.get(kind, {})) as model:
            error = await failure_of(model, meter)
        assert error.kind == AGAIN[kind]
        assert len(server.requests) == TRIES
    assert meter.failed.requests == TRIES


@api
@pytest.mark.parametrize("kind", AT_ONCE)
async def test_a_fault_that_asking_again_cannot_cure_is_raised_at_once(kind, backend, tmp_path):
    meter = Meter()
    # The second request would be answered.
    async with service(faults=first(kind)) as server:
        async with chain(server, backend, tmp_path) as model:
            error = await failure_of(model, meter)
            assert len(server.requests) == 1
            # It says nothing about the next one.
            assert (await model.complete(prompt_for(), meter)).text == TEXT
        assert len(server.requests) == 2
    assert error.kind == AT_ONCE[kind]
    assert (meter.failed.requests, meter.failed.unknown_requests) == (1, 0)


@api
@pytest.mark.parametrize("retry_after_s", [None, 1.0, 3_600.0])
async def test_a_rate_limit_is_waited_for_and_no_longer_than_is_bearable(retry_after_s, backend, tmp_path):
    plan = first("rate_limit", retry_after_s=retry_after_s)
    async with service(faults=plan) as server:
        settings = {"limits": {"max_pause_s": 0.3}, "retries": {"max_tries": 1}}
        async with chain(server, backend, tmp_path, **settings) as model:
            completion = await model.complete(prompt_for(), meter := Meter())
        # A rate limit is no try: with a single one allowed, it was asked again.
        assert completion.text == TEXT
        assert len(server.requests) == 2
    assert (meter.failed.requests, meter.failed.unknown_requests) == (1, 0)


@api
async def test_a_rate_limit_that_stays_is_put_off_when_patience_ends(backend, tmp_path):
    plan = always("rate_limit", retry_after_s=0.5)
    async with service(faults=plan) as server:
        retries = {"retry_after_cap_s": 0.5, "patience_s": 0.9}
        async with chain(server, backend, tmp_path, retries=retries) as model:
            error = await failure_of(model, Meter())
        assert error.kind == "rate_limit"
        assert len(server.requests) == 2


@api
async def test_what_the_provider_declines_is_a_result_and_asked_once(backend, tmp_path):
    async with service(faults=always("policy")) as server:
        async with chain(server, backend, tmp_path) as model:
            completion = await model.complete(prompt_for(), meter := Meter())
        assert completion.stop_reason == "refusal"
        assert len(server.requests) == 1
    assert meter.failed.requests == 0


@api
async def test_all_tries_together_end_at_the_deadline(backend, tmp_path):
    retries = {"max_tries": 1_000, "deadline_s": 0.8}
    async with service(faults=always("no_headers")) as server:
        async with chain(server, backend, tmp_path, first_byte_s=0.3, retries=retries) as model:
            error = await failure_of(model, Meter())
        assert error.kind == "stall"
        assert 2 <= len(server.requests) <= 3


@api
async def test_every_fault_in_turn_leaves_a_model_that_answers(backend, tmp_path):
    plan = FaultPlan(nth={2 * number: Fault(kind=kind) for number, kind in enumerate([*AGAIN, *AT_ONCE], start=1)})
    kinds = {}
    limits = {"first_byte_s": SILENCE_S, "idle_s": SILENCE_S, "retries": {"max_tries": 1}}
    async with service(faults=plan) as server:
        async with chain(server, backend, tmp_path, **limits) as model:
            for kind, called in (AGAIN | AT_ONCE).items():
                assert (await model.complete(prompt_for(), Meter())).text == TEXT
                error = await failure_of(model, Meter())
                kinds[kind] = (error.kind, called)
        assert len(server.requests) == 2 * len(kinds)
    assert all(raised == called for raised, called in kinds.values())


@api
async def test_many_at_once_through_a_service_that_fails_often_are_all_answered(backend, tmp_path):
    shares = dict.fromkeys(("overloaded", "reset", "stream_cut", "html", "error_event", "stream_ends"), 0.05)
    limits = {"limits": {"requests_per_min": 60_000}, "retries": {"max_tries": 12, "retry_reserve": 500}}
    async with service(faults=FaultPlan(shares=shares, seed=3)) as server:
        async with chain(server, backend, tmp_path, **limits) as model, asyncio.TaskGroup() as tasks:
            meters = [Meter() for _ in range(40)]
            asked = [
                tasks.create_task(model.complete(prompt_for(subtask=f"s{number}"), meter))
                for number, meter in enumerate(meters)
            ]
        assert all(each.result().text == TEXT for each in asked)
        assert len(server.requests) == 40 + sum(meter.failed.requests for meter in meters)
