"""How a request goes wrong on the wire, where it is not by an error status: bodies, connections, streams."""

from collections.abc import Sequence

from orchestrator.ports import Clock
from orchestrator.stub_server.dialect import Dialect, ServerEvent
from orchestrator.stub_server.http import Responder
from orchestrator.stub_server.settings import Fault, FaultKind

_JSON = {"content-type": "application/json"}
_HTML = (
    b"<!doctype html><html><head><title>Sign in</title></head><body>Your network wants you to sign in.</body></html>"
)
_OBJECT = b'{"id":"x"}'
_TRUNCATED = b'{"id":"x","type":"message","content":[{"type":"text","te'
_BROKEN_EVENT = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"del\n\n'
_PING_S = 0.05
_OF_STREAM: frozenset[FaultKind] = frozenset(
    {"stream_ends", "stream_cut", "stream_silent", "pings_only", "error_event", "broken_event"}
)


def is_before_answer(kind: FaultKind, *, is_streamed: bool) -> bool:
    """Whether a fault happens instead of an answer; those within a stream do, where none is asked for."""
    return kind != "broken_arguments" and not (is_streamed and kind in _OF_STREAM)


def begun(events: Sequence[ServerEvent], pieces: int) -> Sequence[ServerEvent]:
    """As much of a stream as comes before it goes wrong: so many pieces; all of them of one that has no more.

    A short answer has to go wrong as well.
    """
    spoken = [at for at, event in enumerate(events) if event.tokens]
    if not spoken:
        return events
    return events[: spoken[pieces]] if pieces < len(spoken) else events[: spoken[-1] + 1]


async def break_whole(fault: Fault, responder: Responder) -> bool:
    """Go wrong with a whole answer; False when the fault is an error status, which is not for here."""
    match fault.kind:
        case "html":
            await responder.send(200, {"content-type": "text/html; charset=utf-8"}, _HTML)
        case "wrong_object":
            await responder.send(200, _JSON, _OBJECT)
        case "truncated_json" | "stream_ends" | "broken_event":
            await responder.send(200, _JSON, _TRUNCATED)
        case "short_body" | "stream_cut":
            await responder.send(200, _JSON, _OBJECT, length=10_000)
        case "redirect":
            await responder.send(307, {"location": "/elsewhere"}, b"")
        case "reset":
            await responder.reset()
        case "no_headers" | "stream_silent" | "pings_only":
            await responder.hang(fault.hang_s)
        case _:
            return False
    return True


async def break_stream(fault: Fault, responder: Responder, dialect: Dialect, clock: Clock) -> None:
    """Go wrong in the middle of a stream that has begun."""
    match fault.kind:
        case "stream_ends":
            await responder.end()
        case "stream_silent":
            await responder.hang(fault.hang_s)
        case "pings_only":
            end = clock.now() + fault.hang_s
            while clock.now() < end:
                await responder.chunk(dialect.ping())
                await clock.sleep(_PING_S)
            await responder.cut()
        case "error_event":
            await responder.chunk(dialect.error_event())
            await responder.end()
        case "broken_event":
            await responder.chunk(_BROKEN_EVENT)
            await responder.end()
        case _:
            await responder.cut()
