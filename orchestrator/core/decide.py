"""What starts next. One pure function over the state; the engine asks it until it says None.

The lanes are looked at from the end of the line to its beginning (integration, gates, agents), so that what is nearly
done is done first and nothing piles up. Within a lane the heaviest chain to the end goes first.
"""

from orchestrator.core.events import (
    AttemptStarted,
    BatchStarted,
    FinishReason,
    GateStarted,
    Intent,
    SplitStarted,
)
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Allowance, Limits, Quote

OUTAGES_BEYOND_AGENTS = 2
"""Every agent has met a backend that is down, and so many more with no answer in between: the run stops, to be resumed."""


POSTPONED_FOR_OUTAGE = 10
"""The same for attempts that were put off for another reason, each after long patience: so many times as often."""


def decide(state: RunState, now: float) -> Intent | None:
    """Name the next step, or None when nothing can start at this moment."""
    if state.finished is not None or state.split_problem is not None:
        return None
    if state.limits.is_serial and state.in_flight:
        return None
    if not state.is_split:
        return _split(state, now)
    if state.batch is None:
        members = state.queue.peek()
        if members is not None:
            return BatchStarted(batch=state.batches + 1, members=members, onto=state.head)
    if state.proposed and state.counts[Phase.JUDGING] < state.limits.gate_slots:
        subtask = state.subtasks[state.proposed[0][2]]
        return GateStarted(subtask=subtask.spec.id, attempt=subtask.attempt, onto=state.head)
    has_slot = state.counts[Phase.GENERATING] < state.limits.agents
    if state.ready and has_slot and limit_reached(state, now) is None:
        subtask = state.subtasks[state.ready[0][2]]
        return AttemptStarted(
            subtask=subtask.spec.id,
            attempt=subtask.attempt + 1,
            draw=subtask.draw,
            base=state.head,
            allowance=_allowance(state),
        )
    return None


def _split(state: RunState, now: float) -> Intent | None:
    if state.is_splitting or limit_reached(state, now) is not None:
        return None
    return SplitStarted(allowance=_allowance(state))


def limit_reached(state: RunState, now: float) -> FinishReason | None:
    """Name the limit that keeps the next step from starting; what is under way goes on to its end.

    Where the backend gave a quote, nothing starts that could overrun the limits on cost and tokens, so what is in flight may
    well give room again. Where it gave none, what is in flight is expected to come to the average so far.
    """
    limits = state.limits
    if limits.wall_s is not None and state.wall_s(now) >= limits.wall_s:
        return "wall_limit"
    if limits.attempts is not None and state.attempts >= limits.attempts:
        return "attempt_limit"
    most = limits.agents + OUTAGES_BEYOND_AGENTS
    if state.outages >= most or state.postponed >= most * POSTPONED_FOR_OUTAGE:
        return "backend_unavailable"
    return _budget_reached(state)


def _budget_reached(state: RunState) -> FinishReason | None:
    limits, bill = state.limits, state.bill
    if limits.cost_usd is None and limits.tokens is None:
        return None
    if _quote(state) is not None:
        if _allowance(state) is not None:
            return None
        without_tokens = limits.model_copy(update={"tokens": None})
        return "cost_limit" if _allowance(state, without_tokens) is None and limits.cost_usd else "token_limit"
    in_flight = state.counts[Phase.GENERATING]
    if bill.exceeds(limits.cost_usd, bill.spent.cost_usd, in_flight):
        return "cost_limit"
    return "token_limit" if bill.exceeds(limits.tokens, bill.spent.tokens, in_flight) else None


def _allowance(state: RunState, limits: Limits | None = None) -> Allowance | None:
    """What the next step may cost at most; None where nothing limits it, or where the limits leave too little."""
    limits, quote = limits or state.limits, _quote(state)
    if quote is None or (limits.cost_usd is None and limits.tokens is None):
        return None
    if not state.ready:
        return state.bill.allow(limits, quote)
    subtask = state.subtasks[state.ready[0][2]]
    return state.bill.allow(limits, quote, subtask.needed, subtask.raises)


def _quote(state: RunState) -> Quote | None:
    return None if state.run is None else state.run.quote
