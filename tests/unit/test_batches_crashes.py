"""A process that dies and comes back asks for nothing twice, whenever it dies."""

import asyncio
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.provider import Absent, Refused, Unclear
from orchestrator.core.errors import EnvironmentFault
from tests.unit.batch_world import LOST, InlineLedger, Provider, ask, ask_all, busy, model_over
from tests.virtual_time import run_virtually

TEXTS = [f"text {number}" for number in range(8)]


def lives(path, provider, deaths, texts=TEXTS, **manner):
    """Ask for everything in one process after another; each dies after so many seconds, the last one lives. Return its answers."""

    async def life(lifetime_s):
        with InlineLedger(path) as ledger:
            async with asyncio.timeout(lifetime_s), model_over(provider, ledger, leave_s=0, **manner) as model:
                return await ask_all(model, texts)

    async def main():
        for lifetime_s in deaths:
            try:
                await life(lifetime_s)
            except TimeoutError:
                await asyncio.sleep(1)
        return await life(None)

    return run_virtually(main())


def upper(texts):
    return {text: text.upper() for text in texts}


@pytest.mark.parametrize("dies_at_s", [1, 2.5, 4, 5, 7, 20, 60, 103, 106, 111])
def test_whenever_a_process_dies_the_next_one_finds_what_was_paid_for(tmp_path, dies_at_s):
    provider = Provider(call_s=4)
    assert lives(tmp_path / "ledger", provider, [dies_at_s]) == upper(TEXTS)
    assert set(provider.submitted.values()) == {1}


def test_a_process_that_dies_before_it_hears_the_id_leaves_a_batch_that_is_found(tmp_path):
    provider = Provider(submit=[LOST])
    assert lives(tmp_path / "ledger", provider, [50]) == upper(TEXTS)
    assert provider.count("submit") == 1
    assert provider.count("find") == 1


def test_a_batch_that_the_list_shows_late_is_found_all_the_same(tmp_path):
    provider = Provider(submit=[LOST], find=[Absent(), Absent(), Absent()])
    assert lives(tmp_path / "ledger", provider, [3], search_s=60) == upper(TEXTS)
    assert provider.count("submit") == 1


def test_a_batch_that_was_never_accepted_is_submitted_again(tmp_path):
    provider = Provider(submit=[Unclear(busy())])
    assert lives(tmp_path / "ledger", provider, [10]) == upper(TEXTS)
    assert provider.count("submit") == 2


def test_a_process_with_other_prompts_submits_only_those(tmp_path):
    provider = Provider()
    lives(tmp_path / "ledger", provider, [20])
    changed = [*TEXTS[:5], "changed 1", "changed 2"]
    assert lives(tmp_path / "ledger", provider, [], texts=changed) == upper(changed)
    assert {"changed 1", "changed 2"} <= set(provider.submitted)
    assert set(provider.submitted.values()) == {1}


def test_answers_are_kept_for_a_process_that_asks_again(tmp_path):
    provider = Provider()
    lives(tmp_path / "ledger", provider, [])
    calls = len(provider.calls)
    assert lives(tmp_path / "ledger", provider, []) == upper(TEXTS)
    assert len(provider.calls) == calls


def test_each_stored_answer_is_given_once(tmp_path):
    provider = Provider()
    lives(tmp_path / "ledger", provider, [], texts=["same", "same"])

    async def main():
        with InlineLedger(tmp_path / "ledger") as ledger:
            async with model_over(provider, ledger) as model:
                for _ in range(3):
                    assert await ask(model, "same") == "SAME"

    run_virtually(main())
    assert provider.submitted["same"] == 3


