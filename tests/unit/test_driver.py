"""The loop: what it promises about order, slots, stopping and failing, on a clock that costs nothing."""

import asyncio
import itertools

import pytest

from orchestrator.core.errors import GateError
from orchestrator.core.events import AttemptStarted, GateStarted, PatchJudged, PatchProposed, RunFinished
from orchestrator.core.fold import fold
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Check
from orchestrator.engine.driver import Stop
from orchestrator.journal.memory import MemoryJournal
from orchestrator.measure.summary import summarize
from orchestrator.measure.timeline import intervals, wall_s
from tests.simulation import Fate, Ledger, SimulatedEffects, begin, drive, run_started, subtask
from tests.virtual_time import VirtualClock, run_virtually


def simulate(subtasks, fates=None, *, stop=None, observers=(), effects=None, **settings):
    """Run a simulated task to its end; return its entries, its ledger and why it ended."""
    journal, ledger = MemoryJournal(), Ledger()
    made = (effects or SimulatedEffects)(subtasks, fates or {}, ledger)

    async def main():
        state = await begin(journal, run_started(**settings))
        return await drive(journal, state, made, VirtualClock(), stop, observers)

    reason = run_virtually(main())
    return list(journal.entries()), ledger, reason


def phases(entries):
    return {name: each.phase for name, each in fold(entries).subtasks.items()}


def test_everything_that_passes_is_merged_once():
    entries, ledger, reason = simulate([subtask(f"s{n}") for n in range(20)], agents=5)
    assert reason == "completed"
    assert set(phases(entries).values()) == {Phase.MERGED}
    assert sorted(name for name, _ in ledger.trunk) == sorted(f"s{n}" for n in range(20))
    assert len(ledger.billed) == 20


def test_never_more_agents_at_once_than_slots_and_all_slots_are_used():
    _, ledger, _ = simulate([subtask(f"s{n}") for n in range(20)], agents=5)
    assert ledger.most_busy == 5


def test_no_agent_slot_sleeps_while_a_gate_runs():
    slow_gate = {f"s{n}": Fate(generate_s=1, judge_s=50) for n in range(10)}
    entries, _, _ = simulate([subtask(f"s{n}") for n in range(10)], slow_gate, agents=1, gate_slots=1)
    last_start = max(entry.at for entry in entries if isinstance(entry.event, AttemptStarted))
    assert last_start == pytest.approx(9)


def test_a_gate_slot_is_never_overbooked():
    entries, _, _ = simulate([subtask(f"s{n}") for n in range(12)], agents=12, gate_slots=3)
    running = most = 0
    for entry in entries:
        running += isinstance(entry.event, GateStarted) - isinstance(entry.event, PatchJudged)
        most = max(most, running)
    assert most == 3


def test_a_subtask_starts_only_when_what_it_needs_is_integrated():
    entries, ledger, _ = simulate([subtask("a"), subtask("b", needs=["a"]), subtask("c", needs=["a", "b"])])
    assert [name for name, _ in ledger.trunk] == ["a", "b", "c"]
    bases = {e.event.subtask: e.event.base for e in entries if isinstance(e.event, AttemptStarted)}
    assert bases["a"] == "base"
    assert bases["b"] not in ("base", bases["c"])


def test_the_longest_chain_starts_first():
    tail = [subtask("head"), subtask("middle", needs=["head"]), subtask("end", needs=["middle"])]
    entries, _, _ = simulate([subtask("light1"), subtask("light2"), *tail], agents=1)
    first = next(entry.event for entry in entries if isinstance(entry.event, AttemptStarted))
    assert first.subtask == "head"


def test_feedback_of_the_failed_try_reaches_the_next_one():
    seen = []

    class Watching(SimulatedEffects):
        async def generate(self, job):
            seen.append([(each.attempt, each.reason, each.feedback) for each in job.failures])
            return await super().generate(job)

    simulate([subtask("a")], {"a": Fate(fails={1}, rejected={2})}, effects=Watching)
    assert seen == [
        [],
        [(1, "malformed_reply", "no block")],
        [(1, "malformed_reply", "no block"), (2, "check_failed", "E  assert 1 == 2")],
    ]


def test_a_subtask_that_never_passes_is_abandoned_and_takes_its_dependents_along():
    subtasks = [
        subtask("bad", attempts=2),
        subtask("child", needs=["bad"]),
        subtask("grandchild", needs=["child"]),
        subtask("ok"),
    ]
    entries, ledger, reason = simulate(subtasks, {"bad": Fate(rejected={1, 2, 3})})
    assert reason == "completed"
    found = phases(entries)
    assert found.pop("ok") is Phase.MERGED
    assert set(found.values()) == {Phase.ABANDONED}
    assert "bad" in fold(entries).subtasks["child"].reason
    assert [billed for billed in ledger.billed if billed[0] == "bad"] == [("bad", 1), ("bad", 2)]


def test_one_bad_patch_in_a_batch_is_found_and_the_others_are_merged():
    fates = {"s3": Fate(breaks_trunk={1})}
    entries, ledger, _ = simulate([subtask(f"s{n}") for n in range(8)], fates, agents=8, gate_slots=8)
    assert set(phases(entries).values()) == {Phase.MERGED}
    assert [name for name, _ in ledger.trunk][-1] == "s3"
    assert ("s3", 2) in ledger.billed


