"""What a run is made from: a task, a backend, skills, the repository that the task names; loaded, checked, and not yet begun."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import LoadedConfig, LoadedTask, expand_task, load_skills, load_task
from orchestrator.core.errors import SpecError
from orchestrator.core.skills import Skill
from orchestrator.core.values import CommitId, Limits, Quote, Subtask
from orchestrator.engine.clock import SystemClock
from orchestrator.git.intake import init_from_checkout, init_from_folder, init_from_url, is_checkout_root
from orchestrator.git.repository import Repository
from orchestrator.wiring.assembly import ChosenBackend, Means
from orchestrator.wiring.backends import DEFAULT, choose_backend, find_backend
from orchestrator.wiring.quoting import quote_for, quote_for_plan
from orchestrator.wiring.surroundings import Surroundings

MOST_DEFAULT_CHECKS = 200


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line may say; None leaves it to the task file."""

    backend: str | None = None
    seed: int = 0
    agents: int | None = None
    gate_slots: int | None = None
    cost_usd: float | None = None
    tokens: int | None = None
    wall_s: float | None = None
    attempts: int | None = None
    is_serial: bool | None = None
    store: Path | None = None
    record: Path | None = None

    def limits(self, given: Limits) -> Limits:
        """Put what was said over what the file says."""
        said = {
            "agents": self.agents,
            "gate_slots": self.gate_slots,
            "cost_usd": self.cost_usd,
            "tokens": self.tokens,
            "wall_s": self.wall_s,
            "attempts": self.attempts,
            "is_serial": self.is_serial,
        }
        limits = given.model_dump() | {name: value for name, value in said.items() if value is not None}
        return Limits(**(limits | {"agents": 1, "gate_slots": 1} if limits["is_serial"] else limits))


@dataclass(frozen=True, slots=True)
class Inputs:
    """The files of a run, loaded and checked."""

    task: LoadedTask
    config: LoadedConfig
    skills: Mapping[str, Skill]
    clock: SystemClock


@dataclass(frozen=True, slots=True)
class Material:
    """A task and a backend that is built: what a run is made from."""

    task: LoadedTask
    chosen: ChosenBackend
    skills: Mapping[str, Skill]
    clock: SystemClock


def load_inputs(surroundings: Surroundings, spec: Path, backend: str | None) -> Inputs:
    """Load a task file, the backend's configuration and the skills. Raises `SpecError` with everything that is wrong."""
    spec = surroundings.cwd / spec
    near = spec.parent
    skills = load_skills(surroundings.skill_folders(near))
    task = load_task(spec, skills=frozenset(skills))
    config = find_backend(backend or DEFAULT, surroundings.config_folders(near), surroundings.cwd)
    return Inputs(task, config, skills, SystemClock())


def prepare(
    inputs: Inputs, surroundings: Surroundings, *, record: Path | None = None, state: Path | None = None
) -> Material:
    """Build the backend. `record` is where exchanges are kept, `state` the run's folder; see `Means`."""
    recorded = None if record is None else surroundings.cwd / record
    means = Means(inputs.clock, inputs.task.reference, surroundings.cwd, surroundings.env, record=recorded, state=state)
    return Material(inputs.task, choose_backend(inputs.config, means), inputs.skills, inputs.clock)


def take_in(task: LoadedTask, git_dir: Path, env: Mapping[str, str]) -> tuple[Repository, CommitId]:
    """Make the run's own repository from what the task names."""
    repo = task.spec.repo
    if repo.url is not None:
        return init_from_url(git_dir, repo.url, repo.ref, env)
    path = task.repo_path
    if path is None or not path.is_dir():
        line = task.line_of(("repo", "path"))
        raise SpecError(
            [f"{task.path}:{line}: repo.path: there is no folder {str(path)!r}; write a path relative to this file"]
        )
    if is_checkout_root(path, env):
        return init_from_checkout(git_dir, path, repo.ref, env)
    return init_from_folder(git_dir, path, repo.exclude, env)


def _require_integration_gate(subtasks: Sequence[Subtask], task: LoadedTask) -> None:
    """Without one, each batch is judged by every check of what is merged, which grows with the square of the subtasks."""
    distinct = {check.key for subtask in subtasks for check in subtask.checks}
    if task.spec.integration_gate is None and len(distinct) > MOST_DEFAULT_CHECKS:
        line = task.line_of(("gate",))
        raise SpecError(
            [
                f"{task.path}:{line}: without `integration_gate`, each batch would be judged by {len(distinct)} checks; "
                "write `integration_gate: {checks: […]}` with those that judge the whole"
            ]
        )


def expand(task: LoadedTask, repository: Repository, base: CommitId) -> tuple[Subtask, ...]:
    """Turn a task into subtasks; none yet where a model is to plan them. Raises `SpecError` with lines."""
    if task.spec.split.plan is not None:
        return ()
    subtasks = expand_task(task, repository.paths(base), repository.sizes(base))
    _require_integration_gate(subtasks, task)
    return subtasks


def quoted(material: Material, subtasks: Sequence[Subtask], sizes: Mapping[str, int]) -> Quote | None:
    """What the backend says that an attempt may cost; None where it cannot say."""
    costing = material.chosen.costing
    if costing is None:
        return None
    plan = material.task.spec.split.plan
    if plan is not None:
        return quote_for_plan(plan, sizes, tariff=costing.tariff, output_tokens=costing.output_tokens)
    return quote_for(
        subtasks,
        sizes,
        material.skills,
        tariff=costing.tariff,
        output_tokens=costing.output_tokens,
        requests=costing.requests,
    )
