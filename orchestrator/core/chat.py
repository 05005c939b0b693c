"""What goes to a chat model and what comes back: the whole vocabulary between a backend and a model API."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from orchestrator.core.values import StopReason, SubtaskId, Usage, Value


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


class Message(Value):
    """One turn of the conversation."""

    role: Literal["user", "assistant"]
    text: str


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
    response_schema: Mapping[str, object] | None = None
    max_output_tokens: int = Field(default=16_000, gt=0)

    @property
    def text(self) -> str:
        """Everything that is sent, as one text: what is stored, and what tokens are estimated from."""
        turns = (f"## {message.role}\n{message.text}" for message in self.messages)
        return "\n\n".join((f"## system\n{self.system}", *turns))


class Completion(Value):
    """One answer: its text, why it ended, what it cost."""

    text: str
    stop_reason: StopReason
    usage: Usage


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text at four characters each, rounded up: an estimate, and to be shown as one."""
    return -(-len(text) // 4)
