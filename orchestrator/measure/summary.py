"""What a run came to, in figures: one value, computed from its journal entries alone.

Definitions (they are the ones to cite; `docs/measurement.md` has them with their sources):

- *accepted*: a subtask whose patch passed its gate and is in an integrated tree that itself passed.
- *first-pass rate*: of the subtasks that came to an end or failed at least once, the share that was merged without a failed try.
- *lines*: non-blank lines added. *Proposed* by all attempts, *gated*: of patches that passed, *integrated*: as merged,
  *retained*: standing in the integrated head and not in the base.
- *cache-hit share*: of all input tokens, those that were read from a provider's prompt cache.
- *lost*: the allowances of attempts that a killed process had under way; nobody knows what of them was billed.
- *one-agent time*, T(1): measured by a completed run of the same task with one slot for everything (`--serial`), where there is
  one. Else estimated: the work of this run (generation, gates, integration) laid end to end, which is not the same, because a
  serial run is not this run in slow motion.
- *multiplier*: a speedup, T(1)/T(N), where the same subtasks were merged; else the ratio of throughputs, merged subtasks an hour.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    Entry,
    FinishReason,
    PatchJudged,
    PatchProposed,
)
from orchestrator.core.fold import fold
from orchestrator.core.state import RunState
from orchestrator.core.transitions import FINAL, Phase
from orchestrator.core.values import CommitId, RunId, SubtaskId, TreeId, Usage, Value
from orchestrator.measure.timeline import Interval, intervals, wall_s

MultiplierKind = Literal["speedup", "throughput", "estimated"]


class SubtaskSummary(Value):
    """One subtask's row."""

    id: SubtaskId
    phase: Phase
    attempts: int
    reworks: int
    usage: Usage
    added_lines: int
    generate_s: float
    reason: str = ""


class Summary(Value):
    """A run's figures. None is *unknown* or *not defined* (a rate over nothing), never zero."""

    run: RunId
    spec: str
    backend: str
    is_simulated: bool
    seed: int
    agents: int
    finished: FinishReason | None
    base: CommitId
    head: CommitId
    tree: TreeId | None
    subtasks: int
    merged: int
    abandoned: int
    attempts: int
    lost_attempts: int
    reworks: int
    first_pass_rate: float | None
    usage: Usage
    cache_hit_share: float | None = None
    lost_cost_usd: float = 0.0
    lost_tokens: int = 0
    proposed_lines: int
    gated_lines: int
    integrated_lines: int
    retained_lines: int
    retained_per_1k_output_tokens: float | None
    wall_s: float
    generate_s: float
    judge_s: float
    integrate_s: float
    average_agents_busy: float | None
    one_agent_s: float | None
    one_agent_run: RunId | None = None
    multiplier: float | None
    multiplier_kind: MultiplierKind | None
    rows: tuple[SubtaskSummary, ...]


class OneAgent(Value):
    """A completed serial run over the same base, task, backend and seed."""

    run: RunId
    wall_s: float
    merged: frozenset[SubtaskId]


def summarize(entries: Sequence[Entry], one_agent: OneAgent | None = None) -> Summary:
    """Compute the figures. `one_agent` replaces the estimate of the one-agent time. Raises `JournalError`."""
    state = fold(entries)
    if state.run is None:
        raise ValueError("a run without entries has no figures")
    spans = intervals(entries)
    wall = wall_s(entries)
    generate, judge, integrate = (_total(spans, station) for station in ("generate", "judge", "integrate"))
    attempts = sum(isinstance(entry.event, AttemptStarted) for entry in entries)
    ended = sum(isinstance(entry.event, PatchProposed | AttemptFailed) for entry in entries)
    compared = _multiplier(state, wall, generate + judge + integrate, one_agent)
    output = state.bill.usage.output_tokens
    return Summary(
        run=state.run.run,
        spec=state.run.spec_name,
        backend=state.run.backend,
        is_simulated=state.run.is_simulated,
        seed=state.run.seed,
        agents=state.limits.agents,
        finished=state.finished,
        base=state.run.base,
        head=state.head,
        tree=_last_tree(entries),
        subtasks=len(state.subtasks),
        merged=state.counts[Phase.MERGED],
        abandoned=state.counts[Phase.ABANDONED],
        attempts=attempts,
        lost_attempts=attempts - ended - state.counts[Phase.GENERATING],
        reworks=sum(len(subtask.conflicts) for subtask in state.subtasks.values()),
        first_pass_rate=_first_pass(state),
        usage=state.bill.usage,
        cache_hit_share=_cache_hit_share(state.bill.usage),
        lost_cost_usd=state.bill.lost.cost_usd,
        lost_tokens=state.bill.lost.tokens,
        proposed_lines=sum(e.event.patch.added_lines for e in entries if isinstance(e.event, PatchProposed)),
        gated_lines=_gated_lines(entries),
        integrated_lines=sum(lines for lines in _integrated(entries).values()),
        retained_lines=state.retained_lines,
        retained_per_1k_output_tokens=1000 * state.retained_lines / output if output else None,
        wall_s=wall,
        generate_s=generate,
        judge_s=judge,
        integrate_s=integrate,
        average_agents_busy=generate / wall if wall > 0 else None,
        one_agent_s=compared.one_agent_s,
        one_agent_run=compared.run,
        multiplier=compared.multiplier,
        multiplier_kind=compared.kind,
        rows=_rows(state, entries, spans),
    )


