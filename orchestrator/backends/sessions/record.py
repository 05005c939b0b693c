"""What one attempt asked, heard and cost, as its `Generation` will say it; shared by all kinds of session.

Every request becomes an `Exchange`, answered or not. A conversation repeats itself in each request, so where a prompt only
adds turns to the one before, its stored text is the new turns and the name of what they continue. What failed requests may
have cost is counted where they are made, in `Meter.failed`, and only taken over here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Digest, Exchange, Failure, Span, Usage, digest_of
from orchestrator.ports import ChatModel, Clock, Generation, Meter


@dataclass(slots=True)
class Record:
    """The account of one attempt; `started` is on the clock, and its spans count from there. `fault` is what stops the run."""

    clock: Clock
    meter: Meter
    started: float
    usage: Usage = field(default_factory=Usage)
    exchanges: list[Exchange] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    bodies: dict[Digest, bytes] = field(default_factory=dict)
    fault: BackendError | None = None
    _asked: tuple[Prompt, Digest] | None = None

    @classmethod
    def begin(cls, clock: Clock, meter: Meter) -> Self:
        """Start the account now."""
        return cls(clock, meter, clock.now())

    async def ask(self, model: ChatModel, prompt: Prompt) -> Completion:
        """One request, recorded whether it is answered or not; what it had to wait for is no part of its time."""
        asked, waited = self.clock.now(), len(self.meter.waits)
        completion: Completion | None = None
        try:
            completion = await model.complete(prompt, self.meter)
        except BackendError as error:
            if not is_of_the_attempt(error):
                self.fault = error
            raise
        finally:
            self._note(prompt, completion, asked, waited)
        return completion

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Note as a span of that name how long the inside takes."""
        began = self.clock.now()
        try:
            yield
        finally:
            took = self.clock.now() - began
            self.spans.append(Span(name=name, started_s=began - self.started, duration_s=took))

    @property
    def elapsed_s(self) -> float:
        """Seconds since the attempt started."""
        return self.clock.now() - self.started

    def generation(self, failure: Failure | None) -> Generation:
        """The whole account."""
        return Generation(self.usage, failure, tuple(self.exchanges), tuple(self.spans), self.bodies, self.fault)

    def _note(self, prompt: Prompt, completion: Completion | None, asked: float, waited: int) -> None:
        waits = self.meter.waits[waited:]
        began = max((wait.started_s + wait.duration_s for wait in waits), default=asked)
        usage = self.meter.take_failed()
        if completion is not None:
            usage += completion.usage
        self.usage += usage
        self.spans.extend(wait.model_copy(update={"started_s": wait.started_s - self.started}) for wait in waits)
        self.exchanges.append(
            Exchange(
                prompt=self._keep_prompt(prompt),
                reply=None if completion is None else self._keep(completion.turn.whole),
                stop_reason=None if completion is None else completion.stop_reason,
                usage=usage,
                started_s=began - self.started,
                duration_s=max(0.0, self.clock.now() - began),
            )
        )

    def _keep_prompt(self, prompt: Prompt) -> Digest:
        digest = self._keep(self._text_of(prompt))
        self._asked = (prompt, digest)
        return digest

    def _text_of(self, prompt: Prompt) -> str:
        """The prompt, or what it adds to the one before where it leaves that as it was."""
        if self._asked is None:
            return prompt.text
        before, digest = self._asked
        told = len(before.messages)
        is_longer = len(prompt.messages) > told and prompt.messages[:told] == before.messages
        if not is_longer or (prompt.system, prompt.tools) != (before.system, before.tools):
            return prompt.text
        turns = (f"## {message.role}\n{message.whole}" for message in prompt.messages[told:])
        return "\n\n".join((f"(continues {digest})", *turns))

    def _keep(self, text: str) -> Digest:
        body = text.encode("utf-8", "backslashreplace")
        digest = digest_of(body)
        self.bodies[digest] = body
        return digest


def is_of_the_attempt(error: BackendError) -> bool:
    """Whether an error concerns this attempt alone, or may be over with the next; any other one stops the run."""
    return error.is_retryable or error.kind in {"context_too_long", "budget", "not_recorded"}


def failure_for(error: BackendError) -> Failure:
    """The failure that an error is for this attempt; `stopped` where it concerns the whole run (`Record.fault`)."""
    match error.kind:
        case "context_too_long":
            return Failure(reason="context_too_long", feedback=f"The prompt is too long for the model: {error}")
        case "rate_limit":
            return Failure(reason="rate_limited", feedback=str(error))
        case "budget":
            return Failure(reason="budget", feedback=str(error), needed=error.needed)
        case "not_recorded":
            return Failure(reason="not_recorded", feedback=str(error))
        case _ if error.is_retryable:
            return Failure(reason="backend_unavailable", feedback=str(error))
        case _:
            return Failure(reason="stopped", feedback=str(error))
