"""A model behind its account's limiter: estimates that learn, slots that are held only around a request. On virtual time."""

import asyncio

import pytest

from orchestrator.backends.limits.limited import LimitedModel, TokenEstimates
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.fakes_backends import ScriptedModel, busy, prompt_for
from tests.virtual_time import VirtualClock, run_virtually


def limiter_of(**fields):
    return AccountLimiter("acme", LimiterSettings(**fields), VirtualClock())


class SlowModel:
    name = "slow"

    def __init__(self, *usages):
        self.usages = list(usages)

    async def complete(self, prompt, meter):
        await asyncio.sleep(1)
        return Completion(text="done", stop_reason="end_turn", usage=self.usages.pop(0) if self.usages else Usage())


def test_input_is_estimated_by_the_ratio_seen():
    estimates, prompt = TokenEstimates(), prompt_for()
    first = estimates.input_tokens(prompt)
    assert first > 0
    estimates.learn(prompt, first * 2, None)
    assert estimates.input_tokens(prompt) == first * 2
    for _ in range(100):
        estimates.learn(prompt, first * 3, None)
    assert estimates.input_tokens(prompt) == pytest.approx(first * 3, abs=1)


def test_output_is_estimated_by_a_quantile_of_what_was_answered_and_never_above_what_is_allowed():
    estimates, prompt = TokenEstimates(), prompt_for()
    assert 0 < estimates.output_tokens(prompt) <= prompt.max_output_tokens
    for tokens in range(10, 110, 10):
        estimates.learn(prompt, None, tokens)
    assert estimates.output_tokens(prompt) == 90
    assert estimates.output_tokens(prompt.model_copy(update={"max_output_tokens": 50})) == 50


def test_old_answers_are_forgotten():
    estimates, prompt = TokenEstimates(), prompt_for()
    for tokens in [1_000] * 200 + [10] * 200:
        estimates.learn(prompt, None, tokens)
    assert estimates.output_tokens(prompt) == 10


def test_what_was_used_is_what_is_charged():
    async def main():
        limiter, meter = limiter_of(output_tokens_per_min=60_000, token_burst_s=1), Meter()
        model = LimitedModel(SlowModel(Usage(requests=1, output_tokens=3_000)), limiter)
        for _ in range(2):
            await model.complete(prompt_for(), meter)
        return meter.waits

    (wait,) = run_virtually(main())
    # 1,500 tokens of debt when the first ends; the next expects to be as large, so it waits for a full bucket of 1,000.
    assert (wait.name, wait.started_s) == ("rate_limit", 1)
    assert wait.duration_s == pytest.approx(2.5)


def test_no_slot_is_held_during_a_backoff():
    async def main():
        limiter, seen = limiter_of(max_concurrency=1), []
        failing = ResilientModel(
            LimitedModel(ScriptedModel(busy("overloaded", 50), "answer"), limiter), ResilienceSettings(), VirtualClock()
        )
        other = LimitedModel(SlowModel(), limiter)
        async with asyncio.TaskGroup() as group:
            group.create_task(failing.complete(prompt_for(), Meter()))
            await asyncio.sleep(1)
            assert limiter.in_flight == 0
            await other.complete(prompt_for(), Meter())
            seen.append(asyncio.get_running_loop().time())
        return seen, limiter.in_flight

    assert run_virtually(main()) == ([2], 0)


def test_a_rejection_pauses_the_account_though_no_header_was_heard():
    async def main():
        limiter = limiter_of()
        model = LimitedModel(ScriptedModel(busy("rate_limit", 30), "answer"), limiter)
        with pytest.raises(BackendError):
            await model.complete(prompt_for(), Meter())
        await model.complete(prompt_for(), Meter())
        return asyncio.get_running_loop().time()

    assert 30 <= run_virtually(main()) <= 33


@pytest.mark.parametrize("delay_s", [0.5, 1.5])
def test_cancelling_gives_everything_back(delay_s):
    async def main():
        limiter = limiter_of(max_concurrency=1)
        model, meter = LimitedModel(SlowModel(), limiter), Meter()
        async with asyncio.TaskGroup() as group:
            group.create_task(model.complete(prompt_for(), Meter()))
            cancelled = group.create_task(model.complete(prompt_for(), meter))
            await asyncio.sleep(delay_s)
            cancelled.cancel()
        assert meter.note == ""
        return limiter.in_flight, limiter.waiting

    assert run_virtually(main()) == (0, 0)


def test_the_name_is_the_models():
    assert LimitedModel(SlowModel(), limiter_of()).name == "slow"
