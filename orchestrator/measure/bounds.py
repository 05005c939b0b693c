"""How short a run can be at best, what holds it there, and which single change would move that most.

Each subtask is served at three stations (generation on N agent slots, judging on G gate slots, integration in one lane), again and
again until it is merged, and after all that it needs. With the service times as measured and the queues left out:

- *work* T₁: the time of all attempts. *Span* T∞: the split, then the longest chain of needs, where each subtask takes its own
  attempts, gates and integrations, one after the other.
- *lower bound*: max(T₁/N, T∞). *Schedule quality*: the lower bound over the wall time.
- *upper bound*, for a schedule that leaves no slot idle that somebody waits for: T₁/N + (1 − 1/N)·T∞ where agents are all that is
  scarce (Graham, "Bounds for Certain Multiprocessing Anomalies", 1966). His argument holds for each station by itself: with work Wₖ
  on mₖ slots it is Σ Wₖ/mₖ + the longest chain, where time at station k counts (1 − 1/mₖ)-fold, + the split. That is what is given.
- A run takes no less than its gates on their slots, and its integrations in their lane, either. The *floor* is the greatest of all
  lower bounds.
- *levers*: what the floor comes to when one thing alone is changed. It is a bound and no forecast: a run may stay above it, and
  times that were measured beside each other need not stay what they were.

Where a process resumed with other limits, N and G are means over time, and there is no upper bound. In a serial run everything is
work on its one slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.core.events import Entry, RunResumed, RunStarted, SplitFinished
from orchestrator.core.graph import topological_order
from orchestrator.core.values import Limits, SubtaskId, Value
from orchestrator.measure.attempts import Attempt
from orchestrator.measure.services import GENERATE, INTEGRATE, JUDGE, Part, Served, services
from orchestrator.measure.stack import Stack, account_of
from orchestrator.measure.timeline import intervals, segments, steady

LeverName = Literal["agents", "gate_slots", "failures", "waits", "model", "gates", "integration", "needs"]
Holder = Literal["agents", "needs", "gate_slots", "integration"]


class Lever(Value):
    """One change alone, and the floor that it leaves: `remaining_s`.

    `agents`, `gate_slots`: twice as many. `model`, `gates`, `integration`: twice as fast. `failures`: nothing done in vain; it is left
    out where a subtask was tried only in vain, since nobody knows what a right try would take. `waits`: no
    rate limit, retry, or wait for a cache or a batch. `needs`: nobody waits for anybody.
    """

    name: LeverName
    remaining_s: float


class Bounds(Value):
    """Times in seconds. `held_by` says which of the lower bounds the floor is; None for a run of no time.

    `chain` is the chain of needs that takes longest. `judge_bound_s` and `integrate_bound_s` are the gates on their slots and the
    integrations in their lane.
    """

    agents: float
    gate_slots: float
    wall_s: float
    work_s: float
    span_s: float
    chain: tuple[SubtaskId, ...]
    lower_s: float
    upper_s: float | None
    schedule_quality: float | None
    judge_bound_s: float
    integrate_bound_s: float
    floor_s: float
    held_by: Holder | None
    levers: tuple[Lever, ...]


@dataclass(frozen=True, slots=True)
class _Change:
    """What is different: how many times as many slots, how much of each part is left, whether subtasks wait for their needs."""

    agents: int = 1
    gate_slots: int = 1
    left: Mapping[Part, float] = field(default_factory=dict)
    with_needs: bool = True

    def of(self, served: Served, station: Sequence[Part]) -> float:
        """What of a service is left at a station."""
        return sum(served.get(part, 0.0) * self.left.get(part, 1.0) for part in station)

    def of_all(self, served: Served) -> float:
        """What of a service is left at all stations together."""
        left, total = self.left, 0.0
        for part, seconds in served.items():
            total += seconds * left.get(part, 1.0)
        return total


_AS_IT_WAS = _Change()
_CHANGES: Mapping[LeverName, _Change] = {
    "agents": _Change(agents=2),
    "gate_slots": _Change(gate_slots=2),
    "failures": _Change(left=dict.fromkeys(("model_vain", "wait_vain", "judge_vain", "integrate_vain"), 0.0)),
    "waits": _Change(left=dict.fromkeys(("wait", "wait_vain"), 0.0)),
    "model": _Change(left=dict.fromkeys(("model", "model_vain"), 0.5)),
    "gates": _Change(left=dict.fromkeys(JUDGE, 0.5)),
    "integration": _Change(left=dict.fromkeys(INTEGRATE, 0.5)),
    "needs": _Change(with_needs=False),
}
_NOT_SERIAL: Sequence[LeverName] = ("agents", "gate_slots", "needs")


def bounds_of(entries: Sequence[Entry]) -> Bounds:
    """Compute a run's bounds. Raises `JournalError` for a journal that contradicts itself, ValueError for an empty one."""
    return bounds_from(entries, *account_of(entries))


