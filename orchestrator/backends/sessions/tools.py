"""A chat model with tools as a backend: it looks into the repository, changes it, runs the checks, and says when it is done.

    ask → calls → results → ask → … → an answer without a call

What calls write goes into the workspace at once, which is private; what is handed in is what git states of it at the end, and
nothing where the session failed. A session is bounded in turns, tokens, time and context (`ToolSettings`); one that ends at
a limit with a change hands it in, since the gate judges it like any other. Where a model takes less than the settings think, the
conversation is shortened once to half, and goes on. One answer is bounded too, in the calls that are run and in what they show:
what is more is not run, or cut, and the model told. Calls of an answer that was cut off are never run:
their arguments may be half of what was meant.

The tools: `sessions.toolbox`. What is left out of a long conversation: `sessions.context`. What is recorded: `sessions.record`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from orchestrator.backends.sessions.context import context_tokens, fitted, halved, room_for_results, within
from orchestrator.backends.sessions.record import Record, failure_for
from orchestrator.backends.sessions.searching import Searcher
from orchestrator.backends.sessions.tool_calls import CHECKS, READS, WRITES, headline
from orchestrator.backends.sessions.tool_settings import ToolSettings
from orchestrator.backends.sessions.toolbox import Toolbox
from orchestrator.core.chat import Completion, Message, Prompt, ToolCall, ToolResult, after, estimate_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.prompt import Manner
from orchestrator.core.values import Failure
from orchestrator.ports import ChatModel, CheckedWorkspace, Clock, Generation, Meter

_SEARCHES_AT_ONCE = 2
_MAX_NOTE_CHARS = 40
_MAX_QUOTED_CHARS = 300
_WARN_AT_TURNS = 2
# What a provider puts around a request weighs much in a short one; beyond this a ratio says nothing about the text.
_LEAST_RATIO, _MOST_RATIO = 0.5, 4.0

_ANSWER = """\
How to work:

You work with tools, in a copy of the repository that is yours alone.
1. Look: read what you are going to change and what depends on it. Ask for several files in one turn.
2. Change: with edit_file, write_file and delete_file. A change is in effect at once.
{checks}{last}. End with one sentence that says what you did, in an answer without any call: that hands in your change.

