"""Every request is paid from the allowance: reserved at the most it can cost, settled at what it did."""

import asyncio

import pytest

from orchestrator.backends.metered import MeteredModel
from orchestrator.backends.price_table import TableTariff
from orchestrator.backends.tariffs import FlatTariff, NoTariff, Prices, most_usd
from orchestrator.core.chat import Completion, Measured, Message, after, most_input_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Allowance, Usage
from orchestrator.ports import Meter
from tests.fakes_backends import ScriptedModel, busy, prompt_for

PRICES = Prices(input_usd_per_million=2.0, output_usd_per_million=10.0)
PROMPT = prompt_for({"a.py": "x = 1\n"}, max_output_tokens=1_000)
MOST_USD = (most_input_tokens(PROMPT) * 2 + 1_000 * 10) / 1e6


def answer(**usage):
    counted = {"requests": 1, "input_tokens": 100, "output_tokens": 50, "cost_usd": None} | usage
    return Completion(text="", stop_reason="end_turn", usage=Usage(**counted))


def ask(*script, left=None, tariff=None, model=None):
    async def main():
        meter = Meter.paid_from(left)
        metered = MeteredModel(model or ScriptedModel(*script), tariff or FlatTariff(PRICES))
        try:
            return await metered.complete(PROMPT, meter), meter
        except BackendError as error:
            return error, meter

    return asyncio.run(main())


def test_a_completion_gets_its_cost_and_the_allowance_pays_it():
    completion, meter = ask(answer(), left=Allowance(cost_usd=1.0, tokens=10_000))
    assert completion.usage.cost_usd == pytest.approx((100 * 2 + 50 * 10) / 1e6)
    assert meter.left.cost_usd == pytest.approx(1.0 - completion.usage.cost_usd)
    assert meter.left.tokens == 10_000 - 150


@pytest.mark.parametrize("left", [{"cost_usd": MOST_USD - 1e-6}, {"tokens": 1_500}])
def test_a_request_that_may_cost_more_than_is_left_is_not_made(left):
    model = ScriptedModel(answer())
    error, meter = ask(model=model, left=Allowance(**left))
    assert (error.kind, model.prompts) == ("budget", [])
    assert error.needed.cost_usd == pytest.approx(MOST_USD)
    assert meter.failed == Usage()


def test_a_request_that_may_cost_exactly_what_is_left_is_made():
    assert isinstance(ask(answer(), left=Allowance(cost_usd=MOST_USD))[0], Completion)


@pytest.mark.parametrize("kind", ["rate_limit", "overloaded", "auth", "context_too_long"])
def test_a_request_that_was_turned_away_costs_nothing_and_is_counted(kind):
    _, meter = ask(busy(kind), left=Allowance(cost_usd=1.0))
    assert meter.left.cost_usd == pytest.approx(1.0)
    assert (meter.failed.requests, meter.failed.unknown_requests, meter.failed.unknown_cost_usd) == (1, 0, 0.0)


@pytest.mark.parametrize("kind", ["transient", "stall", "malformed_response"])
def test_a_request_that_broke_off_counts_as_the_most_that_it_can_have_cost(kind):
    _, meter = ask(busy(kind), left=Allowance(cost_usd=1.0))
    assert meter.left.cost_usd == pytest.approx(1.0 - MOST_USD)
    assert meter.failed.unknown_cost_usd == pytest.approx(MOST_USD)
    assert (meter.failed.requests, meter.failed.unknown_requests) == (1, 1)


def test_a_request_that_never_went_costs_nothing():
    error = BackendError("refused", kind="transient", is_unsent=True)
    _, meter = ask(error, left=Allowance(cost_usd=1.0))
    assert meter.left.cost_usd == pytest.approx(1.0)
    assert (meter.failed.requests, meter.failed.unknown_requests) == (1, 0)


def test_an_answer_that_had_begun_is_billed_whatever_its_error_is_called():
    async def begun(prompt, meter):
        meter.output_tokens += 10
        raise busy("overloaded")

    _, meter = ask(begun, left=Allowance(cost_usd=1.0))
    assert (meter.failed.unknown_requests, meter.left.cost_usd) == (1, pytest.approx(1.0 - MOST_USD))


