"""Events come out the same, however the bytes were cut."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.wire.sse import json_events

VALUES = st.lists(st.dictionaries(st.text(max_size=3), st.text(max_size=8) | st.integers(), max_size=3), max_size=4)


def decoded(body, cuts=()):
    async def chunks():
        at = 0
        for cut in (*sorted(cuts), len(body)):
            if cut > at:
                yield body[at:cut]
                at = cut

    async def collect():
        return [value async for value in json_events(chunks())]

    return asyncio.run(collect())


@given(VALUES, st.sampled_from(["\n", "\r\n", "\r"]), st.data())
def test_any_cut_of_any_line_end_gives_the_same_events(values, end, data):
    lines = [f"event: x{end}: comment{end}data: {json.dumps(value, ensure_ascii=False)}{end}{end}" for value in values]
    body = "".join(lines).encode()
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    whole = [json.loads(json.dumps(value)) for value in values]
    assert decoded(body, cuts) == whole == decoded(body, range(len(body)))


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b"", []),
        (b"data: 1\n\n", [1]),
        (b"data:1\n\n", [1]),
        (b"data: 1", [1]),
        (b"data: 1\n", [1]),
        (b"data: [1,\ndata: 2]\n\n", [[1, 2]]),
        (b"data: [DONE]\n\n", []),
        (b"data:\n\n", []),
        (b": comment\n\nevent: ping\n\n", []),
        (b"id: 1\nretry: 5\ndata: 1\n\n\n\ndata: 2\n\n", [1, 2]),
        (b"<html>\n\n</html>", []),
        ('data: "\u2028\x85"\n\n'.encode(), ["\u2028\x85"]),
    ],
)
def test_events_as_servers_write_them(body, values):
    assert decoded(body) == values


@pytest.mark.parametrize("body", [b"data: {\n\n", b'data: "\xff"\n\n', b"data: {}x\n\n"])
def test_broken_events_are_value_errors(body):
    with pytest.raises(ValueError, match="."):
        decoded(body)
