"""What `doctor --live` makes of a service's answers, over loopback: who answered, what failed, what to do about it."""

import asyncio
import socket

import pytest
from pydantic import SecretStr

from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAICompatibleSettings, OpenAISettings
from orchestrator.engine.clock import SystemClock
from orchestrator.stub_server import Fault, FaultPlan, RateLimits
from orchestrator.wiring import probe
from orchestrator.wiring.probe import Target, ask_each
from tests.integration.wire import KEY, service

APIS = {
    "claude": (ClaudeSettings, ""),
    "openai": (OpenAISettings, "/v1"),
    "compatible": (OpenAICompatibleSettings, "/v1"),
}

pytestmark = pytest.mark.parametrize("api", APIS)


def target(api, url, model="small-model", key=KEY):
    kind, suffix = APIS[api]
    return Target(api, kind(model=model, base_url=url + suffix), SecretStr(key), is_needed=True)


async def ask(api, url, **more):
    return (await ask_each([target(api, url, **more)], SystemClock()))[0]


def always(kind, **fields):
    return FaultPlan(every=Fault(kind=kind, **fields))


async def test_an_answer_names_the_model_the_tokens_and_the_limits_and_takes_one_small_request(api):
    async with service(limits=RateLimits(requests_per_minute=50, input_tokens_per_minute=9_000)) as server:
        found = await ask(api, server.url)
        assert found.state == "ok", found.detail
        assert found.answer.model == "small-model"
        assert (found.answer.usage.input_tokens, found.answer.usage.output_tokens) == (1_000, 77)
        assert found.answer.latency_s > 0
        assert ("requests", 50) in [(limit.name, limit.limit) for limit in found.answer.limits]
        assert len(server.requests) == 1
        body = server.requests[0].body
        assert [body[name] for name in body if name.startswith("max_")] == [16]
        assert len(str(body)) < 600


@pytest.mark.parametrize(
    ("kind", "state", "words"),
    [
        ("auth", "missing", "auth: the key in $"),
        ("billing", "missing", "add credit"),
        ("rate_limit", "warning", "try again in 7 s"),
        ("overloaded", "warning", "try again in a minute"),
        ("server_error", "missing", "base_url"),
        ("html", "missing", "malformed response"),
        ("truncated_json", "missing", "malformed response"),
        ("reset", "missing", "transient: "),
        ("error_event", "warning", "overloaded"),
        ("redirect", "missing", "redirects"),
    ],
)
def test_a_failure_is_one_line_with_what_to_do(api, kind, state, words):
    async def asked():
        async with service(faults=always(kind, **({"retry_after_s": 7} if kind == "rate_limit" else {}))) as server:
            return await ask(api, server.url)

    if api == "compatible" and kind == "auth":
        words = "auth: the missing key (api_key_env is not set) was refused"
    found = asyncio.run(asked())
    assert found.state == state, found
    assert found.is_needed
    assert words in f"{found.detail} → {found.advice}"
    assert KEY not in found.model_dump_json()


async def test_a_model_that_the_server_does_not_have_is_told_with_the_nearest_that_it_has(api):
    async with service(faults=always("unknown_model"), models=("a-large-model", "a-small-model")) as server:
        assert (await ask(api, server.url, model="smal-model")).advice == "did you mean `model: a-small-model`?"
        assert (await ask(api, server.url, model="zzz")).advice == "it has a-large-model, a-small-model"


async def test_a_server_without_a_usable_list_is_no_obstacle(api, monkeypatch):
    monkeypatch.setattr(probe, "_MAX_LIST_BYTES", 10)
    async with service(faults=always("unknown_model")) as server:
        found = await ask(api, server.url)
    assert found.detail.startswith("unknown model: ")
    assert found.advice == ""


async def test_a_service_that_never_answers_ends_within_the_limit(api, monkeypatch):
    monkeypatch.setattr(probe, "LIMIT_S", 0.5)
    async with service(faults=always("no_headers")) as server:
        found = await ask(api, server.url)
    assert found.detail.startswith("stall: ")


async def test_nobody_there_and_a_key_that_no_header_can_carry_are_told(api):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "base_url" in (await ask(api, nowhere)).advice
        found = await ask(api, nowhere, key="two words")
    assert found.detail.startswith("auth: ")
    assert "two words" not in found.model_dump_json()


async def test_several_are_asked_at_once_and_told_in_order(api):
    async with service(ttft_s=0.3) as server:
        targets = [target(api, server.session_url(str(number))) for number in range(4)]
        began = asyncio.get_running_loop().time()
        found = await ask_each(targets, SystemClock())
        took_s = asyncio.get_running_loop().time() - began
    assert [each.state for each in found] == ["ok"] * 4
    assert all(each.answer.latency_s >= 0.3 for each in found)
    assert took_s < sum(each.answer.latency_s for each in found)
    assert "Target" in repr(targets[0])
    assert KEY not in repr(targets[0])