def test_what_an_attempt_needs_is_what_it_has_spent_and_the_request_that_did_not_fit():
    async def main():
        meter = Meter.paid_from(Allowance(cost_usd=1.5 * MOST_USD))
        metered = MeteredModel(ScriptedModel(answer(cost_usd=MOST_USD)), FlatTariff(PRICES))
        await metered.complete(PROMPT, meter)
        meter.measured = None
        with pytest.raises(BackendError) as caught:
            await metered.complete(PROMPT, meter)
        return caught.value.needed

    assert asyncio.run(main()).cost_usd == pytest.approx(2 * MOST_USD)


def test_a_request_that_was_dropped_counts_as_one_that_broke_off():
    async def main():
        async def never(prompt, meter):
            await asyncio.sleep(60)

        meter = Meter.paid_from(Allowance(cost_usd=1.0))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await MeteredModel(ScriptedModel(never), FlatTariff(PRICES)).complete(PROMPT, meter)
        return meter

    assert asyncio.run(main()).failed.unknown_requests == 1


def test_tokens_that_nobody_told_count_as_the_most():
    completion, meter = ask(answer(output_tokens=None), left=Allowance(cost_usd=1.0, tokens=10_000))
    most_tokens = most_input_tokens(PROMPT) + 1_000
    assert (completion.usage.cost_usd, completion.usage.unknown_tokens) == (None, most_tokens)
    assert completion.usage.unknown_cost_usd == pytest.approx(MOST_USD)
    assert meter.left.tokens == 10_000 - most_tokens


def test_without_a_price_the_cost_is_unknown_and_not_zero():
    completion, _ = ask(answer(), tariff=NoTariff())
    assert completion.usage.cost_usd is None


def test_a_cost_that_the_model_knows_itself_is_kept():
    assert ask(answer(cost_usd=0.5))[0].usage.cost_usd == 0.5


def test_flat_prices_tell_cached_tokens_apart_where_they_are_given():
    tariff = FlatTariff(PRICES.model_copy(update={"cached_input_usd_per_million": 0.2}))
    usage = Usage(input_tokens=1_000_000, cached_input_tokens=400_000, output_tokens=0)
    assert tariff.cost_usd(usage) == pytest.approx(0.6 * 2 + 0.4 * 0.2)
    assert FlatTariff(PRICES).cost_usd(usage) == pytest.approx(2.0)
    assert tariff.cost_usd(usage.model_copy(update={"cached_input_tokens": None})) is None


def test_the_table_prices_each_request_by_its_own_tier():
    tariff = TableTariff("claude-sonnet-4-5", "anthropic")
    short, long = Usage(input_tokens=200_000), Usage(input_tokens=400_000)
    assert tariff.cost_usd(long) > 2 * tariff.cost_usd(short)


def test_the_table_knows_cached_input_and_rebates():
    tariff = TableTariff("claude-sonnet-4-5", "anthropic")
    usage = Usage(input_tokens=100_000, cached_input_tokens=90_000, output_tokens=1_000)
    full = tariff.cost_usd(usage.model_copy(update={"cached_input_tokens": 0}))
    assert tariff.cost_usd(usage) == pytest.approx(full - 90_000 * 2.7 / 1e6)
    assert TableTariff("claude-sonnet-4-5", "anthropic", 0.5).cost_usd(usage) == pytest.approx(
        tariff.cost_usd(usage) / 2
    )


def test_a_model_that_the_table_does_not_know_is_unknown_and_not_free():
    tariff = TableTariff("no-such-model", "openai")
    assert not tariff.is_known
    assert tariff.cost_usd(Usage(input_tokens=1)) is None
    assert most_usd(tariff, 1, 1) is None


@pytest.mark.parametrize(("provider", "model"), [("anthropic", "claude-sonnet-5-5"), ("openai", "gpt-6-luna")])
def test_the_most_covers_writing_the_cache(provider, model):
    tariff = TableTariff(model, provider)
    written = Usage(input_tokens=10_000, cache_write_tokens=10_000, output_tokens=10)
    assert most_usd(tariff, 10_000, 10) >= tariff.cost_usd(written) > 0


def test_of_a_conversation_that_goes_on_only_what_is_new_is_bounded_by_its_bytes():
    long = prompt_for(text="word " * 10_000)
    known = Measured(prompt=long, input_tokens=11_000)
    longer = after(long, (Message(role="assistant", text="ok"), Message(role="user", text="more")))
    assert most_input_tokens(long) > 50_000
    assert 11_000 < most_input_tokens(longer, known) < 11_300
    other = longer.model_copy(update={"system": "another"})
    assert most_input_tokens(other, known) == most_input_tokens(other)
