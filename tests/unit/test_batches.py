"""Requests in batches: gathered, submitted once, asked after patiently, answered each to its own."""

import asyncio
import itertools

import pytest

from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.provider import Declined, Gone, Refused, Unclear, Undecided
from orchestrator.backends.batches.waiting import Request, WaitingRoom
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.core.errors import BackendError, EnvironmentFault, SpecError
from orchestrator.ports import Meter
from tests.unit.batch_world import (
    LOST,
    InlineLedger,
    Provider,
    ask,
    ask_all,
    busy,
    model_over,
    now,
)
from tests.virtual_time import VirtualClock, run_virtually

TEXTS = [f"text {number}" for number in range(30)]


@pytest.fixture
def ledger(tmp_path):
    with InlineLedger(tmp_path / "batches.sqlite") as opened:
        yield opened


def run(provider, ledger, main, **settings):
    """Run `main(model)` in an entered model, on virtual time."""

    async def inside():
        async with model_over(provider, ledger, **settings) as model:
            return await main(model)

    return run_virtually(inside())


def upper(texts):
    return {text: text.upper() for text in texts}


def test_requests_that_come_together_go_out_as_one_batch_and_each_gets_its_own_answer(ledger):
    provider = Provider()
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS)) == upper(TEXTS)
    assert provider.count("submit") == 1


def test_a_full_batch_goes_out_at_once(ledger):
    provider = Provider()
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS), max_requests=10) == upper(TEXTS)
    assert [len(bodies) for _, _, bodies in provider.batches.values()] == [10, 10, 10]
    assert provider.times("submit") == [0, 0, 0]


def test_the_providers_own_limits_are_kept(ledger):
    provider = Provider()
    provider.max_requests = 7
    run(provider, ledger, lambda model: ask_all(model, TEXTS))
    assert max(len(bodies) for _, _, bodies in provider.batches.values()) == 7
    small = Provider()
    small.max_bytes = 1_000
    assert run(small, ledger, lambda model: ask_all(model, ["a" * 300, "b" * 300, "c" * 2_000]))["c" * 2_000]
    assert len(small.batches) == 3


def test_a_batch_goes_out_though_new_requests_keep_coming(ledger):
    provider = Provider()

    async def trickle(model):
        async with asyncio.TaskGroup() as tasks:
            for text in TEXTS:
                tasks.create_task(ask(model, text))
                await asyncio.sleep(1.5)

    run(provider, ledger, trickle, collect_s=2, max_collect_s=15)
    assert provider.times("submit") == [15, 30, 45]


def test_who_waits_sees_how_far_the_batch_is_and_stands_in_a_queue_of_ours(ledger):
    provider = Provider(batch_s=1_000)
    meter, notes = Meter(), []

    async def main(model):
        async with asyncio.TaskGroup() as tasks:
            for text in TEXTS[:19]:
                tasks.create_task(ask(model, text))
            answer = tasks.create_task(ask(model, "mine", meter))
            while not answer.done():
                assert meter.is_queued or not meter.queued_s
                notes.append(meter.note)
                await asyncio.sleep(10)

    run(provider, ledger, main)
    assert notes[1] == "batch id-1: 0 of 20 done"
    assert "batch id-1: 12 of 20 done, 10 min" in notes
    assert not meter.is_queued
    assert meter.note == ""
    assert [wait.name for wait in meter.waits] == ["batch"]
    assert meter.queued_s == meter.waits[0].duration_s > 1_000
    assert meter.output_tokens == 4


def test_looks_become_rarer(ledger):
    provider = Provider(batch_s=3_000)
    run(provider, ledger, lambda model: ask(model, "one"), collect_s=0, poll_s=30, max_poll_s=300)
    gaps = [after - before for before, after in itertools.pairwise([0, *provider.times("poll")])]
    assert gaps[:3] == [30, 45, 67.5]
    assert max(gaps) == 300


def test_polls_that_fail_lose_nothing(ledger):
    provider = Provider(poll=[busy(), busy(kind="malformed_response"), busy(kind="rate_limit", retry_after_s=200)])
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS)) == upper(TEXTS)
    assert provider.count("submit") == 1
    assert provider.times("poll")[3] - provider.times("poll")[2] == 200


