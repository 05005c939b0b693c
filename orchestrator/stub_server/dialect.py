"""What the server and a wire format have to say to each other: an `Asked` request in, an `Answer` out, as JSON or events.

A dialect is pure: from values to values. An answer is made of parts, of which there is text today; a tool call would be
another kind of part.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from orchestrator.core.chat import Message
from orchestrator.core.values import StopReason
from orchestrator.stub_server.buckets import Account


class UnreadableRequest(Exception):
    """A body that the wire format does not allow; its text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, whatever its format."""

    model: str
    system: str
    messages: tuple[Message, ...]
    max_output_tokens: int | None
    response_schema: Mapping[str, object] | None
    is_streamed: bool
    is_usage_wanted: bool = True

    @property
    def text(self) -> str:
        """Everything that a model reads."""
        return "\n\n".join((self.system, *(message.text for message in self.messages)))


@dataclass(frozen=True, slots=True)
class TextPart:
    """A text in an answer."""

    text: str
    kind: Literal["text"] = "text"


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
    parts: tuple[TextPart, ...]
    stop_reason: StopReason
    counts: Counts
    is_usage_wanted: bool = True

    @property
    def text(self) -> str:
        """The text of all parts."""
        return "".join(part.text for part in self.parts)


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

    def whole(self, answer: Answer) -> Mapping[str, object]:
        """The answer as one JSON object."""
        ...

    def events(self, answer: Answer, piece_chars: int) -> Iterator[ServerEvent]:
        """The answer as a stream; those events with `tokens` are its pieces of text."""
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


def pieces(text: str, size: int) -> Iterator[str]:
    """A text in pieces of so many characters."""
    for at in range(0, len(text), size):
        yield text[at : at + size]


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts with a text. Raises `UnreadableRequest`."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UnreadableRequest("content: a text or a list of parts is expected")
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def mapping_of(value: object) -> Mapping[str, object]:
    """An object of a body; an empty one for what is none."""
    return value if isinstance(value, Mapping) else {}


def limit_of(value: object, name: str) -> int | None:
    """A limit on tokens. Raises `UnreadableRequest` for what is no positive number."""
    if value is None:
        return None
    if not isinstance(value, int) or value <= 0:
        raise UnreadableRequest(f"{name}: a positive number is expected")
    return value


def turns_of(value: object, name: str) -> tuple[tuple[str, str], ...]:
    """The role and text of each turn. Raises `UnreadableRequest`."""
    if not isinstance(value, list) or not value:
        raise UnreadableRequest(f"{name}: at least one turn is expected")
    turns = [mapping_of(turn) for turn in value]
    return tuple((str(turn.get("role", "user")), text_of(turn.get("content", ""))) for turn in turns)


def conversation(turns: tuple[tuple[str, str], ...]) -> tuple[Message, ...]:
    """The turns of the user and the model, in order."""
    return tuple(
        Message(role="assistant" if role == "assistant" else "user", text=text)
        for role, text in turns
        if role not in {"system", "developer"}
    )


def system_of(turns: tuple[tuple[str, str], ...], opening: str = "") -> str:
    """The system's text: what stands apart and what stands among the turns."""
    return "\n\n".join(
        text for text in (opening, *(text for role, text in turns if role in {"system", "developer"})) if text
    )
