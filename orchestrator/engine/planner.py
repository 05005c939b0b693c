"""The two ways to split a task: by the rules in its file, or by asking a model for a plan.

A plan is structured output, and it is checked like anything that a model says: ids unique, needs known and without a
cycle, paths inside the repository, not too many. A bad plan goes back to the model with what is wrong with it, twice at
the most; then the split has failed, and says why. A model that cannot be reached is no answer: the run stops, and can be
resumed. Every request is recorded, as those of an attempt are.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orchestrator.core.chat import Completion, Draw, Message, Prompt, after
from orchestrator.core.errors import BackendError
from orchestrator.core.globs import select
from orchestrator.core.items import SplitError
from orchestrator.core.plan import PLAN_SCHEMA, plan_prompt_text, subtasks_from_plan
from orchestrator.core.prompt import choose_files
from orchestrator.core.spec import PlanSpec, TaskSpec
from orchestrator.core.values import Allowance, CommitId, Digest, Exchange, Subtask, SubtaskId, Usage, digest_of
from orchestrator.ports import ChatModel, Clock, Meter, Splitting, Workspace, Workspaces

MAX_CORRECTIONS = 2
PLANNER = SubtaskId("plan")


@dataclass(frozen=True, slots=True)
class FixedSplit:
    """Subtasks that follow from the task file alone."""

    subtasks: tuple[Subtask, ...]

    async def split(self, *_: object) -> Splitting:
        """Return them; see `ports.Splitter`."""
        return Splitting(self.subtasks)


@dataclass(slots=True)
class _Record:
    """What asking has cost and said so far."""

    started: float
    meter: Meter
    usage: Usage = field(default_factory=Usage)
    exchanges: list[Exchange] = field(default_factory=list)
    bodies: dict[Digest, bytes] = field(default_factory=dict)

    def keep(self, text: str) -> Digest:
        body = text.encode("utf-8", "backslashreplace")
        digest = digest_of(body)
        self.bodies[digest] = body
        return digest

    def ended(
        self, subtasks: tuple[Subtask, ...] = (), problem: str | None = None, fault: BackendError | None = None
    ) -> Splitting:
        return Splitting(subtasks, problem, self.usage, tuple(self.exchanges), self.bodies, fault)


@dataclass(frozen=True, slots=True)
class PlannedSplit:
    """Subtasks that a model proposes. `sizes` gives the bytes of each file at a commit."""

    spec: TaskSpec
    plan: PlanSpec
    model: ChatModel
    workspaces: Workspaces
    sizes: Callable[[CommitId], Mapping[str, int]]
    clock: Clock

    async def split(self, base: CommitId, seed: int, allowance: Allowance | None) -> Splitting:
        """Ask, check, and ask again with the mistakes; see `ports.Splitter`."""
        record = _Record(self.clock.now(), Meter.paid_from(allowance))
        async with self.workspaces.open(base) as workspace:
            paths = await workspace.paths()
            prompt = await self._prompt(workspace, seed)
        problem = ""
        for _ in range(1 + MAX_CORRECTIONS):
            try:
                completion = await self._ask(prompt, record)
            except BackendError as error:
                return record.ended(fault=error)
            if completion.stop_reason != "end_turn":
                return record.ended(problem=f"the model gave no plan: its answer ended by {completion.stop_reason}")
            try:
                return record.ended(subtasks_from_plan(completion.text, self.spec, paths, self.sizes(base)))
            except SplitError as error:
                problem = str(error)
                prompt = _corrected(prompt, completion.text, problem)
        return record.ended(problem=f"after {1 + MAX_CORRECTIONS} answers the plan is still not valid: {problem}")

    async def _prompt(self, workspace: Workspace, seed: int) -> Prompt:
        paths = await workspace.paths()
        files = await workspace.read(select(paths, self.plan.context))
        selection = choose_files(files, (), self.plan.context, self.plan.context_tokens)
        told = plan_prompt_text(self.spec, selection.shown, paths)
        return Prompt(
            system=told.system,
            messages=(Message(role="user", text=told.user),),
            draw=Draw(seed=seed, subtask=PLANNER),
            files=selection.shown,
            response_schema=PLAN_SCHEMA,
        )

    async def _ask(self, prompt: Prompt, record: _Record) -> Completion:
        asked = self.clock.now()
        try:
            completion = await self.model.complete(prompt, record.meter)
        finally:
            record.usage += record.meter.take_failed()
        record.usage += completion.usage
        record.exchanges.append(
            Exchange(
                prompt=record.keep(prompt.text),
                reply=record.keep(completion.text),
                stop_reason=completion.stop_reason,
                usage=completion.usage,
                started_s=asked - record.started,
                duration_s=self.clock.now() - asked,
            )
        )
        return completion


def _corrected(prompt: Prompt, reply: str, problem: str) -> Prompt:
    request = (
        f"<earlier_try>\n{problem}\n</earlier_try>\n\nThe plan is not valid. Send the whole plan again, corrected."
    )
    return after(prompt, (Message(role="assistant", text=reply or "(nothing)"), Message(role="user", text=request)))
