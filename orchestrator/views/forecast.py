"""A plan as a table: the subtasks in the order of integration, what each would be shown, and what the whole may cost."""

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from orchestrator.measure.forecast import Forecast
from orchestrator.views.fitting import Column, FittedTable
from orchestrator.views.text import clean, count, dollars, one_line, plural, seconds

_MOST_ROWS = 200


def forecast_table(forecast: Forecast, *, title: str, is_simulated: bool) -> RenderableType:
    """Render a forecast; all its figures are estimates, and it says so."""
    table = FittedTable(
        (
            Column("order", 3, "right", "dim"),
            Column("subtask", is_folded=True),
            Column("needs", 2, style="dim", is_folded=True),
            Column("files shown", 5, "right"),
            Column("~tokens in", 4, "right"),
            Column("~tokens out", 6, "right"),
            Column("~time", 1, "right"),
        )
    )
    for row in forecast.rows[:_MOST_ROWS]:
        cells = (
            str(row.level + 1),
            clean(row.id),
            clean(", ".join(row.needs)),
            f"{row.shown_files}" + (f" (-{len(row.left_out)})" if row.left_out else ""),
            count(row.input_tokens),
            count(row.output_tokens),
            seconds(row.generate_s),
        )
        table.add(cells)
    if len(forecast.rows) > _MOST_ROWS:
        table.add(("", f"… and {len(forecast.rows) - _MOST_ROWS} more", "", "", "", "", ""))
    left_out = [f"  {clean(row.id)}: {clean(', '.join(row.left_out[:5]))}" for row in forecast.rows if row.left_out]
    notes = (
        [Text("Not shown for size (raise context_tokens, or name fewer files):\n" + "\n".join(left_out[:10]))]
        if left_out
        else []
    )
    return Group(Rule(Text(one_line(title)), style="dim"), table, *notes, _totals(forecast, is_simulated=is_simulated))


def _totals(forecast: Forecast, *, is_simulated: bool) -> Text:
    cost = dollars(forecast.cost_usd, is_simulated=is_simulated)
    text = Text("\nestimated ", style="bold")
    text.append(
        f"for {plural(len(forecast.rows), 'subtask')}, first tries alone: {count(forecast.input_tokens)} tokens in, "
        f"{count(forecast.output_tokens)} out, {cost}",
        style="not bold",
    )
    if forecast.wall_s is not None:
        text.append(
            f"; {seconds(forecast.wall_s)} of generation with {plural(forecast.agents, 'agent')}, "
            f"{seconds(forecast.one_agent_s)} with one (gates and integration not counted)",
            style="not bold",
        )
    return text
