"""The live view of a run: a row for each agent, what the gates and the integration lane do, totals, and an estimate.

Who is at work is learnt from the events alone: an agent's row is taken when an attempt starts and is free when it ends.
An event costs a few dictionary operations and a frame costs what it shows, for ten subtasks as for ten thousand. The view
never grows past the terminal: where there are more agents than lines, the rest is counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunResumed,
)
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import SubtaskId
from orchestrator.ports import Clock, Meter
from orchestrator.views.lines import describe
from orchestrator.views.text import count, dollars, one_line, plural, seconds

_RESERVED_LINES = 10
_GATES_NAMED = 6
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


class _Attempt(NamedTuple):
    """What an agent is at."""

    subtask: SubtaskId
    attempt: int
    since: float


@dataclass(slots=True)
class _Lanes:
    """The agents' rows: whoever starts gets the topmost one that is free, and keeps it until the attempt has ended."""

    busy: dict[int, _Attempt] = field(default_factory=dict)
    _lane_of: dict[SubtaskId, int] = field(default_factory=dict)
    _free: list[int] = field(default_factory=list)

    def take(self, attempt: _Attempt) -> None:
        lane = heappop(self._free) if self._free else len(self.busy)
        self.busy[lane] = attempt
        self._lane_of[attempt.subtask] = lane

    def release(self, subtask: SubtaskId) -> None:
        lane = self._lane_of.pop(subtask, None)
        if lane is not None:
            del self.busy[lane]
            heappush(self._free, lane)

    def clear(self) -> None:
        self.busy.clear()
        self._lane_of.clear()
        self._free.clear()


@dataclass(slots=True)
class LiveView:
    """Renders the state that the driver changes; hand `observe` to the driver, and this to a `rich.live.Live`.

    Of the state it reads counts and totals, never the subtasks one by one.
    """

    state: RunState
    meters: Mapping[SubtaskId, Meter]
    clock: Clock
    notice: str = ""
    _lanes: _Lanes = field(default_factory=_Lanes)
    _judging: dict[SubtaskId, float] = field(default_factory=dict)
    _batch_since: float | None = None
    _last: str = ""

    def observe(self, entry: Entry) -> None:
        """Note who is at work since when, and the last thing that happened."""
        event = entry.event
        match event:
            case AttemptStarted():
                self._lanes.take(_Attempt(event.subtask, event.attempt, entry.at))
            case PatchProposed() | AttemptFailed():
                self._lanes.release(event.subtask)
            case GateStarted():
                self._judging[event.subtask] = entry.at
            case PatchJudged():
                self._judging.pop(event.subtask, None)
            case BatchStarted():
                self._batch_since = entry.at
            case RunResumed():
                self._lanes.clear()
                self._judging.clear()
            case _:
                pass
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
        return Text(one_line(told), style="dim", no_wrap=True, overflow="ellipsis")

    def _agents(self, rows: int, width: int) -> Table:
        now = self.clock.now()
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
            at_work = self._lanes.busy.get(lane)
            if at_work is None:
                table.add_row(str(lane + 1), Text("idle", style="dim"), "", "", "", "")
                continue
            meter = self.meters.get(at_work.subtask, Meter())
            table.add_row(
                str(lane + 1),
                Text(one_line(at_work.subtask)[: max(8, width - 44)]),
                str(at_work.attempt),
                count(meter.output_tokens),
                seconds(now - at_work.since),
                Text(one_line(meter.note)),
            )
        if slots > rows:
            more = f"… and {slots - rows} more agents, {len(self._lanes.busy)} busy in all"
            table.add_row("", Text(more, style="dim"), "", "", "", "")
        return table

    def _stations(self) -> Text:
        now = self.clock.now()
        shown = islice(self._judging.items(), _GATES_NAMED)
        gates = ", ".join(f"{one_line(name)} {seconds(now - since)}" for name, since in shown)
        if len(self._judging) > _GATES_NAMED:
            gates += f" and {len(self._judging) - _GATES_NAMED} more"
        waiting = self.state.counts[Phase.PROPOSED]
        batch = self.state.batch
        since = now if self._batch_since is None else self._batch_since
        lane = (
            f"batch {batch.batch}: {plural(len(batch.members), 'subtask')}, {seconds(now - since)}" if batch else "idle"
        )
        text = Text(no_wrap=True, overflow="ellipsis")
        text.append("gates ", style="dim").append(gates or "idle")
        text.append(f" (+{waiting} waiting)" if waiting else "", style="dim")
        text.append("   integration ", style="dim").append(lane)
        queued = len(self.state.queue)
        text.append(f" (+{queued} waiting)" if queued else "", style="dim")
        return text

    def _totals(self) -> Text:
        state, spent = self.state, self.state.bill.usage
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
            one_line(self.notice or self._last),
            style="yellow" if self.notice else "dim",
            no_wrap=True,
            overflow="ellipsis",
        )
