"""Every protocol between the program and the world, on one page.

The engine knows these and nothing else; `wiring` hands it the implementations; `tests/contracts` holds each
implementation, the fakes included, to what is promised here.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from orchestrator.core.chat import Completion, Measured, Prompt
from orchestrator.core.errors import BackendError
from orchestrator.core.events import Entry, Event
from orchestrator.core.prompt import Manner
from orchestrator.core.values import (
    Allowance,
    Check,
    CommitId,
    Conflict,
    Digest,
    Exchange,
    Failure,
    MergedPatch,
    Patch,
    Span,
    Subtask,
    SubtaskId,
    TreeId,
    Usage,
    Verdict,
)

Bodies = Mapping[Digest, bytes]


@dataclass(slots=True)
class Meter:
    """What goes along with the requests of one attempt: what they show of themselves, and what they may cost.

    Counters are plain, and a view may poll them. The rest is between the backend and what stands around its chat model:
    `waits` says where a request had to wait, `started_s` on the clock; it becomes the `spans` of the generation. `is_queued`
    is set while a request stands in a queue of ours, and `queued_s` sums up how long: no silence of the provider's. `failed` sums up the requests that were
    not answered, and what those that broke off may have cost; whoever reports the usage takes it from there. `given` is
    what the attempt may spend, `left` what of it is left; None is not limited. `measured` is the last prompt that was answered.
    """

    output_tokens: int = 0
    note: str = ""
    waits: list[Span] = field(default_factory=list)
    is_queued: bool = False
    queued_s: float = 0.0
    failed: Usage = field(default_factory=Usage)
    given: Allowance | None = None
    left: Allowance | None = None
    measured: Measured | None = None

    @classmethod
    def paid_from(cls, allowance: Allowance | None) -> "Meter":
        """A meter of an attempt that may spend that much."""
        return cls(given=allowance, left=allowance)

    @contextmanager
    def queued(self, name: str, clock: "Clock") -> Iterator[None]:
        """Stand in a queue of ours; the time becomes a wait of that name, unless it was none."""
        began = clock.now()
        self.is_queued = True
        try:
            yield
        finally:
            self.is_queued = False
            self.note = ""
            waited_s = clock.now() - began
            self.queued_s += waited_s
            if waited_s > 0:
                self.waits.append(Span(name=name, started_s=began, duration_s=waited_s))

    def take_failed(self) -> Usage:
        """Return what `failed` holds, and begin anew."""
        taken, self.failed = self.failed, Usage()
        return taken


class Clock(Protocol):
    """Time as the engine knows it; a simulation brings its own."""

    def now(self) -> float:
        """Return seconds since the epoch; never goes back within a process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds."""
        ...


class ChatModel(Protocol):
    """One request to a model API."""

    @property
    def name(self) -> str:
        """The model's name, as people know it."""
        ...

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer one prompt. Raises `BackendError`; a refusal or a cut reply is a result, not an error."""
        ...


@dataclass(frozen=True, slots=True)
class Splitting:
    """What a task became. `problem` is None when `subtasks` hold; `fault` stops the run before there is an answer."""

    subtasks: tuple[Subtask, ...] = ()
    problem: str | None = None
    usage: Usage = field(default_factory=Usage)
    exchanges: tuple[Exchange, ...] = ()
    bodies: Bodies = field(default_factory=dict)
    fault: BackendError | None = None


class Splitter(Protocol):
    """Turns the task into subtasks, by rule or by asking a model."""

    async def split(self, base: CommitId, seed: int, allowance: Allowance | None) -> Splitting:
        """Split at a commit, for no more than the allowance. A task that cannot be split is an answer; a file that is wrong raises `SpecError`."""
        ...


@dataclass(frozen=True, slots=True)
class Generation:
    """What a backend did for one attempt. `failure` is None when it left a change in the workspace.

    `fault` stops the run, once what the attempt has cost is journaled; its failure is `stopped` then.
    """

    usage: Usage
    failure: Failure | None = None
    exchanges: tuple[Exchange, ...] = ()
    spans: tuple[Span, ...] = ()
    bodies: Bodies = field(default_factory=dict)
    fault: BackendError | None = None


class Workspace(Protocol):
    """A private copy of the code at a known commit. What is written here is seen by nobody else."""

    @property
    def base(self) -> CommitId:
        """The commit that it was opened at."""
        ...

    async def paths(self) -> Sequence[str]:
        """Every file, sorted, as POSIX paths relative to the root."""
        ...

    async def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The content of those of the paths that exist, as last written."""
        ...

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        """Put whole files, all of them or none; None removes one. New files get mode 644, others keep theirs."""
        ...

    async def patch(self) -> Patch:
        """Commit what was written (durable before this returns) and state the change against `base`."""
        ...


