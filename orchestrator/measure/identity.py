"""What a run's throughput is made of, and which of its factors makes two runs differ.

    retained lines an hour = N × U × (output tokens/s of a busy slot) × (retained lines/output token)

N is the number of agent slots, U the share of their time in which an attempt held one, waits inside attempts included. Tokens are
those that attempts came to; what a split cost is not in them, nor what requests that broke off may have cost. Every factor is
measured by itself, and the product is exact: N·T slot-seconds, the busy ones, the tokens and the lines cancel down to lines/T.

Two runs' throughputs differ by the product of the factors' ratios, so in logarithms each factor has an exact share of the change. A
factor that is zero or unknown has no logarithm; that is said, and nothing is divided by it.
"""

from collections.abc import Mapping, Sequence
from math import fsum, log
from typing import Literal, assert_never

from orchestrator.core.events import AttemptFailed, Entry, FinishReason, PatchProposed, RunStarted
from orchestrator.core.fold import fold
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import CommitId, RunId, SubtaskId, Usage, Value
from orchestrator.measure.pieces import KINDS, Kind, PieceName
from orchestrator.measure.stack import Stack, stack_of

FactorName = Literal["agents", "busy_share", "tokens_per_s", "lines_per_token"]
FACTORS: Sequence[FactorName] = ("agents", "busy_share", "tokens_per_s", "lines_per_token")


class Identity(Value):
    """A run's factors. None is unknown or not defined (a rate over nothing), never zero; `why_unknown` says why."""

    agents: float
    busy_share: float | None
    tokens_per_s: float | None
    lines_per_token: float | None
    lines_per_hour: float | None
    retained_lines: int
    output_tokens: int | None
    busy_s: float
    wall_s: float
    why_unknown: str = ""


class Measured(Value):
    """A run as one side of a comparison."""

    run: RunId
    spec: str
    backend: str
    model: str
    seed: int
    base: CommitId
    is_simulated: bool
    is_serial: bool
    finished: FinishReason | None
    subtasks: int
    merged: int
    identity: Identity
    stack: Stack


class FactorChange(Value):
    """A factor in both runs. `log_ratio` is ln(b/a); `share` is its part of the change in throughput; None where there is none."""

    name: FactorName
    a: float | None
    b: float | None
    ratio: float | None
    log_ratio: float | None
    share: float | None


class PieceChange(Value):
    """A piece of the speedup stack in both runs, as shares of their slot time."""

    name: PieceName
    a: float
    b: float


class Difference(Value):
    """Something that is not the same in both runs though it is no factor."""

    what: Literal["task", "base", "backend", "seed", "simulation", "gate_slots", "merged", "end"]
    a: str
    b: str


class Explanation(Value):
    """Why run b's throughput differs from run a's.

    `ratio` is b's over a's; `log_ratio` is the sum of the factors', None where one of them has none: `problems` says why.
    `differences` says what else is not the same.
    """

    a: Measured
    b: Measured
    ratio: float | None
    log_ratio: float | None
    factors: tuple[FactorChange, ...]
    pieces: tuple[PieceChange, ...]
    differences: tuple[Difference, ...]
    problems: tuple[str, ...]


def identity_of(entries: Sequence[Entry], stack: Stack | None = None) -> Identity:
    """Measure a run's factors. Raises `JournalError` for a journal that contradicts itself, ValueError for an empty one."""
    return _identity(entries, fold(entries), stack or stack_of(entries))


def _identity(entries: Sequence[Entry], state: RunState, stack: Stack) -> Identity:
    usage = sum(
        (entry.event.usage for entry in entries if isinstance(entry.event, PatchProposed | AttemptFailed)), Usage()
    )
    tokens, busy, wall = usage.output_tokens, stack.busy_s, stack.wall_s
    return Identity(
        agents=stack.agents,
        busy_share=busy / stack.slot_s if stack.slot_s > 0 else None,
        tokens_per_s=tokens / busy if tokens is not None and busy > 0 else None,
        lines_per_token=state.retained_lines / tokens if tokens else None,
        lines_per_hour=3600 * state.retained_lines / wall if wall > 0 else None,
        retained_lines=state.retained_lines,
        output_tokens=tokens,
        busy_s=busy,
        wall_s=wall,
        why_unknown=_why_unknown(wall, busy, tokens),
    )


def _why_unknown(wall: float, busy: float, tokens: int | None) -> str:
    if wall <= 0:
        return "it took no time"
    if busy <= 0:
        return "no attempt took any time"
    if tokens is None:
        return "its backend did not say how many tokens it wrote"
    return "" if tokens else "its attempts came to no output tokens"


def _measured(entries: Sequence[Entry]) -> tuple[Measured, RunStarted, frozenset[SubtaskId]]:
    """One side of a comparison, with what the run is and the subtasks that it merged."""
    state, stack = fold(entries), stack_of(entries)
    run = state.run
    if run is None:
        raise ValueError("a run without entries has no figures")
    side = Measured(
        run=run.run,
        spec=run.spec_name,
        backend=run.backend,
        model=run.model,
        seed=run.seed,
        base=run.base,
        is_simulated=run.is_simulated,
        is_serial=stack.is_serial,
        finished=state.finished,
        subtasks=len(state.subtasks),
        merged=state.counts[Phase.MERGED],
        identity=_identity(entries, state, stack),
        stack=stack,
    )
    return side, run, frozenset(name for name, each in state.subtasks.items() if each.phase is Phase.MERGED)


