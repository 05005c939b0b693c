"""What providers say about batches, and what is made of it: statuses, lists, files, and things that no API promises."""

import asyncio
import json
from contextlib import aclosing

import httpx2
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.backends.batches.anthropic_batches import AnthropicBatches
from orchestrator.backends.batches.openai_batches import OpenAIBatches
from orchestrator.backends.batches.provider import (
    Absent,
    Accepted,
    BatchId,
    BatchProvider,
    BatchRequest,
    Declined,
    Ended,
    Found,
    Gone,
    Refused,
    Running,
    Sought,
    Unclear,
    Undecided,
)
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAISettings
from orchestrator.core.chat import Completion, Tool
from orchestrator.core.errors import BackendError
from orchestrator.engine.clock import SystemClock
from tests.fakes_backends import prompt_for

KEY = "sk-secret-0123456789"
NOW = 1_790_000_000
SOUGHT = Sought("b1-1", 2, NOW)
REQUESTS = [BatchRequest("b1-1-0", {"a": 1}), BatchRequest("b1-1-1", {"a": "é"})]


def claude(handler, base_url="http://claude.test", **limits):
    settings = ClaudeSettings(model="m", base_url=base_url, **limits)
    return AnthropicBatches(settings, Connection(SecretStr(KEY), SystemClock(), httpx2.MockTransport(handler)))


def gpt(handler, base_url="http://gpt.test/v1", **limits):
    settings = OpenAISettings(model="m", base_url=base_url, **limits)
    return OpenAIBatches(settings, Connection(SecretStr(KEY), SystemClock(), httpx2.MockTransport(handler)))


BOTH = pytest.mark.parametrize("make", [claude, gpt])


def always(status=200, **answer):
    return lambda request: httpx2.Response(status, **answer)


def answering(*, upload=True, **answer):
    """A handler whose uploads work, and whose other answers are as given."""

    def handle(request):
        if upload and request.url.path.endswith("/files"):
            return httpx2.Response(200, json={"id": "file-1", "object": "file"})
        return httpx2.Response(**{"status_code": 200, **answer})

    return handle


async def read_all(provider, batch="x"):
    async with aclosing(provider.results(BatchId(batch))) as results:
        return [result async for result in results]


async def read_into(came, provider):
    async with aclosing(provider.results(BatchId("x"))) as results:
        async for result in results:
            came += [result.custom_id]


def test_both_are_providers():
    providers: list[BatchProvider] = [claude(always()), gpt(always())]
    assert [provider.place for provider in providers] == ["claude http://claude.test", "openai http://gpt.test/v1"]
    assert [provider.name for provider in providers] == ["m", "m"]


@BOTH
@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, {"error": {"type": "invalid_request_error", "message": "no"}}, Refused),
        (401, {}, Refused),
        (402, {}, Refused),
        (404, {}, Refused),
        (413, {}, Refused),
        (422, {}, Refused),
        (307, {}, Refused),
        (429, {}, Refused),
        (529, {}, Refused),
        (503, {"error": {"code": "server_is_overloaded"}}, Refused),
        (408, {}, Unclear),
        (409, {}, Unclear),
        (500, {}, Unclear),
        (502, {}, Unclear),
        (503, {}, Unclear),
        (504, {}, Unclear),
        (200, {}, Unclear),
        (200, {"id": 7}, Unclear),
        (200, [], Unclear),
        (200, {"id": "x"}, Unclear),
        (200, {"id": "x", "status": "validating", "processing_status": "in_progress"}, Accepted),
    ],
)
async def test_only_what_was_certainly_not_accepted_counts_as_refused(make, status, body, expected):
    async with make(answering(status_code=status, json=body)) as provider:
        submission = await provider.submit("b1-1", REQUESTS)
    assert type(submission) is expected
    if not isinstance(submission, Accepted):
        assert isinstance(submission.error, BackendError)


