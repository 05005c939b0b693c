"""From events to the state of a run: the one place where an event has consequences.

`apply` refuses every event that the table in `core.transitions` does not allow, with a `JournalError` that names the subtask,
its phase and the event. It costs the same per event for ten subtasks as for ten thousand: queues are heaps, counts are kept.
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from typing import assert_never

from orchestrator.core.errors import JournalError
from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    Event,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunFinished,
    RunResumed,
    RunStarted,
    SplitFailed,
    SplitFinished,
    SplitStarted,
    SplitStopped,
)
from orchestrator.core.graph import dependents_of, ranks
from orchestrator.core.merge_queue import MergeQueue
from orchestrator.core.state import RunState
from orchestrator.core.subtask_state import MAX_OUTAGES, POSTPONED, SubtaskState
from orchestrator.core.transitions import FINAL, TRANSITIONS, Phase
from orchestrator.core.values import (
    Conflict,
    FailedTry,
    SubtaskId,
    Usage,
    Verdict,
)

_NEED_ABANDONED = "need_abandoned"


def apply(state: RunState, event: Event, at: float) -> None:
    """Change the state by one event. Raises `JournalError` and changes nothing when it is not allowed."""
    if state.run is None and not isinstance(event, RunStarted):
        raise JournalError(f"a journal begins with run_started, not with {event.kind}")
    match event:
        case RunStarted() | RunResumed() | RunFinished():
            _run(state, event, at)
        case SplitStarted() | SplitFinished() | SplitFailed() | SplitStopped():
            _split(state, event)
        case AttemptStarted() | PatchProposed() | AttemptFailed():
            _generate(state, event)
        case GateStarted() | PatchJudged():
            _judge(state, event)
        case BatchStarted():
            _start_batch(state, event)
        case BatchMerged() | BatchRejected():
            _end_batch(state, event)
        case _:
            assert_never(event)
    state.last_at = at


def fold(entries: Iterable[Entry]) -> RunState:
    """Compute the state that a journal describes. Raises `JournalError` naming the entry that does not fit."""
    state = RunState()
    for entry in entries:
        try:
            apply(state, entry.event, entry.at)
        except JournalError as error:
            raise JournalError(f"entry {entry.seq}: {error}") from error
    return state


def _find(state: RunState, name: SubtaskId, event: Event) -> SubtaskState:
    found = state.subtasks.get(name)
    if found is None:
        raise JournalError(f"{event.kind} names the subtask {name!r}, which this run does not have")
    return found


def _require(subtask: SubtaskState, kind: str) -> None:
    if (subtask.phase, kind) not in TRANSITIONS:
        raise JournalError(f"subtask {subtask.spec.id!r} is {subtask.phase.value}: {kind} is not possible there")


def _require_attempt(subtask: SubtaskState, event: PatchProposed | AttemptFailed | GateStarted | PatchJudged) -> None:
    if event.attempt != subtask.attempt:
        named = f"{event.kind} speaks of attempt {event.attempt}"
        raise JournalError(f"subtask {subtask.spec.id!r} is at attempt {subtask.attempt}: {named}")


def _move(state: RunState, subtask: SubtaskState, kind: str, target: Phase) -> None:
    _require(subtask, kind)
    if target not in TRANSITIONS[subtask.phase, kind]:
        raise JournalError(f"subtask {subtask.spec.id!r}: {kind} does not lead from {subtask.phase} to {target}")
    state.counts[subtask.phase] -= 1
    state.counts[target] += 1
    subtask.phase = target
    key = subtask.key
    if target is Phase.WAITING and subtask.unmet == 0:
        heappush(state.ready, key)
    elif target is Phase.PROPOSED:
        heappush(state.proposed, key)
    elif target is Phase.ABANDONED and kind != _NEED_ABANDONED:
        _abandon_dependents(state, subtask)


def _abandon_dependents(state: RunState, abandoned: SubtaskState) -> None:
    """Abandon everything that needs a subtask, directly or not; by a list, since a chain may be long."""
    pending = [abandoned]
    while pending:
        need = pending.pop()
        for name in need.dependents:
            dependent = state.subtasks[name]
            if dependent.phase not in FINAL:
                dependent.reason = f"needs {need.spec.id!r}, which was abandoned"
                _move(state, dependent, _NEED_ABANDONED, Phase.ABANDONED)
                pending.append(dependent)


def _take(queue: list[tuple[float, int, SubtaskId]], subtask: SubtaskState) -> None:
    """Take a subtask out of a heap. Usually it is the head; what goes first is for `decide` to say, and may change."""
    if queue and queue[0][2] == subtask.spec.id:
        heappop(queue)
        return
    rest = [key for key in queue if key[2] != subtask.spec.id]
    if len(rest) == len(queue):
        raise JournalError(f"subtask {subtask.spec.id!r} is not in its queue")
    queue[:] = rest
    heapify(queue)


def _run(state: RunState, event: RunStarted | RunResumed | RunFinished, at: float) -> None:
    match event:
        case RunStarted():
            _start(state, event, at)
        case RunResumed():
            if state.is_over:
                raise JournalError(f"run_resumed after the run has ended for good ({state.finished})")
            _resume(state, event, at)
        case RunFinished():
            if state.finished is not None:
                raise JournalError("run_finished stands in this journal twice in a row")
            state.finished = event.reason
            state.wall_before_s = state.wall_s(at)
            state.segment_started = at
        case _:
            assert_never(event)


def _start(state: RunState, event: RunStarted, at: float) -> None:
    if state.run is not None:
        raise JournalError("run_started stands in this journal twice")
    state.run = event
    state.limits = event.limits
    state.head = event.base
    state.queue = MergeQueue(max_batch=event.max_batch)
    state.segment_started = at


def _resume(state: RunState, event: RunResumed, at: float) -> None:
    quote = None if state.run is None else state.run.quote
    for subtask in state.subtasks.values():
        subtask.outages = 0
        match subtask.phase:
            case Phase.GENERATING:
                state.bill.lose(subtask.allowance, quote)
                subtask.allowance = None
                _move(state, subtask, event.kind, Phase.WAITING)
            case Phase.JUDGING:
                _move(state, subtask, event.kind, Phase.PROPOSED)
            case Phase.MERGING:
                _move(state, subtask, event.kind, Phase.ACCEPTED)
            case _:
                pass
    if state.batch is not None:
        state.queue.put_back(state.batch.members)
        state.batch = None
    if state.finished is None:
        state.wall_before_s += max(0.0, state.last_at - state.segment_started)
    state.segment_started = at
    state.finished = None
    if state.is_splitting:
        state.bill.lose(state.split_allowance, quote)
    state.is_splitting, state.split_allowance = False, None
    state.outages = state.postponed = 0
    state.limits = event.limits


def _split(state: RunState, event: SplitStarted | SplitFinished | SplitFailed | SplitStopped) -> None:
    if state.is_split or state.is_splitting is isinstance(event, SplitStarted):
        raise JournalError(
            f"{event.kind} is not possible: the task is {'split' if state.is_split else 'not at that point'}"
        )
    if isinstance(event, SplitStarted):
        state.is_splitting = True
        state.split_allowance = event.allowance
        state.bill.reserve(event.allowance)
        return
    state.is_splitting = False
    state.bill.spend(event.usage, state.split_allowance)
    state.split_allowance = None
    if isinstance(event, SplitStopped):
        return
    if isinstance(event, SplitFailed):
        state.split_problem = event.detail
        return
    state.is_split = True
    rank = ranks(event.subtasks)
    dependents = dependents_of(event.subtasks)
    for order, spec in enumerate(event.subtasks):
        subtask = SubtaskState(spec, order, rank[spec.id], dependents[spec.id], len(set(spec.needs)))
        state.subtasks[spec.id] = subtask
        state.counts[Phase.WAITING] += 1
        if subtask.unmet == 0:
            heappush(state.ready, subtask.key)


def _generate(state: RunState, event: AttemptStarted | PatchProposed | AttemptFailed) -> None:
    subtask = _find(state, event.subtask, event)
    _require(subtask, event.kind)
    match event:
        case AttemptStarted():
            if event.attempt != subtask.attempt + 1:
                raise JournalError(f"subtask {event.subtask!r}: attempt {event.attempt} follows {subtask.attempt}")
            _take(state.ready, subtask)
            subtask.attempt = event.attempt
            subtask.allowance = event.allowance
            state.bill.reserve(event.allowance)
            state.attempts += 1
            _move(state, subtask, event.kind, Phase.GENERATING)
        case PatchProposed():
            _require_attempt(subtask, event)
            _pay(state, subtask, event.usage)
            state.outages = state.postponed = 0
            subtask.patch = event.patch
            _move(state, subtask, event.kind, Phase.PROPOSED)
        case AttemptFailed():
            _require_attempt(subtask, event)
            _pay(state, subtask, event.usage)
            _fail_or_postpone(state, subtask, event)
        case _:
            assert_never(event)


def _pay(state: RunState, subtask: SubtaskState, usage: Usage) -> None:
    state.bill.spend(usage, subtask.allowance)
    state.bill.answered += 1
    subtask.allowance = subtask.needed = None


def _fail_or_postpone(state: RunState, subtask: SubtaskState, event: AttemptFailed) -> None:
    """What is not the subtask's own fault is no try of it: a rate limit, a budget, a provider that is down."""
    failure = event.failure
    is_outage = failure.reason == "backend_unavailable"
    subtask.outages += is_outage
    if is_outage:
        state.outages += 1
    elif failure.reason in POSTPONED:
        state.postponed += failure.reason != "budget"
    else:
        state.outages = state.postponed = 0
    # An outage that always meets the same subtask may be that subtask's after all.
    if failure.reason in POSTPONED or (is_outage and subtask.outages <= MAX_OUTAGES):
        subtask.needed = failure.needed
        subtask.raises += failure.reason == "budget"
        _move(state, subtask, event.kind, Phase.WAITING)
    else:
        _fail(state, subtask, event.kind, failure.reason, failure.feedback)


