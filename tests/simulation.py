"""A world without files: jobs answered from a table of what goes wrong, on whatever clock there is.

It keeps what the real world keeps: a trunk that moves by compare-and-swap and outlives the process, and a bill.
"""

import asyncio
from dataclasses import dataclass, field
from hashlib import sha256

from orchestrator.core.errors import GitError
from orchestrator.core.events import (
    AttemptFailed,
    BatchMerged,
    BatchRejected,
    PatchJudged,
    PatchProposed,
    RunStarted,
    SplitFinished,
)
from orchestrator.core.fold import fold
from orchestrator.core.state import RunState
from orchestrator.core.values import (
    Check,
    Conflict,
    Failure,
    FileChange,
    GateSettings,
    Limits,
    MergedPatch,
    Patch,
    Subtask,
    Usage,
    Verdict,
)
from orchestrator.engine.driver import Driver, Stop
from orchestrator.engine.effects import Occurrence
from orchestrator.engine.jobs import GenerateJob, IntegrateJob, JudgeJob, SplitJob

CHECK = Check(name="tests", argv=("true",))


def subtask(name, needs=(), attempts=3, weight=1.0):
    return Subtask(
        id=name,
        title=name,
        instruction="do",
        writable=(f"{name}.py",),
        needs=tuple(needs),
        max_attempts=attempts,
        weight=weight,
        checks=(CHECK,),
    )


def run_started(agents=4, gate_slots=2, seed=0, max_batch=16, **limits):
    return RunStarted(
        run="r",
        spec_name="s",
        spec_path="s.yaml",
        spec_digest="d",
        repo="repo",
        base="base",
        backend="fake",
        backend_digest="d",
        is_simulated=True,
        seed=seed,
        limits=Limits(agents=agents, gate_slots=gate_slots, **limits),
        gate=GateSettings(),
        integration_checks=(),
        max_batch=max_batch,
        version="0",
    )


def patch_of(name, base="base"):
    change = FileChange(path=f"{name}.py", old_mode=None, new_mode="100644", old_blob=None, new_blob="b", added_lines=3)
    return Patch(base=base, commit=f"c-{name}", tree=f"t-{name}", changes=(change,))


@dataclass
class Fate:
    """How a subtask's tries go. Tries are numbered by `draw`, from 1."""

    fails: frozenset[int] = frozenset()
    rejected: frozenset[int] = frozenset()
    breaks_trunk: frozenset[int] = frozenset()
    clashes: frozenset[str] = frozenset()
    generate_s: float = 10.0
    judge_s: float = 1.0


@dataclass
class Ledger:
    """What outlives a process: the trunk, and who was paid for what."""

    trunk: list[tuple[str, int]] = field(default_factory=list)
    billed: list[tuple[str, int]] = field(default_factory=list)
    gates: int = 0
    busy: int = 0
    most_busy: int = 0

    @property
    def head(self):
        return commit_of(self.trunk)


def commit_of(trunk):
    return sha256(repr(trunk).encode()).hexdigest()[:12] if trunk else "base"


class SimulatedEffects:
    """Answers jobs; `bases` remembers on which trunk each attempt began, for clashes."""

    def __init__(self, subtasks, fates, ledger, integrate_s=2.0):
        self.subtasks, self.fates, self.ledger, self.integrate_s = tuple(subtasks), fates, ledger, integrate_s
        self.draws = {}
        self.known = {"base": []}

    def fate(self, name):
        return self.fates.get(name, Fate())

    def now(self):
        return asyncio.get_running_loop().time()

    async def perform(self, job):
        match job:
            case SplitJob():
                outcome = SplitFinished(subtasks=self.subtasks)
            case GenerateJob():
                outcome = await self.generate(job)
            case JudgeJob():
                outcome = await self.judge(job)
            case IntegrateJob():
                outcome = await self.integrate(job)
        return Occurrence(self.now(), outcome)

    async def generate(self, job):
        name, fate = job.subtask.id, self.fate(job.subtask.id)
        self.draws[name] = job.draw
        self.ledger.busy += 1
        self.ledger.most_busy = max(self.ledger.most_busy, self.ledger.busy)
        await asyncio.sleep(fate.generate_s)
        self.ledger.busy -= 1
        self.ledger.billed.append((name, job.draw))
        usage = Usage(requests=1, input_tokens=100, output_tokens=50, cost_usd=0.01)
        if job.draw in fate.fails:
            failure = Failure(reason="malformed_reply", feedback="no block")
            return AttemptFailed(subtask=name, attempt=job.attempt, failure=failure, usage=usage)
        return PatchProposed(subtask=name, attempt=job.attempt, patch=patch_of(name, job.base), usage=usage)

    def clash(self, name, base, onto):
        """A sibling that it clashes with came in after it began."""
        before, now = self.known.get(base, []), self.known.get(onto, self.ledger.trunk)
        return any(other in self.fate(name).clashes for other, _ in now[len(before) :])

    async def judge(self, job):
        fate = self.fate(job.subtask.id)
        self.known[self.ledger.head] = list(self.ledger.trunk)
        await asyncio.sleep(fate.judge_s)
        self.ledger.gates += 1
        draw = self.draws.get(
            job.subtask.id, len(job.stacked.trailers) and int(job.stacked.trailers["Orchestrate-Attempt"])
        )
        if self.clash(job.subtask.id, job.stacked.patch.base, job.onto):
            verdict = Verdict(passed=False, reason="conflict", feedback="clash")
        elif draw in fate.rejected:
            verdict = Verdict(passed=False, reason="check_failed", feedback="E  assert 1 == 2")
        else:
            verdict = Verdict(passed=True, reason="passed")
        return PatchJudged(subtask=job.subtask.id, attempt=job.attempt, verdict=verdict)

    async def integrate(self, job):
        names = [each.subtask for each in job.stacked]
        if job.onto != self.ledger.head:
            raise GitError("the trunk moved")
        self.known[job.onto] = list(self.ledger.trunk)
        conflicted = []
        for name, stacked in zip(names, job.stacked, strict=True):
            earlier = {other for other in names[: names.index(name)] if other not in conflicted}
            if self.clash(name, stacked.patch.base, job.onto) or earlier & self.fate(name).clashes:
                conflicted.append(name)
        conflicts = tuple(Conflict(subtask=name, feedback="clash") for name in conflicted)
        kept = [name for name in names if name not in conflicted]
        await asyncio.sleep(self.integrate_s)
        self.ledger.gates += 1
        bad = [n for n in kept if self.draws.get(n, 1) in self.fate(n).breaks_trunk]
        if bad or not kept:
            reason = "check_failed" if kept else "conflict"
            return BatchRejected(
                batch=job.batch, verdict=Verdict(passed=False, reason=reason, feedback="E"), conflicts=conflicts
            )
        self.ledger.trunk += [(name, job.batch) for name in kept]
        head = self.ledger.head
        self.known[head] = list(self.ledger.trunk)
        merged = tuple(MergedPatch(subtask=n, commit=f"m-{n}", added_lines=3, deleted_lines=0) for n in kept)
        return BatchMerged(
            batch=job.batch,
            head=head,
            tree=head,
            merged=merged,
            conflicts=conflicts,
            retained_lines=3 * len(self.ledger.trunk),
        )


async def begin(journal, started, at=0.0):
    """Journal the opening and fold it."""
    await journal.append([(at, started)], {})
    return fold(journal.entries())


async def drive(journal, state: RunState, effects, clock, stop=None, observers=()):
    driver = Driver(state, journal, effects, clock, observers, stop or Stop())
    return await driver.drive()
