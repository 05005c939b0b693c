"""`runs`, `show`, `diff`: look at what runs did."""

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.syntax import Syntax
from rich.text import Text

from orchestrator.cli import console, options
from orchestrator.core.errors import EnvironmentFault
from orchestrator.views.attempts import PARTS, attempts_of, show_attempts
from orchestrator.views.stack import stack_view
from orchestrator.views.tables import runs_table, subtask_table, summary_table
from orchestrator.views.text import clean
from orchestrator.wiring.history import PastRun, all_summaries, past_run, result_branch, summary_of
from orchestrator.wiring.measuring import joined_json, measures_of
from orchestrator.wiring.surroundings import Surroundings

# What a list leaves to `show`: the subtasks, and the comparison with a serial run, which would have to be looked for each time.
_NOT_LISTED = {"rows", "multiplier", "multiplier_kind", "one_agent_s", "one_agent_run"}


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(runs)
    app.command()(show)
    app.command()(diff)


def runs(json: options.Json = False, store: options.Store = None) -> None:
    """List the runs of this place, oldest first."""
    place = Surroundings.found().store(store)
    found = all_summaries(place)
    if json:
        for summary, standing in found:
            console.raw(f'{{"standing":"{standing}","summary":{summary.model_dump_json(exclude=_NOT_LISTED)}}}\n')
        return
    if not found:
        console.err().print(f"No runs in {clean(str(place.root))} yet. Start one: orchestrate run SPEC", markup=False)
        return
    console.out().print(runs_table([summary for summary, _ in found], [standing for _, standing in found]))


def show(
    name: options.RunOrLast = "last",
    subtask: Annotated[
        str | None,
        typer.Argument(help="One subtask: every attempt with prompt, reply, diff and verdict.", metavar="[SUBTASK]"),
    ] = None,
    part: Annotated[
        Literal["prompt", "reply", "diff", "verdict"] | None,
        typer.Option("--part", help="Of a subtask, only this part."),
    ] = None,
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Show a run's figures and subtasks, or every attempt at one subtask.

    Examples: orchestrate show last · orchestrate show last pricing --part diff
    """
    surroundings = Surroundings.found()
    with past_run(surroundings, surroundings.store(store).find(name)) as past:
        if subtask is not None:
            _show_subtask(past, subtask, part, as_json=json)
            return
        summary = summary_of(past.entries, past.folder)
        measures = measures_of(past.entries, summary, surroundings.store(store))
        if json:
            console.raw(joined_json(summary, measures) + "\n")
            return
        terminal = console.out()
        terminal.print(subtask_table(summary.rows))
        terminal.print(summary_table(summary, branch=result_branch(summary.run)))
        terminal.print(stack_view(measures.stack, measures.decomposition, measures.bounds, measures.identity))
        if past.state.split_problem:
            terminal.print(Text(f"no valid split: {clean(past.state.split_problem)}", style="red"))


def diff(
    name: options.RunOrLast = "last",
    stat: Annotated[bool, typer.Option("--stat", help="Only the files and how many lines.")] = False,
    store: options.Store = None,
) -> None:
    """Print everything that a run integrated as one diff; in a pipe it can be fed to `git apply`."""
    surroundings = Surroundings.found()
    with past_run(surroundings, surroundings.store(store).find(name)) as past:
        found = past.diff_bytes(past.started.base, past.state.head, "--stat" if stat else "--binary")
        if not found:
            console.err().print(f"Run {past.folder.run} integrated nothing yet.", markup=False)
        terminal = console.out()
        if terminal.is_terminal:
            _print_diff(terminal, found.decode(errors="replace"))
        else:
            console.raw_bytes(found)


def _show_subtask(past: PastRun, name: str, part: str | None, *, as_json: bool) -> None:
    close = [known for known in past.state.subtasks if known == name] or [
        known for known in past.state.subtasks if known.startswith(name)
    ]
    if len(close) != 1:
        some = ", ".join(close or list(past.state.subtasks)[:20])
        raise EnvironmentFault(
            f"run {past.folder.run} has {len(close) or 'no'} subtasks {name!r}; choose one of: {some}"
        )
    attempts = attempts_of(past.entries, close[0])
    if as_json:
        for attempt in attempts:
            console.raw(attempt.model_dump_json() + "\n")
        return
    parts = (part,) if part else PARTS
    terminal = console.out()
    for shown in show_attempts(past.state.subtasks[close[0]], attempts, past, parts):
        terminal.print(shown)


def _print_diff(terminal: Console, text: str) -> None:
    terminal.print(Syntax(clean(text), "diff", theme="ansi_dark", background_color="default", word_wrap=True))
