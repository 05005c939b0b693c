"""Runs scheduled anew: what changes with the limits, and what must not."""

import asyncio

import pytest

from orchestrator.core.events import AttemptStarted, BatchStarted, RunFinished
from orchestrator.core.fold import fold
from orchestrator.core.transitions import Phase
from orchestrator.engine.timemachine.account import Account, Quotas
from orchestrator.engine.timemachine.cores import SharedCores
from orchestrator.engine.timemachine.replay import Scales
from orchestrator.engine.timemachine.schedule import Terms, schedule
from orchestrator.engine.timemachine.script import Script
from orchestrator.journal.memory import MemoryJournal
from orchestrator.measure.calibration import calibrated
from orchestrator.measure.contention import Contention
from orchestrator.measure.recorded import recorded
from orchestrator.measure.summary import summarize
from tests.recorded_world import PLENTY, crowd, events_of, made, record_of
from tests.simulation import Fate, subtask
from tests.virtual_time import run_virtually


def test_a_serial_schedule_takes_all_the_work_one_after_the_other():
    record = record_of(crowd(6), agents=6)
    found = schedule(record, Terms(is_serial=True))
    assert found.wall_s == pytest.approx(6 * (10 + 1 + 2))
    assert found.binds == "one slot"
    assert found.bounds["one slot"] == pytest.approx(found.wall_s)


def test_what_binds_changes_with_the_limits():
    record = record_of(crowd(16), {f"s{n}": Fate(generate_s=10, judge_s=5) for n in range(16)}, agents=2)
    assert schedule(record, Terms(agents=1, gate_slots=4)).binds == "agents"
    assert schedule(record, Terms(agents=16, gate_slots=1)).binds == "gates"
    assert schedule(record, Terms(agents=16, gate_slots=1, contention=Contention(1))).binds == "cores"
    assert schedule(record, Terms(agents=16, gate_slots=16, max_batch=1)).binds == "integration"
    assert schedule(record, Terms(agents=99, gate_slots=99)).binds == "chain"
    assert (
        schedule(record, Terms(agents=99, gate_slots=99, quotas=Quotas(requests=1))).binds == "chain"
    )  # nothing was asked


def test_a_chain_of_needs_takes_its_time_with_any_number_of_agents():
    chain = [subtask("a"), subtask("b", ["a"]), subtask("c", ["b"])]
    found = schedule(record_of(chain, agents=1), Terms(agents=50, gate_slots=50))
    assert found.wall_s == pytest.approx(3 * 13)
    assert found.bounds["chain"] == pytest.approx(3 * 13)


def test_failed_tries_are_made_again_as_often_as_they_were():
    fates = {"s0": Fate(fails=frozenset({1}), rejected=frozenset({2})), "s1": Fate(rejected=frozenset({1, 2, 3}))}
    record = record_of(crowd(3), fates)
    for terms in (Terms(agents=1), Terms(agents=9, gate_slots=9), Terms(is_serial=True)):
        found = schedule(record, terms)
        assert found.merged == record.merged == {"s0", "s2"}
        assert (found.tally.attempts, found.extrapolated) == (3 + 3 + 1, 0)
        assert found.finished == "completed"


def test_a_culprit_fails_each_batch_that_it_is_in_and_the_others_are_merged():
    fates = {"s1": Fate(breaks_trunk=frozenset({1, 2, 3}))}
    record = record_of(crowd(5), fates, agents=5, gate_slots=5)
    found = schedule(record, Terms(agents=1, gate_slots=1))
    assert found.merged == record.merged == {"s0", "s2", "s3", "s4"}
    assert found.tally.batches == 4 + 3


def test_a_conflict_comes_back_where_both_are_under_way_and_only_there():
    fates = {"s0": Fate(clashes=frozenset({"s1"})), "s1": Fate(clashes=frozenset({"s0"}))}
    record = record_of(crowd(2), fates, agents=2)
    assert list(record.clashes.pairs) == [frozenset({"s0", "s1"})]
    together = schedule(record, Terms(agents=2, gate_slots=2))
    assert (together.tally.attempts, together.extrapolated) == (3, 0)
    apart = schedule(record, Terms(is_serial=True))
    assert (apart.tally.attempts, apart.tally.conflicts, apart.extrapolated) == (2, 0, 0)
    assert together.merged == apart.merged == {"s0", "s1"}


def test_a_conflict_that_the_record_resolved_by_chance_is_extrapolated_and_counted():
    fates = {"s0": Fate(clashes=frozenset({"s1", "s2"})), "s1": Fate(generate_s=11.0), "s2": Fate(generate_s=40.0)}
    entries = made([*crowd(3)], {**fates, "s1": Fate(clashes=frozenset({"s0"}), generate_s=11.0)}, agents=2)
    record = recorded(entries, PLENTY)
    found = schedule(record, Terms(agents=3, gate_slots=3))
    assert found.merged == {"s0", "s1", "s2"}
    assert found.tally.attempts - 3 == found.extrapolated + sum(
        len(t) - 1 for h in record.histories for t in h.tries.values()
    )


