"""Options that several commands share, each described once."""

import math
from pathlib import Path
from typing import Annotated

import typer


def _above_zero(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not a number above 0; leave the option out for no limit.")
    return value


Spec = Annotated[
    Path, typer.Argument(help="A task file, e.g. tasks/refactor.yaml.", metavar="SPEC", show_default=False)
]
Run = Annotated[
    str,
    typer.Argument(
        help="A run's id, a part of it that only one run has, or `last`.", metavar="RUN", show_default=False
    ),
]
RunOrLast = Annotated[
    str, typer.Argument(help="A run's id, a part of it that only one run has, or `last`.", metavar="[RUN]")
]
Store = Annotated[
    Path | None,
    typer.Option(
        "--store", help="Where runs are kept; default: $ORCHESTRATE_STORE, or the nearest .orchestrate.", metavar="DIR"
    ),
]
Backend = Annotated[
    str | None,
    typer.Option(
        "--backend",
        "-b",
        "--config",
        help="Who does the work: a name from configs/ (stub, stub-careful, …), or a configuration file.",
        metavar="NAME|FILE",
    ),
]
Agents = Annotated[int | None, typer.Option("--agents", "-n", min=1, help="Agents at work at once.", metavar="N")]
GateSlots = Annotated[int | None, typer.Option("--gate-slots", min=1, help="Gates that run at once.", metavar="N")]
MaxCost = Annotated[
    float | None,
    typer.Option(
        "--max-cost",
        callback=_above_zero,
        help="Dollars, reserved before each attempt: nothing starts that could overrun them.",
        metavar="USD",
    ),
]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=1, help="Tokens, reserved like dollars.", metavar="N")
]
MaxTime = Annotated[
    float | None,
    typer.Option("--max-time", callback=_above_zero, help="Seconds; no attempt starts beyond.", metavar="S"),
]
MaxAttempts = Annotated[
    int | None,
    typer.Option("--max-attempts", min=1, help="Attempts of all subtasks together; none starts beyond.", metavar="N"),
]
Json = Annotated[bool, typer.Option("--json", help="Print machine-readable JSON, one object a line.")]
