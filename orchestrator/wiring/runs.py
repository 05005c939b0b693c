"""Starting and resuming runs: from a task file and options to an open run that can be worked at.

A run that cannot start leaves nothing behind. A run that has started is all in its folder: its journal says what it is,
so that `resume` needs nothing but the folder, the task file and the backend's configuration, both unchanged.
"""

import asyncio
import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from orchestrator import __version__
from orchestrator.catalog import LoadedTask
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.core.events import BatchMerged, Event, FinishReason, RunResumed, RunStarted
from orchestrator.core.fold import apply, fold
from orchestrator.core.gates import gate_settings, integration_checks
from orchestrator.core.state import RunState
from orchestrator.core.values import CommitId, Conflict, Limits, RunId, Subtask
from orchestrator.engine.clock import SystemClock
from orchestrator.engine.driver import Driver, Stop
from orchestrator.engine.effects import Effects, World
from orchestrator.engine.planner import FixedSplit, PlannedSplit
from orchestrator.gate.pipeline import CommandGate
from orchestrator.gate.readiness import missing_commands
from orchestrator.git.intake import is_checkout_root, open_bare
from orchestrator.git.publish import published
from orchestrator.git.repository import Repository
from orchestrator.git.trees import TreePool
from orchestrator.git.trunk import GitTrunk
from orchestrator.git.workspace import BlobWorkspaces
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.sqlite import JournalReader, SqliteJournal
from orchestrator.journal.store import RunFolder
from orchestrator.ports import Journal, Observer, Splitter, Workspaces
from orchestrator.wiring.assembly import ChosenBackend
from orchestrator.wiring.material import Material, RunOptions, expand, load_inputs, prepare, quoted, take_in
from orchestrator.wiring.surroundings import Surroundings


@dataclass(slots=True)
class OpenRun:
    """A run that this process holds the lock of. `opening` is what has to be journaled before it goes on."""

    folder: RunFolder
    material: Material
    repository: Repository
    trunk: GitTrunk
    effects: Effects
    pool: TreePool
    surroundings: Surroundings
    journal: Journal = field(default_factory=MemoryJournal)
    state: RunState = field(default_factory=RunState)
    opening: Sequence[tuple[float, Event]] = ()

    @property
    def clock(self) -> SystemClock:
        """The run's time."""
        return self.material.clock

    async def work(self, observers: Sequence[Observer], stop: Stop) -> FinishReason:
        """Journal the opening, then drive to an end. See `Driver.drive` for what is raised."""
        entries = await self.journal.append(self.opening, {})
        for entry in entries:
            apply(self.state, entry.event, entry.at)
            for observe in observers:
                observe(entry)
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self.pool.close)
            for resource in self.material.chosen.resources:
                await stack.enter_async_context(resource)
            return await Driver(self.state, self.journal, self.effects, self.clock, observers, stop).drive()


@contextlib.contextmanager
def start_run(surroundings: Surroundings, spec: Path, options: RunOptions) -> Iterator[OpenRun]:
    """Open a new run. Raises `SpecError` or `EnvironmentFault`, and then leaves nothing behind."""
    inputs = load_inputs(surroundings, spec, options.backend)
    started = datetime.fromtimestamp(inputs.clock.now()).astimezone()
    folder = surroundings.store(options.store).create(f"{started:%Y%m%d-%H%M%S}-{inputs.task.spec.name}")
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked())
        try:
            material = prepare(inputs, surroundings, record=options.record, state=folder.path)
            repository, base = take_in(material.task, folder.repository, surroundings.env)
            stack.callback(repository.close)
            _require_room_for_a_branch(material.task, surroundings.env)
            subtasks = expand(material.task, repository, base)
            run = _run_started(folder.run, material, base, options, surroundings.env).model_copy(
                update={"quote": quoted(material, subtasks, repository.sizes(base))}
            )
            stack.callback(folder.drop_trees)
            opened = _open(surroundings, folder, material, Opening(repository, run, subtasks))
            opened.journal = stack.enter_context(SqliteJournal(folder.journal))
        except BaseException:
            folder.drop_trees()
            folder.remove()
            raise
        opened.opening = [(material.clock.now(), run)]
        yield opened


