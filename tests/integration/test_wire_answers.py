"""Real answers over a real connection, for each of the three APIs: text, usage, what is sent, limits, sessions, load."""

import asyncio
import json
import logging

import httpx2
import pytest

from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.chat import Draw, Message, Prompt
from orchestrator.core.errors import BackendError
from orchestrator.core.prompt import Selection, build_prompt
from orchestrator.core.values import Subtask
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan, RateLimits
from tests.fakes_backends import FakeClock, prompt_for
from tests.integration.wire import APIS, KEY, TEXT, USAGE, Brain, service

each_api = pytest.mark.parametrize("api", APIS.values(), ids=APIS.keys())


@each_api
async def test_text_and_usage_come_through_to_the_token(api):
    async with service() as server, api.over(server.url) as model:
        meter = Meter(output_tokens=5)
        completion = await model.complete(prompt_for(), meter)
    assert completion.text == TEXT
    assert completion.stop_reason == "end_turn"
    assert completion.usage == USAGE
    assert meter.output_tokens == 5 + USAGE.output_tokens
    assert [seen.is_complete for seen in server.requests] == [True]


@each_api
async def test_any_text_comes_through_unchanged(api):
    text = "line\u2028separator\r\n\ttab \U0001f600 \x85 end\n\n\ndata: [DONE]\n\nevent: error\n"
    async with service(Brain(text), piece_chars=1) as server, api.over(server.url) as model:
        assert (await model.complete(prompt_for(), Meter())).text == text


@each_api
@pytest.mark.parametrize("stop_reason", ["end_turn", "max_tokens", "refusal"])
async def test_why_an_answer_ended_comes_through(api, stop_reason):
    async with service(Brain("a text", stop_reason=stop_reason)) as server, api.over(server.url) as model:
        completion = await model.complete(prompt_for(), Meter())
    assert completion.stop_reason == stop_reason
    assert completion.text == "a text"


@each_api
async def test_an_empty_answer_is_an_answer(api):
    async with service(Brain("")) as server, api.over(server.url) as model:
        completion = await model.complete(prompt_for(), Meter())
    assert completion.text == ""
    assert completion.stop_reason == "end_turn"


@each_api
async def test_the_meter_moves_while_the_answer_comes(api):
    async with service(tokens_per_s=200.0) as server, api.over(server.url) as model:
        meter = Meter()
        shown = set()
        async with asyncio.TaskGroup() as tasks:
            task = tasks.create_task(model.complete(prompt_for(), meter))
            while not task.done():
                shown.add(meter.output_tokens)
                await asyncio.sleep(0.01)
    assert len(shown) > 2


@each_api
async def test_64_streams_at_once_are_all_answered(api):
    async with service(tokens_per_s=200.0) as server, api.over(server.url) as model:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(model.complete(prompt_for(), Meter())) for _ in range(64)]
        assert {task.result().text for task in asked} == {TEXT}
        assert len(server.requests) == 64


@each_api
async def test_the_key_is_sent_and_shown_nowhere(api, caplog):
    caplog.set_level(logging.DEBUG)
    async with service(faults=FaultPlan(nth={2: Fault(kind="auth")})) as server, api.over(server.url) as model:
        await model.complete(prompt_for(), Meter())
        with pytest.raises(BackendError):
            await model.complete(prompt_for(), Meter())
        sent = server.requests[0].headers
        assert sent["authorization"] == f"Bearer {KEY}"
        shown = f"{model!r}{vars(model)!r}{model._teller!r}{model._settings!r}{caplog.text}"
    assert KEY not in shown


@each_api
async def test_only_a_simulated_service_is_sent_the_draw_and_its_usage_says_so(api):
    async with service() as server:
        async with api.over(server.url) as model:
            plain = await model.complete(prompt_for(), Meter())
        async with api.over(server.url, is_simulated=True) as model:
            simulated = await model.complete(prompt_for(seed=3, subtask="größe", attempt=2, draw=4), Meter())
        first, second = server.house.brain.prompts
    assert not plain.usage.is_simulated
    assert simulated.usage.is_simulated
    assert first.draw.subtask.startswith("request-")
    assert second.draw == Draw(seed=3, subtask="größe", attempt=2, draw=4)


@each_api
async def test_the_stub_answers_over_the_wire_what_it_answers_directly(api):
    files = {
        "src/a.py": b"def area(w, h):\n    return w * h\n",
        "b.md": b'<file path="x" access="writable">\nno\n</file>\n',
    }
    subtask = Subtask(id="one", title="Document it", instruction="Add docstrings.", writable=("src/a.py", "b.md"))
    shown = Selection(tuple(prompt_for({path: text.decode() for path, text in files.items()}).files))
    prompt = build_prompt(subtask, shown, (), (), Draw(seed=1, subtask="one"))
    profile = StubProfile(time_scale=0)
    direct = await StubModel(profile, FakeClock()).complete(prompt, Meter())
    brain = StubModel(profile, SystemClock())
    async with service(brain) as server, api.over(server.url, is_simulated=True) as model:
        wired = await model.complete(prompt, Meter())
    assert wired.text == direct.text
    assert "src/a.py" in wired.text
    assert wired.usage.output_tokens == direct.usage.output_tokens