@dataclass(frozen=True, slots=True)
class _Compared:
    one_agent_s: float | None = None
    run: RunId | None = None
    multiplier: float | None = None
    kind: MultiplierKind | None = None


def _multiplier(state: RunState, wall: float, work: float, one_agent: OneAgent | None) -> _Compared:
    merged = frozenset(name for name, subtask in state.subtasks.items() if subtask.phase is Phase.MERGED)
    if not merged or wall <= 0 or state.limits.is_serial:
        return _Compared()
    if one_agent is None or one_agent.wall_s <= 0:
        return _Compared(work, None, work / wall, "estimated")
    if state.finished == "completed" and merged == one_agent.merged:
        return _Compared(one_agent.wall_s, one_agent.run, one_agent.wall_s / wall, "speedup")
    ratio = (len(merged) / wall) / (len(one_agent.merged) / one_agent.wall_s) if one_agent.merged else None
    return _Compared(one_agent.wall_s, one_agent.run, ratio, "throughput" if ratio is not None else None)


def _cache_hit_share(usage: Usage) -> float | None:
    if not usage.input_tokens or usage.cached_input_tokens is None:
        return None
    return usage.cached_input_tokens / usage.input_tokens


def _total(spans: Sequence[Interval], station: str) -> float:
    return sum(span.duration_s for span in spans if span.station == station)


def _first_pass(state: RunState) -> float | None:
    tried = [subtask for subtask in state.subtasks.values() if subtask.attempt > 0]
    ended = [subtask for subtask in tried if subtask.failures or subtask.phase in FINAL]
    if not ended:
        return None
    return sum(subtask.phase is Phase.MERGED and not subtask.failures for subtask in ended) / len(ended)


def _gated_lines(entries: Sequence[Entry]) -> int:
    proposed: dict[SubtaskId, int] = {}
    total = 0
    for entry in entries:
        if isinstance(entry.event, PatchProposed):
            proposed[entry.event.subtask] = entry.event.patch.added_lines
        elif isinstance(entry.event, PatchJudged) and entry.event.verdict.passed:
            total += proposed[entry.event.subtask]
    return total


def _integrated(entries: Sequence[Entry]) -> dict[SubtaskId, int]:
    merges = (entry.event for entry in entries if isinstance(entry.event, BatchMerged))
    return {patch.subtask: patch.added_lines for merge in merges for patch in merge.merged}


def _last_tree(entries: Sequence[Entry]) -> TreeId | None:
    trees = [entry.event.tree for entry in entries if isinstance(entry.event, BatchMerged)]
    return trees[-1] if trees else None


def _rows(state: RunState, entries: Sequence[Entry], spans: Sequence[Interval]) -> tuple[SubtaskSummary, ...]:
    usage: dict[SubtaskId, Usage] = {}
    for entry in entries:
        if isinstance(entry.event, PatchProposed | AttemptFailed):
            usage[entry.event.subtask] = usage.get(entry.event.subtask, Usage()) + entry.event.usage
    busy: dict[SubtaskId | None, float] = {}
    for span in spans:
        if span.station == "generate":
            busy[span.subtask] = busy.get(span.subtask, 0.0) + span.duration_s
    lines = _integrated(entries)
    return tuple(
        SubtaskSummary(
            id=name,
            phase=subtask.phase,
            attempts=subtask.attempt,
            reworks=len(subtask.conflicts),
            usage=usage.get(name, Usage()),
            added_lines=lines.get(name, 0),
            generate_s=busy.get(name, 0.0),
            reason=subtask.reason,
        )
        for name, subtask in state.subtasks.items()
    )
