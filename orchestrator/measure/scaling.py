"""What more agents brought: speedup or multiplier, efficiency and serial share for each number of agents, and two laws fitted to them.

Input is one row a run, repeats included, T(1) among them: a run with one slot for everything. Definitions (the ones to cite):

- *speedup* S(N) = T(1)/T(N), mean wall times, where all runs with N and with one agent accepted the same subtasks.
- *multiplier* M(N) = X(N)/X(1) otherwise, where X is accepted subtasks (or retained lines) per wall hour of a run, averaged over runs.
- *efficiency* S/N or M/N. *Karp-Flatt* e = (1/S - 1/N)/(1 - 1/N) (Karp & Flatt 1990), for a speedup alone: the serial share that would
  explain it. Below 0 the speedup is more than N.
- *Amdahl* and *USL*: see `statistics.curves`. Amdahl's law is about the same work, so it is refused where the accepted subtasks differ.

Importing this is cheap: numpy and scipy come with the first call.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Literal

from pydantic import Field

from orchestrator.core.values import SubtaskId, Value
from orchestrator.measure.statistics.values import LEVEL, AmdahlFit, Interval, Refusal, UslFit, undefined

Yardstick = Literal["accepted", "retained"]
"""What counts as work: accepted subtasks, or retained lines (which can be gamed, and are shown beside the former)."""
GainKind = Literal["speedup", "multiplier"]


class ScalingRun(Value):
    """One completed run. `agents` is N; `is_serial` is one slot for everything, which is what T(1) means.

    `repeat` tells runs with the same N apart. None is unknown.
    """

    agents: int = Field(ge=1)
    repeat: int
    wall_s: float
    accepted: frozenset[SubtaskId]
    retained_lines: int = Field(ge=0)
    output_tokens: int | None = None
    cost_usd: float | None = None
    is_serial: bool = False


class ScalingPoint(Value):
    """All runs with one number of agents. Means are over runs; `gain` is the speedup or multiplier that `kind` names."""

    agents: int
    runs: int
    mean_wall_s: float
    mean_accepted: float
    mean_retained_lines: float
    mean_output_tokens: float | None
    mean_cost_usd: float | None
    mean_per_hour: float
    kind: GainKind
    gain: Interval
    efficiency: Interval
    karp_flatt: Interval


class Scaling(Value):
    """The whole table, by number of agents, and the fits or why there is none. `notes` are to be printed with it."""

    yardstick: Yardstick
    points: tuple[ScalingPoint, ...]
    amdahl: AmdahlFit | Refusal
    usl: UslFit | Refusal
    notes: tuple[str, ...] = ()


def scaling(
    runs: Sequence[ScalingRun], *, yardstick: Yardstick = "accepted", level: float = LEVEL
) -> Scaling | Refusal:
    """Compute the table and the fits. Refused without runs, for a wall time that is not positive, for a run that occurs twice."""
    reason = _unfit(runs)
    if reason:
        return Refusal(reason=reason)
    kept, notes = _one_baseline(runs)
    by_agents: dict[int, list[ScalingRun]] = {}
    for run in sorted(kept, key=lambda run: (run.agents, run.repeat)):
        by_agents.setdefault(run.agents, []).append(run)
    points = tuple(_point(own, by_agents.get(1, []), yardstick, level) for own in by_agents.values())
    amdahl, usl = _fits(by_agents, points, yardstick, level)
    return Scaling(
        yardstick=yardstick, points=points, amdahl=amdahl, usl=usl, notes=notes + _peak_notes(usl, max(by_agents))
    )


def _unfit(runs: Sequence[ScalingRun]) -> str:
    if not runs:
        return "there are no runs"
    for run in runs:
        if not isfinite(run.wall_s) or run.wall_s <= 0:
            return f"the run with {run.agents} agents, repeat {run.repeat}, took {run.wall_s!r} s"
    seen = Counter((run.agents, run.repeat, run.is_serial) for run in runs)
    twice = [key for key, count in seen.items() if count > 1]
    return f"the run with {twice[0][0]} agents, repeat {twice[0][1]}, is there twice" if twice else ""


def _one_baseline(runs: Sequence[ScalingRun]) -> tuple[list[ScalingRun], tuple[str, ...]]:
    """Keep serial runs for N = 1 where there are any; one that overlaps its gates is no T(1), and would flatter nobody."""
    overlapping = [run for run in runs if run.agents == 1 and not run.is_serial]
    if not overlapping:
        return list(runs), ()
    if any(run.agents == 1 and run.is_serial for run in runs):
        note = f"{len(overlapping)} runs with one agent that overlap their gates are left out: T(1) is serial"
        return [run for run in runs if run.agents > 1 or run.is_serial], (note,)
    return list(runs), ("the runs with one agent overlap their gates, so they are not T(1): the gains are too small",)


def _point(own: Sequence[ScalingRun], ones: Sequence[ScalingRun], yardstick: Yardstick, level: float) -> ScalingPoint:
    kind = _kind([*own, *ones], yardstick)
    gain = _gain(own, ones, kind, yardstick, level)
    agents = own[0].agents
    return ScalingPoint(
        agents=agents,
        runs=len(own),
        mean_wall_s=_mean([run.wall_s for run in own]),
        mean_accepted=_mean([len(run.accepted) for run in own]),
        mean_retained_lines=_mean([run.retained_lines for run in own]),
        mean_output_tokens=_known_mean([run.output_tokens for run in own]),
        mean_cost_usd=_known_mean([run.cost_usd for run in own]),
        mean_per_hour=_mean([_per_hour(run, yardstick) for run in own]),
        kind=kind,
        gain=gain,
        efficiency=_efficiency(gain, agents),
        karp_flatt=_karp_flatt(gain, agents, kind),
    )


def _kind(runs: Sequence[ScalingRun], yardstick: Yardstick) -> GainKind:
    return "speedup" if yardstick == "accepted" and len({run.accepted for run in runs}) == 1 else "multiplier"


def _gain(
    own: Sequence[ScalingRun], ones: Sequence[ScalingRun], kind: GainKind, yardstick: Yardstick, level: float
) -> Interval:
    from orchestrator.measure.statistics.ratios import ratio_of_means  # noqa: PLC0415 — loads numpy and scipy

    if not ones:
        return undefined(kind, "there is no run with one agent", level=level)
    if own[0].agents == 1:
        return Interval(estimate=1.0, low=1.0, high=1.0, level=level, method="by definition", n=len(own))
    if kind == "speedup" and not own[0].accepted:
        return undefined(kind, "nothing was accepted", level=level)
    if kind == "speedup":
        return ratio_of_means([run.wall_s for run in ones], [run.wall_s for run in own], level=level)
    return ratio_of_means(
        [_per_hour(run, yardstick) for run in own], [_per_hour(run, yardstick) for run in ones], level=level
    )


def _efficiency(gain: Interval, agents: int) -> Interval:
    return gain.model_copy(
        update={name: None if value is None else value / agents for name, value in _figures(gain).items()}
    )


def _karp_flatt(gain: Interval, agents: int, kind: GainKind) -> Interval:
    method = "Karp-Flatt"
    if agents == 1:
        return undefined(method, "one agent has no parallel part", level=gain.level)
    if kind != "speedup":
        return undefined(method, "the accepted subtasks differ, and it is about the same work", level=gain.level)
    if not gain.estimate:
        return undefined(method, gain.reason, level=gain.level)
    share = {name: None if value is None else _serial_share(value, agents) for name, value in _figures(gain).items()}
    # The more speedup, the less serial share: the bounds change places.
    return gain.model_copy(update={"estimate": share["estimate"], "low": share["high"], "high": share["low"]})


def _serial_share(speedup: float, agents: int) -> float:
    return (1 / speedup - 1 / agents) / (1 - 1 / agents)


def _figures(interval: Interval) -> Mapping[str, float | None]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _fits(
    by_agents: Mapping[int, Sequence[ScalingRun]], points: Sequence[ScalingPoint], yardstick: Yardstick, level: float
) -> tuple[AmdahlFit | Refusal, UslFit | Refusal]:
    from orchestrator.measure.statistics.curves import RunThroughput, fit_amdahl, fit_usl  # noqa: PLC0415 — the same

    rows = [
        RunThroughput(agents=run.agents, repeat=run.repeat, per_hour=_per_hour(run, yardstick))
        for own in by_agents.values()
        for run in own
    ]
    usl = fit_usl(rows, level=level)
    if any(point.kind != "speedup" for point in points):
        return Refusal(reason="the accepted subtasks differ, and Amdahl's law is about the same work"), usl
    return fit_amdahl(rows, level=level), usl


def _peak_notes(usl: UslFit | Refusal, most_agents: int) -> tuple[str, ...]:
    if isinstance(usl, Refusal) or isinstance(usl.peak, Refusal) or (usl.peak.estimate or 0) <= most_agents:
        return ()
    return (f"the peak is a prediction: it lies beyond the {most_agents} agents that were measured",)


def _per_hour(run: ScalingRun, yardstick: Yardstick) -> float:
    return 3600 * (len(run.accepted) if yardstick == "accepted" else run.retained_lines) / run.wall_s


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _known_mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None
