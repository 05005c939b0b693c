"""The nouns: what a run is made of. Frozen, serialisable, compared by value.

Everything that is journaled or crosses a port is one of these. Numbers carry their unit in their name. `None` in
a count means *unknown*, which is not zero: an unknown added to anything stays unknown.
"""

from collections.abc import Mapping
from hashlib import sha256
from typing import Literal, NewType, Self

from pydantic import BaseModel, ConfigDict, Field

RunId = NewType("RunId", str)
SubtaskId = NewType("SubtaskId", str)
CommitId = NewType("CommitId", str)
TreeId = NewType("TreeId", str)
Digest = NewType("Digest", str)


class Value(BaseModel):
    """A frozen value; unknown fields are errors, so that a typing mistake cannot pass as data."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def digest_of(body: bytes) -> Digest:
    """The name of a body in the journal's content-addressed store (SHA-256, hex)."""
    return Digest(sha256(body).hexdigest())


def _plus(left: float | None, right: float | None) -> float | None:
    return None if left is None or right is None else left + right


def _plus_int(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


class Usage(Value):
    """Tokens and dollars of one or more requests; addable.

    `input_tokens` counts all input, cached or not; `cached_input_tokens` and `cache_write_tokens` are parts of it;
    `reasoning_tokens` is a part of `output_tokens`. `cost_usd` is None where no price is known.
    `unknown_requests` were cut off before they said what they cost: they may have been billed, and are in no other figure
    but `unknown_cost_usd` and `unknown_tokens`: the most that they, and whatever else stayed unknown, can have come to where a
    budget had to be reserved for them.
    `partial_cost_usd` and `partial_tokens` are what is known of a sum whose whole is not.
    `is_simulated` is set when a stub stood in for a model: the tokens are counted, nobody was paid.
    """

    requests: int = 0
    unknown_requests: int = 0
    input_tokens: int | None = 0
    cached_input_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    output_tokens: int | None = 0
    reasoning_tokens: int | None = 0
    cost_usd: float | None = 0.0
    unknown_cost_usd: float = 0.0
    unknown_tokens: int = 0
    partial_cost_usd: float = 0.0
    partial_tokens: int = 0
    is_simulated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        cost = _plus(self.cost_usd, other.cost_usd)
        inputs = _plus_int(self.input_tokens, other.input_tokens)
        outputs = _plus_int(self.output_tokens, other.output_tokens)
        return Usage(
            requests=self.requests + other.requests,
            unknown_requests=self.unknown_requests + other.unknown_requests,
            input_tokens=inputs,
            cached_input_tokens=_plus_int(self.cached_input_tokens, other.cached_input_tokens),
            cache_write_tokens=_plus_int(self.cache_write_tokens, other.cache_write_tokens),
            output_tokens=outputs,
            reasoning_tokens=_plus_int(self.reasoning_tokens, other.reasoning_tokens),
            cost_usd=cost,
            unknown_cost_usd=self.unknown_cost_usd + other.unknown_cost_usd,
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            partial_cost_usd=0.0 if cost is not None else self.known_cost_usd + other.known_cost_usd,
            partial_tokens=0 if None not in (inputs, outputs) else self.known_tokens + other.known_tokens,
            is_simulated=self.is_simulated or other.is_simulated,
        )

    @property
    def known_cost_usd(self) -> float:
        """Dollars as far as they are known."""
        return self.partial_cost_usd if self.cost_usd is None else self.cost_usd

    @property
    def known_tokens(self) -> int:
        """Input and output tokens as far as they are known."""
        if self.input_tokens is None or self.output_tokens is None:
            return max(self.partial_tokens, (self.input_tokens or 0) + (self.output_tokens or 0))
        return self.input_tokens + self.output_tokens

    @property
    def total_tokens(self) -> int | None:
        """Input plus output; None when either is unknown."""
        return _plus_int(self.input_tokens, self.output_tokens)


class Check(Value):
    """One command of a gate: an argument list (never a shell line), its time limit, its extra environment."""

    name: str
    argv: tuple[str, ...] = Field(min_length=1)
    timeout_s: float = Field(default=120.0, gt=0)
    env: Mapping[str, str] = {}

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two checks the same: name, arguments, environment."""
        return (self.name, self.argv, tuple(sorted(self.env.items())))


class GateSettings(Value):
    """What all gates of a run share.

    `setup` runs once on the base; the untracked files that it leaves are put back for every gate.
    `protected` globs always hold the base's content in a judged tree, and a change to them is refused.
    `python` is what the word `python` at the start of a command means; None is the interpreter that runs the program.
    """

    setup: tuple[Check, ...] = ()
    protected: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    python: str | None = None
    max_output_bytes: int = 262_144


class Limits(Value):
    """How much at once and how much at all; None is no limit. `attempts` counts starts of all subtasks together.

    `is_serial` is one slot for everything: model, gate and integration take turns. A run like that is the control that a
    speedup is measured against; one that still overlaps its gates would flatter the others.
    """

    agents: int = Field(default=4, ge=1)
    gate_slots: int = Field(default=2, ge=1)
    cost_usd: float | None = Field(default=None, gt=0)
    tokens: int | None = Field(default=None, gt=0)
    wall_s: float | None = Field(default=None, gt=0)
    attempts: int | None = Field(default=None, ge=1)
    is_serial: bool = False


class Allowance(Value):
    """What an attempt may cost at most, reserved before it starts; None is not limited."""

    cost_usd: float | None = None
    tokens: int | None = None


class Quote(Value):
    """What a backend says before it is asked: the most that one request can come to, and a whole session.

    An attempt is not started with less than the first, nor given more than the second.
    """

    request: Allowance
    session: Allowance


class Subtask(Value):
    """One unit of work that fits one context window.

    `context` and `writable` are globs over the repository; what is writable is always shown too. `context_tokens`
    bounds what the prompt shows of the repository (estimated tokens). `max_attempts` counts tries that failed on
    their own account; work that must be redone because a sibling was faster does not count. `weight` orders equals:
    a heavier subtask starts first (estimated tokens of work).
    """

    id: SubtaskId
    title: str
    instruction: str
    context: tuple[str, ...] = ()
    context_tokens: int = Field(default=24_000, gt=0)
    writable: tuple[str, ...] = Field(min_length=1)
    skills: tuple[str, ...] = ()
    needs: tuple[SubtaskId, ...] = ()
    max_attempts: int = Field(default=3, ge=1)
    checks: tuple[Check, ...] = ()
    weight: float = Field(default=1.0, ge=0)


class FileChange(Value):
    """One path in a patch, as git states it: None for a mode and blob means that the file does not exist there.

    `added_lines` and `deleted_lines` leave blank lines out; a binary file counts as 0.
    """

    path: str
    old_mode: str | None
    new_mode: str | None
    old_blob: str | None
    new_blob: str | None
    added_lines: int = 0
    deleted_lines: int = 0


class Patch(Value):
    """The change from `base` to `commit` **as git states it**, never as a model states it."""

    base: CommitId
    commit: CommitId
    tree: TreeId
    changes: tuple[FileChange, ...]

    @property
    def added_lines(self) -> int:
        """Non-blank lines that the patch adds."""
        return sum(change.added_lines for change in self.changes)

    @property
    def deleted_lines(self) -> int:
        """Non-blank lines that the patch removes."""
        return sum(change.deleted_lines for change in self.changes)


class CheckResult(Value):
    """What one command of the gate did. `output` names the whole (bounded) output in the journal's bodies."""

    name: str
    passed: bool
    exit_code: int | None
    timed_out: bool = False
    duration_s: float
    output: Digest | None = None


VerdictReason = Literal["passed", "check_failed", "timeout", "conflict", "forbidden_path", "protected_path"]


class Verdict(Value):
    """What the gate said of a tree.

    `feedback` is what a model is shown of it: short, bounded, the failing test or the first error.
    `tree_s` is the time it took to make the tree, in seconds; `sandbox` names the confinement that the checks ran in.
    """

    passed: bool
    reason: VerdictReason
    feedback: str = ""
    checks: tuple[CheckResult, ...] = ()
    tree_s: float = 0.0
    sandbox: str = "none"


FailureReason = Literal[
    "malformed_reply",
    "edit_does_not_apply",
    "truncated",
    "refused",
    "no_change",
    "context_too_long",
    "backend_unavailable",
    "rate_limited",
    "budget",
    "not_recorded",
    "session_limit",
    "stopped",
    "timeout",
]


class Failure(Value):
    """Why an attempt proposed nothing. `feedback` is what the next attempt is told.

    `needed` comes with `budget`: what the next request would have had to reserve.
    """

    reason: FailureReason
    feedback: str
    needed: Allowance | None = None


StopReason = Literal["end_turn", "max_tokens", "refusal", "tool_use"]


class Exchange(Value):
    """One request to a model and its answer, by digest of their texts in the journal's bodies."""

    prompt: Digest
    reply: Digest | None
    stop_reason: StopReason | None
    usage: Usage
    started_s: float
    duration_s: float


class Span(Value):
    """Where the time of an effect went: seconds from the effect's start, and how long."""

    name: str
    started_s: float
    duration_s: float


class MergedPatch(Value):
    """A member of a batch that is in the trunk now: its commit there and what it brought."""

    subtask: SubtaskId
    commit: CommitId
    added_lines: int
    deleted_lines: int


class Conflict(Value):
    """A member of a batch that does not fit the trunk any more; `feedback` names the paths and lines."""

    subtask: SubtaskId
    feedback: str


class FailedTry(Value):
    """What an earlier try of the same subtask came to; the next prompt carries it."""

    attempt: int
    reason: str
    feedback: str

    @classmethod
    def of(cls, attempt: int, reason: str, feedback: str) -> Self:
        """Build one from an outcome."""
        return cls(attempt=attempt, reason=reason, feedback=feedback)
