"""One request at the simulated service: let in, gone wrong or thought about, and answered at its pace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from orchestrator.core.chat import Completion, estimate_tokens
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.core.values import StopReason
from orchestrator.ports import ChatModel, Clock, Meter
from orchestrator.stub_server.breaking import begun, break_stream, break_whole, is_before_answer
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.caching import Prefixes, PromptCache
from orchestrator.stub_server.dialect import Answer, Asked, CallPart, Counts, Dialect, TextPart
from orchestrator.stub_server.http import Responder
from orchestrator.stub_server.prompts import prompt_of
from orchestrator.stub_server.settings import Fault, FaultKind, ServerSettings

_BRAIN_FAULTS: Mapping[BackendFault, FaultKind] = {
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "auth": "auth",
    "billing": "billing",
    "unknown_model": "unknown_model",
    "invalid_request": "invalid_request",
    "context_too_long": "context_too_long",
}


@dataclass(frozen=True, slots=True)
class House:
    """What all requests of a server share."""

    brain: ChatModel
    clock: Clock
    settings: ServerSettings


@dataclass(slots=True)
class Seen:
    """One request as the server saw it. `status` is None when no answer was begun.

    Tokens are those that it charged; what was read from the cache and what was written there are parts of the input.
    """

    number: int
    session: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]
    fault: FaultKind | None = None
    status: int | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0
    output_tokens: int = 0
    is_complete: bool = False

    def begin(self, status: int) -> None:
        """The head of the answer is sent."""
        self.status = status


@dataclass(frozen=True, slots=True)
class CacheUse:
    """What a request has to do with the cache: its prefixes, how many tokens it reads there, and how many it writes."""

    prefixes: Prefixes = field(default_factory=Prefixes)
    read: int = 0
    written: int = 0


@dataclass(slots=True)
class Exchange:
    """One request and its answer. `id` is unique within a server."""

    house: House
    account: Account
    dialect: Dialect
    seen: Seen
    responder: Responder
    id: str
    cache: PromptCache = field(default_factory=PromptCache)

    async def answer(self, asked: Asked) -> None:
        """Admit, go wrong or think, and say it."""
        settings, clock, seen = self.house.settings, self.house.clock, self.seen
        fault = settings.sessions.get(seen.session, settings.faults).fault_of(seen.session, seen.number)
        seen.fault = None if fault is None else fault.kind
        if fault is not None and is_before_answer(fault.kind, is_streamed=asked.is_streamed):
            if not await break_whole(fault, self.responder):
                await self.reject(fault)
            return
        use = self._look_up(asked)
        unread = 0 if use.prefixes.is_reading_limited else use.read
        wait_s = self.account.admit(max(0, estimate_tokens(asked.text) - unread), clock.now())
        if wait_s > 0:
            await self.reject(
                Fault(kind="rate_limit", retry_after_s=wait_s), "This request would exceed your rate limit."
            )
            return
        try:
            completion = await self.house.brain.complete(prompt_of(asked, seen.headers), Meter())
        except BackendError as error:
            kind = _BRAIN_FAULTS.get(error.kind, "server_error")
            await self.reject(Fault(kind=kind, retry_after_s=error.retry_after_s), str(error))
            return
        await clock.sleep(settings.ttft_s)
        await self._say(asked, completion, use, fault)

    async def reject(self, fault: Fault, message: str = "simulated") -> None:
        """Send an error in the provider's own form."""
        rejection = self.dialect.rejection(fault.kind, message)
        headers = self._headers()
        if fault.retry_after_s is not None:
            headers["retry-after"] = f"{fault.retry_after_s:.3f}".rstrip("0").rstrip(".")
        await self.responder.send_json(rejection.status, headers, rejection.body)

    def _look_up(self, asked: Asked) -> CacheUse:
        settings = self.house.settings
        if not settings.is_cache_simulated:
            return CacheUse()
        prefixes = self.dialect.prefixes(asked, settings.cache_from_tokens)
        read = self.cache.read(prefixes, self.house.clock.now())
        return CacheUse(prefixes, read, max(0, prefixes.paid_tokens - read))

    async def _say(self, asked: Asked, completion: Completion, use: CacheUse, fault: Fault | None) -> None:
        counts = _counts(completion, asked, use)
        self.seen.input_tokens, self.seen.output_tokens = counts.input_tokens, counts.output_tokens
        self.seen.cached_tokens, self.seen.written_tokens = counts.cached_tokens, counts.written_tokens
        # Booked before it is sent: who reads the headers reads what is left after this answer.
        self.account.spend(counts.output_tokens, self.house.clock.now())
        are_arguments_broken = fault is not None and fault.kind == "broken_arguments"
        answer = Answer(
            id=self.id,
            created_s=int(self.house.clock.now()),
            model=asked.model,
            parts=_parts(completion, self.id, are_broken=are_arguments_broken),
            stop_reason=_stop_reason(completion),
            counts=counts,
            is_usage_wanted=asked.is_usage_wanted,
        )
        if not asked.is_streamed:
            await self._pace(counts.output_tokens)
            self.cache.write(use.prefixes, self.house.clock.now())
            await self.responder.send_json(200, self._headers(), self.dialect.whole(answer))
        else:
            self.cache.write(use.prefixes, self.house.clock.now())
            await self.responder.start({**self._headers(), "content-type": "text/event-stream; charset=utf-8"})
            if not await self._stream(answer, None if are_arguments_broken else fault):
                return
            await self.responder.end()
        self.seen.is_complete = True

    async def _stream(self, answer: Answer, fault: Fault | None) -> bool:
        """Send the events; False when it went wrong on the way, as it was to."""
        events = self.dialect.events(answer, self.house.settings.piece_chars)
        for event in events if fault is None else begun([*events], fault.after_pieces):
            if event.tokens:
                await self._pace(event.tokens)
            await self.responder.chunk(event.body)
        if fault is None:
            return True
        await break_stream(fault, self.responder, self.dialect, self.house.clock)
        return False

    async def _pace(self, tokens: int) -> None:
        pace = self.house.settings.tokens_per_s
        if pace is not None:
            await self.house.clock.sleep(tokens / pace)

    def _headers(self) -> dict[str, str]:
        limits = self.dialect.limit_headers(self.account, self.house.clock.now())
        date = formatdate(self.house.clock.now(), usegmt=True)
        return {"date": date, "request-id": f"req_{self.id}", "x-request-id": f"req_{self.id}", **limits}


