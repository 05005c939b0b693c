"""Whatever bytes a server sends, a model answers or raises `BackendError`; nothing else, and never a made-up answer."""

import asyncio
import json

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from orchestrator.stub_server.chat_api import ChatApi
from orchestrator.stub_server.dialect import Answer, Counts, TextPart
from orchestrator.stub_server.messages_api import MessagesApi
from orchestrator.stub_server.responses_api import ResponsesApi
from tests.fakes_backends import prompt_for
from tests.integration.wire import APIS

DIALECTS = {"messages": MessagesApi(), "responses": ResponsesApi(), "chat": ChatApi()}
ANSWER = Answer("1", 0, "m", (TextPart("a text in pieces"),), "end_turn", Counts(10, 2, 3, 4, 1))
EVENTS = {name: [event.body for event in dialect.events(ANSWER, 4)] for name, dialect in DIALECTS.items()}
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
def damaged(draw, name):
    """A stream with one to three things wrong: a value replaced or gone, an event lost, doubled, moved, or cut."""
    events = list(EVENTS[name])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(events) - 1))
        kind = draw(st.sampled_from(("replace", "remove", "lose", "double", "swap", "cut", "bytes")))
        head, _, tail = events[at].rpartition(b"data: ")
        try:
            value = json.loads(tail)
        except ValueError:
            value = None
        if kind in {"replace", "remove"} and value is not None:
            place = draw(st.sampled_from(list(places_in(value))))
            changed = removed(value, place) if kind == "remove" and place else replaced(value, place, draw(JUNK))
            events[at] = head + b"data: " + json.dumps(changed).encode() + b"\n\n"
        elif kind == "lose" and len(events) > 1:
            del events[at]
        elif kind == "double":
            events.insert(at, events[at])
        elif kind == "swap":
            other = draw(st.integers(0, len(events) - 1))
            events[at], events[other] = events[other], events[at]
        elif kind == "cut":
            events[at] = events[at][: draw(st.integers(0, len(events[at])))]
        else:
            events[at] = draw(st.binary(max_size=20)) + events[at]
    return b"".join(events)


async def outcome_of(name, body, headers):
    def answering(request):
        return httpx2.Response(200, headers=headers, content=body)

    async with APIS[name].over("http://127.0.0.1:9", transport=httpx2.MockTransport(answering)) as model:
        try:
            return await model.complete(prompt_for(), Meter())
        except BackendError as error:
            return error


@pytest.mark.parametrize("name", APIS)
def test_damaged_streams_become_answers_or_backend_errors(name):
    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(damaged(name))
    def check(body):
        outcome = asyncio.run(outcome_of(name, body, {"content-type": "text/event-stream"}))
        assert isinstance(outcome, Completion | BackendError)
        if isinstance(outcome, Completion):
            assert outcome.stop_reason
            assert outcome.usage.output_tokens is None or outcome.usage.output_tokens >= 0

    check()


@pytest.mark.parametrize("name", APIS)
def test_an_undamaged_stream_is_read_whole(name):
    body = b"".join(EVENTS[name])
    completion = asyncio.run(outcome_of(name, body, {"content-type": "text/event-stream"}))
    assert completion.text == "a text in pieces"
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
