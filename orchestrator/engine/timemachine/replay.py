"""The four verbs, answered from a record after the time that they took: a `Performer` for the real driver.

A generation takes its service time, and waits for the account where there is one. A gate or an integration waits for the set-up,
which the first of them begins, and is then a piece of work for the cores. What comes of a try is what the record says of it, with
two exceptions that depend on the schedule: a patch conflicts when a subtask that it clashes with came in after it was begun, and a
batch fails while a culprit is among those that fit.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from orchestrator.core.events import (
    AttemptFailed,
    BatchMerged,
    BatchRejected,
    Outcome,
    PatchJudged,
    PatchProposed,
    SplitFinished,
)
from orchestrator.core.values import CommitId, Conflict, Failure, MergedPatch, SubtaskId, TreeId, Usage, Verdict
from orchestrator.engine.effects import Occurrence
from orchestrator.engine.jobs import GenerateJob, IntegrateJob, Job, JudgeJob, SplitJob
from orchestrator.engine.timemachine.account import Account
from orchestrator.engine.timemachine.cores import SharedCores
from orchestrator.engine.timemachine.script import Script
from orchestrator.measure.recorded import Recorded, RecordedTry
from orchestrator.measure.tries import Request

_CLASH = "A sibling's change was integrated first."
_PASSED = Verdict(passed=True, reason="passed")
_CONFLICT = Verdict(passed=False, reason="conflict", feedback=_CLASH)
_NOTHING_FITS = Verdict(passed=False, reason="conflict", feedback="Nothing in this batch fits the trunk any more.")
_NO_FAILURE = Failure(reason="no_change", feedback="")


@dataclass(slots=True)
class Tally:
    """What was done: seconds as they would take alone, counts, and tokens (unknown ones are 0). `own_s` is by subtask.

    `beside_s` is what the gates that ran checks took, one beside the other, and `checked` how many these are.
    """

    generate_s: float = 0.0
    judge_s: float = 0.0
    integrate_s: float = 0.0
    attempts: int = 0
    gates: int = 0
    checked: int = 0
    beside_s: float = 0.0
    batches: int = 0
    conflicts: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    own_s: dict[SubtaskId, float] = field(default_factory=dict)

    def spend(self, subtask: SubtaskId, seconds: float) -> None:
        """Add to what a subtask took by itself."""
        self.own_s[subtask] = self.own_s.get(subtask, 0.0) + seconds


@dataclass(frozen=True, slots=True)
class Scales:
    """How many times longer than recorded things take."""

    generate: float = 1.0
    gate: float = 1.0


@dataclass(slots=True)
class _UnderWay:
    """A subtask's try of this moment, and how long the trunk was when it began."""

    plays: RecordedTry
    trunk: int


