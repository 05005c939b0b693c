"""Figures as tables for a terminal: the summary of a run, the list of runs, a plan. Each takes numbers, returns a renderable."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from orchestrator.core.transitions import Phase
from orchestrator.measure.summary import SubtaskSummary, Summary
from orchestrator.views.fitting import Column, FittedTable
from orchestrator.views.text import clean, count, dollars, one_line, percent, plural, seconds

_STYLES = {Phase.MERGED: "green", Phase.ABANDONED: "red"}


def summary_table(summary: Summary, *, branch: str) -> RenderableType:
    """Everything that a person wants to know when a run has ended."""
    usage, simulated = summary.usage, summary.is_simulated
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    cached = (
        f", {percent(summary.cache_hit_share)} of the input from the prompt cache" if usage.cached_input_tokens else ""
    )
    tokens = f"{count(usage.input_tokens)} in, {count(usage.output_tokens)} out{cached}"
    rows: list[tuple[str, str | Text]] = [
        ("subtasks", _subtasks(summary)),
        ("attempts", _attempts(summary)),
        ("tokens", f"{tokens}{' (counted from the simulated texts)' if simulated else ''}"),
        ("cost", _cost(summary)),
        ("lines", _lines(summary)),
        ("yield", _yield(summary)),
        ("wall time", f"{seconds(summary.wall_s)}, {_busy(summary)}"),
        ("multiplier", _multiplier(summary)),
        ("result", f"branch {branch} at {summary.head[:10]}" if summary.merged else "nothing was integrated"),
    ]
    for name, value in rows:
        grid.add_row(name, value if isinstance(value, Text) else Text(clean(value)))
    return Group(Rule(Text(one_line(f"{summary.spec} · {summary.run}")), style="dim"), grid)


def _cost(summary: Summary) -> str:
    """What is known, and the most that the rest can have come to."""
    usage, simulated = summary.usage, summary.is_simulated
    told = dollars(usage.cost_usd, is_simulated=simulated)
    if usage.unknown_requests:
        most = f"at most {dollars(usage.unknown_cost_usd)}" if usage.unknown_cost_usd else "unknown"
        told += f", and {plural(usage.unknown_requests, 'request')} that broke off (possibly billed: {most})"
    if summary.lost_cost_usd:
        told += f", and what a killed process had under way (at most {dollars(summary.lost_cost_usd)})"
    return told


def _subtasks(summary: Summary) -> Text:
    text = Text(f"{summary.merged} merged", style="green" if summary.merged else "")
    text.append(f", {summary.abandoned} abandoned", style="red" if summary.abandoned else "default")
    open_ones = summary.subtasks - summary.merged - summary.abandoned
    text.append(f", {open_ones} still open" if open_ones else "", style="yellow")
    return text.append(f" of {summary.subtasks}", style="default")


def _attempts(summary: Summary) -> str:
    rework = f", {summary.reworks} redone after a conflict" if summary.reworks else ""
    lost = f", {summary.lost_attempts} lost with a process (possibly billed: unknown)" if summary.lost_attempts else ""
    return f"{summary.attempts}{rework}{lost}; first-pass rate {percent(summary.first_pass_rate)}"


def _lines(summary: Summary) -> str:
    return (
        f"{count(summary.proposed_lines)} proposed → {count(summary.gated_lines)} gated → "
        f"{count(summary.integrated_lines)} integrated ({count(summary.retained_lines)} retained)"
    )


def _yield(summary: Summary) -> str:
    value = summary.retained_per_1k_output_tokens
    return "–" if value is None else f"{value:.1f} retained lines per 1,000 output tokens"


def _busy(summary: Summary) -> str:
    busy = summary.average_agents_busy
    return (
        f"{busy:.1f} of {plural(summary.agents, 'agent')} busy on average" if busy is not None else "no agent was busy"
    )


def _multiplier(summary: Summary) -> str:
    if summary.multiplier is None:
        return "–"
    told = f"{summary.multiplier:.1f} × one agent"
    one_agent = seconds(summary.one_agent_s)
    match summary.multiplier_kind:
        case "speedup":
            return f"{told} (measured: {one_agent} in serial run {summary.one_agent_run}, same subtasks merged)"
        case "throughput":
            return f"{told} in merged subtasks an hour (measured against serial run {summary.one_agent_run}, which merged others)"
        case _:
            return f"at most {told} (estimated: this run's work laid end to end takes {one_agent}; run it with --serial to measure)"


def subtask_table(rows: Iterable[SubtaskSummary]) -> RenderableType:
    """A row for each subtask."""
    table = FittedTable(
        (
            Column("subtask", is_folded=True),
            Column("phase"),
            Column("tries", 2, "right"),
            Column("redone", 6, "right"),
            Column("tokens out", 4, "right"),
            Column("lines", 3, "right"),
            Column("agent time", 5, "right"),
            Column("why", 1, style="dim", is_folded=True),
        )
    )
    for row in rows:
        cells = (
            clean(row.id),
            Text(row.phase.value, style=_STYLES.get(row.phase, "yellow")),
            str(row.attempts),
            str(row.reworks),
            count(row.usage.output_tokens),
            f"+{row.added_lines}",
            seconds(row.generate_s),
            clean(row.reason.replace("_", " ")),
        )
        table.add(cells)
    return table


def runs_table(summaries: Sequence[Summary], states: Sequence[str]) -> RenderableType:
    """A row for each run; `states` says how each stands (running, completed, can be resumed)."""
    table = FittedTable(
        (
            Column("run", is_folded=True, least=24),
            Column("backend", 3),
            Column("agents", 5, "right"),
            Column("merged", 1, "right"),
            Column("tokens out", 6, "right"),
            Column("cost", 4, "right"),
            Column("wall", 5, "right"),
            Column("state", 2, is_folded=True),
        )
    )
    for each, state in zip(summaries, states, strict=True):
        cells = (
            clean(each.run),
            clean(each.backend),
            str(each.agents),
            f"{each.merged}/{each.subtasks}",
            count(each.usage.output_tokens),
            dollars(each.usage.cost_usd, is_simulated=each.is_simulated),
            seconds(each.wall_s),
            state,
        )
        table.add(cells)
    return table
