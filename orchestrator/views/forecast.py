"""A plan as a table: the subtasks in the order of integration, what each would be shown, and what the whole may cost."""

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from orchestrator.measure.forecast import Forecast
from orchestrator.views.text import clean, count, dollars, plural, seconds

_MOST_ROWS = 200


def forecast_table(forecast: Forecast, *, title: str, is_simulated: bool) -> RenderableType:
    """Render a forecast; all its figures are estimates, and it says so."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("order", justify="right", style="dim")
    table.add_column("subtask", overflow="fold")
    table.add_column("needs", overflow="fold", style="dim")
    for header in ("files shown", "~tokens in", "~tokens out", "~time"):
        table.add_column(header, justify="right")
    for row in forecast.rows[:_MOST_ROWS]:
        files = f"{row.shown_files}" + (f" (-{len(row.left_out)})" if row.left_out else "")
        table.add_row(
            str(row.level + 1),
            Text(clean(row.id)),
            Text(clean(", ".join(row.needs))),
            files,
            count(row.input_tokens),
            count(row.output_tokens),
            seconds(row.generate_s),
        )
    if len(forecast.rows) > _MOST_ROWS:
        table.add_row("", f"… and {len(forecast.rows) - _MOST_ROWS} more", "", "", "", "", "")
    left_out = [f"  {clean(row.id)}: {clean(', '.join(row.left_out[:5]))}" for row in forecast.rows if row.left_out]
    notes = (
        [Text("Not shown for size (raise context_tokens, or name fewer files):\n" + "\n".join(left_out[:10]))]
        if left_out
        else []
    )
    return Group(Rule(title, style="dim"), table, *notes, _totals(forecast, is_simulated=is_simulated))


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