class Replay:
    """Answers jobs from a script. `account` is None where nothing limits requests."""

    def __init__(
        self, record: Recorded, script: Script, cores: SharedCores, account: Account | None, scales: Scales
    ) -> None:
        self.tally = Tally()
        self._record = record
        self._script = script
        self._cores = cores
        self._account = account
        self._scales = scales
        self._under_way: dict[SubtaskId, _UnderWay] = {}
        self._lengths: dict[CommitId, int] = {record.run.base: 0}
        self._merged_as: dict[SubtaskId, int] = {}
        self._set_up: asyncio.Event | None = None

    async def perform(self, job: Job) -> Occurrence:
        """Let the time pass, and say what came of it."""
        match job:
            case SplitJob():
                await asyncio.sleep(self._record.split_s)
                outcome: Outcome = SplitFinished(subtasks=self._script.subtasks, usage=self._record.split_usage)
            case GenerateJob():
                outcome = await self._generate(job)
            case JudgeJob():
                outcome = await self._judge(job)
            case IntegrateJob():
                outcome = await self._integrate(job)
            case _:
                assert_never(job)
        return Occurrence(asyncio.get_running_loop().time(), outcome)

    async def _generate(self, job: GenerateJob) -> PatchProposed | AttemptFailed:
        name, tally = job.subtask.id, self.tally
        plays = self._script.begin(name, job.draw)
        self._under_way[name] = _UnderWay(plays, self._lengths[job.base])
        seconds = plays.did.service_s * self._scales.generate
        tally.attempts += 1
        tally.generate_s += seconds
        tally.spend(name, seconds)
        for request in plays.did.requests:
            self._count(request)
        if self._account is None:
            await asyncio.sleep(seconds)
        else:
            await self._ask(plays, self._account)
        usage: Usage = plays.did.usage
        if plays.did.patch is not None:
            return PatchProposed(subtask=name, attempt=job.attempt, patch=plays.did.patch, usage=usage)
        failure = plays.did.failure or _NO_FAILURE
        return AttemptFailed(subtask=name, attempt=job.attempt, failure=failure, usage=usage)

    async def _ask(self, plays: RecordedTry, account: Account) -> None:
        scale = self._scales.generate
        for request in plays.did.requests:
            await asyncio.sleep(request.before_s * scale)
            await account.admit(request.count, request.input_tokens or 0, request.output_tokens or 0)
            await asyncio.sleep(request.duration_s * scale)
        await asyncio.sleep(plays.did.after_s * scale)

    def _count(self, request: Request) -> None:
        self.tally.requests += request.count
        self.tally.input_tokens += request.input_tokens or 0
        self.tally.output_tokens += request.output_tokens or 0

    async def _judge(self, job: JudgeJob) -> PatchJudged:
        name, tally = job.subtask.id, self.tally
        own = self._under_way[name]
        tally.gates += 1
        if self._clashes(name, own, ()):
            seconds = self._record.times.conflict_s * self._scales.gate
            verdict = _CONFLICT
            await self._cores.work(seconds)
        else:
            if own.plays.judged is None:
                raise ValueError(f"the try of {name!r} that is judged proposed nothing")
            seconds = own.plays.judged.alone_s * self._scales.gate
            verdict = own.plays.judged.verdict
            await self._checked(seconds, verdict)
        tally.judge_s += seconds
        tally.spend(name, seconds)
        return PatchJudged(subtask=name, attempt=job.attempt, verdict=verdict)

    async def _checked(self, seconds: float, verdict: Verdict) -> None:
        if not verdict.checks:
            await self._cores.work(seconds)
            return
        await self._prepared()
        began = asyncio.get_running_loop().time()
        await self._cores.work(seconds)
        self.tally.beside_s += asyncio.get_running_loop().time() - began
        self.tally.checked += 1

    async def _prepared(self) -> None:
        """Trees are handed out once the set-up is done; whoever comes first does it."""
        if self._set_up is None:
            self._set_up = asyncio.Event()
            await self._cores.work(self._record.set_up_s * self._scales.gate)
            self._set_up.set()
        await self._set_up.wait()

    async def _integrate(self, job: IntegrateJob) -> BatchMerged | BatchRejected:
        fitting: list[SubtaskId] = []
        conflicts: list[Conflict] = []
        for stacked in job.stacked:
            if self._clashes(stacked.subtask, self._under_way[stacked.subtask], fitting):
                conflicts.append(Conflict(subtask=stacked.subtask, feedback=_CLASH))
            else:
                fitting.append(stacked.subtask)
        self.tally.batches += 1
        self.tally.conflicts += len(conflicts)
        broken = next((found for name in fitting if (found := self._under_way[name].plays.breaks) is not None), None)
        await self._check(len(fitting), is_broken=broken is not None)
        if not fitting or broken is not None:
            return BatchRejected(batch=job.batch, verdict=broken or _NOTHING_FITS, conflicts=tuple(conflicts))
        return self._merged(job.batch, fitting, conflicts)

    async def _check(self, members: int, *, is_broken: bool) -> None:
        time = self._record.integration
        if not members:
            seconds = self._record.times.conflict_s
        elif is_broken and time.failed_s is not None:
            seconds = time.failed_s
        else:
            seconds = time.seconds(members, len(self._merged_as))
        seconds *= self._scales.gate
        self.tally.integrate_s += seconds
        if members:
            await self._prepared()
        await self._cores.work(seconds)

    def _merged(self, batch: int, names: Sequence[SubtaskId], conflicts: Sequence[Conflict]) -> BatchMerged:
        for name in names:
            self._merged_as[name] = len(self._merged_as)
        head = CommitId(f"simulated-{len(self._merged_as)}")
        self._lengths[head] = len(self._merged_as)
        return BatchMerged(
            batch=batch,
            head=head,
            tree=TreeId(head),
            merged=tuple(MergedPatch(subtask=name, commit=head, added_lines=0, deleted_lines=0) for name in names),
            conflicts=tuple(conflicts),
            verdict=_PASSED,
        )

    def _clashes(self, name: SubtaskId, own: _UnderWay, fitting: Sequence[SubtaskId]) -> bool:
        """Whether one that a patch does not get along with came in after it was begun, or stands before it in its batch."""
        return any(
            other in fitting or self._merged_as.get(other, -1) >= own.trunk
            for other in self._script.roles[name].clashes
        )
