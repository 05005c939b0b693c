"""Where a run's slot time went, as a table with the bounds and the throughput's factors below it."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from orchestrator.measure.bounds import Bounds, Holder, LeverName, largest_lever
from orchestrator.measure.identity import Identity
from orchestrator.measure.pieces import Kind, PieceName
from orchestrator.measure.stack import Decomposition, Piece, Stack
from orchestrator.views.fitting import Column, FittedTable
from orchestrator.views.text import one_line, percent, plural, seconds

PIECES: Mapping[PieceName, str] = {
    "base": "generation that was merged",
    "tools": "tools and checks of its sessions",
    "gates": "gates",
    "merges": "integration",
    "undecided": "generation, not settled yet",
    "failed": "failed attempts",
    "rework": "redone after a conflict",
    "lost": "lost with a killed process",
    "rate_limit": "rate limit",
    "retries": "failed requests and pauses",
    "prompt_cache": "prompt cache",
    "batch": "provider's batch",
    "setup": "set-up of attempts",
    "ramp": "ramp: start and split",
    "needs_start": "needs that are not started",
    "needs_generation": "needs in generation",
    "needs_gate": "needs at the gate",
    "needs_integration": "needs in integration",
    "gate": "own subtask at the gate",
    "integration": "own subtask in integration",
    "limits": "a limit, or a wish to stop",
    "orchestrator": "orchestrator",
    "tail": "tail: nothing left to start",
}
_KINDS: Mapping[Kind, str] = {"work": "work", "inflation": "in vain", "wait inside": "waiting", "idle": "idle"}
_STYLES: Mapping[Kind, str] = {"work": "green", "inflation": "red", "wait inside": "yellow", "idle": "dim"}
_LEVERS: Mapping[LeverName, str] = {
    "agents": "twice the agents",
    "gate_slots": "twice the gate slots",
    "failures": "no attempt in vain",
    "waits": "no waiting inside attempts",
    "model": "a model twice as fast",
    "gates": "gates twice as fast",
    "integration": "integration twice as fast",
    "needs": "no needs between subtasks",
}
_HOLDERS: Mapping[Holder, str] = {
    "agents": "the agents' work",
    "needs": "the longest chain",
    "gate_slots": "the gates on their slots",
    "integration": "integration, one after the other",
}
_WORK: Mapping[str, str] = {
    "base": "generation",
    "failed": "failed attempts",
    "rework": "conflicts",
    "lost": "lost attempts",
    "beside": "gates and integration beside the slots",
    "serial_waits": "what the serial run waited",
}
_BAR = 20
_LEAST_SHARE = 0.0005


def stack_view(stack: Stack, decomposition: Decomposition | None, bounds: Bounds, identity: Identity) -> RenderableType:
    """Everything about where the speedup went; a piece that is next to nothing is added to the last row."""
    if stack.slot_s <= 0:
        return Text("no slot time yet", style="dim")
    slots = f"{_agents(stack.agents)} × {seconds(stack.wall_s)} of slot time"
    told = f"{slots}{', one slot for everything' if stack.is_serial else ''}{_simulated(is_so=stack.is_simulated)}"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, line in (
        ("speedup", _speedup(stack, decomposition)),
        ("bounds", _bounds(bounds)),
        ("lever", _lever(bounds)),
        ("throughput", identity_line(identity)),
    ):
        grid.add_row(name, Text(line))
    return Group(Rule(Text(one_line(told)), style="dim"), _table(stack), grid)


def _table(stack: Stack) -> FittedTable:
    table = FittedTable(
        (
            Column("", 2),
            Column("where it went", is_folded=True),
            Column("slot time", 0, "right"),
            Column("share", 1, "right"),
            Column("agents", 3, "right"),
            Column("", 4),
        )
    )
    shown = [piece for piece in stack.pieces if piece.slot_s >= _LEAST_SHARE * stack.slot_s]
    before: Kind | None = None
    for piece in shown:
        table.add(_row(piece, stack, is_first=piece.kind != before))
        before = piece.kind
    rest = sum(piece.slot_s for piece in stack.pieces if piece not in shown)
    if rest > 0:
        table.add(("", Text("all else", style="dim"), *_amounts(rest, stack), ""))
    return table


def _row(piece: Piece, stack: Stack, *, is_first: bool) -> Sequence[str | Text]:
    style = _STYLES[piece.kind]
    bar = "█" * round(_BAR * piece.slot_s / stack.slot_s)
    return (
        Text(_KINDS[piece.kind] if is_first else "", style="dim"),
        PIECES[piece.name],
        *_amounts(piece.slot_s, stack),
        Text(bar, style=style),
    )


def _amounts(slot_s: float, stack: Stack) -> tuple[str, str, str]:
    return seconds(slot_s), f"{100 * slot_s / stack.slot_s:.1f} %", f"{slot_s / stack.wall_s:.2f}"


def _speedup(stack: Stack, told: Decomposition | None) -> str:
    """N = T(1)/T(N) + (W − T(1))/T(N) + Σ wait/T(N), where T(1) is known."""
    if stack.is_serial:
        return "this run is the measure of T(1)"
    if told is None:
        return "T(1) is not measured for the same merged subtasks (run it with --serial), so there are no shares of the speedup"
    work, waits = (sum(term.agents for term in terms) for terms in (told.work, told.waits))
    parts = [f"{_signed(term.agents)} {_WORK[term.name]}" for term in told.work if abs(term.agents) >= 0.005]
    return (
        f"{told.agents:.2f} agents = {told.speedup:.2f} speedup {_signed(work)} other work "
        f"{_signed(waits)} waiting and idle" + (f"; other work: {', '.join(parts)}" if parts else "")
    )


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'} {abs(value):.2f}"


def _bounds(bounds: Bounds) -> str:
    if bounds.held_by is None:
        return "–"
    holder = _HOLDERS[bounds.held_by]
    if bounds.held_by == "needs":
        holder += f": {one_line(' → '.join(bounds.chain[:4]))}{' …' if len(bounds.chain) > 4 else ''}"
    told = f"at least {seconds(bounds.floor_s)} ({holder})"
    if bounds.upper_s is not None and bounds.upper_s > bounds.lower_s:
        told += f", at most {seconds(bounds.upper_s)} if no slot idles that somebody waits for"
    told += f"; schedule quality {percent(bounds.schedule_quality)}"
    of_what = f", of max(T₁/N, T∞) = {seconds(bounds.lower_s)}" if bounds.held_by not in ("agents", "needs") else ""
    return told + of_what


def _lever(bounds: Bounds) -> str:
    lever = largest_lever(bounds)
    if lever is None:
        return "no single change lowers the bound"
    return (
        f"{_LEVERS[lever.name]}: that alone lowers the bound from {seconds(bounds.floor_s)} "
        f"to {seconds(lever.remaining_s)} (a bound, no forecast; this run took {seconds(bounds.wall_s)})"
    )


def identity_line(identity: Identity) -> str:
    """The throughput as the product of its factors, or why there is none."""
    told = f"{rate(identity.lines_per_hour)} retained lines an hour"
    if identity.why_unknown:
        return f"{told}; its factors are not known: {identity.why_unknown}"
    return (
        f"{told} = {_agents(identity.agents)} × {percent(identity.busy_share)} busy × "
        f"{rate(identity.tokens_per_s)} tokens/s of a busy slot × {rate(identity.lines_per_token)} lines/token"
    )


def rate(value: float | None) -> str:
    """Format a rate to three digits: 12,340, 56.1, 0.0771; a dash when it is not defined."""
    if value is None:
        return "–"
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:#.3g}".rstrip(".")


def _agents(value: float) -> str:
    return plural(round(value), "agent") if value == round(value) else f"{value:.2f} agents (mean)"


def _simulated(*, is_so: bool) -> str:
    return " (simulated)" if is_so else ""
