"""A process may die between any two things that it does. Whatever it was, the next one ends where it would have ended."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.events import BatchMerged, PatchProposed, RunResumed
from orchestrator.core.fold import fold
from orchestrator.core.transitions import FINAL, Phase
from orchestrator.core.values import Limits, MergedPatch
from orchestrator.journal.memory import MemoryJournal
from tests.simulation import Fate, Ledger, SimulatedEffects, begin, drive, run_started, subtask
from tests.virtual_time import VirtualClock, run_virtually


class ProcessDied(Exception):
    """Stands for SIGKILL."""


class MortalJournal(MemoryJournal):
    """Dies instead of, or right after, its n-th append."""

    def __init__(self, entries, *, dies_at, is_durable):
        super().__init__(entries)
        self.left, self.is_durable = dies_at, is_durable

    async def append(self, events, bodies):
        self.left -= 1
        if self.left == 0 and not self.is_durable:
            raise ProcessDied
        entries = await super().append(events, bodies)
        if self.left == 0:
            raise ProcessDied
        return entries


def recover(state, ledger):
    """What the trunk says that the journal does not know: a batch whose outcome was lost. As `wiring` does it."""
    batch = state.batch
    if batch is None or ledger.head == state.head:
        return None
    merged = [name for name, number in ledger.trunk if number == batch.batch]
    return BatchMerged(
        batch=batch.batch,
        head=ledger.head,
        tree=ledger.head,
        merged=tuple(MergedPatch(subtask=n, commit=f"m-{n}", added_lines=3, deleted_lines=0) for n in merged),
        conflicts=tuple({"subtask": n, "feedback": "lost"} for n in batch.members if n not in merged),
    )


def run_with_deaths(subtasks, fates, deaths, **run):
    """Run, dying as told, resuming each time; return the last state and what outlived the processes."""
    ledger, entries = Ledger(), []
    effects = SimulatedEffects(subtasks, fates, ledger)
    for dies_at, is_durable in (*deaths, (0, True)):
        if entries and fold(entries).is_over:
            return fold(entries), ledger, entries  # it died after its last word
        journal = MortalJournal(entries, dies_at=dies_at, is_durable=is_durable)
        ledger.busy = 0

        async def process(journal=journal, entries=entries):
            now = entries[-1].at if entries else 0.0
            if not entries:
                state = await begin(journal, run_started(**run))
            else:
                state = fold(entries)
                found = recover(state, ledger)
                events = [(now, found)] if found else []
                events.append((now, RunResumed(limits=Limits(agents=run.get("agents", 4)), version="0")))
                await journal.append(events, {})
                state = fold(journal.entries())
            await drive(journal, state, effects, VirtualClock())

        try:
            run_virtually(process())
        except ProcessDied:
            entries = list(journal.entries())
        else:
            return fold(journal.entries()), ledger, list(journal.entries())
    raise AssertionError("the last process was not meant to die")


names = [f"s{n}" for n in range(7)]
fate = st.builds(
    Fate,
    fails=st.frozensets(st.integers(1, 3), max_size=2),
    rejected=st.frozensets(st.integers(1, 3), max_size=2),
    breaks_trunk=st.frozensets(st.integers(1, 2), max_size=1),
    generate_s=st.sampled_from([1.0, 2.0, 7.0]),
    judge_s=st.sampled_from([0.5, 3.0]),
)
worlds = st.tuples(
    st.dictionaries(st.sampled_from(names), fate, max_size=5),
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 6)), max_size=6),
    st.integers(1, 5),
)


def build(edges):
    """Needs go from higher to lower numbers, so there is no cycle."""
    needs = {name: set() for name in names}
    for later, earlier in edges:
        if later > earlier:
            needs[names[later]].add(names[earlier])
    return [subtask(name, sorted(needs[name])) for name in names]


@given(worlds, st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=4))
def test_whenever_it_dies_the_same_subtasks_are_merged_and_no_patch_is_paid_twice(world, deaths):
    fates, edges, agents = world
    subtasks = build(edges)
    calm, _, _ = run_with_deaths(subtasks, fates, [], agents=agents)
    state, ledger, entries = run_with_deaths(subtasks, fates, deaths, agents=agents)
    assert {n: s.phase for n, s in state.subtasks.items()} == {n: s.phase for n, s in calm.subtasks.items()}
    merged = [name for name, _ in ledger.trunk]
    assert len(merged) == len(set(merged))
    proposed = [
        (e.event.subtask, state.subtasks[e.event.subtask].spec.id, e.event.attempt)
        for e in entries
        if isinstance(e.event, PatchProposed)
    ]
    assert len(proposed) == len(set(proposed))
    paid_for_a_patch = [(e.event.subtask, e.event.patch.base) for e in entries if isinstance(e.event, PatchProposed)]
    assert len(paid_for_a_patch) <= sum(len(s.failures) + 1 for s in state.subtasks.values())


@given(worlds)
def test_every_run_ends_with_every_subtask_at_an_end(world):
    fates, edges, agents = world
    state, ledger, _ = run_with_deaths(build(edges), fates, [], agents=agents)
    assert all(each.phase in FINAL for each in state.subtasks.values())
    assert state.counts[Phase.MERGED] == len(ledger.trunk)


@given(worlds, st.integers(1, 3))
def test_the_merged_set_does_not_depend_on_how_many_agents_run(world, gate_slots):
    fates, edges, agents = world
    alone, _, _ = run_with_deaths(build(edges), fates, [], agents=1)
    many, _, _ = run_with_deaths(build(edges), fates, [], agents=agents, gate_slots=gate_slots)
    assert {n: s.phase for n, s in alone.subtasks.items()} == {n: s.phase for n, s in many.subtasks.items()}