def test_a_key_that_is_refused_stops_those_who_wait_but_not_the_batch(ledger):
    provider = Provider(poll=[busy("no such key", kind="auth")])

    async def main(model):
        first = await ask_all(model, TEXTS[:3])
        return first, await ask_all(model, TEXTS[:3])

    first, second = run(provider, ledger, main)
    assert {error.kind for error in first.values()} == {"auth"}
    assert len({id(error) for error in first.values()}) == 3
    assert second == upper(TEXTS[:3])
    assert provider.count("submit") == 1


def test_a_batch_that_is_refused_for_rate_goes_again_as_often_as_it_takes(ledger):
    provider = Provider(submit=[Refused(busy(kind="rate_limit", retry_after_s=50)) for _ in range(8)])
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS)) == upper(TEXTS)
    assert provider.times("submit")[1] - provider.times("submit")[0] == 50


def test_submissions_that_keep_failing_are_given_up(ledger):
    provider = Provider(submit=[Refused(busy(kind="overloaded")) for _ in range(8)])
    answers = run(provider, ledger, lambda model: ask_all(model, TEXTS), submit_tries=3)
    assert {answer.kind for answer in answers.values()} == {"overloaded"}
    assert provider.count("submit") == 3
    assert [noted for noted in ledger.batches(provider.place) if not noted.is_closed] == []


def test_a_refusal_that_repeating_cannot_cure_is_told_at_once(ledger):
    provider = Provider(submit=[Refused(busy("pay first", kind="billing"))])
    answers = run(provider, ledger, lambda model: ask_all(model, TEXTS))
    assert {answer.kind for answer in answers.values()} == {"billing"}


def test_a_batch_that_is_too_large_does_not_make_its_prompts_too_long(ledger):
    too_large = Refused(busy("413", kind="context_too_long"))
    several = run(Provider(submit=[too_large]), ledger, lambda model: ask_all(model, TEXTS))
    assert {answer.kind for answer in several.values()} == {"invalid_request"}
    assert "max_requests" in str(several[TEXTS[0]])
    alone = run(Provider(submit=[too_large]), ledger, lambda model: ask_all(model, TEXTS[:1]))
    assert alone[TEXTS[0]].kind == "context_too_long"


def test_a_submission_of_unknown_fate_that_was_accepted_is_found_and_not_repeated(ledger):
    provider = Provider()
    accept = provider.submit

    async def lose(name, requests):
        await accept(name, requests)
        return Unclear(busy("reset"))

    provider.submit = lose
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS)) == upper(TEXTS)
    assert set(provider.submitted.values()) == {1}


def test_a_submission_of_unknown_fate_is_repeated_once_it_was_searched_for_in_vain(ledger):
    provider = Provider(submit=[Unclear(busy("reset"))])
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS), collect_s=0, search_s=60) == upper(TEXTS)
    assert provider.times("submit") == [0, 60]
    assert provider.count("find") == 5


def test_a_service_that_accepts_nothing_is_given_up_too(ledger):
    provider = Provider(submit=[Unclear(busy("reset")) for _ in range(9)])
    answers = run(provider, ledger, lambda model: ask_all(model, TEXTS), submit_tries=2)
    assert {str(answer) for answer in answers.values()} == {"reset"}
    assert provider.count("submit") == 2


def test_while_a_batch_may_still_turn_out_to_be_ours_nothing_is_paid_for_again(ledger):
    provider = Provider(submit=[Unclear(busy("reset"))], find=[Undecided(2) for _ in range(20)])
    meter = Meter()

    async def main(model):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ask(model, "one", meter))
            await asyncio.sleep(600)
            assert provider.count("submit") == 1
            assert meter.note.endswith("perhaps submitted; waits for 2 to end that may be it")

    run(provider, ledger, main)
    assert provider.count("submit") == 2


def test_requests_found_faulty_fail_alone_and_the_others_go_again(ledger):
    bad = busy("line 2 is wrong", kind="invalid_request")
    provider = Provider(poll=[Declined(busy("faulty"), {1: bad})])
    answers = run(provider, ledger, lambda model: ask_all(model, TEXTS[:3]))
    assert str(answers.pop(TEXTS[1])) == "line 2 is wrong"
    assert answers == upper([TEXTS[0], TEXTS[2]])


def test_a_request_that_failed_fails_for_its_own_waiter_alone(ledger):
    provider = Provider()
    provider.faulty["text 7"] = "error: expired"

    async def main(model):
        first = await ask_all(model, TEXTS)
        provider.faulty.clear()
        return first, await ask_all(model, ["text 7"])

    first, second = run(provider, ledger, main)
    assert str(first.pop("text 7")) == "error: expired"
    assert first == upper(set(TEXTS) - {"text 7"})
    assert second == upper(["text 7"])
    assert provider.submitted["text 7"] == 2


