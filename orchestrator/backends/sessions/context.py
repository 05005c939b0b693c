"""A conversation kept small: old results of tools are left out, and can be had again by calling the tool again.

A long conversation costs its length at every turn, and a model works worse in it. What is left out, in this order: what a file
was when it was read, where it has been changed since; then results, and the texts in calls that wrote files, oldest first.
What stays: the instruction, the last two turns, all that the model said, and one line for each result. Every call keeps its
result, since providers insist on that; a turn that carries something opaque keeps its calls as they are.

What is never left out has to be short when it comes in: the results of one answer share a room (`room_for_results`, `within`),
so that a conversation whose old turns are left out is within its budget.

A provider's prompt cache holds a prefix that is the same as before, and to leave something out changes it. So much is left out
at once, and then nothing for a good while.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.backends.sessions.tool_calls import READS, WRITES, headline
from orchestrator.core.chat import Message, Prompt, ToolCall, ToolResult, after, estimate_tokens

_TARGET = 0.6
_KEPT_TURNS = 2
_LONG_CHARS = 200
# The part of the budget that the results of one answer have: at most, and where all else leaves hardly any.
_MOST_OF_BUDGET, _LEAST_OF_BUDGET = 1 / 2, 1 / 8
# Characters that each result keeps whatever the others take, and those below which a part of a reading is not worth showing.
_LEAST_CHARS, _WORTH_CHARS = 200, 1_000
_TEXTS = ("content", "search", "replace")


@dataclass(frozen=True, slots=True)
class _Part:
    """Something that can be left out: a result or a call's texts, by its turn and its place in it."""

    turn: int
    place: int
    kind: Literal["result", "call"]
    is_stale: bool


def fitted(prompt: Prompt, max_tokens: int, ratio: float = 1.0) -> Prompt:
    """The prompt itself while it is within `max_tokens`, else one of about 60 % of that, as far as there is something to leave out.

    Tokens are estimated; `ratio` is how many real ones an estimated one has come to.
    """
    if context_tokens(prompt) * ratio <= max_tokens:
        return prompt
    messages = list(prompt.messages)
    excess = _chars(prompt) - int(4 * _TARGET * max_tokens / ratio)
    for part in sorted(_parts(messages), key=lambda part: not part.is_stale):
        if excess <= 0:
            break
        excess -= _leave_out_result(messages, part) if part.kind == "result" else _leave_out_texts(messages, part)
    return prompt.model_copy(update={"messages": tuple(messages)})


def halved(prompt: Prompt, max_tokens: int, ratio: float) -> tuple[Prompt, int]:
    """The prompt for a model that takes less than was thought, and the budget from now on: half of what it came to, or was given.

    Its last results are cut to that budget too, since they may be all that is long. Equal to the prompt if nothing helps.
    """
    budget = max(1, int(min(max_tokens, context_tokens(prompt) * ratio) / 2))
    *turns, told = prompt.messages
    if told.results:
        earlier, answer = prompt.model_copy(update={"messages": tuple(turns[:-1])}), turns[-1]
        results = within(answer.calls, told.results, room_for_results(earlier, answer, budget, ratio))
        told = told.model_copy(update={"results": tuple(results)})
        prompt = prompt.model_copy(update={"messages": (*turns, told)})
    return fitted(prompt, budget, ratio), budget


def room_for_results(prompt: Prompt, answer: Message, max_tokens: int, ratio: float = 1.0) -> int:
    """The characters that all results of an answer to `prompt` may have together, for the next prompt to fit `max_tokens`.

    That is half of the budget, or what remains when all that can be left out is; an eighth where that is less.
    """
    empty = tuple(ToolResult(call=call.id, text="") for call in answer.calls)
    rest = context_tokens(fitted(after(prompt, (answer, Message(role="user", results=empty))), 0))
    budget = max_tokens / max(1.0, ratio)
    return int(4 * min(budget * _MOST_OF_BUDGET, max(budget - rest, budget * _LEAST_OF_BUDGET)))


