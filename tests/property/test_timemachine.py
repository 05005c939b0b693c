"""Scheduling anew: under the same limits it is the run itself; under any others the same work with the same outcome."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.transitions import Phase
from orchestrator.engine.timemachine.account import Account, Quotas
from orchestrator.engine.timemachine.cores import SharedCores
from orchestrator.engine.timemachine.schedule import Terms, schedule
from orchestrator.measure.contention import Contention, alone_s
from orchestrator.measure.recorded import recorded
from tests.property.test_crashes import build, names, run_with_deaths
from tests.recorded_world import PLENTY, made
from tests.simulation import Fate
from tests.virtual_time import run_virtually

# Every gate takes as long, so that a conflict that is found before it takes what the record says of others.
fate = st.builds(
    Fate,
    fails=st.frozensets(st.integers(1, 3), max_size=2),
    rejected=st.frozensets(st.integers(1, 3), max_size=2),
    breaks_trunk=st.frozensets(st.integers(1, 2), max_size=1),
    generate_s=st.sampled_from([1.0, 2.5, 7.25, 20.0]),
)
fates = st.dictionaries(st.sampled_from(names), fate, max_size=7)
edges = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), max_size=6)
limits = st.tuples(st.integers(1, 6), st.integers(1, 3))


@given(fates, edges, limits, limits, st.floats(1.0, 2.0))
def test_under_any_limits_the_same_subtasks_are_merged_and_no_bound_is_beaten(fates, edges, own, other, all_busy):
    record = recorded(made(build(edges), fates, agents=own[0], gate_slots=own[1]), PLENTY)
    found = schedule(record, Terms(agents=other[0], gate_slots=other[1], contention=Contention(2, all_busy)))
    assert found.merged == record.merged
    assert found.extrapolated == 0
    for station, bound_s in found.bounds.items():
        # The chain is counted with the average batch, which a subtask's own may well be below.
        assert found.wall_s >= bound_s - 1e-6 or station == "chain"


@given(fates, edges, limits)
def test_more_agents_never_change_what_is_done(fates, edges, own):
    record = recorded(made(build(edges), fates, agents=own[0], gate_slots=own[1]), PLENTY)
    serial = schedule(record, Terms(is_serial=True))
    wide = schedule(record, Terms(agents=50, gate_slots=50))
    assert wide.merged == serial.merged
    assert wide.tally.attempts == serial.tally.attempts
    assert wide.tally.generate_s == pytest.approx(serial.tally.generate_s)
    assert wide.wall_s <= serial.wall_s + 1e-6


deaths = st.lists(st.tuples(st.integers(1, 25), st.booleans()), min_size=1, max_size=4)


@given(fates, edges, st.integers(1, 5), deaths, limits)
def test_a_run_that_died_again_and_again_is_scheduled_like_any_other(fates, edges, agents, deaths, other):
    state, _, entries = run_with_deaths(build(edges), fates, deaths, agents=agents)
    record = recorded(entries, Contention(2))
    found = schedule(record, Terms(agents=other[0], gate_slots=other[1], contention=Contention(2)))
    assert (
        found.merged == record.merged == {name for name, each in state.subtasks.items() if each.phase is Phase.MERGED}
    )
    assert found.finished == "completed"
    assert found.extrapolated == 0


works = st.lists(st.tuples(st.floats(0, 20), st.floats(0.01, 10)), min_size=1, max_size=12)


@given(works, st.integers(1, 4), st.floats(1.0, 3.0))
def test_what_the_cores_did_is_found_again_from_when_they_did_it(works, cores, all_busy):
    contention = Contention(cores, all_busy)

    async def main():
        shared, loop, stretches = SharedCores(contention), asyncio.get_running_loop(), {}

        async def piece(number, start, seconds):
            await asyncio.sleep(start)
            began = loop.time()
            await shared.work(seconds)
            stretches[number] = (began, loop.time())

        async with asyncio.TaskGroup() as tasks:
            for number, (start, seconds) in enumerate(works):
                tasks.create_task(piece(number, start, seconds))
        return [stretches[number] for number in range(len(works))]

    stretches = run_virtually(main())
    assert alone_s(stretches, contention) == pytest.approx([seconds for _, seconds in works], abs=1e-5)


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(1, 400)), min_size=1, max_size=30), st.integers(60, 3_000))
def test_an_account_never_lets_more_through_than_its_quota_and_one_burst(requests, per_min):
    async def main():
        account, loop, sent = Account(Quotas(output_tokens=per_min)), asyncio.get_running_loop(), []

        async def ask(start, tokens):
            await asyncio.sleep(start)
            await account.admit(1, 0, tokens)
            sent.append((loop.time(), tokens))

        async with asyncio.TaskGroup() as tasks:
            for start, tokens in requests:
                tasks.create_task(ask(start, tokens))
        return sent

    sent = run_virtually(main())
    assert len(sent) == len(requests)
    largest = max(tokens for _, tokens in sent)
    for place, (since, _) in enumerate(sent):
        total = 0
        for at, tokens in sent[place:]:
            total += tokens
            # The last one may be larger than what the bucket holds, and leaves a debt.
            assert total <= per_min + (at - since) * per_min / 60 + largest + 1e-3
