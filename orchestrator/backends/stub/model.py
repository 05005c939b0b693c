"""A simulated model: it has latency, prices and mistakes, and never a way around anything.

It answers from the prompt alone, as a model does, and what it answers takes the same way: parsed, applied, judged by the
gate, integrated. It never sees a verdict but as feedback in a later prompt. Tokens are counted from the real texts;
dollars are simulated, and all of its usage says so.

Every draw is keyed by seed, subtask, draw and turn, so an answer does not depend on how many agents run beside it; latency
and API faults also by the attempt, since work done again meets a new moment of the service. What it answers: `answers`. How it goes wrong:
`faults`. How often: `profile`.
"""

from collections.abc import Callable
from math import ceil
from typing import assert_never

from orchestrator.backends.stub.agent import agent_reply
from orchestrator.backends.stub.answers import correct_edits, introduction, plan
from orchestrator.backends.stub.faults import error_for, fault_for, spoiled, spoiled_plan
from orchestrator.backends.stub.profile import ApiFault, StubProfile
from orchestrator.backends.stub.replies import Reply, edits_reply
from orchestrator.core.chat import Completion, Prompt, estimate_tokens
from orchestrator.core.draws import Key, lognormal
from orchestrator.core.edits.diff import FileDiff, parse_diff
from orchestrator.core.errors import BackendError, SpecError
from orchestrator.core.values import SubtaskId, Usage
from orchestrator.ports import Clock, Meter

_STEP_S = 0.25
# A request that is turned away is answered by the door, not by the model.
_REJECTION_SHARE_OF_TTFT = 0.1


class StubModel:
    """A `ChatModel` that simulates one. `solution` gives the reference for a draw's subtask: a diff, or a plan as JSON, or None."""

    def __init__(
        self,
        profile: StubProfile,
        clock: Clock,
        solution: Callable[[SubtaskId], str | None] = lambda _: None,
    ) -> None:
        self._profile = profile
        self._clock = clock
        self._solution = solution
        self._solutions: dict[SubtaskId, tuple[FileDiff, ...] | None] = {}
        self._tries: dict[Key, int] = {}

    @property
    def name(self) -> str:
        """The profile's name."""
        return self._profile.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer, after the time it takes. Raises `BackendError` for a simulated fault, `SpecError` for an unreadable reference."""
        draw = prompt.draw
        turn = sum(message.role == "assistant" for message in prompt.messages)
        luck: Key = (draw.seed, draw.subtask, draw.draw, turn)
        request: Key = (*luck, draw.attempt)
        number = self._tries.get(request, 0)
        self._tries[request] = number + 1
        fault = fault_for(self._profile, (*request, number))
        if fault in {"rate_limit", "overloaded"}:
            await self._wait(self._ttft_s(request, number) * _REJECTION_SHARE_OF_TTFT)
            raise self._error(fault)
        reply = self._limited(self._reply(prompt, luck), prompt.max_output_tokens)
        tokens = reply.tokens
        await self._wait(self._ttft_s(request, number))
        if fault is not None:
            await self._stream(tokens // 2, request, meter)
            if fault == "stall":
                await self._wait(self._profile.stall_s)
            raise self._error(fault)
        await self._stream(tokens, request, meter)
        del self._tries[request]
        usage = self._usage(prompt, tokens)
        return Completion(text=reply.text, stop_reason=reply.stop_reason, usage=usage, calls=reply.calls)

    def _reply(self, prompt: Prompt, luck: Key) -> Reply:
        if prompt.tools and prompt.response_schema is None:
            return agent_reply(self._profile, prompt, self._diffs(prompt.draw.subtask))
        error = error_for(self._profile, prompt, luck)
        if prompt.response_schema is not None:
            text = self._solution(prompt.draw.subtask) or plan(prompt)
            return Reply(text) if error is None else spoiled_plan(error, text, luck)
        edits = correct_edits(prompt, self._diffs(prompt.draw.subtask))
        opening = introduction(prompt, edits)
        if error is not None:
            return spoiled(error, opening, edits, prompt, luck)
        return edits_reply(opening, edits, prompt)

    def _diffs(self, subtask: SubtaskId) -> tuple[FileDiff, ...] | None:
        if subtask not in self._solutions:
            text = self._solution(subtask)
            try:
                self._solutions[subtask] = None if text is None else parse_diff(text)
            except SpecError as error:
                raise SpecError([f"{subtask}.diff: {problem}" for problem in error.problems]) from None
        return self._solutions[subtask]

    def _limited(self, reply: Reply, max_output_tokens: int) -> Reply:
        if reply.tokens <= max_output_tokens:
            return reply
        # Calls that were not said to their end are none.
        return Reply(reply.text[: 4 * max_output_tokens], "max_tokens")

    def _ttft_s(self, request: Key, number: int) -> float:
        return lognormal((*request, number, "ttft"), self._profile.ttft_s, self._profile.ttft_sigma)

    async def _wait(self, seconds: float) -> None:
        scaled = seconds * self._profile.time_scale
        if scaled > 0:
            await self._clock.sleep(scaled)

    async def _stream(self, tokens: int, request: Key, meter: Meter) -> None:
        """Let the tokens come, seen in steps of at most a quarter of a second."""
        profile = self._profile
        if profile.time_scale == 0:
            meter.output_tokens += tokens
            return
        rate = lognormal((*request, "rate"), profile.tokens_per_s, profile.tokens_per_s_sigma)
        duration_s = tokens / rate * profile.time_scale
        steps = max(1, ceil(duration_s / _STEP_S))
        before = meter.output_tokens
        for step in range(1, steps + 1):
            await self._clock.sleep(duration_s / steps)
            meter.output_tokens = before + tokens * step // steps

    def _usage(self, prompt: Prompt, output_tokens: int) -> Usage:
        input_tokens = estimate_tokens(prompt.text)
        return Usage(
            requests=1,
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cost_usd=self._profile.cost_usd(input_tokens, output_tokens),
            is_simulated=True,
        )

    def _error(self, fault: ApiFault) -> BackendError:
        match fault:
            case "rate_limit":
                return BackendError(
                    "simulated: too many requests", kind="rate_limit", retry_after_s=self._profile.retry_after_s
                )
            case "overloaded":
                return BackendError("simulated: the service is overloaded", kind="overloaded")
            case "stall":
                return BackendError("simulated: the connection fell silent and was lost", kind="stall")
            case "disconnect":
                return BackendError("simulated: the connection was cut", kind="transient")
            case _:
                assert_never(fault)
