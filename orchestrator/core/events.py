"""The facts of a run. The journal holds nothing else, and everything that is shown or counted is computed from them.

An **intent** is a step that we chose; it is journaled before it is taken. An **outcome** is the world's answer to
exactly one intent; it is journaled as soon as it is known. Both are events, so write-ahead holds by construction.

    intent            outcomes
    SplitStarted      SplitFinished | SplitFailed | SplitStopped
    AttemptStarted    PatchProposed | AttemptFailed
    GateStarted       PatchJudged
    BatchStarted      BatchMerged | BatchRejected

`RunStarted` opens a journal, `RunResumed` says that a new process took over, `RunFinished` that one ended in order.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from orchestrator.core.values import (
    Allowance,
    Check,
    CommitId,
    Conflict,
    Digest,
    Exchange,
    Failure,
    GateSettings,
    Limits,
    MergedPatch,
    Patch,
    Quote,
    RunId,
    Span,
    Subtask,
    SubtaskId,
    TreeId,
    Usage,
    Value,
    Verdict,
)


class RunStarted(Value):
    """What this run is: enough to go on with it in another process, and to compare it with another run.

    `backend` is the name that the user sees, `model` the one that the provider knows; `backend_digest` covers all its settings. `spec_digest` covers the task
    file as validated. `config` is the file of the backend's configuration. `quote` is None where nobody can say beforehand
    what an attempt costs at most.
    """

    kind: Literal["run_started"] = "run_started"
    run: RunId
    spec_name: str
    spec_path: str
    spec_digest: Digest
    repo: str
    base: CommitId
    backend: str
    model: str = ""
    backend_digest: Digest
    config: str = ""
    quote: Quote | None = None
    is_simulated: bool
    seed: int
    limits: Limits
    gate: GateSettings
    integration_checks: tuple[Check, ...]
    max_batch: int = Field(default=16, ge=1)
    max_reworks: int = Field(default=10, ge=0)
    version: str


class SplitStarted(Value):
    """Intent: turn the task into subtasks."""

    kind: Literal["split_started"] = "split_started"
    allowance: Allowance | None = None


class SplitFinished(Value):
    """Outcome: the subtasks, in the order of the file; ids unique, `needs` known and acyclic."""

    kind: Literal["split_finished"] = "split_finished"
    subtasks: tuple[Subtask, ...]
    usage: Usage = Usage()
    exchanges: tuple[Exchange, ...] = ()


class SplitFailed(Value):
    """Outcome: no valid plan could be had; the run ends."""

    kind: Literal["split_failed"] = "split_failed"
    detail: str
    usage: Usage = Usage()
    exchanges: tuple[Exchange, ...] = ()


class SplitStopped(Value):
    """Outcome: a fault that ends the run came before a plan; the next process asks again."""

    kind: Literal["split_stopped"] = "split_stopped"
    usage: Usage = Usage()
    exchanges: tuple[Exchange, ...] = ()


class AttemptStarted(Value):
    """Intent: let the backend work at a subtask on `base`.

    `attempt` numbers every start of the subtask from 1. `draw` numbers the tries that count, also from 1: work that is
    redone only because the trunk moved, or because a process died, keeps its `draw`. A simulated model keys its luck by it.
    `allowance` is reserved while the attempt is under way; None where nothing limits it.
    """

    kind: Literal["attempt_started"] = "attempt_started"
    subtask: SubtaskId
    attempt: int
    draw: int
    base: CommitId
    allowance: Allowance | None = None


class PatchProposed(Value):
    """Outcome: the attempt left a change. From here on its tokens are never paid twice."""

    kind: Literal["patch_proposed"] = "patch_proposed"
    subtask: SubtaskId
    attempt: int
    patch: Patch
    usage: Usage
    exchanges: tuple[Exchange, ...] = ()
    spans: tuple[Span, ...] = ()
    skills: tuple[tuple[str, Digest], ...] = ()


class AttemptFailed(Value):
    """Outcome: the attempt left nothing to judge."""

    kind: Literal["attempt_failed"] = "attempt_failed"
    subtask: SubtaskId
    attempt: int
    failure: Failure
    usage: Usage
    exchanges: tuple[Exchange, ...] = ()
    spans: tuple[Span, ...] = ()
    skills: tuple[tuple[str, Digest], ...] = ()


class GateStarted(Value):
    """Intent: judge the proposed patch on top of the trunk at `onto`."""

    kind: Literal["gate_started"] = "gate_started"
    subtask: SubtaskId
    attempt: int
    onto: CommitId


class PatchJudged(Value):
    """Outcome: the gate's verdict on one patch."""

    kind: Literal["patch_judged"] = "patch_judged"
    subtask: SubtaskId
    attempt: int
    verdict: Verdict


class BatchStarted(Value):
    """Intent: integrate these subtasks, in this order, on the trunk at `onto`, and gate the result as a whole."""

    kind: Literal["batch_started"] = "batch_started"
    batch: int
    members: tuple[SubtaskId, ...] = Field(min_length=1)
    onto: CommitId


class BatchMerged(Value):
    """Outcome: the trunk moved to `head`, whose tree passed. Members in `conflicts` were left out.

    `retained_lines` counts the non-blank lines of the whole run that stand in `head` and not in the base.
    `verdict` is None only where a killed process had moved the trunk and its verdict was lost.
    """

    kind: Literal["batch_merged"] = "batch_merged"
    batch: int
    head: CommitId
    tree: TreeId
    merged: tuple[MergedPatch, ...]
    conflicts: tuple[Conflict, ...] = ()
    retained_lines: int = 0
    verdict: Verdict | None = None


class BatchRejected(Value):
    """Outcome: the trunk did not move; the tree failed as a whole, or nothing applied. Conflicted members are named."""

    kind: Literal["batch_rejected"] = "batch_rejected"
    batch: int
    verdict: Verdict
    conflicts: tuple[Conflict, ...] = ()


class RunResumed(Value):
    """A new process took over: what was in flight goes back to the phase before it. `limits` are those that hold now."""

    kind: Literal["run_resumed"] = "run_resumed"
    limits: Limits
    version: str


FinishReason = Literal[
    "completed",
    "drained",
    "cost_limit",
    "token_limit",
    "wall_limit",
    "attempt_limit",
    "backend_unavailable",
    "split_failed",
]


class RunFinished(Value):
    """A process ended in order. Only `completed` and `split_failed` are for good; the others can be resumed."""

    kind: Literal["run_finished"] = "run_finished"
    reason: FinishReason

    @property
    def is_for_good(self) -> bool:
        """Whether there is nothing to resume."""
        return self.reason in ("completed", "split_failed")


Intent = SplitStarted | AttemptStarted | GateStarted | BatchStarted
Outcome = (
    SplitFinished
    | SplitFailed
    | SplitStopped
    | PatchProposed
    | AttemptFailed
    | PatchJudged
    | BatchMerged
    | BatchRejected
)
Event = Annotated[
    RunStarted | Intent | Outcome | RunResumed | RunFinished,
    Field(discriminator="kind"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class Entry(Value):
    """A stamped event: its place in the log, and when it became known, in seconds since the epoch."""

    seq: int
    at: float
    event: Event
