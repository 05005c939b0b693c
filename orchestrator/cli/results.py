"""`apply` and `gc`: take a result over, and tidy up."""

import time
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.views.text import clean, plural
from orchestrator.wiring.history import apply_result, past_run
from orchestrator.wiring.keeping import Rule, collect
from orchestrator.wiring.surroundings import Surroundings


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(apply)
    app.command()(gc)


def apply(name: options.RunOrLast = "last", store: options.Store = None) -> None:
    """Bring a run's result into your branch, or into the plain folder that it was taken from.

    A checkout must be clean; it is fast-forwarded, or merged if your branch moved on. A folder's files must be as they were.
    On a conflict everything stays as it was.
    """
    surroundings = Surroundings.found()
    with past_run(surroundings, surroundings.store(store).find(name)) as past:
        changed = apply_result(past, surroundings)
        where = past.started.repo
    if not changed:
        console.err().print(f"{where} has this result already.", markup=False)
        return
    console.out().print(f"{plural(len(changed), 'file')} changed in {where}:", markup=False)
    for path in changed[:20]:
        console.out().print(f"  {clean(path)}", markup=False)
    if len(changed) > 20:
        console.out().print(f"  … and {len(changed) - 20} more")


def gc(
    keep: Annotated[int, typer.Option("--keep", min=0, help="The newest finished runs to keep.", metavar="N")] = 10,
    days: Annotated[
        float | None,
        typer.Option("--older-than", min=0.0, help="Only what is older than that many days.", metavar="DAYS"),
    ] = None,
    unfinished: Annotated[bool, typer.Option("--unfinished", help="Also runs that could still be resumed.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, remove nothing.")] = False,
    store: options.Store = None,
) -> None:
    """Remove old runs and what killed ones left behind. Branches in your repository stay.

    A run that is being worked at is never removed, one that can be resumed only with --unfinished.
    """
    place = Surroundings.found().store(store)
    now = time.time()  # noqa: TID251 — a person's clock
    rule = Rule(keep, now, None if days is None else now - days * 86_400, unfinished, dry_run)
    removed = collect(place, rule)
    verb = "would be removed" if dry_run else "removed"
    for each in removed:
        console.out().print(f"{each.what}  {each.size / 1e6:.1f} MB {verb}", markup=False)
    if not removed:
        console.err().print(f"Nothing to remove in {place.root}.", markup=False)
