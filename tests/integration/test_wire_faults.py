"""Every fault of a model service, for each of the three APIs, over a real connection: what it is called, and that it ends."""

import asyncio
import socket
import time
from contextlib import suppress

import pytest

from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS, KEY, SHORT_S, TEXT, service

CALLED = {
    "rate_limit": "rate_limit",
    "insufficient_quota": "billing",
    "overloaded": "overloaded",
    "server_error": "transient",
    "auth": "auth",
    "forbidden": "auth",
    "billing": "billing",
    "unknown_model": "unknown_model",
    "too_large": "context_too_long",
    "context_too_long": "context_too_long",
    "invalid_request": "invalid_request",
    "redirect": "invalid_request",
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
IN_STREAM = ("stream_ends", "stream_cut", "stream_silent", "pings_only", "error_event", "broken_event")

pytestmark = pytest.mark.parametrize("api", APIS.values(), ids=APIS.keys())


# What never ends by itself, and the limit that ends it.
ENDED_BY = {
    "no_headers": {"first_byte_s": SHORT_S},
    "stream_silent": {"idle_s": SHORT_S},
    "pings_only": {"idle_s": SHORT_S},
}


def always(kind, **fields):
    return FaultPlan(every=Fault(kind=kind, **fields))


def chain_of(error):
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


async def error_of(model, meter=None):
    with pytest.raises(BackendError) as caught:
        await model.complete(prompt_for(), meter or Meter())
    return caught.value


@pytest.mark.parametrize("kind", CALLED)
async def test_a_fault_is_one_request_one_error_of_its_kind_and_soon(api, kind):
    seen = []

    def see(status, headers):
        seen.append(status)

    async with service(faults=always(kind)) as server:
        async with api.over(server.url, on_response=see, **ENDED_BY.get(kind, {})) as model:
            began = time.monotonic()
            error = await error_of(model)
            took_s = time.monotonic() - began
        assert error.kind == CALLED[kind]
        assert len(server.requests) == 1
        assert took_s < 8.0
        # An exception of the SDK in the chain would hold the request, and in it the key.
        assert not any(hasattr(link, "request") or KEY in repr(link) for link in chain_of(error))
        # Each response was seen once, whatever it was; where there was no head, there was none to see.
        assert seen == ([] if kind in {"reset", "no_headers"} else [server.requests[0].status])


@pytest.mark.parametrize("kind", IN_STREAM)
async def test_a_stream_that_goes_wrong_has_moved_the_meter_before(api, kind):
    limits = ENDED_BY.get(kind, {})
    async with service(faults=always(kind, after_pieces=4)) as server, api.over(server.url, **limits) as model:
        meter = Meter(output_tokens=10)
        await error_of(model, meter)
        assert meter.output_tokens == 10 + 4 * 24 // 4


@pytest.mark.parametrize("seconds", [1.0, 0.25, 3_600.0])
@pytest.mark.parametrize("kind", ["rate_limit", "overloaded"])
async def test_a_retry_after_is_passed_on_and_not_slept(api, seconds, kind):
    async with service(faults=always(kind, retry_after_s=seconds)) as server, api.over(server.url) as model:
        error = await error_of(model)
    assert error.retry_after_s == seconds
    assert error.is_retryable


async def test_a_fault_passes_and_the_next_request_is_answered(api):
    plan = FaultPlan(nth={1: Fault(kind="reset"), 2: Fault(kind="stream_cut"), 3: Fault(kind="overloaded")})
    async with service(faults=plan) as server, api.over(server.url) as model:
        kinds = [(await error_of(model)).kind for _ in range(3)]
        completion = await model.complete(prompt_for(), Meter())
    assert kinds == ["transient", "transient", "overloaded"]
    assert completion.text == TEXT


async def test_a_prompt_that_the_provider_declines_is_a_refusal_of_unknown_cost(api):
    async with service(faults=always("policy")) as server, api.over(server.url) as model:
        completion = await model.complete(prompt_for(), Meter())
    assert completion.stop_reason == "refusal"
    assert completion.usage.requests == 1
    assert completion.usage.output_tokens is None


async def test_a_slow_stream_lives_as_long_as_content_comes_but_not_beyond_the_deadline(api):
    async with service(tokens_per_s=100.0, piece_chars=16) as server:
        async with api.over(server.url, idle_s=0.5) as model:
            assert (await model.complete(prompt_for(), Meter())).text == TEXT
        async with api.over(server.url, deadline_s=0.2) as model:
            error = await error_of(model)
    assert error.kind == "stall"
    assert "0.2 s" in str(error)


async def test_nobody_listening_is_transient_and_names_the_address(api):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with api.over(url) as model:
            error = await error_of(model)
    assert error.kind == "transient"
    assert url in str(error)


async def test_cancelling_leaves_no_connection_behind(api):
    async with service(faults=always("stream_silent")) as server, api.over(server.url) as model:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await model.complete(prompt_for(), Meter())
        async with asyncio.timeout(5.0):
            while server.connections:
                await asyncio.sleep(0.01)


async def test_seeded_shares_hit_the_same_requests_again(api):
    async def outcomes():
        plan = FaultPlan(shares={"overloaded": 0.3, "stream_cut": 0.2}, seed=7)
        async with service(faults=plan) as server, api.over(server.url) as model:
            for _ in range(12):
                with suppress(BackendError):
                    await model.complete(prompt_for(), Meter())
            return [seen.fault for seen in server.requests]

    first = await outcomes()
    assert first == await outcomes()
    assert {"overloaded", "stream_cut", None} <= set(first)
