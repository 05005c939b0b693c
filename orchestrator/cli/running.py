"""`run` and `resume`: work at a task until it is done, with a view for whoever watches."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from orchestrator.cli import console, options
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.events import Entry, FinishReason
from orchestrator.engine.driver import Stop
from orchestrator.measure.summary import Summary
from orchestrator.ports import Observer
from orchestrator.views.lines import LineWriter
from orchestrator.views.live import LiveView
from orchestrator.views.tables import subtask_table, summary_table
from orchestrator.wiring import logs
from orchestrator.wiring.collector import calm_collector
from orchestrator.wiring.history import publish_result, result_branch, resumable, summary_of
from orchestrator.wiring.material import RunOptions
from orchestrator.wiring.runs import OpenRun, resume_run, start_run
from orchestrator.wiring.surroundings import Surroundings

INTERRUPTED = 130
_FRAMES_PER_S = 5
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last one is a terminal that was closed

Grace = Annotated[
    float,
    typer.Option("--grace", min=0.0, help="Seconds that attempts in flight get to end after Ctrl-C.", metavar="S"),
]
Record = Annotated[
    Path | None,
    typer.Option(
        "--record",
        help="Keep every exchange with the model in a folder; --backend replay:DIR replays it.",
        metavar="DIR",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the summary alone.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(run)
    app.command()(resume)


def run(
    spec: options.Spec,
    backend: options.Backend = None,
    agents: options.Agents = None,
    gate_slots: options.GateSlots = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of every random choice.", metavar="N")] = 0,
    serial: Annotated[
        bool,
        typer.Option(
            "--serial", help="One slot for everything: the control that other runs' speedup is measured against."
        ),
    ] = False,
    max_cost: options.MaxCost = None,
    max_tokens: options.MaxTokens = None,
    max_time: options.MaxTime = None,
    max_attempts: options.MaxAttempts = None,
    record: Record = None,
    grace: Grace = 60.0,
    quiet: Quiet = False,
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Split a task, let agents work at it, gate and integrate what they bring, and print what it came to.

    A terminal gets a live view, a pipe gets a line for each thing that happens. Ctrl-C once lets what is in flight finish,
    twice cancels it; either way `orchestrate resume` goes on, and nothing that was proposed is paid for twice.

    Example: orchestrate run tasks/refactor.yaml --agents 8
    """
    chosen = RunOptions(
        backend=backend,
        seed=seed,
        agents=agents,
        gate_slots=gate_slots,
        cost_usd=max_cost,
        tokens=max_tokens,
        wall_s=max_time,
        attempts=max_attempts,
        is_serial=serial or None,
        store=store,
        record=record,
    )
    _carry_out(start_run(Surroundings.found(), spec, chosen), Audience(quiet, json), grace)