@BOTH
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx2.ConnectError("refused"), Refused),
        (httpx2.ConnectTimeout("slow"), Refused),
        (httpx2.PoolTimeout("full"), Refused),
        (httpx2.ReadError("reset"), Unclear),
        (httpx2.ReadTimeout("silent"), Unclear),
        (httpx2.WriteError("broken pipe"), Unclear),
        (httpx2.RemoteProtocolError("cut"), Unclear),
        (OSError("anything"), Unclear),
    ],
)
async def test_a_connection_that_failed_before_anything_was_sent_is_a_refusal(make, error, expected):
    def handle(request):
        if request.url.path.endswith("/files"):
            return httpx2.Response(200, json={"id": "file-1", "object": "file"})
        raise error

    async with make(handle) as provider:
        assert type(await provider.submit("b1-1", REQUESTS)) is expected


@BOTH
@pytest.mark.parametrize("content", [b"<html>sign in</html>", b'{"id": "x', b"", b"\xff\xfe"])
async def test_a_page_of_a_proxy_is_no_answer_to_anything(make, content):
    async with make(answering(content=content, headers={"content-type": "application/json"})) as provider:
        assert type(await provider.submit("b1-1", REQUESTS)) is Unclear
        for call in (provider.poll("x"), provider.find(SOUGHT), read_all(provider)):
            with pytest.raises(BackendError) as caught:
                await call
            assert caught.value.kind == "malformed_response"


async def test_an_upload_that_fails_is_a_refusal_since_no_batch_can_be_there():
    async with gpt(always(500, json={})) as provider:
        assert type(await provider.submit("b1-1", REQUESTS)) is Refused


@BOTH
async def test_silence_is_bounded(make):
    async def handle(request):
        await asyncio.sleep(30)

    async with make(handle, first_byte_s=0.05, deadline_s=0.05) as provider:
        assert (await provider.submit("b1-1", REQUESTS)).error.kind == "stall"
        with pytest.raises(BackendError, match="no answer about a batch"):
            await provider.poll("x")


@BOTH
async def test_results_that_stand_still_are_dropped_and_what_came_before_was_given(make):
    async def trickle():
        yield b'{"custom_id": "one", "result": {"type": "succeeded"}, "response": {"status_code": 200}}\n{"cus'
        await asyncio.sleep(30)

    def handle(request):
        if request.url.path.endswith(("/results", "/content")):
            return httpx2.Response(200, content=trickle())
        return httpx2.Response(200, json={"results_url": "/v1/results", "output_file_id": "f"})

    async with make(handle, idle_s=0.05) as provider:
        came = []
        with pytest.raises(BackendError) as caught:
            await read_into(came, provider)
        assert (came, caught.value.kind) == (["one"], "stall")


@BOTH
async def test_lines_are_put_together_from_whatever_pieces_they_come_in(make):
    lines = [{"custom_id": f"b-{n}", "result": {"type": "succeeded", "text": "é\u2028"}} for n in range(5)]
    whole = b"\r\n".join(json.dumps(line, ensure_ascii=False).encode() for line in lines) + b"\n\nno json\n[]\n"

    async def bytewise():
        for at in range(len(whole)):
            yield whole[at : at + 1]

    def handle(request):
        if request.url.path.endswith(("/results", "/content")):
            return httpx2.Response(200, content=bytewise())
        return httpx2.Response(200, json={"results_url": "/v1/results", "output_file_id": "f", "error_file_id": ""})

    async with make(handle) as provider:
        assert [result.custom_id for result in await read_all(provider)] == [f"b-{n}" for n in range(5)]


# Lists.


def claude_batch(number, age_s=0, size=2, status="ended"):
    created = f"2026-09-21T14:{13 - age_s // 60:02d}:20Z"
    return {
        "id": f"c{number}",
        "created_at": created,
        "processing_status": status,
        "request_counts": {"processing": 0, "succeeded": size},
        "results_url": f"/v1/results/c{number}",
    }


def paged(pages, results=None):
    """A service whose list has these pages."""
    asked = []

    def handle(request):
        if request.url.path.startswith("/v1/messages/batches/c"):
            number = request.url.path.rsplit("/c", 1)[1]
            return httpx2.Response(200, json=claude_batch(number))
        if request.url.path.startswith("/v1/results/"):
            owner = (results or {}).get(request.url.path.rsplit("/", 1)[1], "stranger")
            line = {"custom_id": f"{owner}-0", "result": {"type": "succeeded"}}
            return httpx2.Response(200, content=json.dumps(line).encode())
        after = request.url.params.get("after_id") or request.url.params.get("after")
        asked.append(after)
        ids = [None, *(page[-1]["id"] for page in pages)]
        at = ids.index(after)
        return httpx2.Response(200, json={"data": pages[at], "has_more": at + 1 < len(pages)})

    return handle, asked