@contextlib.contextmanager
def resume_run(surroundings: Surroundings, folder: RunFolder, options: RunOptions) -> Iterator[OpenRun]:
    """Open a run that was interrupted. Raises `EnvironmentFault` when it has ended, or its task has changed since."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(folder.locked())
        with JournalReader(folder.journal) as reader:
            state = fold(reader.entries())
        run = state.run
        if run is None:
            raise EnvironmentFault(f"run {folder.run} never started; start a new one")
        if state.is_over:
            ended = (state.finished or "").replace("_", " ")
            raise EnvironmentFault(f"run {folder.run} has ended ({ended}); there is nothing to resume")
        inputs = load_inputs(surroundings, Path(run.spec_path), run.config)
        material = prepare(inputs, surroundings, record=options.record, state=folder.path)
        _require_unchanged(material, run)
        limits = options.limits(state.limits)
        _require_prices(material.chosen, limits)
        repository = open_bare(folder.repository, surroundings.env)
        stack.callback(repository.close)
        stack.callback(folder.drop_trees)
        subtasks = expand(material.task, repository, run.base)
        opening = Opening(repository, run.model_copy(update={"limits": limits}), subtasks)
        opened = _open(surroundings, folder, material, opening)
        opened.journal = stack.enter_context(SqliteJournal(folder.journal))
        opened.state = state
        lost = asyncio.run(_lost_merge(state, opened.trunk))
        resumed = RunResumed(limits=limits, version=__version__)
        # What the last process did belongs to its time: the pause until now is nobody's work.
        before: list[tuple[float, Event]] = [(state.last_at, lost)] if lost else []
        opened.opening = [*before, (material.clock.now(), resumed)]
        yield opened


def _require_room_for_a_branch(task: LoadedTask, env: Mapping[str, str]) -> None:
    """A branch that is called `orchestrate` would leave no room for `orchestrate/<run>`: say so before anything is paid."""
    path = task.repo_path
    if path is not None and is_checkout_root(path, env) and published(path, "refs/heads/orchestrate", env) is not None:
        raise EnvironmentFault(
            f"{path} has a branch called `orchestrate`, so git cannot make `orchestrate/<run>`; "
            "rename it: git branch -m orchestrate something-else"
        )


def _require_prices(chosen: ChosenBackend, limits: Limits) -> None:
    """A limit in dollars that nothing counts against is no limit."""
    if limits.cost_usd is not None and not chosen.pace.is_priced:
        raise EnvironmentFault(
            f"no price is known for backend {chosen.name!r}, so a limit on its cost means nothing; give prices in "
            f"{chosen.source}, or limit tokens instead (--max-tokens)"
        )


def _interpreter(task: LoadedTask, env: Mapping[str, str]) -> str:
    """What `python` means in a gate: as the task says, else the activated environment's, else the one that runs this."""
    named = task.spec.gate.python
    if named is not None:
        return str(task.directory.absolute() / named) if "/" in named else named
    activated = Path(env["VIRTUAL_ENV"]).absolute() / "bin" / "python" if env.get("VIRTUAL_ENV") else None
    return str(activated) if activated is not None and activated.exists() else sys.executable


def _require_commands(
    subtasks: Sequence[Subtask], run: RunStarted, surroundings: Surroundings, paths: Sequence[str]
) -> None:
    checks = {check.key: check for subtask in subtasks for check in subtask.checks}
    problems = missing_commands([*checks.values(), *run.integration_checks], run.gate, surroundings.path, paths)
    if problems:
        raise EnvironmentFault("\n".join(problems))