def explain(a: Sequence[Entry], b: Sequence[Entry]) -> Explanation:
    """Attribute the difference in throughput to the factors; raises as `identity_of` does."""
    (one, first, merged), (other, second, merged_too) = _measured(a), _measured(b)
    factors = [(name, _factor(one, name), _factor(other, name)) for name in FACTORS]
    logs = [_log_ratio(before, after) for _, before, after in factors]
    known = [value for value in logs if value is not None]
    total = fsum(known) if len(known) == len(FACTORS) else None
    return Explanation(
        a=one,
        b=other,
        ratio=_ratio(one.identity.lines_per_hour, other.identity.lines_per_hour),
        log_ratio=total,
        factors=tuple(
            FactorChange(
                name=name,
                a=before,
                b=after,
                ratio=_ratio(before, after),
                log_ratio=told,
                share=None if told is None or total is None or abs(total) < _NO_CHANGE else told / total,
            )
            for (name, before, after), told in zip(factors, logs, strict=True)
        ),
        pieces=tuple(
            PieceChange(name=name, a=_of_slots(one.stack, name), b=_of_slots(other.stack, name)) for name in KINDS
        ),
        differences=(*_differences(first, second), *_ends(one, other, has_same=merged == merged_too)),
        problems=(*_problems("a", one.identity), *_problems("b", other.identity)),
    )


def largest_cause(explanation: Explanation) -> FactorChange | None:
    """The factor that did most of the change; None where there is none, or it is below one in a hundred."""
    total = explanation.log_ratio
    if total is None or abs(total) < _NO_CHANGE:
        return None
    return max(explanation.factors, key=lambda factor: (factor.log_ratio or 0.0) * total)


def counterforce(explanation: Explanation) -> FactorChange | None:
    """The factor that did most against the change; None where none did more than one in a hundred."""
    if explanation.log_ratio is None or largest_cause(explanation) is None:
        return None
    total = explanation.log_ratio
    most = min(explanation.factors, key=lambda factor: (factor.log_ratio or 0.0) * total)
    told = most.log_ratio or 0.0
    return most if told * total < 0 and abs(told) >= _NO_CHANGE else None


def piece_behind(explanation: Explanation, cause: FactorChange) -> PieceChange | None:
    """The piece of the stack that goes with a factor's change: what grew most where it fell, what shrank most where it rose.

    None where no piece that could have done it moved by one in a hundred of the slot time.
    """
    kinds = _BEHIND[cause.name]
    is_fallen = (cause.log_ratio or 0.0) < 0
    moved = [(change.b - change.a) * (1 if is_fallen else -1) for change in explanation.pieces]
    found = max(
        (pair for pair in zip(moved, explanation.pieces, strict=True) if _kind(pair[1].name) in kinds),
        key=lambda pair: pair[0],
        default=None,
    )
    return None if found is None or found[0] < _NO_CHANGE else found[1]


_NO_CHANGE = 0.01
_BEHIND: Mapping[FactorName, Sequence[Kind]] = {
    "agents": (),
    "busy_share": ("idle",),
    "tokens_per_s": ("wait inside",),
    "lines_per_token": ("inflation",),
}


def _kind(name: PieceName) -> Kind:
    """Its kind; in a serial run the slot holds no attempt while it judges and integrates."""
    return "idle" if name in ("gates", "merges") else KINDS[name]


def _factor(side: Measured, name: FactorName) -> float | None:
    found = side.identity
    match name:
        case "agents":
            return found.agents
        case "busy_share":
            return found.busy_share
        case "tokens_per_s":
            return found.tokens_per_s
        case "lines_per_token":
            return found.lines_per_token
        case _:
            assert_never(name)


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or b is None or a <= 0 else b / a


def _log_ratio(a: float | None, b: float | None) -> float | None:
    """By two logarithms, since the ratio of two floats may be none."""
    return None if a is None or b is None or a <= 0 or b <= 0 else log(b) - log(a)


def _of_slots(stack: Stack, name: PieceName) -> float:
    return stack.slot_seconds(name) / stack.slot_s if stack.slot_s > 0 else 0.0


def _problems(side: str, found: Identity) -> list[str]:
    if found.why_unknown:
        return [f"run {side}: {found.why_unknown}"]
    return [] if found.retained_lines > 0 else [f"run {side}: it retained no lines, so its throughput is 0"]


def _differences(a: RunStarted, b: RunStarted) -> list[Difference]:
    """What the runs were told to do."""
    told = (
        Difference(what="task", a=_named(a.spec_name, a.spec_digest), b=_named(b.spec_name, b.spec_digest)),
        Difference(what="base", a=a.base, b=b.base),
        Difference(what="backend", a=_named(a.backend, a.backend_digest), b=_named(b.backend, b.backend_digest)),
        Difference(what="seed", a=str(a.seed), b=str(b.seed)),
        Difference(what="simulation", a=_simulated(a), b=_simulated(b)),
        Difference(what="gate_slots", a=str(a.limits.gate_slots), b=str(b.limits.gate_slots)),
    )
    return [each for each in told if each.a != each.b]


def _ends(a: Measured, b: Measured, *, has_same: bool) -> list[Difference]:
    """What the runs came to."""
    counts = [f"{each.merged} of {each.subtasks}" for each in (a, b)]
    if counts[0] == counts[1]:
        counts[1] += ", others"
    merged = [] if has_same else [Difference(what="merged", a=counts[0], b=counts[1])]
    ends = [each.finished or "none" for each in (a, b)]
    return merged + ([] if ends[0] == ends[1] else [Difference(what="end", a=ends[0], b=ends[1])])


def _named(name: str, digest: str) -> str:
    """A name and what it stands for: two files of one name need not be the same."""
    return f"{name} ({digest[:8]})"


def _simulated(run: RunStarted) -> str:
    return "simulated" if run.is_simulated else "real"
