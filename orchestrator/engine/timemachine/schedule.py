"""A recorded run under other limits: the same core and driver, on a virtual clock, at no token's cost.

    schedule(record, Terms(agents=32, gate_slots=8)) → Schedule

What is taken over from the record and what is assumed is said in `measure.recorded`, `measure.tries`, `measure.contention` and
`script`. Besides: limits on cost and tokens do not hold here; nobody is rejected for rate; prompts find the cache as they did; the
orchestrator's own work takes no time beyond what is in the recorded times. Equal arguments give equal schedules, to the last bit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.core.events import Entry, Event, FinishReason, RunStarted
from orchestrator.core.fold import apply
from orchestrator.core.graph import topological_order
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Digest, Limits, Subtask, SubtaskId
from orchestrator.engine.driver import Driver
from orchestrator.engine.timemachine.account import Account, Quotas
from orchestrator.engine.timemachine.cores import SharedCores
from orchestrator.engine.timemachine.replay import Replay, Scales, Tally
from orchestrator.engine.timemachine.script import Script
from orchestrator.engine.virtual import VirtualClock, run_virtually
from orchestrator.measure.contention import Contention
from orchestrator.measure.recorded import Recorded
from orchestrator.ports import Bodies, Journal

Station = Literal["agents", "gates", "cores", "integration", "chain", "rate limit", "one slot"]


@dataclass(frozen=True, slots=True)
class Terms:
    """Under what a record is scheduled anew.

    `max_batch` None is the record's. `contention` None is a machine with as many cores as anybody wants.
    """

    agents: int = 1
    gate_slots: int = 1
    is_serial: bool = False
    wall_s: float | None = None
    quotas: Quotas = field(default_factory=Quotas)
    scales: Scales = field(default_factory=Scales)
    copies: int = 1
    max_batch: int | None = None
    seed: int = 0
    contention: Contention | None = None

    @property
    def limits(self) -> Limits:
        """What the core decides by."""
        if self.is_serial:
            return Limits(agents=1, gate_slots=1, is_serial=True, wall_s=self.wall_s)
        return Limits(agents=self.agents, gate_slots=self.gate_slots, wall_s=self.wall_s)


@dataclass(frozen=True, slots=True)
class Schedule:
    """How the run would have gone; times in seconds. `bounds` are what each station by itself takes at the least."""

    finished: FinishReason
    wall_s: float
    merged: frozenset[SubtaskId]
    subtasks: int
    tally: Tally
    extrapolated: int
    rate_wait_s: float
    bounds: Mapping[Station, float]

    @property
    def binds(self) -> Station:
        """The station that takes longest by itself: where more would help."""
        return max(self.bounds, key=lambda station: self.bounds[station])


class _Forgetful:
    """A journal that keeps nothing: for simulations that only the outcome is wanted of."""

    async def append(self, events: Sequence[tuple[float, Event]], bodies: Bodies) -> Sequence[Entry]:  # noqa: ARG002
        """Forget it; nobody observes."""
        return ()

    def entries(self) -> Sequence[Entry]:
        """None."""
        return ()

    def body(self, digest: Digest) -> bytes | None:  # noqa: ARG002 — the port's signature
        """None."""
        return None


def schedule(record: Recorded, terms: Terms, journal: Journal | None = None) -> Schedule:
    """Let the record run under other terms, on a loop of its own; not from inside of a running one.

    `journal` gets every event, for measures that want more than the outcome. Raises ValueError for a record with nothing to go by.
    """
    script = Script(record, copies=terms.copies, seed=terms.seed)
    account = Account(terms.quotas) if terms.quotas.are_set else None
    replay = Replay(record, script, SharedCores(terms.contention), account, terms.scales)
    changed = {"limits": terms.limits, "quote": None, "max_batch": terms.max_batch or record.run.max_batch}
    started = record.run.model_copy(update=changed)
    state = RunState()
    reason = run_virtually(_drive(state, started, replay, journal or _Forgetful()))
    merged = frozenset(name for name, each in state.subtasks.items() if each.phase is Phase.MERGED)
    return Schedule(
        finished=reason,
        wall_s=state.wall_before_s,
        merged=merged,
        subtasks=len(state.subtasks),
        tally=replay.tally,
        extrapolated=script.extrapolated,
        rate_wait_s=account.waited_s if account is not None else 0.0,
        bounds=_bounds(record, terms, replay.tally, script.subtasks),
    )


async def _drive(state: RunState, started: RunStarted, replay: Replay, journal: Journal) -> FinishReason:
    clock = VirtualClock()
    await journal.append([(clock.now(), started)], {})
    apply(state, started, clock.now())
    return await Driver(state, journal, replay, clock).drive()


def _bounds(record: Recorded, terms: Terms, tally: Tally, subtasks: Sequence[Subtask]) -> Mapping[Station, float]:
    """What each station needs for what was done, if it never stood still."""
    set_up_s = record.set_up_s * terms.scales.gate
    if terms.is_serial:
        return {"one slot": tally.generate_s + tally.judge_s + tally.integrate_s + set_up_s}
    checks_s = tally.judge_s + tally.integrate_s + set_up_s
    integration_s = tally.integrate_s / tally.batches if tally.batches else 0.0
    bounds: dict[Station, float] = {
        "agents": tally.generate_s / terms.agents,
        "gates": tally.judge_s / terms.gate_slots,
        "integration": tally.integrate_s,
        "chain": _chain_s(tally.own_s, integration_s, subtasks),
    }
    if terms.contention is not None:
        cores = terms.contention.cores
        bounds["cores"] = checks_s * terms.contention.slowdown(cores) / cores
    if terms.quotas.are_set:
        bounds["rate limit"] = terms.quotas.least_s(tally.requests, tally.input_tokens, tally.output_tokens)
    return bounds


def _chain_s(own_s: Mapping[SubtaskId, float], integration_s: float, subtasks: Sequence[Subtask]) -> float:
    """The longest way through the needs: each subtask's tries and gates one after the other, then its integration."""
    needs = {subtask.id: subtask.needs for subtask in subtasks}
    longest: dict[SubtaskId, float] = {}
    for name in topological_order(needs) or ():
        before = max((longest[need] for need in needs[name]), default=0.0)
        longest[name] = before + (own_s[name] + integration_s if name in own_s else 0.0)
    return max(longest.values(), default=0.0)