def test_results_that_are_cut_off_are_read_again(ledger):
    provider = Provider(results=[3, 20])
    assert run(provider, ledger, lambda model: ask_all(model, TEXTS)) == upper(TEXTS)
    assert provider.count("results") == 3


def test_a_request_whose_result_stays_away_fails_the_third_time(ledger):
    provider = Provider()
    whole = provider.results

    async def lacking(batch):
        async for result in whole(batch):
            if not result.custom_id.endswith("-1"):
                yield result

    provider.results = lacking
    answers = run(provider, ledger, lambda model: ask_all(model, TEXTS[:3]))
    assert answers.pop(TEXTS[1]).kind == "transient"
    assert answers == upper([TEXTS[0], TEXTS[2]])
    assert provider.count("results") == 3


def test_a_batch_that_the_provider_forgot_is_asked_for_anew(ledger):
    provider = Provider(poll=[Gone(), Gone(), Gone()])

    async def main(model):
        patient = ResilientModel(model, ResilienceSettings(), VirtualClock())
        return await ask(patient, "one")

    assert run(provider, ledger, main) == "ONE"
    assert provider.count("submit") == 2


def test_resilience_around_it_takes_the_wait_for_no_silence(ledger):
    provider = Provider(batch_s=80_000)

    async def main(model):
        patient = ResilientModel(model, ResilienceSettings(idle_s=60, deadline_s=100), VirtualClock())
        return await ask_all(patient, TEXTS)

    assert run(provider, ledger, main) == upper(TEXTS)
    assert provider.count("submit") == 1


def test_a_request_waits_no_longer_than_its_deadline_and_its_batch_stays(ledger):
    provider = Provider(batch_s=2_000)

    async def main(model):
        first = await ask_all(model, ["one"])
        return first["one"].kind, await ask(model, "one")

    assert run(provider, ledger, main, deadline_s=1_500) == ("stall", "ONE")
    assert provider.count("submit") == 1


def test_a_request_that_is_given_up_disturbs_no_other_and_its_answer_goes_to_the_next_equal_one(ledger):
    provider = Provider(call_s=4)

    async def main(model):
        async with asyncio.TaskGroup() as tasks:
            others = [tasks.create_task(ask(model, text)) for text in TEXTS[:3]]
            for given_up_at in (1, 3, 40, 101):  # gathered, being submitted, polled for, being read
                dropped = tasks.create_task(ask(model, f"dropped {given_up_at}"))
                tasks.create_task(_cancel_at(dropped, given_up_at))
        texts = [other.result() for other in others]
        return texts, await ask_all(model, ["dropped 3", "dropped 40", "dropped 101"])

    texts, dropped = run(provider, ledger, main)
    assert texts == [text.upper() for text in TEXTS[:3]]
    assert dropped == upper(["dropped 3", "dropped 40", "dropped 101"])
    assert provider.submitted["dropped 1"] == 0
    assert set(provider.submitted.values()) == {1}


async def _cancel_at(task, at):
    await asyncio.sleep(at - now())
    task.cancel()


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_request_that_was_cancelled_and_has_not_left_yet_is_neither_submitted_nor_answered(kept):
    room, loop = WaitingRoom(), asyncio.get_running_loop()
    requests = [Request({}, f"{n}", 1, 0.0, Meter(), loop.create_future()) for n in range(1 + kept)]
    for request in requests:
        room.enter(request)
    requests[0].answer.cancel()
    room.fail_all(EnvironmentFault("over"))
    for request in requests:
        room.enter(request)
    assert room.take(10, 10**6) == []
    room.leave(requests[0])


def test_nothing_goes_on_when_nobody_waits(ledger):
    provider = Provider(batch_s=5_000)

    async def main(model):
        tasks = [asyncio.ensure_future(ask(model, text)) for text in TEXTS]
        await asyncio.sleep(1_000)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await asyncio.sleep(0.1)
        assert len(asyncio.all_tasks()) == 1
        polls = provider.count("poll")
        await asyncio.sleep(1_000)
        assert provider.count("poll") == polls
        return await ask_all(model, TEXTS)

    assert run(provider, ledger, main) == upper(TEXTS)
    assert provider.count("submit") == 1


