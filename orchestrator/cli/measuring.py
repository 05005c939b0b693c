"""`explain`: why two runs' throughputs differ."""

from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.views.identity import explanation_view
from orchestrator.wiring.measuring import explanation
from orchestrator.wiring.surroundings import Surroundings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(explain)


def explain(
    a: Annotated[str, typer.Argument(help="The run to compare with; named as in `show`.", metavar="RUN_A")],
    b: Annotated[str, typer.Argument(help="The run to explain.", metavar="RUN_B")] = "last",
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Say why run B retains more or fewer lines an hour than run A, factor by factor.

    Retained lines an hour = agents × busy share × tokens/s of a busy slot × lines/token; each factor is measured, and in logarithms
    each has an exact share of the change.
    """
    told = explanation(Surroundings.found().store(store), a, b)
    if json:
        console.raw(told.model_dump_json() + "\n")
        return
    console.out().print(explanation_view(told))