Only what the tools wrote counts; code in the text of an answer does nothing. There are {turns} turns at most, and {calls} calls in one
of them. In a long session old results are left out of the conversation; call the tool again if you need one.
"""
_CHECKS = """\
3. Check: run_checks says whether the change passes. Correct what fails, and run them again.
"""
_CUT = (
    "Your answer was cut off at the limit on its length, and none of its calls was run. Go on in smaller steps: fewer calls "
    "in an answer, short texts, edit_file rather than write_file."
)
_NO_CALL = "Your answer announces a call, but holds none that can be read. Call the tool again."
_NOT_RUN = "This call was not run, since the answer was cut off."
_TOO_LONG = "Read less at a time: a range of lines rather than a long file, a narrower search."
_TOO_MANY = "not run: too many calls in one answer; ask again for what you need"


class ToolBackend:
    """A `Backend` that lets `model` work with tools until it says that it is done.

    Cancelling `generate` ends what is under way; what had been written stays in the workspace.
    """

    def __init__(
        self,
        model: ChatModel,
        clock: Clock,
        settings: ToolSettings | None = None,
        *,
        max_output_tokens: int = 16_000,
    ) -> None:
        self._model = model
        self._clock = clock
        self._settings = settings or ToolSettings()
        self._manner = _manner(self._settings, max_output_tokens)
        self._searcher = Searcher(asyncio.Semaphore(_SEARCHES_AT_ONCE), self._settings.max_search_s)

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def manner(self) -> Manner:
        """Work with tools; files are named, unless the settings want them shown."""
        return self._manner

    async def generate(self, prompt: Prompt, workspace: CheckedWorkspace, meter: Meter) -> Generation:
        """Work until the model is done, or a limit is reached; what no other attempt could cure is its `fault`."""
        record = Record.begin(self._clock, meter)
        toolbox = Toolbox(workspace, prompt.writable, self._settings, self._searcher)
        offered = prompt.model_copy(update={"tools": toolbox.tools})
        session = _Session(
            self._model, self._settings, record, toolbox, workspace, offered, self._settings.max_context_tokens
        )
        try:
            failure = await session.work()
        finally:
            meter.note = ""
        return record.generation(failure)


@dataclass(slots=True)
class _Session:
    """One conversation. `flaws` counts the last answers that could not be used, `ratio` is real tokens to estimated ones.

    `context` is the budget of one request in tokens; it is halved once where the model takes less.
    """

    model: ChatModel
    settings: ToolSettings
    record: Record
    toolbox: Toolbox
    workspace: CheckedWorkspace
    prompt: Prompt
    context: int
    turns: int = 0
    tokens: int = 0
    last_tokens: int = 0
    ratio: float = 1.0
    flaws: int = 0
    has_warned: bool = False
    is_halved: bool = False

    async def work(self) -> Failure | None:
        """Converse to the end; None when there is a change to hand in."""
        limit: str | None = None
        while limit is None:
            try:
                completion = await self._ask()
            except BackendError as error:
                failure = self._failure(error)
                return await self._handed_in(failure) if error.kind == "budget" else failure
            if completion.stop_reason == "refusal":
                return Failure(reason="refused", feedback=f"The model refused: {_quoted(completion)}")
            flaw = _flaw(completion)
            self.flaws = 0 if flaw is None else self.flaws + 1
            if flaw is not None and self.flaws > 1:
                return flaw
            if flaw is None and not completion.calls:
                return await self._handed_in(_unchanged(completion))
            limit = self._limit()
            await self._go_on(completion, flaw, is_last=limit is not None)
            limit = limit or self._limit()
        return await self._handed_in(self._stopped(limit))

    def _failure(self, error: BackendError) -> Failure:
        failure = failure_for(error)
        if error.kind == "context_too_long" and self.turns > 1:
            # The next attempt begins as this one did, and has to go on differently.
            return failure.model_copy(update={"feedback": f"In turn {self.turns}: {failure.feedback}. {_TOO_LONG}"})
        return failure

    async def _ask(self) -> Completion:
        self.turns += 1
        self.prompt = fitted(self.prompt, self.context, self.ratio)
        self.record.meter.note = f"turn {self.turns}"
        completion = await self._answered()
        usage = completion.usage
        estimate = context_tokens(self.prompt)
        # A limit that unknown costs switched off would be none.
        read = estimate if usage.input_tokens is None else usage.input_tokens
        wrote = estimate_tokens(completion.turn.whole) if usage.output_tokens is None else usage.output_tokens
        self.last_tokens = read + wrote
        self.tokens += self.last_tokens
        if usage.input_tokens:
            self.ratio = min(_MOST_RATIO, max(_LEAST_RATIO, usage.input_tokens / estimate))
        return completion

    async def _answered(self) -> Completion:
        """Ask, and once in a session again with less where it has grown too long for the model."""
        try:
            return await self.record.ask(self.model, self.prompt)
        except BackendError as error:
            if error.kind != "context_too_long" or self.is_halved:
                raise
            shorter, budget = halved(self.prompt, self.context, self.ratio)
            if shorter == self.prompt:
                raise
        self.prompt, self.context, self.is_halved = shorter, budget, True
        return await self.record.ask(self.model, self.prompt)

    async def _go_on(self, completion: Completion, flaw: Failure | None, *, is_last: bool) -> None:
        """Run what the answer calls, and put the answer and the results into the conversation."""
        turn = completion.turn
        if is_last:
            # Nobody would see what else comes of it.
            writes = [call for call in turn.calls if flaw is None and call.name in WRITES]
            await self._run(writes[: self.settings.max_calls])
            return
        if flaw is None:
            results = await self._results(turn)
        else:
            results = [ToolResult(call=call.id, text=_NOT_RUN, is_error=True) for call in turn.calls]
            turn = (
                turn if turn.calls else Message(role="assistant", text=turn.text if turn.text.strip() else "(nothing)")
            )
        text = "\n\n".join(part for part in (flaw.feedback if flaw else "", self._warning()) if part)
        self.prompt = after(self.prompt, (turn, Message(role="user", text=text, results=tuple(results))))

    async def _results(self, turn: Message) -> list[ToolResult]:
        """Run as many calls as one answer may make; all results together have no more room than the conversation has."""
        most = self.settings.max_calls
        results = await self._run(turn.calls[:most])
        results += [ToolResult(call=call.id, text=_TOO_MANY, is_error=True) for call in turn.calls[most:]]
        return within(turn.calls, results, room_for_results(self.prompt, turn, self.context, self.ratio))

    async def _run(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        """Run calls in their order; those that only read and stand side by side run together."""
        results: list[ToolResult] = []
        for kind, group in groupby(calls, _kind):
            together = list(group)
            with self.record.timed("checks" if kind == CHECKS else "tools"):
                if kind == "read":
                    results += await self._run_together(together)
                else:
                    results += [await self._run_one(call) for call in together]
        return results

    async def _run_together(self, calls: Sequence[ToolCall]) -> list[ToolResult]:
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._run_one(call)) for call in calls]
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return [each.result() for each in running]

    async def _run_one(self, call: ToolCall) -> ToolResult:
        self.record.meter.note = f"turn {self.turns}: {headline(call)}"[:_MAX_NOTE_CHARS]
        return await self.toolbox.run(call)

    async def _handed_in(self, otherwise: Failure) -> Failure | None:
        """None when there is a change, and the last answer was not cut off in the middle of making one."""
        if self.flaws or not self.toolbox.has_written or not (await self.workspace.patch()).changes:
            return otherwise
        return None

    def _limit(self) -> str | None:
        """Which limit is reached, in words."""
        settings = self.settings
        if self.turns >= settings.max_turns:
            return f"{settings.max_turns} turns"
        if self.tokens >= settings.max_session_tokens:
            return f"{settings.max_session_tokens:,} tokens"
        if self.record.elapsed_s >= settings.max_session_s:
            return f"{settings.max_session_s:g} s"
        return None

    def _warning(self) -> str:
        """Say once that the end is near, at the pace so far."""
        settings, elapsed = self.settings, self.record.elapsed_s
        left = settings.max_turns - self.turns
        left = min(left, (settings.max_session_tokens - self.tokens) // max(1, self.last_tokens))
        if elapsed > 0:
            left = min(left, int((settings.max_session_s - elapsed) * self.turns / elapsed))
        if left > _WARN_AT_TURNS or self.has_warned:
            return ""
        self.has_warned = True
        told = f"{left} turns" if left > 1 else "1 turn"
        return f"{told} left. Complete the change now; what is written when they are used up is handed in as it is."

    def _stopped(self, limit: str) -> Failure:
        how = "in the middle of an answer that was cut off" if self.flaws else "before anything was changed"
        return Failure(
            reason="session_limit",
            feedback=f"The session reached its limit of {limit} {how}. Look at less, and change earlier and in smaller steps.",
        )


def _manner(settings: ToolSettings, max_output_tokens: int) -> Manner:
    answer = _ANSWER.format(
        checks=_CHECKS if settings.run_checks else "",
        last=4 if settings.run_checks else 3,
        turns=settings.max_turns,
        calls=settings.max_calls,
    )
    return Manner(answer=answer, shows="files" if settings.show_files else "paths", max_output_tokens=max_output_tokens)


def _kind(call: ToolCall) -> str:
    return "read" if call.name in READS else CHECKS if call.name == CHECKS else "change"


def _flaw(completion: Completion) -> Failure | None:
    """Why an answer cannot be used, in words for the model; None for one that can."""
    if completion.stop_reason == "max_tokens":
        return Failure(reason="truncated", feedback=_CUT)
    if completion.stop_reason == "tool_use" and not completion.calls:
        return Failure(reason="malformed_reply", feedback=_NO_CALL)
    return None


def _unchanged(completion: Completion) -> Failure:
    told = "The session ended without a change. Make the change that the instruction asks for, with the tools."
    return Failure(reason="no_change", feedback=f"{told} Its last words were: {_quoted(completion)}")


def _quoted(completion: Completion) -> str:
    return repr(completion.text.strip()[:_MAX_QUOTED_CHARS])