def bounds_from(entries: Sequence[Entry], stack: Stack, tried: Sequence[Attempt]) -> Bounds:
    """The same, from an account that was made already."""
    model = _Model.of(steady(entries), stack, tried)
    found = model.lower_bounds(_AS_IT_WAS)
    held_by = max(found, key=lambda name: found[name])
    lower = max(found["agents"], found["needs"])
    left_out = (*(_NOT_SERIAL if stack.is_serial else ()), *(("failures",) if _has_no_right_try(tried) else ()))
    return Bounds(
        agents=stack.agents,
        gate_slots=model.gate_slots,
        wall_s=stack.wall_s,
        work_s=found["agents"] * stack.agents,
        span_s=found["needs"],
        chain=model.chain(_AS_IT_WAS)[1],
        lower_s=lower,
        upper_s=model.upper(),
        schedule_quality=lower / stack.wall_s if stack.wall_s > 0 else None,
        judge_bound_s=found["gate_slots"],
        integrate_bound_s=found["integration"],
        floor_s=found[held_by],
        held_by=held_by if stack.wall_s > 0 else None,
        levers=tuple(
            Lever(name=name, remaining_s=max(model.lower_bounds(_CHANGES[name]).values()))
            for name in _CHANGES
            if name not in left_out
        ),
    )


def _has_no_right_try(tried: Sequence[Attempt]) -> bool:
    """Whether some subtask was tried only in vain, so that nobody knows what a right try takes."""
    return bool(
        {each.subtask for each in tried} - {each.subtask for each in tried if each.fate in ("merged", "undecided")}
    )


def largest_lever(bounds: Bounds) -> Lever | None:
    """The change that lowers the floor most, the first of equals; None where none lowers it by a thousandth."""
    best = min(bounds.levers, key=lambda lever: lever.remaining_s, default=None)
    return None if best is None or best.remaining_s >= 0.999 * bounds.floor_s else best


@dataclass(frozen=True, slots=True)
class _Model:
    """The run as a network of stations. `total` is what all subtasks were served, where a batch counts once."""

    agents: float
    gate_slots: float
    is_serial: bool
    has_changed: bool
    split_s: float
    needs: Mapping[SubtaskId, Sequence[SubtaskId]]
    order: Sequence[SubtaskId]
    served: Mapping[SubtaskId, Served]
    total: Served

    @classmethod
    def of(cls, entries: Sequence[Entry], stack: Stack, tried: Sequence[Attempt]) -> "_Model":
        """Read it off the journal."""
        limits = _limits(entries)
        wall = sum(duration for _, duration in limits)
        slots = sum(each.gate_slots * duration for each, duration in limits)
        needs = {
            subtask.id: subtask.needs
            for entry in entries
            if isinstance(entry.event, SplitFinished)
            for subtask in entry.event.subtasks
        }
        stays = intervals(entries, with_cut=True)
        book = services(entries, stays, tried)
        return cls(
            agents=stack.agents,
            gate_slots=slots / wall if wall > 0 else float(limits[-1][0].gate_slots),
            is_serial=stack.is_serial,
            has_changed=len({(each.agents, each.gate_slots, each.is_serial) for each, _ in limits}) > 1,
            split_s=sum(stay.duration_s for stay in stays if stay.station == "split"),
            needs=needs,
            order=topological_order(needs) or (),
            served=book.served,
            total=book.total,
        )

    def lower_bounds(self, change: _Change) -> dict[Holder, float]:
        """Each lower bound by what it comes from."""
        generate, judge, integrate = (change.of(self.total, parts) for parts in (GENERATE, JUDGE, INTEGRATE))
        work = self.split_s + generate + judge + integrate if self.is_serial else generate
        return {
            "agents": work / (self.agents * change.agents),
            "needs": self.split_s + self.chain(change)[0],
            "gate_slots": judge / (self.gate_slots * change.gate_slots),
            "integration": integrate,
        }

    def upper(self) -> float | None:
        """The most that a schedule can take which leaves no slot idle that somebody waits for; see the module's docstring."""
        if self.has_changed:
            return None
        generate, judge, integrate = (_AS_IT_WAS.of(self.total, parts) for parts in (GENERATE, JUDGE, INTEGRATE))
        if self.is_serial:
            return self.split_s + generate + judge + integrate
        part_of = {GENERATE: 1 - 1 / self.agents, JUDGE: 1 - 1 / self.gate_slots, INTEGRATE: 0.0}
        others = _Change(left={part: share for parts, share in part_of.items() for part in parts})
        return self.split_s + generate / self.agents + judge / self.gate_slots + integrate + self.chain(others)[0]

    def chain(self, change: _Change) -> tuple[float, tuple[SubtaskId, ...]]:
        """The longest chain of needs, and what of its service is left; without needs, the longest subtask."""
        ends: dict[SubtaskId, float] = {}
        before: dict[SubtaskId, SubtaskId | None] = {}
        for name in self.order:
            needs = self.needs[name] if change.with_needs else ()
            before[name] = max(needs, key=lambda need: ends[need], default=None)
            own = change.of_all(self.served.get(name, {}))
            ends[name] = own + max((ends[need] for need in needs), default=0.0)
        last = max(ends, key=lambda name: ends[name], default=None)
        return (0.0 if last is None else ends[last]), _path(before, last)


def _path(before: Mapping[SubtaskId, SubtaskId | None], last: SubtaskId | None) -> tuple[SubtaskId, ...]:
    path: list[SubtaskId] = []
    while last is not None:
        path.append(last)
        last = before[last]
    return tuple(reversed(path))


def _limits(entries: Sequence[Entry]) -> list[tuple[Limits, float]]:
    """The limits of each process, and how long it worked."""
    return [
        (event.limits, segment.duration_s)
        for segment in segments(entries)
        if isinstance(event := entries[segment.first].event, RunStarted | RunResumed)
    ]