def _judge(state: RunState, event: GateStarted | PatchJudged) -> None:
    subtask = _find(state, event.subtask, event)
    _require(subtask, event.kind)
    _require_attempt(subtask, event)
    if isinstance(event, GateStarted):
        _take(state.proposed, subtask)
        _move(state, subtask, event.kind, Phase.JUDGING)
    elif event.verdict.passed:
        _move(state, subtask, event.kind, Phase.ACCEPTED)
        state.queue.add(subtask.spec.id)
    else:
        _refuse(state, subtask, event.kind, event.verdict)


def _start_batch(state: RunState, event: BatchStarted) -> None:
    if event.batch != state.batches + 1:
        raise JournalError(f"batch {event.batch} follows batch {state.batches}")
    if state.batch is not None:
        raise JournalError(f"batch {event.batch} starts while batch {state.batch.batch} is under way")
    members = [_find(state, name, event) for name in event.members]
    for subtask in members:
        _require(subtask, event.kind)
    try:
        state.queue.take(event.members)
    except ValueError as error:
        raise JournalError(f"batch {event.batch}: {error}") from error
    for subtask in members:
        _move(state, subtask, event.kind, Phase.MERGING)
    state.batch = event
    state.batches = event.batch


def _end_batch(state: RunState, event: BatchMerged | BatchRejected) -> None:
    batch = state.batch
    if batch is None or batch.batch != event.batch:
        raise JournalError(f"{event.kind} of batch {event.batch}, which is not under way")
    conflicted = {conflict.subtask for conflict in event.conflicts}
    merged = {patch.subtask for patch in event.merged} if isinstance(event, BatchMerged) else set()
    named = conflicted | merged
    if (
        conflicted & merged
        or named - set(batch.members)
        or (isinstance(event, BatchMerged) and named != set(batch.members))
    ):
        raise JournalError(f"{event.kind} of batch {event.batch} names other members than batch_started did")
    state.batch = None
    if isinstance(event, BatchMerged):
        state.head = event.head
        state.retained_lines = event.retained_lines
        for patch in event.merged:
            _settle(state, _find(state, patch.subtask, event), event)
    else:
        survivors = [name for name in batch.members if name not in conflicted]
        culprit = state.queue.bisect(survivors)
        for name in survivors:
            if name == culprit:
                _refuse(state, state.subtasks[name], event.kind, event.verdict)
            else:
                _move(state, state.subtasks[name], event.kind, Phase.ACCEPTED)
    for conflict in event.conflicts:
        _rework(state, _find(state, conflict.subtask, event), event.kind, conflict)


