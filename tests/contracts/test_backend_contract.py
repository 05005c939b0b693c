"""What every `Backend` promises, whoever implements it. Add an implementation to `BACKENDS` and it is held to this."""

import pytest

from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.values import digest_of
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, MemoryWorkspace, prompt_for

SOURCE = "def f(x):\n    return x + 1\n"


def stub(wrapped=False, corrections=0, **fields):
    clock = FakeClock()
    model = StubModel(StubProfile(time_scale=0, **fields), clock)
    if wrapped:
        model = ResilientModel(model, ResilienceSettings(max_tries=2, first_wait_s=0.001), clock)
    return EditingBackend(model, clock, corrections=corrections)


BACKENDS = {"stub": stub, "stub with retries": lambda **fields: stub(wrapped=True, **fields)}
FAULTS = ["malformed_block", "misplaced_edit", "truncated", "refusal", "overloaded", "disconnect"]


@pytest.fixture(params=BACKENDS.values(), ids=BACKENDS.keys())
def backend(request):
    return request.param


async def generated(backend):
    workspace = MemoryWorkspace({"f.py": SOURCE.encode()})
    return await backend.generate(prompt_for({"f.py": SOURCE}), workspace, Meter()), workspace


async def test_without_a_failure_there_is_a_change_in_the_workspace(backend):
    generation, workspace = await generated(backend())
    assert generation.failure is None
    assert (await workspace.patch()).changes


@pytest.mark.parametrize("fault", FAULTS)
async def test_with_a_failure_the_workspace_is_as_it_was_and_there_is_feedback(backend, fault):
    generation, workspace = await generated(backend(**{fault: 1.0}))
    assert generation.failure.feedback
    assert workspace.files == workspace.before


@pytest.mark.parametrize("fault", [None, *FAULTS])
async def test_usage_is_the_sum_of_the_exchanges_and_every_text_is_kept(backend, fault):
    generation, _ = await generated(backend(**({fault: 1.0} if fault else {}), corrections=1))
    assert generation.usage.requests == sum(exchange.usage.requests for exchange in generation.exchanges) > 0
    assert generation.usage.output_tokens == sum(exchange.usage.output_tokens for exchange in generation.exchanges)
    for exchange in generation.exchanges:
        for digest in filter(None, (exchange.prompt, exchange.reply)):
            assert digest_of(generation.bodies[digest]) == digest


async def test_times_count_from_the_start_of_the_attempt(backend):
    generation, _ = await generated(backend(overloaded=1.0))
    for timed in (*generation.exchanges, *generation.spans):
        assert 0 <= timed.started_s < 100
        assert timed.duration_s >= 0


async def test_the_same_draw_leaves_the_same_change(backend):
    _, first = await generated(backend())
    _, second = await generated(backend())
    assert first.files == second.files


async def test_it_has_a_name(backend):
    assert backend().name