def within(calls: Sequence[ToolCall], results: Sequence[ToolResult], room: int) -> list[ToolResult]:
    """The results, in no more than `room` characters together as far as each has its first 200, or a word on what to ask again.

    What was changed and what the checks said come first, since they cannot be asked for again; then readings, in their order.
    """
    shorter = list(results)
    room -= sum(min(len(result.text), _LEAST_CHARS) for result in results)
    for place in sorted(range(len(results)), key=lambda place: calls[place].name in READS):
        text = _cut(calls[place], results[place].text, _LEAST_CHARS + max(0, room))
        room -= max(0, len(text) - _LEAST_CHARS)
        shorter[place] = results[place].model_copy(update={"text": text})
    return shorter


def context_tokens(prompt: Prompt) -> int:
    """The estimated tokens of everything that a prompt sends."""
    return estimate_tokens(prompt.text) + sum(estimate_tokens(message.opaque) for message in prompt.messages)


def _chars(prompt: Prompt) -> int:
    return 4 * context_tokens(prompt)


def _parts(messages: list[Message]) -> Iterator[_Part]:
    """Everything that may be left out, oldest first."""
    written = _last_writes(messages)
    for turn in range(1, len(messages) - _KEPT_TURNS):
        message = messages[turn]
        if not message.opaque:
            for place, call in enumerate(message.calls):
                if call.name in WRITES:
                    yield _Part(turn, place, "call", is_stale=False)
        for place, (call, result) in enumerate(_answered(messages, turn)):
            if call.name not in WRITES or result.is_error:
                is_stale = call.name == "read_file" and written.get(_path(call), (0, 0)) > (turn, place)
                yield _Part(turn, place, "result", is_stale)


def _last_writes(messages: list[Message]) -> dict[str, tuple[int, int]]:
    """Where each path was last written with success."""
    return {
        _path(call): (turn, place)
        for turn in range(1, len(messages))
        for place, (call, result) in enumerate(_answered(messages, turn))
        if call.name in WRITES and not result.is_error
    }


def _answered(messages: list[Message], turn: int) -> Iterator[tuple[ToolCall, ToolResult]]:
    """The results of a turn beside their calls, by their order: not every server gives calls ids of their own."""
    return zip(messages[turn - 1].calls, messages[turn].results, strict=False)


def _path(call: ToolCall) -> str:
    path = call.arguments.get("path")
    return path if isinstance(path, str) else ""


def _leave_out_result(messages: list[Message], part: _Part) -> int:
    """Put a line in a result's place where that is shorter; return the characters saved."""
    message, call = messages[part.turn], messages[part.turn - 1].calls[part.place]
    stub = f"[result of {headline(call)} left out to keep the context small; call it again if you need it]"
    results = list(message.results)
    saved = len(results[part.place].text) - len(stub)
    if saved <= 0:
        return 0
    results[part.place] = results[part.place].model_copy(update={"text": stub})
    messages[part.turn] = message.model_copy(update={"results": tuple(results)})
    return saved


def _leave_out_texts(messages: list[Message], part: _Part) -> int:
    """Put a word in the place of each long text in a call; return the characters saved."""
    message = messages[part.turn]
    call = message.calls[part.place]
    arguments = {name: _short(value) if name in _TEXTS else value for name, value in call.arguments.items()}
    if arguments == call.arguments:
        return 0
    calls = list(message.calls)
    calls[part.place] = call.model_copy(update={"arguments": arguments})
    messages[part.turn] = message.model_copy(update={"calls": tuple(calls)})
    return len(json.dumps(dict(call.arguments))) - len(json.dumps(arguments))


def _short(value: object) -> object:
    if not isinstance(value, str) or len(value) <= _LONG_CHARS:
        return value
    return f"[{len(value)} characters left out to keep the context small]"


def _cut(call: ToolCall, text: str, room: int) -> str:
    if len(text) <= room:
        return text
    is_reading = call.name in READS
    if is_reading and room < _WORTH_CHARS:
        return f"[left out: {headline(call)}, {len(text)} characters, too many beside the others; ask for it alone]"
    how = "too many beside the others; ask for it alone, or for a part of it" if is_reading else "left out"
    kept = room - _LEAST_CHARS // 2
    return f"{text[:kept]}\n[… {len(text) - kept} more characters, {how}]"
