"""Every `Backend` of ours keeps what `BackendContract` promises. Add one to `BACKENDS` and it is held to it."""

import pytest

from orchestrator.backends.metered import MeteredModel
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.sessions.tools import ToolBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.backends.tariffs import NoTariff
from orchestrator.core.chat import Completion, ToolCall
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from orchestrator.testing import BackendContract, MemoryWorkspace
from tests.fakes_backends import FakeClock, busy


def stub(wrapped=False, **fields):
    clock = FakeClock()
    model = MeteredModel(StubModel(StubProfile(time_scale=0, **fields), clock), NoTariff(), is_simulated=True)
    if wrapped:
        model = ResilientModel(model, ResilienceSettings(max_tries=2, first_wait_s=0.001), clock)
    return EditingBackend(model, clock, corrections=1)


BACKENDS = {"stub": stub, "stub with retries": lambda **fields: stub(wrapped=True, **fields)}
FAULTS = ["malformed_block", "misplaced_edit", "truncated", "refusal", "overloaded", "disconnect"]


class OursContract(BackendContract):
    is_deterministic = True

    async def test_every_request_is_counted(self):
        for how, backend in {"without a failure": self.make(), **self.make_failing()}.items():
            generation = await backend.generate(self.prompt(), MemoryWorkspace(self.files), Meter())
            assert generation.exchanges, how
            assert generation.usage.requests > 0, how


class TestEveryBackend(OursContract):
    is_all_or_nothing = True

    @pytest.fixture(autouse=True, params=BACKENDS.values(), ids=BACKENDS.keys())
    def _which(self, request):
        self.which = request.param

    def make(self):
        return self.which()

    def make_failing(self):
        return {fault: self.which(**{fault: 1.0}) for fault in FAULTS}


class Caller:
    """Edits f.py with a tool and ends, or goes wrong in one way."""

    name = "caller"

    def __init__(self, wrong=None):
        self.wrong = wrong

    async def complete(self, prompt, meter):
        meter.output_tokens += 10
        if isinstance(self.wrong, BaseException):
            raise self.wrong
        usage = Usage(requests=1, input_tokens=100, output_tokens=10)
        if self.wrong is not None:
            return Completion(text="I", stop_reason=self.wrong, usage=usage)
        if len(prompt.messages) > 1:
            return Completion(text="Done.", stop_reason="end_turn", usage=usage)
        edit = {"path": "f.py", "search": "    return x + 1\n", "replace": "    return x + 2\n"}
        calls = (ToolCall(id="c1", name="edit_file", arguments=edit),)
        return Completion(text="", stop_reason="tool_use", usage=usage, calls=calls)


class TestToolBackend(OursContract):
    def _made(self, wrong=None):
        return ToolBackend(MeteredModel(Caller(wrong), NoTariff()), FakeClock())

    def make(self):
        return self._made()

    def make_failing(self):
        errors = {kind: busy(kind) for kind in ("overloaded", "transient", "rate_limit")}
        answers = {how: how for how in ("end_turn", "max_tokens", "refusal", "tool_use")}
        return {how: self._made(wrong) for how, wrong in {**errors, **answers}.items()}
