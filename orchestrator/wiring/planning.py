"""A dry run: everything that a run does before it asks anybody, in a folder that is thrown away."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.chat import Draw, estimate_tokens
from orchestrator.core.globs import select
from orchestrator.core.prompt import build_prompt, choose_files
from orchestrator.core.values import CommitId, Subtask
from orchestrator.git.repository import Repository
from orchestrator.measure.forecast import Forecast, Shown, forecast
from orchestrator.wiring.material import Material, RunOptions, expand, load_inputs, prepare, take_in
from orchestrator.wiring.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """A forecast, and how to introduce it."""

    forecast: Forecast
    title: str
    is_simulated: bool
    note: str


def plan_task(surroundings: Surroundings, spec: Path, options: RunOptions) -> PlannedTask:
    """Forecast a run. Raises `SpecError` for everything that a run would refuse."""
    material = prepare(load_inputs(surroundings, spec, options.backend), surroundings)
    agents = options.limits(material.task.spec.limits).agents
    title = f"{material.task.spec.name} · {material.chosen.name}"
    plan = material.task.spec.split.plan
    if plan is not None:
        note = f"The subtasks are proposed by the model when the run starts: at most {plan.max_subtasks}."
        return PlannedTask(forecast([], {}, material.chosen.pace, agents), title, material.chosen.is_simulated, note)
    with tempfile.TemporaryDirectory(prefix="orchestrate-plan-") as scratch:
        repository, base = take_in(material.task, Path(scratch) / "repo.git", surroundings.env)
        try:
            subtasks = expand(material.task, repository, base)
            shown = {subtask.id: _shown(subtask, material, repository, base) for subtask in subtasks}
        finally:
            repository.close()
    made = forecast(subtasks, shown, material.chosen.pace, agents)
    return PlannedTask(made, title, material.chosen.is_simulated, "")


def _shown(subtask: Subtask, material: Material, repository: Repository, base: CommitId) -> Shown:
    """Build the prompt that the first attempt would send, and measure it."""
    files = repository.read(base, select(repository.paths(base), (*subtask.writable, *subtask.context)))
    selection = choose_files(files, subtask.writable, subtask.context, subtask.context_tokens)
    skills = [material.skills[name] for name in subtask.skills]
    prompt = build_prompt(
        subtask, selection, skills, (), Draw(seed=0, subtask=subtask.id), material.chosen.backend.manner
    )
    return Shown(
        input_tokens=estimate_tokens(prompt.text),
        files=len(selection.shown),
        left_out=(*selection.too_large, *selection.binary),
        writable_tokens=sum(estimate_tokens(file.text) for file in selection.shown if file.is_writable),
    )
