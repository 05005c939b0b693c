"""Retries: only where they help, never for ever, and each wait accounted for. On virtual time."""

import asyncio

import pytest

from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.core.errors import RETRYABLE_FAULTS, BackendError
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, ScriptedModel, busy, prompt_for
from tests.virtual_time import VirtualClock, run_virtually


def ask(*script, settings=None, prompt=None):
    """Run one request on virtual time; return its text or error, the model, the meter, and how long it took."""
    model, meter = ScriptedModel(*script), Meter()

    async def main():
        clock = VirtualClock()
        started = clock.now()
        try:
            outcome = (
                await ResilientModel(model, settings or ResilienceSettings(), clock).complete(
                    prompt or prompt_for(), meter
                )
            ).text
        except BackendError as error:
            outcome = error
        return outcome, clock.now() - started

    outcome, took_s = run_virtually(main())
    return outcome, model, meter, took_s


async def silent(prompt, meter):
    await asyncio.sleep(10_000)


async def trickling(prompt, meter):
    for _ in range(20):
        await asyncio.sleep(50)
        meter.output_tokens += 1
    return "done"


@pytest.mark.parametrize("kind", sorted(RETRYABLE_FAULTS))
def test_a_fault_that_another_try_may_cure_is_tried_again(kind):
    outcome, model, _, took_s = ask(busy(kind), "answer")
    assert outcome == "answer"
    assert len(model.prompts) == 2
    assert 0.5 <= took_s <= 1.0


@pytest.mark.parametrize("kind", ["auth", "billing", "unknown_model", "invalid_request", "context_too_long"])
def test_other_faults_are_raised_at_once(kind):
    outcome, model, meter, took_s = ask(busy(kind), "answer")
    assert outcome.kind == kind
    assert (len(model.prompts), took_s) == (1, 0)
    assert [wait.name for wait in meter.waits] == ["failed_request"]


def test_tries_end_with_the_last_error():
    last = busy("overloaded")
    outcome, model, _, _ = ask(busy(), busy(), last, "never", settings=ResilienceSettings(max_tries=3))
    assert outcome is last
    assert len(model.prompts) == 3


def test_waits_grow_up_to_their_cap():
    settings = ResilienceSettings(max_tries=8, first_wait_s=1, max_wait_s=8)
    _, _, meter, _ = ask(*[busy() for _ in range(7)], "answer", settings=settings)
    waits = [wait.duration_s for wait in meter.waits if wait.name == "backoff"]
    for wait_s, bound_s in zip(waits, [1, 2, 4, 8, 8, 8, 8], strict=True):
        assert bound_s / 2 <= wait_s <= bound_s


def test_a_provider_is_believed_up_to_a_cap():
    _, _, _, took_s = ask(busy("rate_limit", 30), "answer")
    assert 30 <= took_s <= 33
    _, _, _, took_s = ask(busy("rate_limit", 3_600), "answer", settings=ResilienceSettings(retry_after_cap_s=60))
    assert 60 <= took_s <= 66


def test_all_tries_together_keep_the_deadline():
    settings = ResilienceSettings(max_tries=100, deadline_s=30)
    outcome, model, _, took_s = ask(*[busy() for _ in range(100)], settings=settings)
    assert outcome.kind == "overloaded"
    assert took_s <= 30
    assert len(model.prompts) < 10


def test_a_silent_request_is_dropped_and_tried_again():
    outcome, model, meter, took_s = ask(silent, "answer", settings=ResilienceSettings(idle_s=60))
    assert outcome == "answer"
    assert 60 <= took_s <= 77
    assert meter.waits[0].name == "failed_request"
    assert len(model.prompts) == 2


def test_a_request_that_never_answers_ends_as_a_stall():
    outcome, _, _, took_s = ask(silent, settings=ResilienceSettings(max_tries=1, idle_s=60))
    assert outcome.kind == "stall"
    assert "no output for 60 s" in str(outcome)
    assert took_s < 80


def test_a_slow_request_that_moves_is_left_alone():
    outcome, model, _, took_s = ask(trickling, settings=ResilienceSettings(idle_s=60, deadline_s=2_000))
    assert (outcome, took_s, len(model.prompts)) == ("done", 1_000, 1)


def test_a_slow_request_ends_at_the_deadline_even_if_it_moves():
    outcome, _, _, took_s = ask(trickling, settings=ResilienceSettings(idle_s=60, deadline_s=500))
    assert outcome.kind == "stall"
    assert "in time" in str(outcome)
    assert took_s == 500


def test_the_jitter_belongs_to_the_draw_and_repeats():
    def wait_s(subtask):
        return ask(busy(), "answer", prompt=prompt_for(subtask=subtask))[3]

    assert wait_s("a") == wait_s("a")
    assert len({wait_s(name) for name in "abcdefgh"}) == 8


def test_the_note_tells_of_the_wait_and_goes_away():
    notes = []

    async def looking(prompt, meter):
        notes.append(meter.note)
        return "answer"

    _, _, meter, _ = ask(busy("rate_limit", 30), looking)
    assert notes == [""]
    assert meter.note == ""


def test_a_bug_is_not_retried():
    with pytest.raises(ValueError, match="a bug"):
        ask(ValueError("a bug"), "answer")


def test_cancelling_cancels_the_request_in_flight():
    ended = []

    async def watched(prompt, meter):
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(True)

    async def main():
        model = ResilientModel(ScriptedModel(watched), ResilienceSettings(), VirtualClock())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await model.complete(prompt_for(), Meter())
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 5
    assert ended == [True]


def test_rate_limits_are_no_tries():
    outcome, model, _, _ = ask(*[busy("rate_limit", 5.0)] * 40, "yes", settings=ResilienceSettings(max_tries=2))
    assert outcome == "yes"
    assert len(model.prompts) == 41


def test_nothing_but_rate_limits_ends_when_patience_does():
    settings = ResilienceSettings(patience_s=600.0)
    outcome, model, _, _ = ask(*[busy("rate_limit", 60.0)] * 40, settings=settings)
    assert outcome.kind == "rate_limit"
    assert 8 <= len(model.prompts) <= 10


def test_time_in_a_queue_of_ours_is_neither_silence_nor_work():
    async def queued(prompt, meter):
        with meter.queued("rate_limit", LoopClock()):
            await asyncio.sleep(5_000)
        return "yes"

    outcome, model, _, _ = ask(queued, settings=ResilienceSettings(idle_s=10.0, deadline_s=30.0))
    assert (outcome, len(model.prompts)) == ("yes", 1)


def test_the_silence_after_a_queue_still_counts():
    async def queued_then_silent(prompt, meter):
        with meter.queued("rate_limit", LoopClock()):
            await asyncio.sleep(5_000)
        await asyncio.sleep(10**6)

    outcome, _, _, _ = ask(queued_then_silent, "yes", settings=ResilienceSettings(idle_s=10.0))
    assert outcome == "yes"


def test_where_everything_fails_the_retry_budget_ends_the_repeating():
    async def main():
        clock = FakeClock()
        model = ScriptedModel(*[busy()] * 1_000)
        resilient = ResilientModel(model, ResilienceSettings(retry_reserve=10, retry_share=0.1), clock)
        for number in range(100):
            with pytest.raises(BackendError):
                await resilient.complete(prompt_for(subtask=str(number)), Meter())
        return len(model.prompts)

    # 100 first requests, 10 repetitions in reserve, one more for each ten.
    assert asyncio.run(main()) <= 100 + 10 + 10


class LoopClock:
    def now(self):
        return asyncio.get_running_loop().time()
