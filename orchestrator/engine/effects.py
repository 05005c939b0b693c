"""The four verbs: split, generate, judge, integrate. Each takes one job and returns one outcome.

Nothing here touches the state or the journal. What is expected to fail is an outcome; an exception is a bug, or
something outside that is broken, and it ends the run.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from orchestrator.core.chat import Draw, Prompt
from orchestrator.core.errors import BackendError, OrchestratorError
from orchestrator.core.events import (
    AttemptFailed,
    BatchMerged,
    BatchRejected,
    Outcome,
    PatchJudged,
    PatchProposed,
    SplitFailed,
    SplitFinished,
    SplitStopped,
)
from orchestrator.core.globs import select_sorted
from orchestrator.core.policy import refusal
from orchestrator.core.prompt import Manner, Selection, build_prompt, choose_files, list_files
from orchestrator.core.skills import Skill
from orchestrator.core.values import Check, CommitId, Exchange, Failure, Span, SubtaskId, Usage, Verdict
from orchestrator.engine.jobs import GenerateJob, IntegrateJob, Job, JudgeJob, SplitJob
from orchestrator.engine.rehearsal import RehearsedWorkspace, Stage
from orchestrator.ports import (
    Backend,
    Bodies,
    CheckedWorkspace,
    Clock,
    Gate,
    Generation,
    Judgement,
    Meter,
    Splitter,
    Trees,
    Trunk,
    Workspace,
    Workspaces,
)

_NO_CHANGE = "The answer left every file as it was. Make the change that the subtask asks for."


@dataclass(frozen=True, slots=True)
class Occurrence:
    """An outcome, when it became known, the bodies that it names, and the fault that ends the run after it, if there is one."""

    at: float
    outcome: Outcome
    bodies: Bodies = field(default_factory=dict)
    fault: OrchestratorError | None = None


@dataclass(frozen=True, slots=True)
class World:
    """The ports that the four verbs act through. `rehearsal_slots` bounds the checks that sessions run for themselves."""

    splitter: Splitter
    backend: Backend
    workspaces: Workspaces
    trees: Trees
    gate: Gate
    trunk: Trunk
    clock: Clock
    skills: Mapping[str, Skill] = field(default_factory=dict)
    protected: Sequence[str] = ()
    rehearsal_slots: int = 1


class Effects:
    """Performs jobs. `meters` shows what runs at this moment, by subtask, for views to poll."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stage = Stage(world.trees, world.gate, world.protected, asyncio.Semaphore(world.rehearsal_slots))
        self.meters: dict[SubtaskId, Meter] = {}

    async def perform(self, job: Job) -> Occurrence:
        """Act, and say what came of it."""
        match job:
            case SplitJob():
                return await self._split(job)
            case GenerateJob():
                return await self._generate(job)
            case JudgeJob():
                return await self._judge(job)
            case IntegrateJob():
                return await self._integrate(job)
            case _:
                assert_never(job)

    def _occurred(self, outcome: Outcome, bodies: Bodies | None = None) -> Occurrence:
        return Occurrence(self._world.clock.now(), outcome, bodies or {})

    async def _split(self, job: SplitJob) -> Occurrence:
        made = await self._world.splitter.split(job.base, job.seed, job.allowance)
        if made.fault is not None:
            stopped = SplitStopped(usage=made.usage, exchanges=made.exchanges)
            return Occurrence(self._world.clock.now(), stopped, made.bodies, made.fault)
        if made.problem is not None:
            failed = SplitFailed(detail=made.problem, usage=made.usage, exchanges=made.exchanges)
            return self._occurred(failed, made.bodies)
        finished = SplitFinished(subtasks=made.subtasks, usage=made.usage, exchanges=made.exchanges)
        return self._occurred(finished, made.bodies)

    async def _generate(self, job: GenerateJob) -> Occurrence:
        world, name = self._world, job.subtask.id
        meter = self.meters[name] = Meter.paid_from(job.allowance)
        started = world.clock.now()
        skills = [world.skills[skill] for skill in job.subtask.skills]
        used = tuple((skill.name, skill.digest) for skill in skills)
        try:
            async with world.workspaces.open(job.base) as workspace:
                selection = await _selection(job, workspace, world.backend.manner)
                prompt = _prompt(job, selection, skills, world.backend.manner)
                opened = world.clock.now()
                rehearsed = RehearsedWorkspace(workspace, job.subtask, self._stage)
                made = _hidden(selection) or await self._worked(prompt, rehearsed, meter)
                answered = world.clock.now()
                patch = await workspace.patch() if made.failure is None else None
        finally:
            del self.meters[name]
        before = opened - started
        spans = (
            Span(name="prepare", started_s=0.0, duration_s=before),
            *(_later(span, before) for span in made.spans),
            Span(name="commit", started_s=answered - started, duration_s=world.clock.now() - answered),
        )
        exchanges = tuple(_later(exchange, before) for exchange in made.exchanges)
        if patch is not None and patch.changes:
            proposed = PatchProposed(
                subtask=name,
                attempt=job.attempt,
                patch=patch,
                usage=made.usage,
                exchanges=exchanges,
                spans=spans,
                skills=used,
            )
            return self._occurred(proposed, made.bodies)
        failed = AttemptFailed(
            subtask=name,
            attempt=job.attempt,
            failure=made.failure or Failure(reason="no_change", feedback=_NO_CHANGE),
            usage=made.usage,
            exchanges=exchanges,
            spans=spans,
            skills=used,
        )
        return Occurrence(self._world.clock.now(), failed, made.bodies, made.fault)

    async def _worked(self, prompt: Prompt, workspace: CheckedWorkspace, meter: Meter) -> Generation:
        """Let the backend work; a fault that it raises has cost what its meter says."""
        try:
            return await self._world.backend.generate(prompt, workspace, meter)
        except BackendError as error:
            return Generation(meter.take_failed(), Failure(reason="stopped", feedback=str(error)), fault=error)

    async def _judge(self, job: JudgeJob) -> Occurrence:
        judged = await self._verdict(job)
        event = PatchJudged(subtask=job.subtask.id, attempt=job.attempt, verdict=judged.verdict)
        return self._occurred(event, judged.bodies)

    async def _verdict(self, job: JudgeJob) -> Judgement:
        refused = refusal(job.stacked.patch, job.subtask.writable, self._world.protected)
        if refused is not None:
            return Judgement(refused)
        stack = await self._world.trunk.stack([job.stacked], job.onto)
        if stack.conflicts:
            feedback = stack.conflicts[0].feedback
            return Judgement(Verdict(passed=False, reason="conflict", feedback=feedback))
        return await self._gate(stack.head, job.subtask.checks)

    async def _gate(self, commit: CommitId, checks: Sequence[Check]) -> Judgement:
        world = self._world
        asked = world.clock.now()
        async with world.trees.lease(commit, world.protected) as tree:
            tree_s = world.clock.now() - asked
            judged = await world.gate.judge(tree, checks)
        return Judgement(judged.verdict.model_copy(update={"tree_s": tree_s}), judged.bodies)

    async def _integrate(self, job: IntegrateJob) -> Occurrence:
        trunk = self._world.trunk
        stack = await trunk.stack(job.stacked, job.onto)
        if not stack.merged:
            verdict = Verdict(
                passed=False, reason="conflict", feedback="Nothing in this batch fits the trunk any more."
            )
            return self._occurred(BatchRejected(batch=job.batch, verdict=verdict, conflicts=stack.conflicts))
        judged = await self._gate(stack.head, job.checks)
        if not judged.verdict.passed:
            rejected = BatchRejected(batch=job.batch, verdict=judged.verdict, conflicts=stack.conflicts)
            return self._occurred(rejected, judged.bodies)
        await trunk.advance(job.onto, stack.head)
        merged = BatchMerged(
            batch=job.batch,
            head=stack.head,
            tree=stack.tree,
            merged=stack.merged,
            conflicts=stack.conflicts,
            retained_lines=await trunk.retained_lines(job.base, stack.head),
            verdict=judged.verdict,
        )
        return self._occurred(merged, judged.bodies)


