"""What all model APIs share: one streamed request, watched, metered, judged; and the HTTP client it goes through.

    ask → events → reply → Completion        what goes wrong → BackendError

A subclass states the request, reads the events and names its SDK's exceptions. The SDKs' own retries are off, since
`resilience` owns them, and redirects are not followed, since they would take the key elsewhere. An error is raised apart
from its cause: that holds the request, and in it the key.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass, field
from types import TracebackType
from typing import ClassVar, Protocol, Self

import httpx2
from pydantic import SecretStr

from orchestrator.backends.wire.api_settings import AnyApiSettings
from orchestrator.backends.wire.calls import CallDraft, settled
from orchestrator.backends.wire.faults import FaultTeller, Reported, clean_key
from orchestrator.backends.wire.sse import json_events
from orchestrator.backends.wire.streams import Progress, Watch, fields, mended
from orchestrator.backends.wire.wire_faults import WIRE_ERRORS, fault_in, is_unsent
from orchestrator.core.chat import Completion, Prompt, ToolCall
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.core.values import StopReason, Usage
from orchestrator.ports import Clock, Meter

OnResponse = Callable[[int, Mapping[str, str]], None]
Faults = Mapping[type[Exception], tuple[BackendFault, str]]
UNKNOWN_USAGE = Usage(
    requests=1,
    input_tokens=None,
    cached_input_tokens=None,
    cache_write_tokens=None,
    output_tokens=None,
    reasoning_tokens=None,
    cost_usd=None,
)
DRAW_HEADER = "x-orchestrate-draw"
_NO_KEY = SecretStr("none")


class NoEventsError(Exception):
    """A response of status 200 without a single event; its text is the content's type."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach an API, besides its settings.

    `key` is None for a server that asks for none. `transport` replaces the network in tests. `on_response` is called once
    for each HTTP response with its status and headers, rejections included.
    """

    key: SecretStr | None
    clock: Clock
    transport: httpx2.AsyncBaseTransport | None = None
    on_response: OnResponse | None = None


class Response(Protocol):
    """A response whose head is there, as both SDKs give it."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, by name in any case."""
        ...

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        ...


