"""What the server and a wire format have to say to each other: an `Asked` request in, an `Answer` out, as JSON or events.

A dialect is pure: from values to values. An answer is made of parts: texts and calls of tools.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.core.chat import Message, Tool
from orchestrator.core.values import StopReason
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.caching import Block, Prefixes


class UnreadableRequest(Exception):
    """A body that the wire format does not allow; its text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, whatever its format. `blocks` are its pieces in order, where a client marks what to cache."""

    model: str
    system: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None
    response_schema: Mapping[str, object] | None
    is_streamed: bool
    is_usage_wanted: bool = True
    tools: tuple[Tool, ...] = ()
    blocks: tuple[Block, ...] = ()

    @property
    def text(self) -> str:
        """Everything that a model reads, in an order in which what siblings share comes first."""
        return "\n\n".join((*map(tool_text, self.tools), self.system, *(turn.whole for turn in self.messages)))


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text in an answer."""

    text: str
    kind: Literal["text"] = "text"


@dataclass(frozen=True, slots=True)
class CallPart:
    """A call of a tool in an answer; `arguments` is JSON, unless it is to be broken."""

    id: str
    name: str
    arguments: str
    kind: Literal["call"] = "call"


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens of an answer; the cached ones are parts of the input."""

    input_tokens: int
    cached_tokens: int
    written_tokens: int
    output_tokens: int
    reasoning_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What the service answers, in a stream with its usage if `is_usage_wanted`. `id` is unique within a server; `created_s` is in seconds since the epoch."""

    id: str
    created_s: int
    model: str
    parts: tuple[TextPart | CallPart, ...]
    stop_reason: StopReason
    counts: Counts
    is_usage_wanted: bool = True

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts if part.kind == "text")

    @property
    def calls(self) -> tuple[CallPart, ...]:
        """The calls among the parts."""
        return tuple(part for part in self.parts if part.kind == "call")


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream, as bytes; `tokens` is how much output it brings, for the pace."""

    body: bytes
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Rejection:
    """An error as a wire format words it."""

    status: int
    body: Mapping[str, object]


class Dialect(Protocol):
    """One wire format of one provider."""

    def read(self, body: Mapping[str, object]) -> Asked:
        """Read a request's body. Raises `UnreadableRequest`."""
        ...

    def prefixes(self, asked: Asked, from_tokens: int) -> Prefixes:
        """What of a request may come from a cache or go there, of so many tokens at least."""
        ...

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        ...

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream; those events with `tokens` are its pieces of text and arguments."""
        ...

    def ping(self) -> bytes:
        """A keep-alive within a stream."""
        ...

    def error_event(self) -> bytes:
        """Overload, told within a stream."""
        ...

    def rejection(self, kind: str, message: str) -> Rejection:
        """An error of one of the server's kinds, with its status."""
        ...

    def limit_headers(self, account: Account, now: float) -> Mapping[str, str]:
        """The published limits and what is left of them; `now` in seconds since the epoch."""
        ...


def mapping_of(value: object) -> Mapping[str, object]:
    """An object of a body; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def tool_text(tool: Tool) -> str:
    """What a model reads of a tool."""
    return f"## tool {tool.name}\n{tool.description}\n{json.dumps(dict(tool.parameters))}"


def arguments_object(arguments: str) -> Mapping[str, object]:
    """Arguments for a format that has them as an object; there, broken ones cannot be sent."""
    try:
        return mapping_of(json.loads(arguments))
    except ValueError:
        return {}


def pieces(text: str, size: int) -> Iterator[str]:
    """A text in pieces of so many characters."""
    for at in range(0, len(text), size):
        yield text[at : at + size]