def gpt_batch(number, age_s=0, name="stranger"):
    return {"id": f"g{number}", "created_at": NOW - age_s, "metadata": {"orchestrate_batch": name}}


async def test_a_batch_is_found_by_its_name_pages_away():
    pages = [[gpt_batch(1), gpt_batch(2, 10)], [gpt_batch(3, 20), gpt_batch(4, 30, "b1-1")], [gpt_batch(5)]]
    async with gpt(paged(pages)[0]) as provider:
        assert await provider.find(SOUGHT) == Found("g4")


async def test_reading_ends_at_batches_that_are_too_old():
    handle, asked = paged(
        [[gpt_batch(1), gpt_batch(2, 10)], [gpt_batch(3, 900), gpt_batch(4, 950)], [gpt_batch(5, 999)]]
    )
    async with gpt(handle) as provider:
        assert await provider.find(SOUGHT) == Absent()
    assert asked == [None, "g2"]


async def test_a_list_that_begins_with_the_oldest_is_read_to_its_end():
    pages = [[gpt_batch(1, 9_000), gpt_batch(2, 8_000)], [gpt_batch(3, 7_000), gpt_batch(4, 0, "b1-1")]]
    async with gpt(paged(pages)[0]) as provider:
        assert await provider.find(SOUGHT) == Found("g4")


async def test_a_list_that_leads_back_to_itself_ends():
    same = {"data": [gpt_batch(1)], "has_more": True}
    async with gpt(always(json=same)) as provider:
        assert await provider.find(SOUGHT) == Absent()


@BOTH
@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": "none"}, {"id": "x"}])
async def test_what_is_no_list_does_not_say_that_a_batch_is_absent(make, answer):
    async with make(always(json=answer)) as provider:
        with pytest.raises(BackendError, match="no list"):
            await provider.find(SOUGHT)


async def test_a_batch_without_a_name_is_found_by_its_time_its_size_and_its_first_result():
    batches = [
        claude_batch(1, size=3),
        claude_batch(2),
        claude_batch(3, 60),
        claude_batch(4, 720),
        claude_batch(5, 720),
    ]
    handle, _ = paged([batches[:3], batches[3:]], {"c1": "b1-1", "c3": "b1-1", "c5": "b1-1"})
    async with claude(handle) as provider:
        assert await provider.find(SOUGHT) == Found("c3")
        assert await provider.find(Sought("b1-1", 2, NOW, frozenset({BatchId("c3")}))) == Absent()
        assert await provider.find(Sought("b1-11", 2, NOW)) == Absent()


async def test_a_batch_that_may_be_it_and_has_not_ended_leaves_it_undecided():
    batches = [claude_batch(1, status="in_progress"), claude_batch(2, status="canceling"), claude_batch(3)]
    async with claude(paged([batches])[0]) as provider:
        assert await provider.find(SOUGHT) == Undecided(2)


# Polls.


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        ({"processing_status": "in_progress", "request_counts": {"processing": 5, "succeeded": 2}}, Running(2, 7)),
        ({"processing_status": "canceling", "request_counts": {"processing": 5}}, Running(0, 5)),
        ({"processing_status": "in_progress"}, Running(0, 0)),
        ({"processing_status": "ended", "results_url": "/x"}, Ended()),
        ({"processing_status": "ended", "results_url": None, "archived_at": "2026-01-01T00:00:00Z"}, Gone()),
    ],
)
async def test_what_anthropic_says_of_a_batch(shown, state):
    async with claude(always(json=shown)) as provider:
        assert await provider.poll("x") == state


@pytest.mark.parametrize(
    ("shown", "state"),
    [
        ({"status": "validating", "request_counts": {"total": 0, "completed": 0, "failed": 0}}, Running(0, 0)),
        ({"status": "in_progress", "request_counts": {"total": 9, "completed": 3, "failed": 1}}, Running(4, 9)),
        ({"status": "finalizing"}, Running(0, 0)),
        ({"status": "cancelling"}, Running(0, 0)),
        ({"status": "completed"}, Ended()),
        ({"status": "expired"}, Ended()),
        ({"status": "cancelled"}, Ended()),
    ],
)
async def test_what_openai_says_of_a_batch(shown, state):
    async with gpt(always(json=shown)) as provider:
        assert await provider.poll("x") == state


