"""What goes to a chat model and what comes back: the whole vocabulary between a backend and a model API."""

import json
from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from orchestrator.core.values import StopReason, SubtaskId, Usage, Value

# What a provider puts around a request without showing it: a wrapping of each turn, a preamble for tools or a schema.
_HIDDEN_TOKENS = 2_000
_HIDDEN_TOKENS_A_TURN = 64


class Draw(Value):
    """The key of every random choice that is made for one request: who asks, and which try it is.

    A real model never sees it. A simulated one takes its luck from it, so that the outcome does not depend on how
    many agents run. `attempt` counts starts, `draw` the tries that count (see `AttemptStarted`).
    """

    seed: int
    subtask: SubtaskId
    attempt: int = 1
    draw: int = 1


class ShownFile(Value):
    """One file of the repository as the prompt shows it."""

    path: str
    text: str
    is_writable: bool


class Tool(Value):
    """Something that the model may call. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: Mapping[str, object]


class ToolCall(Value):
    """A call that the model asks for. `problem` says why `arguments` are empty: what came was no JSON object."""

    id: str
    name: str
    arguments: Mapping[str, object] = {}
    problem: str = ""


class ToolResult(Value):
    """What a call came to; `call` is the call's id."""

    call: str
    text: str
    is_error: bool = False


class Message(Value):
    """One turn of the conversation: the model's text and calls, or the user's text and the results of calls.

    `opaque` is JSON that the provider wants back unread with the model's turn (thoughts and their signatures); only the
    adapter that wrote it reads it.
    """

    role: Literal["user", "assistant"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    results: tuple[ToolResult, ...] = ()
    opaque: str = ""

    @property
    def whole(self) -> str:
        """The turn as one text, calls and results included."""
        calls = (f"### call {call.id} {call.name}\n{json.dumps(dict(call.arguments))}" for call in self.calls)
        results = (f"### result {each.call}{' (error)' * each.is_error}\n{each.text}" for each in self.results)
        return "\n\n".join(part for part in (self.text, *calls, *results) if part)


class Prompt(Value):
    """One request. `system` is the stable prefix that siblings share; `messages` is what differs.

    `files` repeats, as values, the files that the text shows: a backend needs them to apply edits, a simulated model
    to answer. `response_schema` is a JSON Schema when the answer must be JSON.
    """

    system: str
    messages: tuple[Message, ...] = Field(min_length=1)
    draw: Draw
    files: tuple[ShownFile, ...] = ()
    writable: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    response_schema: Mapping[str, object] | None = None
    max_output_tokens: int = Field(default=16_000, gt=0)

    @property
    def text(self) -> str:
        """Everything that is sent, as one text: what is stored, and what tokens are estimated from."""
        tools = (f"## tool {tool.name}\n{tool.description}\n{json.dumps(dict(tool.parameters))}" for tool in self.tools)
        turns = (f"## {message.role}\n{message.whole}" for message in self.messages)
        return "\n\n".join((f"## system\n{self.system}", *tools, *turns))


class Completion(Value):
    """One answer: its text, the tools it calls, why it ended, what it cost. `opaque`: see `Message`."""

    text: str
    stop_reason: StopReason
    usage: Usage
    calls: tuple[ToolCall, ...] = ()
    opaque: str = ""

    @property
    def turn(self) -> Message:
        """The answer as a turn of the conversation that goes on."""
        return Message(role="assistant", text=self.text, calls=self.calls, opaque=self.opaque)


def after(prompt: Prompt, turns: Sequence[Message]) -> Prompt:
    """The same prompt with more turns at its end."""
    return prompt.model_copy(update={"messages": (*prompt.messages, *turns)})


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text at four characters each, rounded up: an estimate, and to be shown as one."""
    return -(-len(text) // 4)


class Measured(Value):
    """A prompt and what it really came to, as the provider counted it."""

    prompt: Prompt
    input_tokens: int


def most_input_tokens(prompt: Prompt, before: Measured | None = None) -> int:
    """What a prompt can come to at the very most: no tokenizer makes more tokens than there are bytes.

    Where it only goes on from one that was measured, that much of it is known.
    """
    if before is not None and _goes_on(prompt, before.prompt):
        added = prompt.messages[len(before.prompt.messages) :]
        return before.input_tokens + sum(
            _bytes(turn.whole) + _bytes(turn.opaque) + _HIDDEN_TOKENS_A_TURN for turn in added
        )
    schema = "" if prompt.response_schema is None else json.dumps(dict(prompt.response_schema))
    opaque = sum(_bytes(turn.opaque) for turn in prompt.messages)
    return _bytes(prompt.text) + _bytes(schema) + opaque + _HIDDEN_TOKENS + _HIDDEN_TOKENS_A_TURN * len(prompt.messages)


def _goes_on(prompt: Prompt, before: Prompt) -> bool:
    is_same = (prompt.system, prompt.tools, prompt.response_schema) == (
        before.system,
        before.tools,
        before.response_schema,
    )
    return is_same and prompt.messages[: len(before.messages)] == before.messages


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "backslashreplace"))