def _parts(completion: Completion, answer: str, *, are_broken: bool) -> tuple[TextPart | CallPart, ...]:
    """What the answer holds: calls, and a text unless there are only calls."""
    calls = []
    for number, call in enumerate(completion.calls):
        arguments = json.dumps(dict(call.arguments), ensure_ascii=False)
        # An object without its last brace is none.
        said = arguments[:-1] if are_broken or call.problem else arguments
        calls.append(CallPart(call.id or f"call_{answer}_{number}", call.name, said))
    return (TextPart(completion.text), *calls) if completion.text or not calls else tuple(calls)


def _stop_reason(completion: Completion) -> StopReason:
    return "tool_use" if completion.calls and completion.stop_reason == "end_turn" else completion.stop_reason


def _counts(completion: Completion, asked: Asked, use: CacheUse) -> Counts:
    """The brain's own counts; what it does not know is estimated from the texts, or simulated."""
    usage = completion.usage
    input_tokens = estimate_tokens(asked.text) if usage.input_tokens is None else usage.input_tokens
    said = completion.turn.whole
    read, written = usage.cached_input_tokens or 0, usage.cache_write_tokens or 0
    if not read and not written:
        read = min(use.read, input_tokens)
        written = min(use.written, input_tokens - read)
    return Counts(
        input_tokens=input_tokens,
        cached_tokens=read,
        written_tokens=written,
        output_tokens=estimate_tokens(said) if usage.output_tokens is None else usage.output_tokens,
        reasoning_tokens=usage.reasoning_tokens or 0,
    )