def test_a_stored_answer_goes_before_one_that_is_still_to_come(tmp_path):
    provider = Provider()
    lives(tmp_path / "ledger", provider, [], texts=["same"])

    async def main():
        with InlineLedger(tmp_path / "ledger") as ledger:
            async with model_over(provider, ledger) as model:
                await ask(model, "same")
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(20):
                        await ask(model, "same")
        polls = provider.count("poll")
        with InlineLedger(tmp_path / "ledger") as ledger:
            async with model_over(provider, ledger) as model:
                assert await ask(model, "same") == "SAME"
                assert provider.count("poll") == polls
                assert await ask(model, "same") == "SAME"

    run_virtually(main())
    assert provider.submitted["same"] == 2


def test_requests_that_failed_are_asked_for_anew(tmp_path):
    provider = Provider()
    provider.faulty["text 3"] = "error: expired"
    lives(tmp_path / "ledger", provider, [])
    provider.faulty.clear()
    assert lives(tmp_path / "ledger", provider, []) == upper(TEXTS)
    assert provider.submitted == {text: 2 if text == "text 3" else 1 for text in TEXTS}


def test_another_place_is_another_account(tmp_path):
    first, second = Provider(), Provider()
    second.place = "fake://elsewhere"
    lives(tmp_path / "ledger", first, [20])
    assert lives(tmp_path / "ledger", second, []) == upper(TEXTS)
    assert second.count("submit") == 1
    assert second.count("poll") > 0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_no_history_of_deaths_and_faults_pays_twice_or_loses_an_answer(tmp_path_factory, seed):
    draw = random.Random(seed)
    faults = {
        "submit": [lambda: None, lambda: LOST, lambda: Refused(busy(kind="overloaded")), lambda: Unclear(busy())],
        "poll": [lambda: None, busy, lambda: busy(kind="malformed_response")],
        "find": [lambda: None, busy],
        "results": [lambda: None, lambda: draw.randrange(len(TEXTS)), busy],
    }
    script = {call: [draw.choice(kinds)() for _ in range(12)] for call, kinds in faults.items()}
    provider = Provider(batch_s=draw.uniform(5, 200), call_s=draw.uniform(0, 6), **script)
    deaths = [draw.choice([draw.uniform(0.5, 8), draw.uniform(0.5, 120)]) for _ in range(14)]
    path = tmp_path_factory.mktemp("crashes") / "ledger"
    manner = {"max_requests": draw.choice([2, 5, 100]), "poll_s": draw.choice([1, 10, 30]), "submit_tries": 50}
    assert lives(path, provider, deaths, **manner) == upper(TEXTS)
    assert set(provider.submitted.values()) == {1}


async def test_what_the_ledger_wrote_is_there_after_a_cancelled_write(tmp_path):
    path = tmp_path / "ledger"
    with BatchLedger(path) as ledger:
        ledger._writer.submit(time.sleep, 0.05)  # so that the write is cancelled before it begins
        writing = asyncio.ensure_future(ledger.note(ledger.new_name(), "place", 1.5, ["a", "b", "a"]))
        await asyncio.sleep(0)
        writing.cancel()
        await asyncio.wait([writing])
    with BatchLedger(path) as ledger:
        (noted,) = ledger.batches("place")
        assert [request.digest for request in noted.requests] == ["a", "b", "a"]
        assert noted.batch is None
        assert ledger.new_name() != noted.name


async def test_a_stored_answer_stays_the_first_one_and_survives(tmp_path):
    path = tmp_path / "ledger"
    with BatchLedger(path) as ledger:
        name = ledger.new_name()
        await ledger.note(name, "place", 1.5, ["a", "b"])
        await ledger.submitted(name, "id")
        await ledger.keep(name, {1: '"half \\ud800"'})
        await ledger.keep(name, {1: '"second"'})
        await ledger.close_batch(name)
    with BatchLedger(path) as ledger:
        (noted,) = ledger.batches("place")
        assert (noted.is_closed, [request.number for request in noted.requests]) == (True, [1])
        assert await ledger.result(name, 1) == '"half \\ud800"'
        with pytest.raises(EnvironmentFault, match="no result"):
            await ledger.result(name, 0)
        assert ledger.batches("elsewhere") == []