def test_a_patch_that_always_breaks_the_trunk_is_never_merged_and_the_run_ends():
    fates = {"s3": Fate(breaks_trunk={1, 2, 3})}
    entries, ledger, _ = simulate([subtask(f"s{n}") for n in range(8)], fates, agents=8)
    assert phases(entries)["s3"] is Phase.ABANDONED
    assert "s3" not in [name for name, _ in ledger.trunk]
    assert len(ledger.trunk) == 7


def test_a_conflict_costs_no_try():
    fates = {"a": Fate(clashes={"b"}, generate_s=5), "b": Fate(clashes={"a"}, generate_s=5)}
    entries, ledger, _ = simulate([subtask("a", attempts=1), subtask("b", attempts=1)], fates, agents=2)
    assert set(phases(entries).values()) == {Phase.MERGED}
    assert len(ledger.billed) == 3
    assert {draw for _, draw in ledger.billed} == {1}
    assert summarize(entries).reworks == 1


def test_a_first_interrupt_drains_and_journals_an_orderly_end():
    stop = Stop()

    def after_the_first_patch(entry):
        if isinstance(entry.event, PatchProposed):
            stop.request()

    entries, ledger, reason = simulate(
        [subtask(f"s{n}") for n in range(10)], agents=3, stop=stop, observers=[after_the_first_patch]
    )
    assert reason == "drained"
    assert entries[-1].event == RunFinished(reason="drained")
    stopped_at = next(entry.at for entry in entries if isinstance(entry.event, PatchProposed))
    begun = [entry.at for entry in entries if isinstance(entry.event, AttemptStarted | GateStarted)]
    assert max(begun) == stopped_at
    assert len(ledger.billed) == sum(isinstance(entry.event, AttemptStarted) for entry in entries) == 6


def test_when_the_world_breaks_what_is_in_flight_is_still_journaled():
    class Broken(SimulatedEffects):
        async def judge(self, job):
            raise GateError("pytest is not installed")

    journal, ledger = MemoryJournal(), Ledger()
    fates = {"quick": Fate(generate_s=1), "slow": Fate(generate_s=30)}

    async def main():
        state = await begin(journal, run_started())
        await drive(journal, state, Broken([subtask("quick"), subtask("slow")], fates, ledger), VirtualClock())

    with pytest.raises(GateError, match="pytest is not installed"):
        run_virtually(main())
    proposed = {e.event.subtask for e in journal.entries() if isinstance(e.event, PatchProposed)}
    assert proposed == {"quick", "slow"}


def test_a_bug_in_an_effect_surfaces_once_and_as_it_is():
    class Buggy(SimulatedEffects):
        async def generate(self, job):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        simulate([subtask("a"), subtask("b")], effects=Buggy)


@pytest.mark.parametrize(
    ("limit", "reason", "most"),
    [({"tokens": 450}, "token_limit", 4), ({"cost_usd": 0.03}, "cost_limit", 4), ({"wall_s": 25.0}, "wall_limit", 6)],
)
def test_no_attempt_starts_once_a_limit_is_used_up(limit, reason, most):
    entries, ledger, why = simulate([subtask(f"s{n}") for n in range(30)], agents=2, **limit)
    assert why == reason
    assert len(ledger.billed) <= most
    assert all(phase in (Phase.MERGED, Phase.WAITING) for phase in phases(entries).values())


def test_without_an_integration_gate_the_checks_of_all_that_is_merged_judge_each_batch():
    seen = []

    class Watching(SimulatedEffects):
        async def integrate(self, job):
            seen.append([check.env["SHARD"] for check in job.checks])
            return await super().integrate(job)

    def sharded(name, needs=()):
        check = Check(name="tests", argv=("run",), env={"SHARD": name})
        return subtask(name, needs).model_copy(update={"checks": (check,)})

    simulate([sharded("a"), sharded("b", ["a"])], effects=Watching)
    assert seen == [["a"], ["a", "b"]]


def test_a_serial_run_does_one_thing_at_a_time():
    entries, _, reason = simulate([subtask(f"s{n}") for n in range(5)], agents=1, gate_slots=1, is_serial=True)
    assert reason == "completed"
    found = sorted(intervals(entries), key=lambda each: each.started)
    assert all(one.ended <= other.started for one, other in itertools.pairwise(found))
    assert sum(each.duration_s for each in found) == pytest.approx(wall_s(entries))


def test_what_was_heard_before_a_cancellation_is_journaled_and_not_paid_again():
    class SlowJournal(MemoryJournal):
        async def append(self, events, bodies):
            await asyncio.sleep(5)
            return await super().append(events, bodies)

    journal, ledger = SlowJournal(), Ledger()
    fates = {"a": Fate(generate_s=1), "b": Fate(generate_s=3), "c": Fate(generate_s=100)}

    async def main():
        state = await begin(journal, run_started())
        effects = SimulatedEffects([subtask(name) for name in fates], fates, ledger)
        running = asyncio.ensure_future(drive(journal, state, effects, VirtualClock()))
        await asyncio.sleep(14)  # `a` and `b` have answered; `a` is being written, `b` was not looked at yet
        assert len(ledger.billed) == 2
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    run_virtually(main())
    assert {e.event.subtask for e in journal.entries() if isinstance(e.event, PatchProposed)} >= {"b"}


def test_a_cancelled_run_journals_nothing_more():
    journal, ledger = MemoryJournal(), Ledger()

    async def main():
        state = await begin(journal, run_started())
        running = asyncio.ensure_future(
            drive(journal, state, SimulatedEffects([subtask("a")], {}, ledger), VirtualClock())
        )
        await asyncio.sleep(3)
        before = len(list(journal.entries()))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        return before

    assert run_virtually(main()) == len(list(journal.entries()))
