"""One request at the simulated service: let in, gone wrong or thought about, and answered at its pace."""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate

from orchestrator.core.chat import Completion, estimate_tokens
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.ports import ChatModel, Clock, Meter
from orchestrator.stub_server.breaking import break_stream, break_whole, is_of_stream
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.dialect import Answer, Asked, Counts, Dialect, TextPart
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
    """One request as the server saw it. `status` is None when no answer was begun; tokens are those it charged."""

    number: int
    session: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, object]
    fault: FaultKind | None = None
    status: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    is_complete: bool = False

    def begin(self, status: int) -> None:
        """The head of the answer is sent."""
        self.status = status


@dataclass(slots=True)
class Exchange:
    """One request and its answer. `id` is unique within a server."""

    house: House
    account: Account
    dialect: Dialect
    seen: Seen
    responder: Responder
    id: str

    async def answer(self, asked: Asked) -> None:
        """Admit, go wrong or think, and say it."""
        settings, clock, seen = self.house.settings, self.house.clock, self.seen
        fault = settings.sessions.get(seen.session, settings.faults).fault_of(seen.session, seen.number)
        seen.fault = None if fault is None else fault.kind
        if fault is not None and not is_of_stream(fault.kind, is_streamed=asked.is_streamed):
            if not await break_whole(fault, self.responder):
                await self.reject(fault)
            return
        input_tokens = estimate_tokens(asked.text)
        wait_s = self.account.admit(input_tokens, clock.now())
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
        await self._say(asked, completion, fault)

    async def reject(self, fault: Fault, message: str = "simulated") -> None:
        """Send an error in the provider's own form."""
        rejection = self.dialect.rejection(fault.kind, message)
        headers = self._headers()
        if fault.retry_after_s is not None:
            headers["retry-after"] = f"{fault.retry_after_s:.3f}".rstrip("0").rstrip(".")
        await self.responder.send_json(rejection.status, headers, rejection.body)

    async def _say(self, asked: Asked, completion: Completion, fault: Fault | None) -> None:
        counts = _counts(completion, asked)
        self.seen.input_tokens, self.seen.output_tokens = counts.input_tokens, counts.output_tokens
        # Booked before it is sent: who reads the headers reads what is left after this answer.
        self.account.spend(counts.output_tokens, self.house.clock.now())
        answer = Answer(
            id=self.id,
            created_s=int(self.house.clock.now()),
            model=asked.model,
            parts=(TextPart(completion.text),),
            stop_reason=completion.stop_reason,
            counts=counts,
            is_usage_wanted=asked.is_usage_wanted,
        )
        if not asked.is_streamed:
            await self._pace(counts.output_tokens)
            await self.responder.send_json(200, self._headers(), self.dialect.whole(answer))
        else:
            await self.responder.start({**self._headers(), "content-type": "text/event-stream; charset=utf-8"})
            if not await self._stream(answer, fault):
                return
            await self.responder.end()
        self.seen.is_complete = True

    async def _stream(self, answer: Answer, fault: Fault | None) -> bool:
        """Send the events; False when it went wrong on the way, as it was to."""
        said = 0
        for event in self.dialect.events(answer, self.house.settings.piece_chars):
            if event.tokens:
                # The last piece at the latest: a short answer has to go wrong as well.
                if fault is not None and said >= fault.after_pieces:
                    break
                await self._pace(event.tokens)
                said += 1
            elif fault is not None and said:
                break
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


def _counts(completion: Completion, asked: Asked) -> Counts:
    """The brain's own counts; what it does not know is estimated from the texts."""
    usage = completion.usage
    input_tokens = estimate_tokens(asked.text) if usage.input_tokens is None else usage.input_tokens
    output_tokens = estimate_tokens(completion.text) if usage.output_tokens is None else usage.output_tokens
    return Counts(
        input_tokens=input_tokens,
        cached_tokens=usage.cached_input_tokens or 0,
        written_tokens=usage.cache_write_tokens or 0,
        output_tokens=output_tokens,
        reasoning_tokens=usage.reasoning_tokens or 0,
    )