_Timed = TypeVar("_Timed", Span, Exchange)


def _later(part: _Timed, seconds: float) -> _Timed:
    """The backend counts from its own start; the journal counts from the attempt's."""
    return part.model_copy(update={"started_s": part.started_s + seconds})


async def _selection(job: GenerateJob, workspace: Workspace, manner: Manner) -> Selection:
    subtask = job.subtask
    paths = await workspace.paths()
    globs = (*subtask.writable, *subtask.context)
    wanted = dict.fromkeys(path for glob in globs for path in select_sorted(paths, glob))
    if manner.shows == "paths":
        return list_files(list(wanted), subtask.writable, subtask.context)
    files = await workspace.read(wanted)
    # Each time that the model could not take the prompt, the next one shows half as much.
    too_long = sum(failed.reason == "context_too_long" for failed in job.failures)
    return choose_files(files, subtask.writable, subtask.context, max(1, subtask.context_tokens >> too_long))


def _prompt(job: GenerateJob, selection: Selection, skills: Sequence[Skill], manner: Manner) -> Prompt:
    draw = Draw(seed=job.seed, subtask=job.subtask.id, attempt=job.attempt, draw=job.draw)
    return build_prompt(job.subtask, selection, skills, job.failures, draw, manner)


def _hidden(selection: Selection) -> Generation | None:
    """What becomes of an attempt that cannot succeed, without asking anybody: nothing of what is to be changed can be shown."""
    if any(file.is_writable for file in selection.shown) or not selection.hidden_writable:
        return None
    named = ", ".join(selection.hidden_writable[:5])
    told = f"{named}: to be changed, and too large or not text, so nobody can be shown it; raise context_tokens, or split it"
    return Generation(Usage(), Failure(reason="context_too_long", feedback=told))