def test_a_record_that_was_killed_is_carried_on_by_what_it_has():
    entries = made(crowd(8), {f"s{n}": Fate(generate_s=5.0 + n) for n in range(8)}, agents=2)
    cut = next(
        place for place, entry in enumerate(entries) if isinstance(entry.event, BatchStarted) and entry.event.batch == 3
    )
    record = recorded(entries[:cut], PLENTY)
    assert (record.is_complete, record.finished) == (False, None)
    found = schedule(record, Terms(agents=4, gate_slots=2))
    assert len(found.merged) == 8
    assert found.extrapolated >= 8 - sum(len(tries) for h in record.histories for tries in h.tries.values())
    assert schedule(record, Terms(agents=4, gate_slots=2)) == found
    assert schedule(record, Terms(agents=4, gate_slots=2, seed=1)).wall_s != found.wall_s


def test_a_record_with_nothing_to_go_by_is_refused():
    entries = made(crowd(2))
    only_started = entries[: next(n for n, entry in enumerate(entries) if isinstance(entry.event, AttemptStarted)) + 1]
    with pytest.raises(ValueError, match="no try"):
        schedule(recorded(only_started, PLENTY), Terms())


def test_a_limit_on_time_ends_it_and_what_is_under_way_is_finished():
    record = record_of(crowd(10), agents=10)
    found = schedule(record, Terms(agents=1, gate_slots=1, wall_s=25.0))
    assert found.finished == "wall_limit"
    assert found.merged == {"s0", "s1", "s2"}


def test_scales_stretch_what_they_name_and_nothing_else():
    record = record_of(crowd(4))
    assert schedule(record, Terms(is_serial=True, scales=Scales(generate=0.5))).wall_s == pytest.approx(4 * (5 + 1 + 2))
    assert schedule(record, Terms(is_serial=True, scales=Scales(gate=3.0))).wall_s == pytest.approx(4 * (10 + 3 + 6))


def test_the_simulated_journal_is_one_like_any_other():
    journal = MemoryJournal()
    record = record_of(crowd(5), {"s3": Fate(rejected=frozenset({1}))}, agents=1)
    found = schedule(record, Terms(agents=5, gate_slots=5), journal)
    state = fold(journal.entries())
    assert state.counts[Phase.MERGED] == 5
    assert isinstance(list(journal.entries())[-1].event, RunFinished)
    summary = summarize(list(journal.entries()))
    assert summary.wall_s == pytest.approx(found.wall_s)
    assert summary.generate_s == pytest.approx(found.tally.generate_s)
    assert summary.attempts == found.tally.attempts == 6


def test_a_schedule_of_the_schedule_is_the_schedule():
    journal = MemoryJournal()
    record = record_of(crowd(9), {"s3": Fate(rejected=frozenset({1})), "s5": Fate(generate_s=33.0)}, agents=1)
    first = schedule(record, Terms(agents=3, gate_slots=2), journal)
    again = schedule(recorded(list(journal.entries()), PLENTY), Terms(agents=3, gate_slots=2))
    assert again.wall_s == pytest.approx(first.wall_s)
    assert again.merged == first.merged


# Copies


def test_copies_are_the_task_many_times_over_with_needs_within_each():
    record = record_of([subtask("a"), subtask("b", ["a"])], agents=1)
    script = Script(record, copies=3)
    assert [each.id for each in script.subtasks] == ["a", "b", "a~2", "b~2", "a~3", "b~3"]
    assert [each.needs for each in script.subtasks if each.needs] == [("a",), ("a~2",), ("a~3",)]


def test_a_copy_plays_whole_histories_drawn_by_the_seed():
    fates = {f"s{n}": Fate(generate_s=10.0 + n, rejected=frozenset({1} if n % 2 else ())) for n in range(6)}
    record = record_of(crowd(6), fates)
    script = Script(record, copies=40, seed=3)
    for role in script.roles.values():
        first = script.begin(role.subtask.id, 1)
        if not first.judged.verdict.passed:
            assert script.begin(role.subtask.id, 2).did.subtask == first.did.subtask
    assert script.extrapolated == 0
    played = [role.history.subtask.id for role in script.roles.values()]
    assert played[:6] == [f"s{n}" for n in range(6)]
    assert set(played[6:]) == {f"s{n}" for n in range(6)}
    assert played != [role.history.subtask.id for role in Script(record, copies=40, seed=4).roles.values()]
    assert played == [role.history.subtask.id for role in Script(record, copies=40, seed=3).roles.values()]


def test_copies_conflict_within_themselves_alone():
    fates = {"s0": Fate(clashes=frozenset({"s1"})), "s1": Fate(clashes=frozenset({"s0"}))}
    record = record_of(crowd(2), fates, agents=2)
    script = Script(record, copies=2)
    assert script.roles["s0"].clashes == ("s1",)
    assert script.roles["s1~2"].clashes == ("s0~2",)
    assert len(schedule(record, Terms(agents=4, gate_slots=4, copies=2)).merged) == 4


