"""Whatever bytes a server sends, a model answers or raises `BackendError`; nothing else, and never a made-up answer."""

import asyncio
import json

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.chat import Completion, Message, ToolResult, after
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from orchestrator.stub_server.chat_api import ChatApi
from orchestrator.stub_server.dialect import Answer, CallPart, Counts, TextPart
from orchestrator.stub_server.messages_api import MessagesApi
from orchestrator.stub_server.responses_api import ResponsesApi
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS
from tests.unit.tool_streams import SEALED

DIALECTS = {"messages": MessagesApi(), "responses": ResponsesApi(), "chat": ChatApi()}
SAID = TextPart("a text in pieces")
CALLS = (CallPart("call_1", "read", '{"path": "a.py", "deep": {"lines": [1, 2]}}'), CallPart("call_2", "done", "{}"))
COUNTS = Counts(10, 2, 3, 4, 1)
ANSWERS = {
    "text": Answer("1", 0, "m", (SAID,), "end_turn", COUNTS),
    "calls": Answer("1", 0, "m", (SAID, *CALLS), "tool_use", COUNTS),
}
EVENTS = {
    (name, kind): [event.body for event in dialect.events(answer, 4)]
    for name, dialect in DIALECTS.items()
    for kind, answer in ANSWERS.items()
}
EVENTS |= {
    (name, "thoughts"): [event + b"\n\n" for event in body.split(b"\n\n") if event] for name, body in SEALED.items()
}
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


def places_in(value, at=()):
    yield at
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places_in(child, (*at, key))


def replaced(value, at, new):
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


def removed(value, at):
    copy = value.copy()
    if len(at) == 1:
        del copy[at[0]]
    else:
        copy[at[0]] = removed(value[at[0]], at[1:])
    return copy


@st.composite
def damaged(draw, name, kind):
    """A stream with one to three things wrong: a value replaced or gone, an event lost, doubled, moved, or cut."""
    events = list(EVENTS[name, kind])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(events) - 1))
        damage = draw(st.sampled_from(("replace", "remove", "lose", "double", "swap", "cut", "bytes")))
        head, _, tail = events[at].rpartition(b"data: ")
        try:
            value = json.loads(tail)
        except ValueError:
            value = None
        if damage in {"replace", "remove"} and value is not None:
            place = draw(st.sampled_from(list(places_in(value))))
            changed = removed(value, place) if damage == "remove" and place else replaced(value, place, draw(JUNK))
            events[at] = head + b"data: " + json.dumps(changed).encode() + b"\n\n"
        elif damage == "lose" and len(events) > 1:
            del events[at]
        elif damage == "double":
            events.insert(at, events[at])
        elif damage == "swap":
            other = draw(st.integers(0, len(events) - 1))
            events[at], events[other] = events[other], events[at]
        elif damage == "cut":
            events[at] = events[at][: draw(st.integers(0, len(events[at])))]
        else:
            events[at] = draw(st.binary(max_size=20)) + events[at]
    return b"".join(events)


async def outcome_of(name, body, headers, prompt=None):
    def answering(request):
        return httpx2.Response(200, headers=headers, content=body)

    async with APIS[name].over("http://127.0.0.1:9", transport=httpx2.MockTransport(answering)) as model:
        try:
            return await model.complete(prompt or prompt_for(), Meter())
        except BackendError as error:
            return error


STREAMED = {"content-type": "text/event-stream"}


@pytest.mark.parametrize("kind", [*ANSWERS, "thoughts"])
@pytest.mark.parametrize("name", APIS)
def test_damaged_streams_become_answers_or_backend_errors(name, kind):
    @settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(name, kind))
    def check(body):
        outcome = asyncio.run(outcome_of(name, body, STREAMED))
        assert isinstance(outcome, Completion | BackendError)
        if isinstance(outcome, Completion):
            assert outcome.stop_reason
            assert outcome.usage.output_tokens is None or outcome.usage.output_tokens >= 0
            check_turn(name, outcome)

    check()


def check_turn(name, completion):
    """Whatever was read can be kept, told apart, and sent again."""
    assert not completion.calls or completion.stop_reason in {"tool_use", "max_tokens"}
    assert len({call.id for call in completion.calls}) == len(completion.calls)
    assert Completion.model_validate_json(completion.model_dump_json()) == completion
    results = Message(role="user", results=tuple(ToolResult(call=call.id, text="x") for call in completion.calls))
    again = after(prompt_for(), [completion.turn, results])
    assert isinstance(asyncio.run(outcome_of(name, b"".join(EVENTS[name, "text"]), STREAMED, again)), Completion)


@pytest.mark.parametrize("kind", ANSWERS)
@pytest.mark.parametrize("name", APIS)
def test_an_undamaged_stream_is_read_whole(name, kind):
    completion = asyncio.run(outcome_of(name, b"".join(EVENTS[name, kind]), STREAMED))
    assert completion.text == "a text in pieces"
    assert [(call.id, call.name, call.arguments) for call in completion.calls] == [
        (call.id, call.name, json.loads(call.arguments)) for call in ANSWERS[kind].calls
    ]
    assert completion.usage.input_tokens == 10
    assert completion.usage.cached_input_tokens == 2
    assert completion.usage.cache_write_tokens == 3
    assert completion.usage.output_tokens == 4


@pytest.mark.parametrize("name", APIS)
@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"id":"x"}', b"<html></html>", b"[1]", b"\xff\xfe", b'"text"'])
def test_a_body_without_events_is_malformed(name, body):
    error = asyncio.run(outcome_of(name, body, {"content-type": "application/json"}))
    assert isinstance(error, BackendError)
    assert error.kind == "malformed_response"