@BOTH
async def test_a_batch_that_is_not_known_is_gone(make):
    async with make(always(404, json={"error": {"message": "no such batch"}})) as provider:
        assert await provider.poll("x") == Gone()


async def test_faulty_lines_are_told_apart_from_the_rest_of_their_batch():
    errors = [
        {"code": "invalid_json_line", "line": 2, "message": "This line is not parseable."},
        {"code": "model_not_found", "line": 1, "message": "no such model"},
    ]
    async with gpt(always(json={"status": "failed", "errors": {"data": errors}})) as provider:
        state = await provider.poll("x")
    assert isinstance(state, Declined)
    assert {number: error.kind for number, error in state.faulty.items()} == {1: "invalid_request", 0: "unknown_model"}
    assert state.error.is_retryable


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([{"code": "token_limit_exceeded", "line": None, "message": "Enqueued token limit reached"}], "rate_limit"),
        ([{"code": "billing_hard_limit_reached", "message": "pay"}], "billing"),
        ([{"code": "empty_file", "message": "empty"}], "invalid_request"),
        ([], "transient"),
    ],
)
async def test_why_a_whole_batch_failed_decides_what_follows(errors, kind):
    async with gpt(always(json={"status": "failed", "errors": {"data": errors}})) as provider:
        state = await provider.poll("x")
    assert isinstance(state, Declined)
    assert (state.error.kind, state.faulty) == (kind, {})


# Files.


@pytest.mark.parametrize(
    ("base_url", "results_url", "asked"),
    [
        ("http://claude.test", "http://claude.test/v9/elsewhere?x=1", "http://claude.test/v9/elsewhere?x=1"),
        ("http://claude.test", "https://evil.test/v1/results", "http://claude.test/v1/results"),
        ("http://gate.test/claude", "https://api.anthropic.com/v1/r", "http://gate.test/claude/v1/r"),
        ("http://gate.test/claude", "http://gate.test/claude/v1/r", "http://gate.test/claude/v1/r"),
        ("http://claude.test", "http://claude.test.evil.test/v1/r", "http://claude.test/v1/r"),
        ("http://claude.test", "/v1/r", "http://claude.test/v1/r"),
    ],
)
async def test_results_are_read_where_everything_else_is_so_that_the_key_goes_nowhere_else(
    base_url, results_url, asked
):
    urls = []

    def handle(request):
        urls.append(str(request.url))
        assert any(KEY in value for value in request.headers.values())
        if "batches" in request.url.path:
            return httpx2.Response(200, json={"results_url": results_url})
        return httpx2.Response(200, content=b'{"custom_id": "one", "result": {"type": "expired"}}')

    async with claude(handle, base_url) as provider:
        (result,) = await read_all(provider)
    assert (result.custom_id, result.is_answered) == ("one", False)
    assert urls[1:] == [asked]


async def test_files_that_are_left_out_or_not_kept_any_more_leave_nothing():
    def handle(request):
        if request.url.path.endswith("/content"):
            return httpx2.Response(404, json={"error": {"message": "expired"}})
        return httpx2.Response(200, json={"status": "completed", "output_file_id": "gone", "error_file_id": ""})

    async with gpt(handle) as provider:
        assert await read_all(provider) == []


@BOTH
async def test_errors_hold_no_key(make):
    words = {"error": {"message": f"Incorrect API key provided: {KEY}", "type": "x"}}
    async with make(always(401, json=words)) as provider:
        submission = await provider.submit("b1-1", REQUESTS)
        assert KEY not in str(submission.error)
        with pytest.raises(BackendError) as caught:
            await provider.poll("x")
        assert KEY not in str(caught.value)
        assert caught.value.__cause__ is None


# Single results.

TOOL = Tool(name="look", description="Look.", parameters={"type": "object"})
PROMPT = prompt_for(text="do it", tools=(TOOL,))
USED = {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 0, "cache_creation_input_tokens": 0}


def succeeded(**message):
    whole = {"type": "message", "content": [], "stop_reason": "end_turn", "usage": USED, **message}
    return json.dumps({"custom_id": "x", "result": {"type": "succeeded", "message": whole}})