def _run_started(
    name: RunId, material: Material, base: CommitId, options: RunOptions, env: Mapping[str, str]
) -> RunStarted:
    task, chosen = material.task, material.chosen
    spec = task.spec
    limits = options.limits(spec.limits)
    _require_prices(chosen, limits)
    return RunStarted(
        run=name,
        spec_name=spec.name,
        spec_path=str(task.path),
        spec_digest=task.digest,
        repo=spec.repo.url or str(task.repo_path),
        base=base,
        backend=chosen.name,
        model=chosen.model.name if chosen.model is not None else "",
        backend_digest=chosen.digest,
        config=chosen.source,
        is_simulated=chosen.is_simulated,
        seed=options.seed,
        limits=limits,
        gate=gate_settings(spec).model_copy(update={"python": _interpreter(task, env)}),
        integration_checks=integration_checks(spec),
        version=__version__,
    )


@dataclass(frozen=True, slots=True)
class Opening:
    """What a run begins with; `subtasks` are none where a model is to plan them."""

    repository: Repository
    run: RunStarted
    subtasks: tuple[Subtask, ...]


def _open(surroundings: Surroundings, folder: RunFolder, material: Material, opening: Opening) -> OpenRun:
    clock, repository, run = material.clock, opening.repository, opening.run
    gate = CommandGate(run.gate, clock, surroundings.path, surroundings.locale)
    slots = run.limits.gate_slots
    # One tree more than gate slots: the integration lane has its own. Rehearsals must not take those of gates.
    size = slots + 1 + (slots if material.chosen.rehearses else 0)
    folder.drop_trees()
    prepare_tree = gate.prepare if run.gate.setup else None
    pool = TreePool(repository, run.base, folder.fresh_trees(), size=size, prepare=prepare_tree)
    trunk = GitTrunk.start(repository, run.run, run.base, clock.now)
    workspaces = BlobWorkspaces(repository)
    world = World(
        splitter=_splitter(surroundings, material, opening, workspaces),
        backend=material.chosen.backend,
        workspaces=workspaces,
        trees=pool,
        gate=gate,
        trunk=trunk,
        clock=clock,
        skills=material.skills,
        protected=run.gate.protected,
        rehearsal_slots=slots,
    )
    return OpenRun(folder, material, repository, trunk, Effects(world), pool, surroundings)


def _splitter(surroundings: Surroundings, material: Material, opening: Opening, workspaces: Workspaces) -> Splitter:
    task, run, repository = material.task, opening.run, opening.repository
    plan = task.spec.split.plan
    if plan is None:
        _require_commands(opening.subtasks, run, surroundings, repository.paths(run.base))
        return FixedSplit(opening.subtasks)
    if material.chosen.model is None:
        line = task.line_of(("split",))
        raise SpecError(
            [
                f"{task.path}:{line}: split.plan: backend {material.chosen.name!r} is no chat model and cannot plan; "
                "write `split: {items: …}`, or take another backend"
            ]
        )
    return PlannedSplit(task.spec, plan, material.chosen.model, workspaces, repository.sizes, material.clock)


def _require_unchanged(material: Material, run: RunStarted) -> None:
    if material.task.digest != run.spec_digest:
        raise EnvironmentFault(
            f"{run.spec_path} has changed since run {run.run} started; put it back to resume, or start a new run"
        )
    if material.chosen.digest != run.backend_digest:
        raise EnvironmentFault(
            f"the configuration of backend {run.backend!r} has changed since run {run.run} started; "
            "put it back to resume, or start a new run"
        )


async def _lost_merge(state: RunState, trunk: GitTrunk) -> BatchMerged | None:
    """What a killed process did to the branch and could not journal: the branch is ahead by a whole batch, or not at all."""
    head = await trunk.head()
    if state.run is None or head == state.head:
        return None
    merged = await trunk.merged_since(state.head)
    if state.batch is None or not merged:
        raise EnvironmentFault(
            f"the branch of run {state.run.run} was moved by somebody else to {head[:10]}; move it back to {state.head[:10]}"
        )
    names = {patch.subtask for patch in merged}
    return BatchMerged(
        batch=state.batch.batch,
        head=head,
        tree=trunk.repository.tree_of(head),
        merged=tuple(merged),
        conflicts=tuple(
            Conflict(subtask=name, feedback="A sibling's change to the same lines was integrated first.")
            for name in state.batch.members
            if name not in names
        ),
        retained_lines=await trunk.retained_lines(state.run.base, head),
    )
