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


def decide(state: RunState, now: float) -> Intent | None:
    """Name the next step, or None when nothing can start at this moment."""
    if state.finished is not None or state.split_problem is not None:
        return None
    if state.limits.is_serial and state.in_flight:
        return None
    if not state.is_split:
        return None if state.is_splitting else SplitStarted()
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
        return AttemptStarted(subtask=subtask.spec.id, attempt=subtask.attempt + 1, draw=subtask.draw, base=state.head)
    return None


def limit_reached(state: RunState, now: float) -> FinishReason | None:
    """Name the limit that is used up; no attempt starts from then on, what is under way goes on to its end.

    What is in flight is expected to come to what attempts came to so far on average. That is an expectation: the attempts
    that start before the first one has ended are not bounded by it.
    """
    limits = state.limits
    in_flight = state.counts[Phase.GENERATING] / state.answered if state.answered else 0.0
    if limits.cost_usd is not None and state.known_cost_usd * (1 + in_flight) >= limits.cost_usd:
        return "cost_limit"
    if limits.tokens is not None and state.known_tokens * (1 + in_flight) >= limits.tokens:
        return "token_limit"
    if limits.wall_s is not None and state.wall_s(now) >= limits.wall_s:
        return "wall_limit"
    return None