def test_thoughts_come_back_sealed_with_their_signature():
    blocks = [
        {"type": "thinking", "thinking": "hm", "signature": "s1g"},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "I look"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": [1, {"é": None}]}},
    ]
    provider = claude(always())
    completion = provider.read(PROMPT, succeeded(content=blocks, stop_reason="tool_use"))
    assert (completion.text, completion.stop_reason) == ("I look", "tool_use")
    assert completion.calls[0].arguments == {"at": [1, {"é": None}]}
    assert json.loads(completion.opaque)["content"] == blocks


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"type": "expired"}, "transient"),
        ({"type": "canceled"}, "transient"),
        ({"type": "unheard of"}, "malformed_response"),
        ({}, "malformed_response"),
        ({"type": "succeeded", "message": {"content": [], "stop_reason": "end_turn"}}, "malformed_response"),
        ({"type": "succeeded", "message": {"usage": USED, "stop_reason": "unheard of"}}, "malformed_response"),
        (
            {"type": "errored", "error": {"error": {"type": "invalid_request_error", "message": "bad"}}},
            "invalid_request",
        ),
        ({"type": "errored", "error": {"type": "overloaded_error"}}, "overloaded"),
        ({"type": "errored", "error": {"error": {"type": "api_error"}}}, "transient"),
        (
            {"type": "errored", "error": {"error": {"type": "invalid_request_error", "message": "prompt is too long"}}},
            "context_too_long",
        ),
    ],
)
def test_what_anthropics_results_mean(outcome, kind):
    with pytest.raises(BackendError) as caught:
        claude(always()).read(PROMPT, json.dumps({"custom_id": "x", "result": outcome}))
    assert caught.value.kind == kind


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ({"response": None, "error": {"code": "batch_expired", "message": "too late"}}, "transient"),
        ({"response": None, "error": {"code": "batch_cancelled"}}, "transient"),
        ({"response": None, "error": None}, "transient"),
        ({"response": None, "error": {"code": "model_not_found"}}, "unknown_model"),
        ({"response": {"status_code": 429, "body": {"error": {"code": "rate_limit_exceeded"}}}}, "rate_limit"),
        ({"response": {"status_code": 500, "body": None}}, "transient"),
        ({"response": {"status_code": 400, "body": {"error": {"message": "bad"}}}}, "invalid_request"),
        ({"response": {"status_code": 200, "body": {"id": "x"}}}, "malformed_response"),
        ({"response": {"status_code": 200, "body": {"status": "completed", "output": []}}}, "malformed_response"),
        (
            {"response": {"status_code": 200, "body": {"status": "failed", "error": {"code": "server_error"}}}},
            "transient",
        ),
    ],
)
def test_what_openais_results_mean(line, kind):
    with pytest.raises(BackendError) as caught:
        gpt(always()).read(PROMPT, json.dumps({"custom_id": "x", **line}))
    assert caught.value.kind == kind


NAMES = [
    "result",
    "type",
    "message",
    "content",
    "usage",
    "text",
    "error",
    "response",
    "body",
    "status",
    "output",
    "status_code",
    "input_tokens",
    "output_tokens",
    "stop_reason",
    "input",
    "name",
    "id",
    "code",
    "custom_id",
]
KINDS = ("succeeded", "errored", "tool_use", "text", "thinking", "completed", "incomplete")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 600) | st.text(max_size=6) | st.sampled_from(KINDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5),
    max_leaves=25,
)


@examples(max_examples=150, deadline=None)
@given(value=JSON)
def test_whatever_a_result_is_it_is_an_answer_or_an_error_of_the_backend(value):
    for provider in PROVIDERS:
        for text in (json.dumps(value), json.dumps({"result": value, "response": {"status_code": 200, "body": value}})):
            try:
                assert isinstance(provider.read(PROMPT, text), Completion)
            except BackendError:
                continue


PROVIDERS = (claude(always()), gpt(always()))


def test_what_is_no_json_is_an_error_of_the_backend_too():
    for provider in PROVIDERS:
        for text in ("", "[" * 100_000, "null", '"text"', "NaN"):
            with pytest.raises(BackendError):
                provider.read(PROMPT, text)
