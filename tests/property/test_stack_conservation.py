"""Whatever happens in a run, no slot-second is lost or counted twice, and nothing that is said of them contradicts the rest."""

from collections import Counter
from math import isclose, log, prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.decide import limit_reached
from orchestrator.core.events import AttemptFailed, Entry, PatchProposed, RunFinished, RunResumed
from orchestrator.core.fold import apply
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Span
from orchestrator.measure.attempts import divide
from orchestrator.measure.bounds import bounds_of
from orchestrator.measure.identity import explain, identity_of
from orchestrator.measure.stack import decompose, stack_of
from orchestrator.measure.ticks import ticks
from orchestrator.measure.timeline import segments, wall_s
from tests.property.test_crashes import build, names, run_with_deaths, worlds
from tests.simulation import Fate

REL = 1e-9
INTENTS = ("split_started", "attempt_started", "gate_started", "batch_started")

clashing = st.builds(
    Fate,
    fails=st.frozensets(st.integers(1, 3), max_size=1),
    rejected=st.frozensets(st.integers(1, 3), max_size=1),
    breaks_trunk=st.frozensets(st.integers(1, 2), max_size=1),
    clashes=st.frozensets(st.sampled_from(names), max_size=2),
    generate_s=st.sampled_from([0.1, 1.0, 2.0, 7.3]),
    judge_s=st.sampled_from([0.5, 3.0]),
)
deaths = st.lists(st.tuples(st.integers(1, 25), st.booleans()), max_size=3)
limits = st.fixed_dictionaries(
    {},
    optional={
        "attempts": st.integers(1, 12),
        "wall_s": st.sampled_from([0.5, 3.0, 9.0, 20.0]),
        "gate_slots": st.integers(1, 3),
        "is_serial": st.booleans(),
    },
)
spans = st.lists(
    st.builds(
        Span,
        name=st.sampled_from(["prepare", "rate_limit", "failed_request", "backoff", "prompt_cache", "checks", "tools", "commit", "odd"]),
        started_s=st.floats(-1, 10) | st.just(float("nan")),
        duration_s=st.floats(-1, 10) | st.just(float("inf")),
    ),
    max_size=5,
)  # fmt: skip


@st.composite
def journals(draw):
    """Random work, random faults, random limits, random deaths; some attempts say where their time went."""
    fates, edges, agents = draw(worlds)
    fates |= draw(st.dictionaries(st.sampled_from(names), clashing, max_size=3))
    if draw(st.booleans()):  # without clashes, which the simulation cannot always resolve across deaths
        fates = {name: Fate(fate.fails, fate.rejected, fate.breaks_trunk, frozenset(), fate.generate_s) for name, fate in fates.items()}  # fmt: skip
        died = draw(deaths)
    else:
        died = []
    _, _, entries = run_with_deaths(build(edges), fates, died, agents=agents, **draw(limits))
    kept = draw(st.integers(1, len(entries))) if draw(st.booleans()) else len(entries)
    return [with_spans(entry, draw(spans)) if isinstance(entry.event, PatchProposed | AttemptFailed) else entry for entry in entries[:kept]]  # fmt: skip


def on_one_clock(entries, pause_s=100.0):
    """The simulation's clock begins anew with each process; here it goes on, after a pause."""
    told, begun = [], 0.0
    for entry in entries:
        at = begun + entry.at
        if isinstance(entry.event, RunResumed):
            at = begun = told[-1].at + pause_s
        told.append(Entry.model_construct(seq=entry.seq, at=at, event=entry.event))
    return told


def with_spans(entry, told):
    event = entry.event.model_copy(update={"spans": tuple(told)})
    return Entry.model_construct(seq=entry.seq, at=entry.at, event=event)


@given(journals(), st.booleans())
def test_the_pieces_are_never_negative_and_add_up_to_the_slot_time(entries, is_clock_set_back):
    entries = entries if is_clock_set_back else on_one_clock(entries)
    stack = stack_of(entries)
    assert all(piece.slot_s >= 0 for piece in stack.pieces)
    assert isclose(sum(piece.slot_s for piece in stack.pieces), stack.slot_s, rel_tol=REL)
    assert isclose(stack.wall_s, wall_s(entries), rel_tol=REL, abs_tol=1e-11)
    assert isclose(stack.agents * stack.wall_s, stack.slot_s, rel_tol=REL)


@given(journals())
def test_idle_slots_are_charged_as_a_plain_reading_of_the_rule_says(entries):
    entries = on_one_clock(entries)
    stack, plain = stack_of(entries), plainly(entries)
    inside = sum(s.slot_s for s in stack.pieces if s.kind in ("work", "inflation", "wait inside") and s.name not in ("gates", "merges"))  # fmt: skip
    late = stack.slot_seconds("orchestrator") - plain["orchestrator"]
    assert late >= -1e-9
    assert isclose(inside + late, plain["attempts"], rel_tol=REL, abs_tol=1e-9)
    assert isclose(stack.busy_s, plain["attempts"], rel_tol=REL, abs_tol=1e-9)
    for piece in stack.pieces:
        if (piece.kind == "idle" and piece.name != "orchestrator") or piece.name in ("gates", "merges"):
            assert piece.slot_s == pytest.approx(plain[piece.name], rel=REL, abs=1e-9), piece.name


