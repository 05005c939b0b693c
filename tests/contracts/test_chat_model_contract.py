"""What every `ChatModel` promises, whoever implements it. Add an implementation to `MODELS` and it is held to this."""

import pytest

from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, ScriptedModel, prompt_for

ANSWER = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"


def stub(**fields):
    return StubModel(StubProfile(time_scale=0, **fields), FakeClock())


def resilient(model):
    return ResilientModel(model, ResilienceSettings(max_tries=2, first_wait_s=0), FakeClock())


MODELS = {
    "stub": stub,
    "stub in time": lambda: StubModel(StubProfile(), FakeClock()),
    "scripted": lambda: ScriptedModel(ANSWER, ANSWER),
    "resilient stub": lambda: resilient(stub()),
    "resilient scripted": lambda: resilient(ScriptedModel(ANSWER, ANSWER)),
}
FAILING = {
    "stub": lambda: stub(overloaded=1.0),
    "scripted": lambda: ScriptedModel(BackendError("busy", kind="overloaded")),
    "resilient stub": lambda: resilient(stub(overloaded=1.0)),
}


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def model(request):
    return request.param()


def prompt():
    return prompt_for({"a.py": "x = 1\n"})


async def test_it_has_a_name(model):
    assert model.name


async def test_an_answer_has_text_a_stop_reason_and_known_usage_of_one_request(model):
    completion = await model.complete(prompt(), Meter())
    assert isinstance(completion, Completion)
    assert completion.text
    assert completion.stop_reason == "end_turn"
    assert completion.usage.requests == 1
    assert completion.usage.input_tokens > 0
    assert completion.usage.output_tokens > 0


async def test_the_meter_moves_with_the_output_and_adds_to_what_it_shows(model):
    meter = Meter(output_tokens=100)
    completion = await model.complete(prompt(), meter)
    assert meter.output_tokens == 100 + completion.usage.output_tokens


async def test_it_answers_more_than_once(model):
    first = await model.complete(prompt(), Meter())
    second = await model.complete(prompt(), Meter())
    assert first.text == second.text


@pytest.mark.parametrize("make", FAILING.values(), ids=FAILING.keys())
async def test_a_failure_is_a_backend_error_that_knows_whether_to_ask_again(make):
    with pytest.raises(BackendError) as caught:
        await make().complete(prompt(), Meter())
    assert caught.value.is_retryable