def test_two_samples_of_one_prompt_are_two_requests(ledger):
    provider = Provider()

    async def main(model):
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(ask(model, "same"))
        await ask(model, "same")

    run(provider, ledger, main)
    assert provider.submitted["same"] == 4


def test_it_has_to_be_entered(ledger):
    async def main():
        with pytest.raises(RuntimeError, match="entered"):
            await ask(model_over(Provider(), ledger), "one")

    run_virtually(main())


def test_it_can_be_entered_once(ledger):
    async def main(model):
        with pytest.raises(RuntimeError, match="once"):
            await model.__aenter__()

    run(Provider(), ledger, main)


def test_who_still_waits_when_the_run_is_left_is_told(ledger):
    async def main():
        async with model_over(Provider(), ledger) as model:
            waiting = [asyncio.ensure_future(ask(model, text)) for text in ("one", "two")]
            await asyncio.sleep(20)
            waiting.append(asyncio.ensure_future(ask(model, "gathered")))
            await asyncio.sleep(0)
        for each in waiting:
            with pytest.raises(EnvironmentFault, match="left"):
                await each

    run_virtually(main())


def test_leaving_lets_a_submission_under_way_learn_its_id(ledger):
    provider = Provider(call_s=8)

    async def main(model):
        task = asyncio.ensure_future(ask(model, "one"))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])

    run(provider, ledger, main, leave_s=10)
    assert [noted.batch for noted in ledger.batches(provider.place)] == ["id-1"]


def test_leaving_waits_no_longer_than_it_may(ledger):
    async def main(model):
        task = asyncio.ensure_future(ask(model, "one"))
        await asyncio.sleep(5)
        task.cancel()
        await asyncio.wait([task])

    async def timed():
        async with model_over(Provider(submit=[LOST]), ledger, leave_s=10) as model:
            await main(model)
        return now()

    assert run_virtually(timed()) == 15


def test_what_ends_the_run_goes_its_way_as_it_is(ledger):
    async def main(model):
        async with asyncio.TaskGroup() as tasks:
            answer = tasks.create_task(ask(model, "one"))
            await asyncio.sleep(10)
            answer.cancel()
        raise SpecError(["mine"])

    with pytest.raises(SpecError, match="mine"):
        run(Provider(), ledger, main)


def test_a_mistake_in_the_task_ends_the_run_instead_of_hanging_it(ledger):
    with pytest.raises(ZeroDivisionError):
        run(Provider(poll=[ZeroDivisionError()]), ledger, lambda model: ask(model, "one"))


def test_without_its_ledger_nothing_is_submitted(tmp_path):
    class FullDisk(InlineLedger):
        async def note(self, *_):
            raise EnvironmentFault("the disk is full")

    provider = Provider()

    async def main(model):
        with pytest.raises(EnvironmentFault, match="full"):
            await ask(model, "one")

    with FullDisk(tmp_path / "ledger") as ledger:
        run(provider, ledger, main)
    assert provider.count("submit") == 0


def test_a_prompt_that_cannot_be_sent_spoils_no_batch(ledger):
    provider = Provider()
    answers = run(provider, ledger, lambda model: ask_all(model, ["half \ud800 a character", *TEXTS]))
    assert answers.pop("half \ud800 a character").kind == "invalid_request"
    assert answers == upper(TEXTS)


def test_a_result_that_cannot_be_read_is_not_given_again(ledger):
    provider = Provider()

    def read(prompt, result):
        if provider.count("submit") == 1:
            raise BackendError("garbage", kind="malformed_response")
        return Provider.read(provider, prompt, result)

    provider.read = read

    async def main(model):
        return await ask(ResilientModel(model, ResilienceSettings(), VirtualClock()), "one")

    assert run(provider, ledger, main) == "ONE"
    assert provider.count("submit") == 2


def test_the_price_is_half(ledger):
    assert model_over(Provider(), ledger).price_factor == 0.5


def test_the_ledger_is_only_for_its_owner_and_says_so_when_it_is_something_else(tmp_path):
    path = tmp_path / "ledger"
    with BatchLedger(path):
        assert path.stat().st_mode & 0o777 == 0o600
    other = tmp_path / "other"
    other.write_text("no database at all, but long enough to be taken for a file of a database's size" * 20)
    with pytest.raises(EnvironmentFault, match="other"):
        BatchLedger(other)
    with pytest.raises(EnvironmentFault, match="nowhere"):
        BatchLedger(tmp_path / "nowhere" / "ledger")
