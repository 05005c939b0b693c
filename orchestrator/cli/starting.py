"""`init`, `plan`, `schema`: before anything is run."""

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.catalog import schema_text
from orchestrator.cli import console, options
from orchestrator.views.forecast import forecast_table
from orchestrator.wiring.material import RunOptions
from orchestrator.wiring.planning import plan_task
from orchestrator.wiring.starter import write_starter
from orchestrator.wiring.surroundings import Surroundings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(init)
    app.command()(plan)
    app.command()(schema)


def init(
    spec: Annotated[Path, typer.Argument(help="The file to write.", metavar="[SPEC]")] = Path("tasks/first.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
) -> None:
    """Write a starter task file for the repository that you are in, commented, and fit to be run at once."""
    written = write_starter(Surroundings.found(), spec, replace=force)
    console.out().print(f"Wrote {written.path}: {written.what}.", markup=False)
    console.out().print(
        f"Look at it, then: orchestrate plan {written.path}\n"
        f"Try it offline with the simulated backend: orchestrate run {written.path}",
        markup=False,
    )


def plan(
    spec: options.Spec,
    backend: options.Backend = None,
    agents: options.Agents = None,
    json: options.Json = False,
) -> None:
    """Show what a run would do: subtasks in the order of integration, what each is shown, estimated tokens, cost, time.

    Nothing is run and nobody is asked. A task whose subtasks a model proposes is shown as such.
    """
    planned = plan_task(Surroundings.found(), spec, RunOptions(backend=backend, agents=agents))
    if json:
        console.raw(planned.forecast.model_dump_json() + "\n")
        return
    console.out().print(forecast_table(planned.forecast, title=planned.title, is_simulated=planned.is_simulated))
    if planned.note:
        console.out().print(planned.note, markup=False)


def schema() -> None:
    """Print the JSON Schema of task files, for editors."""
    console.raw(schema_text())
