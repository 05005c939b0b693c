"""Every `ChatModel` of ours keeps what `ChatModelContract` promises. Add one to `MODELS`, and to `FAILING`, and it is held to it."""

import asyncio

import pytest

from orchestrator.backends.limits.limited import LimitedModel
from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.backends.recordings.folder import Recording
from orchestrator.backends.recordings.recorder import RecordingModel
from orchestrator.backends.recordings.replay import ReplayModel
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.chat import Message, Tool, after
from orchestrator.core.errors import BackendError
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import Meter
from orchestrator.stub_server import Fault, FaultPlan
from orchestrator.testing import ChatModelContract
from orchestrator.testing.loops import closing
from tests.fakes_backends import FakeClock, ScriptedModel, busy
from tests.integration.wire import ServedModel

ANSWER = "a.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n"


def stub(**fields):
    return StubModel(StubProfile(time_scale=0, **fields), FakeClock())


def resilient(model):
    return ResilientModel(model, ResilienceSettings(max_tries=2, first_wait_s=0), FakeClock())


def limited(model):
    return LimitedModel(model, AccountLimiter("account", LimiterSettings(requests_per_min=6_000), FakeClock()))


def brain():
    return StubModel(StubProfile(time_scale=0), SystemClock())


MODELS = {
    "stub": stub,
    "stub in time": lambda: StubModel(StubProfile(), FakeClock()),
    "scripted": lambda: ScriptedModel(ANSWER, ANSWER),
    "resilient stub": lambda: resilient(stub()),
    "resilient scripted": lambda: resilient(ScriptedModel(ANSWER, ANSWER)),
    "limited stub": lambda: limited(stub()),
    "resilient limited stub": lambda: resilient(limited(stub())),
    "anthropic": lambda: ServedModel("messages", brain()),
    "openai": lambda: ServedModel("responses", brain()),
    "openai-compatible": lambda: ServedModel("chat", brain()),
}
ALWAYS_BUSY = FaultPlan(every=Fault(kind="overloaded"))
FAILING = {
    "stub": lambda: stub(overloaded=1.0),
    "stub in time": lambda: StubModel(StubProfile(overloaded=1.0), FakeClock()),
    "scripted": lambda: ScriptedModel(BackendError("busy", kind="overloaded")),
    "resilient stub": lambda: resilient(stub(overloaded=1.0)),
    "resilient scripted": lambda: resilient(ScriptedModel(busy(), busy())),
    "limited stub": lambda: limited(stub(overloaded=1.0)),
    "resilient limited stub": lambda: resilient(limited(stub(overloaded=1.0))),
    "anthropic": lambda: ServedModel("messages", brain(), faults=ALWAYS_BUSY),
    "openai": lambda: ServedModel("responses", brain(), faults=ALWAYS_BUSY),
    "openai-compatible": lambda: ServedModel("chat", brain(), faults=ALWAYS_BUSY),
}


class OursContract(ChatModelContract):
    is_deterministic = True

    async def test_its_tokens_are_known(self):
        async with closing(self.make()) as model:
            usage = (await model.complete(self.prompt(), Meter())).usage
        assert usage.input_tokens > 0
        assert usage.output_tokens > 0


class TestEveryModel(OursContract):
    @pytest.fixture(autouse=True, params=sorted(MODELS))
    def _which(self, request):
        self.which = request.param

    def make(self):
        return MODELS[self.which]()

    def make_failing(self):
        return FAILING[self.which]() if self.which in FAILING else None

    async def test_tools_may_be_offered_and_calls_come_with_the_stop_reason_for_them(self):
        tools = (Tool(name="read", description="Reads a file.", parameters={"type": "object", "properties": {}}),)
        async with closing(self.make()) as model:
            completion = await model.complete(self.prompt().model_copy(update={"tools": tools}), Meter())
        assert completion.text or completion.calls
        assert (completion.stop_reason == "tool_use") is bool(completion.calls)
        assert len({call.id for call in completion.calls}) == len(completion.calls)


class TestRecordingModel(OursContract):
    @pytest.fixture(autouse=True)
    def _recording(self, tmp_path):
        self.recording = Recording.create(tmp_path / "recording")

    def make(self):
        return RecordingModel(stub(), self.recording, FakeClock())

    def make_failing(self):
        return RecordingModel(stub(overloaded=1.0), self.recording, FakeClock())


class TestReplayModel(OursContract):
    @pytest.fixture(autouse=True)
    def _recorded(self, tmp_path):
        self.folder, self.failed = tmp_path / "recording", tmp_path / "failed"
        asyncio.run(self._record())

    async def _record(self):
        keeper = RecordingModel(stub(), Recording.create(self.folder), FakeClock())
        first = await keeper.complete(self.prompt(), Meter())
        turns = (first.turn, Message(role="user", text="Send it once more."))
        await keeper.complete(after(self.prompt(), turns), Meter())
        with pytest.raises(BackendError):
            await RecordingModel(ScriptedModel(busy()), Recording.create(self.failed), FakeClock()).complete(
                self.prompt(), Meter()
            )

    def make(self):
        return ReplayModel(Recording.open(self.folder), FakeClock(), time_scale=1.0)

    def make_failing(self):
        return ReplayModel(Recording.open(self.failed), FakeClock())
