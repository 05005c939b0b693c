"""The live view of a run: a row for each agent, what the gates and the integration lane do, totals, and an estimate.

It redraws a few times a second, however much happens: an event costs a few dictionary operations. It never grows past
the terminal: where there are more agents than lines, the rest is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.core.events import AttemptStarted, BatchStarted, Entry, GateStarted, PatchJudged, PatchProposed
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import SubtaskId
from orchestrator.ports import Clock, Meter
from orchestrator.views.lines import describe
from orchestrator.views.text import clean, count, dollars, plural, seconds

_RESERVED_LINES = 10
_PROGRESS = {
    Phase.WAITING: 0.0,
    Phase.GENERATING: 0.2,
    Phase.PROPOSED: 0.7,
    Phase.JUDGING: 0.75,
    Phase.ACCEPTED: 0.9,
    Phase.MERGING: 0.95,
    Phase.MERGED: 1.0,
    Phase.ABANDONED: 1.0,
}


@dataclass(slots=True)
class LiveView:
    """Renders the state that the driver changes; hand `observe` to the driver, and this to a `rich.live.Live`."""

    state: RunState
    meters: Mapping[SubtaskId, Meter]
    clock: Clock
    notice: str = ""
    _since: dict[str, float] = field(default_factory=dict)
    _lanes: dict[SubtaskId, int] = field(default_factory=dict)
    _last: str = ""

    def observe(self, entry: Entry) -> None:
        """Note when things began, and the last thing that happened."""
        event = entry.event
        if isinstance(event, AttemptStarted):
            taken = {lane for name, lane in self._lanes.items() if self.state.subtasks[name].phase is Phase.GENERATING}
            self._lanes[event.subtask] = next(lane for lane in range(len(taken) + 1) if lane not in taken)
        if isinstance(event, AttemptStarted | GateStarted | PatchProposed):
            self._since[event.subtask] = entry.at
        if isinstance(event, BatchStarted):
            self._since[""] = entry.at
        if not isinstance(event, AttemptStarted | PatchJudged | PatchProposed):
            self._last = describe(event) or self._last

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the whole view for the terminal's size."""
        rows = max(1, (options.height or console.height) - _RESERVED_LINES)
        yield Group(
            self._head(),
            self._agents(rows, console.width),
            self._stations(),
            self._totals(),
            self._bar(console.width),
            self._foot(),
        )

    def _head(self) -> Text:
        run = self.state.run
        if run is None:
            return Text("starting …", style="dim")
        simulated = " (simulated)" if run.is_simulated else ""
        told = f"{run.spec_name} · {run.run} · {run.backend}{simulated}, seed {run.seed}"
        return Text(clean(told), style="dim", no_wrap=True, overflow="ellipsis")

    def _agents(self, rows: int, width: int) -> Table:
        now = self.clock.now()
        busy = [each for each in self.state.subtasks.values() if each.phase is Phase.GENERATING]
        lanes = {self._lanes.get(each.spec.id, 0): each for each in busy}
        slots = min(self.state.limits.agents, max(len(self.state.subtasks), 1))
        table = Table(box=None, pad_edge=False, show_edge=False, expand=False)
        for header, style, justify in (
            ("agent", "dim", "right"),
            ("subtask", "bold", "left"),
            ("try", "", "right"),
            ("tokens", "cyan", "right"),
            ("elapsed", "", "right"),
            ("", "dim", "left"),
        ):
            table.add_column(header, style=style, justify=justify, no_wrap=True)  # type: ignore[arg-type]
        for lane in range(min(slots, rows)):
            each = lanes.get(lane)
            if each is None:
                table.add_row(str(lane + 1), Text("idle", style="dim"), "", "", "", "")
                continue
            meter = self.meters.get(each.spec.id, Meter())
            name = Text(clean(each.spec.id)[: max(8, width - 44)])
            elapsed = seconds(now - self._since.get(each.spec.id, now))
            table.add_row(
                str(lane + 1), name, str(each.attempt), count(meter.output_tokens), elapsed, clean(meter.note)
            )
        if slots > rows:
            table.add_row(
                "", Text(f"… and {slots - rows} more agents, {len(busy)} busy in all", style="dim"), "", "", "", ""
            )
        return table

    def _stations(self) -> Text:
        now = self.clock.now()
        judging = [name for name, each in self.state.subtasks.items() if each.phase is Phase.JUDGING]
        gates = ", ".join(f"{clean(name)} {seconds(now - self._since.get(name, now))}" for name in judging[:6])
        waiting = self.state.counts[Phase.PROPOSED]
        batch = self.state.batch
        lane = (
            f"batch {batch.batch} of {len(batch.members)}, {seconds(now - self._since.get('', now))}"
            if batch
            else "idle"
        )
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("gates ", style="dim").append(gates or "idle")
        text.append(f" (+{waiting} waiting)" if waiting else "", style="dim")
        text.append("   integration ", style="dim").append(lane)
        queued = len(self.state.queue)
        text.append(f" (+{queued} waiting)" if queued else "", style="dim")
        return text

    def _totals(self) -> Text:
        state, spent = self.state, self.state.spent
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append(f"{state.counts[Phase.MERGED]} merged", style="green")
        text.append(f" of {len(state.subtasks)}")
        if state.counts[Phase.ABANDONED]:
            text.append(f" · {state.counts[Phase.ABANDONED]} abandoned", style="red")
        text.append(f" · {count(spent.input_tokens)} tokens in, {count(spent.output_tokens)} out")
        text.append(f" · {dollars(spent.cost_usd, is_simulated=state.run is not None and state.run.is_simulated)}")
        text.append(f" · {plural(state.retained_lines, 'line')} retained")
        return text

    def _bar(self, width: int) -> Table:
        state = self.state
        total = max(1, len(state.subtasks))
        done = sum(share * state.counts[phase] for phase, share in _PROGRESS.items()) / total
        elapsed = state.wall_s(self.clock.now())
        left = f"about {seconds(elapsed * (1 - done) / done)} left" if 0.05 < done < 1 else ""
        grid = Table.grid(padding=(0, 1))
        grid.add_row(
            ProgressBar(total=1.0, completed=done, width=max(10, min(40, width - 40))),
            f"{done:.0%}",
            seconds(elapsed),
            left,
        )
        return grid

    def _foot(self) -> Text:
        return Text(
            self.notice or clean(self._last),
            style="yellow" if self.notice else "dim",
            no_wrap=True,
            overflow="ellipsis",
        )