class CheckedWorkspace(Workspace, Protocol):
    """A workspace as a backend gets it: it can be judged before it is handed in."""

    async def check(self) -> Verdict:
        """Judge what is written so far as the gate will. It decides nothing, and nothing is journaled of it."""
        ...


class Workspaces(Protocol):
    """Opens private copies; leaving the context removes them, on cancellation too."""

    def open(self, at: CommitId) -> AbstractAsyncContextManager[Workspace]:
        """Open a copy at a commit."""
        ...


class Backend(Protocol):
    """Leaves a change in the workspace and says what it cost; the patch is then read from git."""

    @property
    def name(self) -> str:
        """The name that reports and trailers show."""
        ...

    @property
    def manner(self) -> Manner:
        """How its prompts are to be written: how to answer, and what of the repository they show."""
        ...

    async def generate(self, prompt: Prompt, workspace: CheckedWorkspace, meter: Meter) -> Generation:
        """Work at one attempt.

        A fault that must stop the whole run (a key, a bill, a wrong model) is in the `Generation`, or raised as `BackendError`
        where nothing was spent.
        """
        ...


class Trees(Protocol):
    """Checked-out trees for gates: fresh in content, cheap to get."""

    def lease(self, commit: CommitId, protected: Sequence[str]) -> AbstractAsyncContextManager[Path]:
        """Check a commit out, with protected files as they are in the run's base and no other file under those globs."""
        ...


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict and the outputs that it names by digest."""

    verdict: Verdict
    bodies: Bodies = field(default_factory=dict)


class Gate(Protocol):
    """Runs checks over a tree. A bad patch is a `Verdict`; a broken gate raises `GateError`."""

    async def judge(self, tree: Path, checks: Sequence[Check]) -> Judgement:
        """Run the checks in order, the first failing one ends it; kills every process it started."""
        ...


@dataclass(frozen=True, slots=True)
class Stacked:
    """A patch to integrate, with what its commit's message says."""

    subtask: SubtaskId
    patch: Patch
    title: str
    trailers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Stack:
    """Commits on top of the trunk that no ref points at yet: what applied, in order, and what did not."""

    head: CommitId
    tree: TreeId
    merged: tuple[MergedPatch, ...]
    conflicts: tuple[Conflict, ...]


class Trunk(Protocol):
    """The branch that only moves to trees that passed as a whole."""

    async def head(self) -> CommitId:
        """Where the branch is now."""
        ...

    async def stack(self, patches: Sequence[Stacked], onto: CommitId) -> Stack:
        """Put each patch on `onto` by three-way merge, one commit each; a patch that conflicts is left out and named."""
        ...

    async def advance(self, old: CommitId, new: CommitId) -> None:
        """Move the branch by compare-and-swap; moving it again to where it already is does nothing. Raises `GitError`."""
        ...

    async def retained_lines(self, base: CommitId, head: CommitId) -> int:
        """Non-blank lines that stand in `head` and were not in `base`."""
        ...

    async def merged_since(self, old: CommitId) -> Sequence[MergedPatch] | None:
        """What commits lie between `old` and the branch, oldest first; None when the branch does not descend from it."""
        ...


class Journal(Protocol):
    """Append-only, one writer."""

    async def append(self, events: Sequence[tuple[float, Event]], bodies: Bodies) -> Sequence[Entry]:
        """Stamp and store events and bodies in one transaction; returns once they survive SIGKILL and power loss."""
        ...

    def entries(self) -> Iterable[Entry]:
        """Every entry so far, in order. Raises `JournalError`."""
        ...

    def body(self, digest: Digest) -> bytes | None:
        """A stored body, or None."""
        ...


Observer = Callable[[Entry], None]
