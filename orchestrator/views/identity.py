"""Two runs' throughputs side by side, by their factors: a table, what else differs, and the largest cause in a sentence."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from orchestrator.measure.identity import (
    Difference,
    Explanation,
    FactorChange,
    FactorName,
    Measured,
    counterforce,
    largest_cause,
    piece_behind,
)
from orchestrator.views.fitting import Column, FittedTable
from orchestrator.views.stack import PIECES, rate
from orchestrator.views.text import one_line, percent

_FACTORS: Mapping[FactorName, str] = {
    "agents": "agents",
    "busy_share": "busy share",
    "tokens_per_s": "tokens/s of a busy slot",
    "lines_per_token": "lines/token",
}
_WHAT: Mapping[str, str] = {
    "task": "task",
    "base": "base commit",
    "backend": "backend",
    "seed": "seed",
    "simulation": "backend kind",
    "gate_slots": "gate slots",
    "merged": "merged subtasks",
    "end": "end",
}
_LEAST_SHIFT = 0.01


def explanation_view(told: Explanation) -> RenderableType:
    """Everything that `explain` says."""
    parts: list[RenderableType] = [Rule(Text(f"retained lines an hour{_simulated(told)}"), style="dim")]
    parts += [Text(_side(name, side)) for name, side in (("a", told.a), ("b", told.b))]
    parts.append(_factors(told))
    pieces = _pieces(told)
    if pieces.rows:
        parts += [Rule(Text("where the slots' time went, as shares of it"), style="dim"), pieces]
    if told.differences:
        parts.append(Text("The runs also differ in:", style="yellow"))
        parts += [Text(f"  {_difference(each)}") for each in told.differences]
    parts += [Text(one_line(problem), style="yellow") for problem in told.problems]
    return Group(*parts, Text(sentence(told), style="bold"))


def sentence(told: Explanation) -> str:
    """What changed, and what did most of it."""
    if told.ratio is None:
        return "There is no ratio of the throughputs, so the factors can only be looked at one by one."
    change = f"Run b retains {rate(told.ratio)} × the lines an hour of run a"
    if told.log_ratio is None:
        return f"{change}; a factor that is zero or unknown has no share of that."
    cause = largest_cause(told)
    if cause is None:
        return f"{change}: nearly the same."
    counter = counterforce(told)
    against = "" if counter is None else f" Against it works {_cause(told, counter)}."
    return f"{change}. The largest cause is {_cause(told, cause)}.{against}"


def _cause(told: Explanation, cause: FactorChange) -> str:
    text = f"{_FACTORS[cause.name]}, × {rate(cause.ratio)} ({_whole(cause.share)} of the change in logarithms)"
    piece = piece_behind(told, cause)
    if piece is None:
        return text
    return f"{text}; with it goes {PIECES[piece.name]}, {_percent(piece.a)} → {_percent(piece.b)} of the slot time"


def _side(name: str, side: Measured) -> str:
    how = "serial" if side.is_serial else f"{side.identity.agents:g} agents"
    simulated = ", simulated" if side.is_simulated else ""
    return one_line(f"{name}  {side.run}: {side.backend}{simulated}, {how}, seed {side.seed}, {_merged(side)}")


def _simulated(told: Explanation) -> str:
    sides = [name for name, side in (("a", told.a), ("b", told.b)) if side.is_simulated]
    return " (simulated)" if len(sides) == 2 else f" ({sides[0]} is simulated)" if sides else ""


def _merged(side: Measured) -> str:
    return f"{side.merged} of {side.subtasks} merged"


def _factors(told: Explanation) -> FittedTable:
    table = FittedTable(
        (
            Column("factor", is_folded=True),
            Column("a", 0, "right"),
            Column("b", 0, "right"),
            Column("b / a", 1, "right"),
            Column("ln", 3, "right"),
            Column("share", 2, "right"),
        )
    )
    for factor in told.factors:
        a, b = (_amount(factor.name, value) for value in (factor.a, factor.b))
        table.add((_FACTORS[factor.name], a, b, _times(factor.ratio), _log(factor.log_ratio), _whole(factor.share)))
    hours = [rate(side.identity.lines_per_hour) for side in (told.a, told.b)]
    share = "100 %" if largest_cause(told) is not None else "–"
    table.add(("retained lines/hour", *hours, _times(told.ratio), _log(told.log_ratio), share))
    return table


def _pieces(told: Explanation) -> FittedTable:
    table = FittedTable(
        (
            Column("where it went", is_folded=True),
            Column("a", 0, "right"),
            Column("b", 0, "right"),
            Column("change", 1, "right"),
        )
    )
    for piece in told.pieces:
        if max(piece.a, piece.b) >= _LEAST_SHIFT:
            change = f"{100 * (piece.b - piece.a):+.1f}".replace("-", "−")
            table.add((PIECES[piece.name], _percent(piece.a), _percent(piece.b), change))
    return table


def _difference(each: Difference) -> str:
    what, cut = _WHAT[each.what], 10 if each.what == "base" else None
    return one_line(f"{what}: {each.a[:cut]} and {each.b[:cut]}").replace("_", " ")


def _amount(name: FactorName, value: float | None) -> str:
    return _percent(value) if name == "busy_share" else rate(value)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _whole(value: float | None) -> str:
    return percent(value).replace("-", "−")


def _times(value: float | None) -> str:
    return "–" if value is None else f"× {rate(value)}"


def _log(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")