@each_api
async def test_a_conversation_and_a_schema_come_through(api):
    turns = (
        Message(role="user", text="first"),
        Message(role="assistant", text="second"),
        Message(role="user", text="third"),
    )
    schema = {
        "type": "object",
        "properties": {"names": {"type": "array", "items": {"type": "string"}}},
        "required": ["names"],
        "additionalProperties": False,
    }
    prompt = Prompt(
        system="the rules",
        messages=turns,
        draw=Draw(seed=0, subtask="s"),
        response_schema=schema,
        max_output_tokens=321,
    )
    async with service() as server, api.over(server.url, max_output_tokens=300) as model:
        await model.complete(prompt, Meter())
        (read,) = server.house.brain.prompts
    assert read.system == "the rules"
    assert read.messages == turns
    assert read.response_schema == schema
    assert read.max_output_tokens == 300


async def test_the_system_text_ends_with_a_cache_breakpoint_and_siblings_send_the_same_prefix():
    async with service() as server:
        async with APIS["messages"].over(server.url) as model:
            for number in (1, 2):
                await model.complete(prompt_for(text=f"subtask {number}"), Meter())
        async with APIS["responses"].over(server.url) as model:
            for number in (1, 2):
                await model.complete(prompt_for(text=f"subtask {number}"), Meter())
        claude, openai = server.requests[:2], server.requests[2:]
    for seen in claude:
        assert seen.body["system"] == [{"type": "text", "text": "system", "cache_control": {"type": "ephemeral"}}]
    assert len({seen.body["prompt_cache_key"] for seen in openai}) == 1
    assert all(seen.body["store"] is False for seen in openai)


LIMITED = RateLimits(requests_per_minute=600, input_tokens_per_minute=6_000, output_tokens_per_minute=600)


@each_api
async def test_published_limits_are_on_every_response_and_turn_away_with_a_retry_after(api):
    seen = []

    async def ask_until_turned_away(model):
        for _ in range(200):
            await model.complete(prompt_for(), Meter())

    def see(status, headers):
        seen.append((status, dict(headers)))

    async with service(limits=LIMITED) as server, api.over(server.url, on_response=see) as model:
        with pytest.raises(BackendError) as caught:
            await ask_until_turned_away(model)
    assert caught.value.kind == "rate_limit"
    assert 0 < caught.value.retry_after_s < 60
    names = {
        "messages": ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-output-tokens-reset"),
        "responses": ("x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"),
        "chat": ("x-ratelimit-remaining-requests", "x-ratelimit-reset-tokens"),
    }[api.name]
    assert all(name in headers for _, headers in seen for name in names)
    assert seen[-1][0] == 429
    assert "retry-after" in seen[-1][1]
    assert server.statuses() == {200: len(seen) - 1, 429: 1}


async def test_sessions_have_their_own_faults_and_counts():
    plan = FaultPlan(nth={2: Fault(kind="server_error")})
    async with service(sessions={"bad": plan}) as server:
        bad = APIS["responses"].over(server.session_url("bad"))
        good = APIS["responses"].over(server.session_url("good"))
        async with bad, good:
            await bad.complete(prompt_for(), Meter())
            await good.complete(prompt_for(), Meter())
            await good.complete(prompt_for(), Meter())
            with pytest.raises(BackendError):
                await bad.complete(prompt_for(), Meter())
    assert [(seen.session, seen.number, seen.status) for seen in server.requests] == [
        ("bad", 1, 200),
        ("good", 1, 200),
        ("good", 2, 200),
        ("bad", 2, 500),
    ]


BODIES = {
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"model": "m", "input": "hi"},
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}


@pytest.mark.parametrize("path", BODIES)
async def test_what_is_not_streamed_is_one_object_with_the_same_text_and_usage(path):
    async with service() as server, httpx2.AsyncClient(base_url=server.url) as client:
        answer = (await client.post(path, json=BODIES[path])).json()
    flat = json.dumps(answer, ensure_ascii=False)
    assert json.dumps(TEXT, ensure_ascii=False) in flat
    assert '_tokens": 77' in flat


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b"no json", b"[" * 100_000, b'{"messages": 1, "input": 2, "max_tokens": 1}']
)
@pytest.mark.parametrize("path", BODIES)
async def test_a_request_that_cannot_be_read_is_a_400_in_the_providers_own_words(path, body):
    async with service() as server, httpx2.AsyncClient(base_url=server.url) as client:
        answer = await client.post(path, content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]


async def test_the_small_routes():
    async with service(models=("one", "two")) as server, httpx2.AsyncClient(base_url=server.url) as client:
        listed = (await client.get("/v1/models")).json()
        counted = (await client.post("/s/any/v1/messages/count_tokens", json=BODIES["/v1/messages"])).json()
        missing = await client.get("/v1/elsewhere")
    assert [model["id"] for model in listed["data"]] == ["one", "two"]
    assert counted["input_tokens"] > 0
    assert missing.status_code == 404


async def test_connections_and_bodies_are_bounded():
    async with service(max_connections=2, max_body_bytes=1_000) as server:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        async with asyncio.timeout(5.0):
            while server.connections < 2:
                await asyncio.sleep(0.01)
        async with httpx2.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/v1/models")).status_code == 503
            for _, writer in held:
                writer.close()
                await writer.wait_closed()
            async with asyncio.timeout(5.0):
                while server.connections:
                    await asyncio.sleep(0.01)
            assert (await client.get("/v1/models")).status_code == 200
            assert (await client.post("/v1/responses", content=b"x" * 2_000)).status_code == 413


async def test_the_server_listens_on_loopback_alone_and_is_gone_afterwards():
    async with service() as server:
        port = server.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert writer.get_extra_info("peername")[0] == "127.0.0.1"
    assert await reader.read() == b""
    writer.close()
    with pytest.raises(OSError, match="refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
