# ruff: noqa: S101 - tests assert
"""What every `ChatModel` promises, as tests. Inherit from `ChatModelContract`, say how to make one, and run pytest."""

import asyncio

import pytest

from orchestrator.core.chat import Completion, Message, Prompt, after
from orchestrator.core.errors import BackendError
from orchestrator.ports import ChatModel, Meter
from orchestrator.testing.fakes import prompt_for
from orchestrator.testing.loops import closing, on_a_loop


class ChatModelContract:
    """The promises of a chat model. A subclass, named `Test…`, says how to `make` one; the rest may stay.

    Each test gets a fresh model, which must be able to answer `prompt()` twice. It is made on a running loop, and closed where it
    has an `aclose`.
    """

    is_deterministic = False
    """True where the same prompt gets the same text every time."""

    limit_s = 60.0
    """Seconds that one test may take."""

    def make(self) -> ChatModel:
        """A fresh model that answers."""
        raise NotImplementedError("say how to make the model: `def make(self): return MyModel(…)`")

    def make_failing(self) -> ChatModel | None:
        """A fresh model whose service does not answer for the moment; None where that cannot be arranged in a test."""
        return None

    def prompt(self) -> Prompt:
        """What the model is asked."""
        return prompt_for({"a.py": "x = 1\n"}, text="In a.py, set x to 2.")

    @on_a_loop
    async def test_it_has_a_name(self) -> None:
        """Reports, trailers and comparisons name the model by it."""
        async with closing(self.make()) as model:
            assert isinstance(model.name, str)
            assert model.name.strip()

    @on_a_loop
    async def test_an_answer_has_text_a_stop_reason_and_the_usage_of_one_request(self) -> None:
        """Costs are summed up from usage. What is not known is None: a zero would be believed."""
        async with closing(self.make()) as model:
            completion = await model.complete(self.prompt(), Meter())
        assert isinstance(completion, Completion)
        assert completion.text
        assert completion.stop_reason == "end_turn"
        usage = completion.usage
        assert usage.requests == 1
        assert usage.input_tokens is None or usage.input_tokens > 0, "write None for what is not known"
        assert usage.output_tokens is None or usage.output_tokens > 0, "write None for what is not known"
        assert usage.cost_usd is None or usage.cost_usd >= 0

    @on_a_loop
    async def test_the_meter_moves_with_the_output_and_adds_to_what_it_shows(self) -> None:
        """A request whose meter stands still for long is dropped as stalled; the live view shows the meter too."""
        meter = Meter(output_tokens=100)
        async with closing(self.make()) as model:
            completion = await model.complete(self.prompt(), meter)
        moved = meter.output_tokens - 100
        assert moved > 0, "count the output in `meter.output_tokens` as it comes, or at its end"
        assert completion.usage.output_tokens in (None, moved)

    @on_a_loop
    async def test_it_answers_more_than_once(self) -> None:
        """One object serves a whole run."""
        async with closing(self.make()) as model:
            first = await model.complete(self.prompt(), Meter())
            second = await model.complete(self.prompt(), Meter())
        assert first.text
        assert second.text
        assert not self.is_deterministic or first.text == second.text

    @on_a_loop
    async def test_it_answers_several_at_once(self) -> None:
        """One object serves all agents, and each of them has a meter of its own."""
        meters = [Meter(), Meter()]
        async with closing(self.make()) as model, asyncio.TaskGroup() as group:
            tasks = [group.create_task(_asked(model, self.prompt(), meter)) for meter in meters]
        for task, meter in zip(tasks, meters, strict=True):
            assert task.result().text
            assert task.result().usage.output_tokens in (None, meter.output_tokens)

    @on_a_loop
    async def test_it_goes_on_with_a_conversation(self) -> None:
        """Corrections and sessions send the model's own turns back to it."""
        async with closing(self.make()) as model:
            first = await model.complete(self.prompt(), Meter())
            turns = (first.turn, Message(role="user", text="Send it once more."))
            assert isinstance(await model.complete(after(self.prompt(), turns), Meter()), Completion)

    @on_a_loop
    async def test_a_request_that_is_dropped_lets_go_and_the_next_is_answered(self) -> None:
        """A run that is stopped, or a request that stalls, cancels `complete`: it ends then, and the model stays of use."""
        async with closing(self.make()) as model:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(_asked(model, self.prompt(), Meter()))
                await asyncio.sleep(0)
                task.cancel()
            assert (await model.complete(self.prompt(), Meter())).text

    @on_a_loop
    async def test_a_failure_is_a_backend_error_that_knows_whether_to_ask_again(self) -> None:
        """Any other exception counts as a bug and ends the run; a retryable one is waited for, and asked again."""
        model = self.make_failing()
        if model is None:
            pytest.skip("there is no `make_failing`")
        async with closing(model):
            with pytest.raises(BackendError) as caught:
                await model.complete(self.prompt(), Meter())
        assert str(caught.value)
        assert caught.value.is_retryable, f"{caught.value.kind!r} would end the whole run"


async def _asked(model: ChatModel, prompt: Prompt, meter: Meter) -> Completion:
    return await model.complete(prompt, meter)