@pytest.mark.slow
def test_ten_thousand_agents_of_three_steps_are_simulated():
    record = record_of([subtask("a"), subtask("b", ["a"]), subtask("c", ["b"])], agents=1)
    quotas = Quotas(requests=1e6, input_tokens=1e9)
    found = schedule(record, Terms(agents=10_000, gate_slots=1_000, copies=10_000, quotas=quotas, contention=PLENTY))
    assert len(found.merged) == 30_000
    assert found.binds == "integration"


# What company costs, found again


def test_the_slowdown_of_a_machine_is_found_again_from_a_serial_run_and_a_crowded_one():
    alone = record_of(
        crowd(12), {f"s{n}": Fate(generate_s=1.0, judge_s=2.0 + n % 3) for n in range(12)}, is_serial=True
    )
    journal = MemoryJournal()
    schedule(alone, Terms(agents=12, gate_slots=2, contention=Contention(2, 1.6)), journal)
    crowded = recorded(list(journal.entries()), PLENTY)
    assert calibrated(alone, [crowded], cores=2) == pytest.approx(1.6, abs=1e-3)
    assert calibrated(alone, [alone], cores=2) is None


# A machine's cores


def together(cores, *works):
    """Start pieces of work at their times; return when each was done."""

    async def main():
        shared, loop, ends = SharedCores(cores), asyncio.get_running_loop(), {}

        async def piece(number, start, alone_s):
            await asyncio.sleep(start)
            await shared.work(alone_s)
            ends[number] = loop.time()

        async with asyncio.TaskGroup() as tasks:
            for number, (start, alone_s) in enumerate(works):
                tasks.create_task(piece(number, start, alone_s))
        return [ends[number] for number in range(len(works))]

    return run_virtually(main())


def test_two_on_two_cores_slow_each_other_down_only_while_both_are_at_work():
    assert together(Contention(2, 1.5), (0, 4), (2, 1)) == pytest.approx([4.5, 3.5])


def test_four_on_two_cores_share_them_fairly():
    assert together(Contention(2, 1.0), (0, 3), (0, 3), (0, 3), (0, 3)) == pytest.approx([6, 6, 6, 6])


def test_work_of_no_length_is_done_at_once():
    assert together(Contention(2, 1.0), (1, 0), (1, 0)) == [1, 1]
    assert together(None, (1, 5), (1, 5)) == [6, 6]


# An account


def admitted(quotas, *requests):
    """Ask for all of these at once; return when each was let in."""

    async def main():
        account, loop, times = Account(quotas), asyncio.get_running_loop(), []

        async def ask(amounts):
            await account.admit(*amounts)
            times.append(loop.time())

        async with asyncio.TaskGroup() as tasks:
            for amounts in requests:
                tasks.create_task(ask(amounts))
        return times

    return run_virtually(main())


def test_requests_are_let_in_at_their_rate_in_their_order():
    assert admitted(Quotas(requests=60), *[(1, 0, 0)] * 4) == pytest.approx([0, 1, 2, 3])


def test_the_scarcest_quota_decides():
    times = admitted(Quotas(requests=600, output_tokens=1_000), *[(1, 0, 500)] * 4)
    assert times == pytest.approx([0, 0, 30, 60])


def test_a_request_larger_than_the_bucket_goes_and_the_next_one_pays():
    assert admitted(Quotas(input_tokens=100), (1, 250, 0), (1, 10, 0)) == pytest.approx([0, 96])


def test_waiting_for_an_account_is_no_work():
    exchanges = made(crowd(6), agents=6)
    record = recorded([_asking(entry) for entry in exchanges], PLENTY)
    found = schedule(record, Terms(agents=6, gate_slots=6, quotas=Quotas(requests=2)))
    assert found.tally.requests == 6
    assert found.tally.generate_s == pytest.approx(60)
    assert found.rate_wait_s == pytest.approx(30 * (1 + 2 + 3 + 4 + 5))
    assert found.binds == "rate limit"
    assert found.wall_s == pytest.approx(5 * 30 + 10 + 1 + 2)


def _asking(entry):
    """The same entry, with one request that took the whole attempt."""
    event = entry.event
    if event.kind != "patch_proposed":
        return entry
    exchange = {
        "prompt": "p",
        "reply": "r",
        "stop_reason": "end_turn",
        "usage": event.usage,
        "started_s": 0.0,
        "duration_s": 10.0,
    }
    changed = type(event).model_validate({**event.model_dump(), "exchanges": [exchange]})
    return entry.model_copy(update={"event": changed})


def test_equal_questions_have_equal_answers():
    record = record_of(crowd(30), {f"s{n}": Fate(generate_s=7.0 + n % 5) for n in range(30)}, agents=3)
    terms = Terms(agents=7, gate_slots=2, copies=5, seed=9, quotas=Quotas(requests=100), contention=Contention(2, 1.4))
    journals = [MemoryJournal(), MemoryJournal()]
    first, second = (schedule(record, terms, journal) for journal in journals)
    assert first == second
    assert events_of(list(journals[0].entries())) == events_of(list(journals[1].entries()))