def plainly(entries):
    """The same by looking at every subtask at every moment, in floats, without any index."""
    charged, state = Counter(), RunState()
    for segment in segments(entries):
        steps = [i for i in range(segment.first, segment.end) if entries[i].event.kind in INTENTS]
        last = entries[segment.end - 1].event
        is_done = isinstance(last, RunFinished) and last.reason in ("completed", "split_failed")
        for index in range(segment.first, segment.end):
            apply(state, entries[index].event, entries[index].at)
            if index + 1 < segment.end:
                stretch = entries[index + 1].at - entries[index].at
                is_stopping = not is_done and (not steps or index >= steps[-1])
                has_begun = bool(steps) and index >= steps[0]
                for why, slots in reasons(state, has_begun, is_stopping, entries[index + 1].at):
                    charged[why] += slots * stretch
    return charged


def reasons(state, has_begun, is_stopping, until):
    phases = Counter(each.phase for each in state.subtasks.values())
    is_serial = state.limits.is_serial
    yield "attempts", phases[Phase.GENERATING]
    taken = phases[Phase.GENERATING]
    if is_serial:
        yield "gates", phases[Phase.JUDGING]
        yield "merges", int(phases[Phase.MERGING] > 0)
        taken += phases[Phase.JUDGING] + (phases[Phase.MERGING] > 0)
    left = max(1 if is_serial else state.limits.agents, taken) - taken
    if not state.is_split or not has_begun:
        yield "ramp", left
        return
    held = is_stopping or (bool(state.ready) and limit_reached(state, until) is not None)
    wanted = Counter(why for each in state.subtasks.values() if (why := claim(state, each, held)))
    order = ("limits", "orchestrator", "needs_integration", "needs_gate", "needs_generation", "needs_start", "integration", "gate")  # fmt: skip
    for why in order:
        slots = min(left, wanted[why])
        left -= slots
        yield why, slots
    yield "tail", left


def claim(state, subtask, is_held):
    line = (
        {Phase.WAITING: "start", Phase.GENERATING: "generation", Phase.PROPOSED: "gate", Phase.JUDGING: "gate"}
        | dict.fromkeys((Phase.ACCEPTED, Phase.MERGING), "integration")
    )  # fmt: skip
    if subtask.phase is Phase.WAITING:
        stations = [line[phase] for need in subtask.spec.needs if (phase := state.subtasks[need].phase) in line]
        behind = [station for station in ("start", "generation", "gate", "integration") if station in stations]
        return f"needs_{behind[0]}" if behind else "limits" if is_held else "orchestrator"
    station = line.get(subtask.phase)
    return station if station in ("gate", "integration") else None


@given(spans, st.floats(0, 12), st.sampled_from(["merged", "failed", "lost"]))
def test_an_attempts_stay_is_divided_without_rest_whatever_its_spans_say(told, stay_s, fate):
    pieces = divide(ticks(stay_s), told, fate)
    assert sum(pieces.values()) == ticks(stay_s)
    assert all(amount >= 0 for amount in pieces.values())


@given(worlds, st.integers(1, 3), deaths)
def test_a_run_is_never_shorter_than_its_lower_bounds_nor_longer_than_its_upper_one(world, gate_slots, died):
    fates, edges, agents = world
    _, _, entries = run_with_deaths(build(edges), fates, died, agents=agents, gate_slots=gate_slots)
    bounds = bounds_of(on_one_clock(entries))
    assert bounds.floor_s <= bounds.wall_s * (1 + REL) + 1e-9
    assert bounds.lower_s <= bounds.floor_s
    assert bounds.upper_s is None or bounds.wall_s <= bounds.upper_s * (1 + REL) + 1e-9
    assert bounds.upper_s is not None or (died and gate_slots != 2)
    assert all(0 <= lever.remaining_s <= bounds.floor_s * (1 + REL) for lever in bounds.levers)


@given(worlds, worlds)
def test_the_factors_multiply_to_the_throughput_and_their_logarithms_add_up_to_its_change(one, other):
    runs = [run_with_deaths(build(edges), fates, [], agents=agents)[2] for fates, edges, agents in (one, other)]
    found = [identity_of(entries) for entries in runs]
    for each in found:
        if not each.why_unknown:
            factors = (each.agents, each.busy_share, each.tokens_per_s, each.lines_per_token, 3600)
            assert isclose(prod(factors), each.lines_per_hour, rel_tol=REL)
    told = explain(*runs)
    if all(each.retained_lines for each in found):
        assert told.problems == ()
        assert isclose(told.log_ratio, log(told.ratio), rel_tol=REL, abs_tol=1e-9)
        shares = [factor.share for factor in told.factors]
        assert None in shares or isclose(sum(shares), 1, rel_tol=1e-9)
    else:
        assert told.log_ratio is None
        assert told.problems


@given(worlds)
def test_what_n_slots_did_comes_apart_into_speedup_work_and_waits_without_rest(world):
    fates, edges, agents = world
    subtasks = build(edges)
    serial = stack_of(run_with_deaths(subtasks, fates, [], agents=1, gate_slots=1, is_serial=True)[2])
    stack = stack_of(run_with_deaths(subtasks, fates, [], agents=agents)[2])
    told = decompose(stack, serial)
    total = told.speedup + sum(term.agents for term in (*told.work, *told.waits))
    assert isclose(total, agents, rel_tol=REL)
    assert isclose(told.speedup, serial.wall_s / stack.wall_s, rel_tol=REL)
    w = stack.of_kind("work", "inflation")
    assert isclose(
        sum(term.agents for term in told.work), (w - serial.wall_s) / stack.wall_s, rel_tol=1e-6, abs_tol=1e-9
    )
    assert all(term.agents >= 0 for term in told.waits)
    # One slot for everything is never idle while there is something to do.
    assert serial.of_kind("idle") == 0