def _settle(state: RunState, subtask: SubtaskState, event: BatchMerged) -> None:
    _move(state, subtask, event.kind, Phase.MERGED)
    for check in subtask.spec.checks:
        state.checks.setdefault(check.key, check)
    for name in subtask.dependents:
        dependent = state.subtasks[name]
        dependent.unmet -= 1
        if dependent.unmet == 0 and dependent.phase is Phase.WAITING:
            heappush(state.ready, dependent.key)


def _refuse(state: RunState, subtask: SubtaskState, kind: str, verdict: Verdict) -> None:
    if verdict.reason == "conflict":
        _rework(state, subtask, kind, Conflict(subtask=subtask.spec.id, feedback=verdict.feedback))
    else:
        _fail(state, subtask, kind, verdict.reason, verdict.feedback)


def _fail(state: RunState, subtask: SubtaskState, kind: str, reason: str, feedback: str) -> None:
    subtask.failures.append(FailedTry.of(subtask.attempt, reason, feedback))
    is_last = len(subtask.failures) >= subtask.spec.max_attempts
    if is_last:
        subtask.reason = reason
    _move(state, subtask, kind, Phase.ABANDONED if is_last else Phase.WAITING)


def _rework(state: RunState, subtask: SubtaskState, kind: str, conflict: Conflict) -> None:
    subtask.conflicts.append(FailedTry.of(subtask.attempt, "conflict", conflict.feedback))
    is_last = state.run is not None and len(subtask.conflicts) > state.run.max_reworks
    if is_last:
        subtask.reason = "conflict"
    _move(state, subtask, kind, Phase.ABANDONED if is_last else Phase.WAITING)
