"""What a run would cost, before it does: estimates, and every one of them is to be shown as one.

Input is estimated from the prompt that would really be sent first; output from the size of the files that may be
written. Nothing is known yet about how often an answer must be repeated, so a forecast is of first tries alone.
"""

from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush

from orchestrator.core.graph import dependents_of, ranks, topological_order
from orchestrator.core.values import Subtask, SubtaskId, Value

OUTPUT_PER_WRITABLE_TOKEN = 1.9
"""Output tokens for each token of writable file: an edit-block reply states what it replaces and what with. Measured on the
shipped refactor task: its replies come to 0.8 to 2.1 of their file, 1.9 in the median."""
LEAST_OUTPUT_TOKENS = 400


class Pace(Value):
    """How fast a backend is and what it costs, as far as its configuration says; None is unknown."""

    ttft_s: float | None = None
    tokens_per_s: float | None = None
    input_usd_per_million: float | None = None
    output_usd_per_million: float | None = None

    @property
    def is_priced(self) -> bool:
        """Whether a cost can be computed."""
        return self.input_usd_per_million is not None and self.output_usd_per_million is not None


class SubtaskForecast(Value):
    """Estimates for one subtask's first try. `level` is how many needs come before it, one after the other."""

    id: SubtaskId
    needs: tuple[SubtaskId, ...]
    level: int
    shown_files: int
    left_out: tuple[str, ...]
    input_tokens: int
    output_tokens: int
    generate_s: float | None


class Forecast(Value):
    """Estimates for a run in which every first try is right, in the order in which it would be integrated."""

    agents: int
    rows: tuple[SubtaskForecast, ...]
    input_tokens: int
    output_tokens: int
    cost_usd: float | None
    one_agent_s: float | None
    wall_s: float | None


class Shown(Value):
    """What a subtask's first prompt would hold."""

    input_tokens: int
    files: int
    left_out: tuple[str, ...]
    writable_tokens: int


def forecast(subtasks: Sequence[Subtask], shown: Mapping[SubtaskId, Shown], pace: Pace, agents: int) -> Forecast:
    """Estimate tokens, cost and time. Gates and integration are not in the times: nobody has run them yet."""
    order = topological_order({subtask.id: subtask.needs for subtask in subtasks}) or []
    by_id = {subtask.id: subtask for subtask in subtasks}
    level: dict[SubtaskId, int] = {}
    rows = []
    for name in order:
        needs = by_id[name].needs
        level[name] = 1 + max((level[need] for need in needs), default=-1)
        rows.append(_row(by_id[name], shown[name], level[name], pace))
    rows.sort(key=lambda row: row.level)
    total_in, total_out = sum(row.input_tokens for row in rows), sum(row.output_tokens for row in rows)
    times = {row.id: row.generate_s for row in rows if row.generate_s is not None}
    is_timed = bool(rows) and len(times) == len(rows)
    return Forecast(
        agents=agents,
        rows=tuple(rows),
        input_tokens=total_in,
        output_tokens=total_out,
        cost_usd=_cost(pace, total_in, total_out),
        one_agent_s=sum(times.values()) if is_timed else None,
        wall_s=makespan(subtasks, times, agents) if is_timed else None,
    )


def makespan(subtasks: Sequence[Subtask], seconds: Mapping[SubtaskId, float], agents: int) -> float:
    """Time until the last subtask ends, when the heaviest chain goes first and nothing but agents is scarce."""
    rank, dependents = ranks(subtasks), dependents_of(subtasks)
    order = {subtask.id: number for number, subtask in enumerate(subtasks)}
    unmet = {subtask.id: len(subtask.needs) for subtask in subtasks}
    ready = [(-rank[name], order[name], name) for name, count in unmet.items() if not count]
    heapify(ready)
    running: list[tuple[float, SubtaskId]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < agents:
            name = heappop(ready)[2]
            heappush(running, (now + seconds[name], name))
        now, done = heappop(running)
        for name in dependents[done]:
            unmet[name] -= 1
            if not unmet[name]:
                heappush(ready, (-rank[name], order[name], name))
    return now


def _row(subtask: Subtask, shown: Shown, level: int, pace: Pace) -> SubtaskForecast:
    output = max(LEAST_OUTPUT_TOKENS, round(shown.writable_tokens * OUTPUT_PER_WRITABLE_TOKEN))
    is_paced = pace.ttft_s is not None and pace.tokens_per_s is not None
    return SubtaskForecast(
        id=subtask.id,
        needs=subtask.needs,
        level=level,
        shown_files=shown.files,
        left_out=shown.left_out,
        input_tokens=shown.input_tokens,
        output_tokens=output,
        generate_s=(pace.ttft_s or 0.0) + output / (pace.tokens_per_s or 1.0) if is_paced else None,
    )


def _cost(pace: Pace, input_tokens: int, output_tokens: int) -> float | None:
    if pace.input_usd_per_million is None or pace.output_usd_per_million is None:
        return None
    return (input_tokens * pace.input_usd_per_million + output_tokens * pace.output_usd_per_million) / 1e6
