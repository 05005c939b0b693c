"""`doctor`: look whether everything is there that a run needs."""

from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.wiring.surroundings import Surroundings

_NOT_FIT = 3


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(doctor)


def doctor(
    configs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Backends to look at, by name or file; default: all that are found.",
            metavar="[CONFIG]...",
            show_default=False,
        ),
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Send one small real request to each model API (named, or all that are real)."),
    ] = False,
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Say which backends are ready, and whether this machine has what a run needs: git, room, locks, keys.

    Each line is ok, warning or missing, with what to do about it. Keys are never shown, only where they are looked for.
    Without --live nothing leaves this machine; with it, each request may cost a fraction of a cent. Exit code 3 when no
    backend is ready or something that is needed is missing; a backend that you name is needed.

    Examples: orchestrate doctor · orchestrate doctor claude --live
    """
    from orchestrator.views.doctor import FindingsTable, conclusion, finding_line  # noqa: PLC0415 — the next line's values
    from orchestrator.wiring.doctor import Examination, examine, is_fit  # noqa: PLC0415 — it looks into every room

    if live and not json:
        console.err().print("Looking, and asking the model APIs: at most 30 s for each key and 30 s for all answers.")
    findings = examine(Surroundings.found(), Examination(configs or (), live, store))
    terminal = console.out()
    if json:
        for finding in findings:
            console.raw(finding.model_dump_json() + "\n")
    elif terminal.is_terminal:
        terminal.print(FindingsTable(findings))
        terminal.print(conclusion(findings), markup=False)
    else:
        for finding in findings:
            console.line(finding_line(finding))
        console.line(conclusion(findings))
    if not is_fit(findings):
        raise typer.Exit(_NOT_FIT)
