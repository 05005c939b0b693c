"""Whatever a client sends, the simulated service reads a prompt of it or refuses it; it never breaks."""

from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.core.chat import Prompt
from orchestrator.stub_server.caching import PromptCache
from orchestrator.stub_server.dialect import UnreadableRequest
from orchestrator.stub_server.prompts import prompt_of
from tests.property.test_wire_fuzz import DIALECTS, JUNK, places_in, removed, replaced

SCHEMA = {"type": "object", "properties": {}}
MARK = {"cache_control": {"type": "ephemeral"}}
BODIES = {
    "messages": {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "rules", **MARK}],
        "tools": [{"name": "read", "description": "Reads.", "input_schema": SCHEMA, **MARK}],
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "x", "signature": "y"},
                    {"type": "text", "text": "I read."},
                    {"type": "tool_use", "id": "t1", "name": "read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "ok"}]},
                    {"type": "text", "text": "go on", **MARK},
                ],
            },
        ],
    },
    "responses": {
        "model": "m",
        "instructions": "rules",
        "tools": [{"type": "function", "name": "read", "description": "Reads.", "parameters": SCHEMA}],
        "text": {"format": {"type": "json_schema", "schema": SCHEMA}},
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
            {"role": "assistant", "content": "I read."},
            {"type": "function_call", "call_id": "t1", "name": "read", "arguments": '{"path": "a"}'},
            {"type": "function_call_output", "call_id": "t1", "output": "ok"},
            {"role": "user", "content": "go on"},
        ],
    },
    "chat": {
        "model": "m",
        "tools": [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}],
        "messages": [
            {"role": "system", "content": "rules"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "read", "arguments": "{}"}}],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "ok"},
            {"role": "user", "content": "go on"},
        ],
    },
}


def read(name, body):
    asked = DIALECTS[name].read(body)
    cache = PromptCache()
    prefixes = DIALECTS[name].prefixes(asked, 1)
    cache.write(prefixes, 0.0)
    assert cache.read(prefixes, 0.0) >= prefixes.paid_tokens
    return prompt_of(asked, {})


@pytest.mark.parametrize("name", BODIES)
def test_an_undamaged_body_is_read(name):
    prompt = read(name, BODIES[name])
    assert [message.role for message in prompt.messages] == ["user", "assistant", "user"]
    assert [call.id for call in prompt.messages[1].calls] == ["t1"]
    assert [(result.call, result.text) for result in prompt.messages[2].results] == [("t1", "ok")]
    assert (prompt.system, prompt.messages[2].text, prompt.tools[0].name) == ("rules", "go on", "read")


@pytest.mark.parametrize("name", BODIES)
def test_a_damaged_body_is_read_or_refused(name):
    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def check(data):
        body = BODIES[name]
        for _ in range(data.draw(st.integers(1, 3))):
            place = data.draw(st.sampled_from(list(places_in(body))))
            if place and data.draw(st.booleans()):
                body = removed(body, place)
            else:
                body = replaced(body, place, data.draw(JUNK)) if place else body
        with suppress(UnreadableRequest):
            assert isinstance(read(name, body), Prompt)

    check()