def resume(
    name: Annotated[
        str | None,
        typer.Argument(help="A run's id or a part of it; default: the latest that can go on.", metavar="[RUN]"),
    ] = None,
    agents: options.Agents = None,
    gate_slots: options.GateSlots = None,
    max_cost: options.MaxCost = None,
    max_tokens: options.MaxTokens = None,
    max_time: options.MaxTime = None,
    max_attempts: options.MaxAttempts = None,
    record: Record = None,
    grace: Grace = 60.0,
    quiet: Quiet = False,
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Go on with a run that was interrupted, killed, or stopped at a limit.

    Options replace the limits that the run had. What was proposed, judged or merged stays so.
    """
    surroundings = Surroundings.found()
    place = surroundings.store(store)
    folder = resumable(place) if name is None else place.find(name)
    chosen = RunOptions(
        agents=agents,
        gate_slots=gate_slots,
        cost_usd=max_cost,
        tokens=max_tokens,
        wall_s=max_time,
        attempts=max_attempts,
        store=store,
        record=record,
    )
    _carry_out(resume_run(surroundings, folder, chosen), Audience(quiet, json), grace)


@dataclass(frozen=True, slots=True)
class Audience:
    """Who reads: a person at a terminal, a pipe, or a program."""

    quiet: bool
    json: bool


def _carry_out(opening: AbstractContextManager[OpenRun], audience: Audience, grace_s: float) -> None:
    calm_collector()
    with opening as opened:
        stop = Stop()
        reason: FinishReason | None = None
        try:
            reason = asyncio.run(_work(opened, audience, stop, grace_s))
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            fault = _first_of(group)
            if isinstance(fault, OrchestratorError) and opened.state.run is not None:
                _conclude(opened, audience)
                console.err().print(_how_to_go_on(opened, "stopped by an error"), markup=False)
            raise fault from group
        summary = _conclude(opened, audience)
        if reason in (None, "drained"):
            console.err().print(_how_to_go_on(opened, "cancelled" if reason is None else "stopped"), markup=False)
            raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if reason == "completed" and summary.merged == summary.subtasks else 1)


def _conclude(opened: OpenRun, audience: Audience) -> Summary:
    """Print the figures and bring what was merged to the user's repository, whatever the run's end was."""
    summary = summary_of(opened.journal.entries(), opened.folder)
    _print_end(summary, result_branch(summary.run), audience)
    publish_result(opened.state, opened.repository, opened.surroundings)
    return summary


def _how_to_go_on(opened: OpenRun, how: str) -> str:
    return f"{how}; nothing that was proposed is lost. Go on with: orchestrate resume {opened.folder.run}"


def _first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first thing that went wrong, out of whatever groups it came in."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first


async def _work(opened: OpenRun, audience: Audience, stop: Stop, grace_s: float) -> FinishReason:
    terminal = console.out()
    if audience.json:
        return await _watched(opened, stop, grace_s, [_print_json], None)
    if audience.quiet or not terminal.is_terminal or terminal.is_dumb_terminal or logs.are_on_terminal():
        writer = LineWriter()
        observers: Sequence[Observer] = [] if audience.quiet else [lambda entry: _print_line(writer, entry)]
        return await _watched(opened, stop, grace_s, observers, None)
    view = LiveView(opened.state, opened.effects.meters, opened.clock)
    with Live(view, console=terminal, auto_refresh=False, transient=True) as live:
        async with _redrawn(live):
            return await _watched(opened, stop, grace_s, [view.observe], view)


async def _watched(
    opened: OpenRun, stop: Stop, grace_s: float, observers: Sequence[Observer], view: LiveView | None
) -> FinishReason:
    """Work with the signals answered: the first one drains, the second one, or the end of the grace, cancels."""
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as tasks:
        working = tasks.create_task(opened.work(observers, stop))

        def interrupt() -> None:
            if stop.is_requested:
                working.cancel()
                return
            stop.request()
            loop.call_later(grace_s, working.cancel)
            notice = f"stopping: what is in flight may finish ({grace_s:g} s); Ctrl-C again cancels it"
            if view is not None:
                view.notice = notice
            else:
                console.err().print(notice)

        for number in _SIGNALS:
            loop.add_signal_handler(number, interrupt)
        try:
            await asyncio.wait({working})
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
    return working.result()


@contextlib.asynccontextmanager
async def _redrawn(live: Live) -> AsyncIterator[None]:
    """Redraw a few times a second; the view reads the state that the loop changes, in the same thread."""

    async def redraw() -> None:
        while True:
            live.refresh()
            await asyncio.sleep(1 / _FRAMES_PER_S)

    async with asyncio.TaskGroup() as tasks:
        drawing = tasks.create_task(redraw())
        try:
            yield
        finally:
            drawing.cancel()


def _print_line(writer: LineWriter, entry: Entry) -> None:
    told = writer.line(entry)
    if told is not None:
        console.line(told)


def _print_json(entry: Entry) -> None:
    console.raw(entry.model_dump_json() + "\n")


def _print_end(summary: Summary, branch: str, audience: Audience) -> None:
    if audience.json:
        console.raw(f'{{"summary":{summary.model_dump_json()}}}\n')
        return
    terminal = console.out()
    missing = [row for row in summary.rows if row.phase != "merged"]
    if missing:
        terminal.print(subtask_table(missing[:20]))
        if len(missing) > 20:
            terminal.print(f"… and {len(missing) - 20} more: orchestrate show {summary.run}", style="dim")
    terminal.print(summary_table(summary, branch=branch))
    for what, command in _next_steps(summary):
        terminal.print(f"  orchestrate {command}   {what}", style="dim", markup=False)


_RAISE = {
    "cost_limit": "--max-cost USD",
    "token_limit": "--max-tokens N",
    "wall_limit": "--max-time S",
    "attempt_limit": "--max-attempts N",
    "backend_unavailable": "",
}


def _next_steps(summary: Summary) -> list[tuple[str, str]]:
    """What one would do next, and the command for it."""
    run = summary.run
    steps: list[tuple[str, str]] = []
    failed = next((row.id for row in summary.rows if row.phase == "abandoned" and row.attempts), None)
    if failed is not None:
        steps.append(("why it failed", f"show {run} {failed} --part verdict"))
    option = _RAISE.get(summary.finished or "")
    if option is not None:
        steps.append(
            ("go on with more" if option else "go on when it answers again", f"resume {run} {option}".rstrip())
        )
    if summary.merged:
        steps += [
            ("look at it", f"show {run}"),
            ("all of it as one diff", f"diff {run}"),
            ("take it over", f"apply {run}"),
        ]
    return steps