class Reply(Protocol):
    """What of an answer has come."""

    @property
    def text(self) -> str:
        """The text so far."""
        ...

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it ended; None while that is not known."""
        ...

    @property
    def usage(self) -> Usage | None:
        """What it cost; None while that is not known."""
        ...

    @property
    def failure(self) -> Reported | None:
        """The failure that an event reported, if one did."""
        ...

    @property
    def calls(self) -> tuple[ToolCall, ...]:
        """The tools that it calls, once it is finished."""
        ...

    @property
    def opaque(self) -> str:
        """What the provider wants back unread with this turn, once it is finished."""
        ...

    def take(self, event: Mapping[str, object]) -> int | None:
        """Take in an event; return the characters of output in it, thoughts included, or None for a mere keep-alive."""
        ...

    def finish(self, prompt: Prompt) -> None:
        """Settle what is known only at the end of a whole answer, to this prompt."""
        ...


@dataclass(slots=True)
class Transcript:
    """The parts of a reply that all APIs have; a subclass reads the events, and says what calls are in it and what is opaque."""

    parts: list[str] = field(default_factory=list)
    stop_reason: StopReason | None = None
    usage: Usage | None = None
    failure: Reported | None = None
    calls: tuple[ToolCall, ...] = ()
    opaque: str = ""

    @property
    def text(self) -> str:
        """The text so far."""
        return mended("".join(self.parts))

    def finish(self, prompt: Prompt) -> None:
        """Settle the calls, and make the stop reason fit them: some servers call tools and say that they are done.

        What was refused, or cut off in the middle, calls nothing that anybody should carry out. A `tool_use` without any
        call stays one: a tool was called that is none of ours.
        """
        if self.stop_reason == "refusal":
            return
        self.calls = settled(self.drafts(), prompt, is_cut=self.stop_reason == "max_tokens")
        if self.calls and self.stop_reason == "end_turn":
            self.stop_reason = "tool_use"
        self.opaque = self.sealed_turn()

    def drafts(self) -> Sequence[CallDraft]:
        """The calls, as far as they came."""
        return ()

    def sealed_turn(self) -> str:
        """What the provider wants back unread; nothing where text and calls say it all."""
        return ""


class ApiModel(ABC):
    """A `ChatModel` over a provider's SDK. Close it with `aclose`, or use it as a context manager.

    Cancelling `complete` closes the stream.
    """

    faults: ClassVar[Faults]
    sdk_error: ClassVar[type[Exception]]

    def __init__(self, settings: AnyApiSettings, connection: Connection) -> None:
        self._settings = settings
        self._key = _NO_KEY if connection.key is None else clean_key(connection.key, settings)
        self._teller = FaultTeller(settings, self._key, connection.clock)
        self._on_response = connection.on_response
        self._errors: tuple[type[Exception], ...] = (self.sdk_error, NoEventsError, *WIRE_ERRORS)
        # Reading has its own limits (`Watch`); the client's are a second fence.
        self._http = httpx2.AsyncClient(
            transport=connection.transport,
            timeout=httpx2.Timeout(settings.deadline_s, connect=settings.connect_s),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=100),
            follow_redirects=False,
            event_hooks={"response": [self._saw]},
        )

    @property
    def name(self) -> str:
        """The model's id."""
        return self._settings.model

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer one prompt. Raises `BackendError`; each call is one HTTP request at most."""
        progress = Progress(meter)
        watch = Watch(self._settings)
        reply = self._reply()
        error: Exception | None = None
        async with watch.guarding():
            try:
                async with self._ask(prompt) as response:
                    watch.answered()
                    await _listen(response, reply, watch, progress)
            except self._errors as caught:
                error = caught
        outcome = self._outcome(prompt, reply, error)
        if isinstance(outcome, BackendError):
            raise outcome
        progress.finish(outcome.usage.output_tokens)
        return outcome

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @abstractmethod
    def _ask(self, prompt: Prompt) -> AbstractAsyncContextManager[Response]:
        """The request, sent by entering; leaving closes the connection or gives it back."""

    @abstractmethod
    def _reply(self) -> Reply:
        """An empty reply."""

    @abstractmethod
    def _reported(self, error: BaseException) -> Reported | None:
        """What the provider said with an exception; None where it is not the provider who speaks."""

    def _outcome(self, prompt: Prompt, reply: Reply, error: Exception | None) -> Completion | BackendError:
        failure = reply.failure if error is None else self._reported(error)
        if failure is not None:
            # A refusal has a text and a price like any answer, where they are told.
            return self._teller.reported(failure) or self._completion(reply, "refusal")
        if isinstance(error, NoEventsError):
            what = f"answered with {error} instead of events; is base_url right?"
            return self._teller.broken("malformed_response", what)
        if error is not None:
            kind, what = fault_in(self.faults, error)
            cause = error.__cause__ or error
            return self._teller.broken(kind, what, str(cause) or type(cause).__name__, is_unsent=is_unsent(error))
        if reply.stop_reason is None:
            return self._teller.broken("malformed_response", "the answer ended without a known stop reason")
        if reply.usage is None:
            return self._teller.broken("malformed_response", "the answer ended without its usage")
        reply.finish(prompt)
        return self._completion(reply, reply.stop_reason)

    def _completion(self, reply: Reply, stop_reason: StopReason) -> Completion:
        usage = (reply.usage or UNKNOWN_USAGE).model_copy(update={"is_simulated": self._settings.is_simulated})
        return Completion(text=reply.text, stop_reason=stop_reason, usage=usage, calls=reply.calls, opaque=reply.opaque)

    def _headers(self, prompt: Prompt) -> dict[str, str] | None:
        if not self._settings.is_simulated:
            return None
        return {DRAW_HEADER: json.dumps(prompt.draw.model_dump())}

    def _batched_headers(self, prompt: Prompt) -> dict[str, str] | None:
        """The same for a request in a batch, which is the same request whichever attempt asks again for it."""
        return self._headers(prompt.model_copy(update={"draw": prompt.draw.model_copy(update={"attempt": 1})}))

    async def _saw(self, response: httpx2.Response) -> None:
        if self._on_response is not None:
            self._on_response(response.status_code, response.headers)


async def _listen(response: Response, reply: Reply, watch: Watch, progress: Progress) -> None:
    """Take in the events to the end, or to a reported failure."""
    is_silent = True
    async with aclosing(json_events(response.iter_bytes())) as events:
        async for event in events:
            chars = reply.take(fields(event))
            if chars is not None:
                is_silent = False
                watch.moved()
                progress.add(chars)
            if reply.failure is not None:
                return
    if is_silent:
        # A proxy's page, or any other body without an event in it, looks like an empty stream.
        raise NoEventsError(response.headers.get("content-type", "a body of no type"))
