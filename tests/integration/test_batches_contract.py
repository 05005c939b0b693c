"""A batched model keeps what every `ChatModel` promises."""

import asyncio

import pytest

from orchestrator.stub_server import Fault, FaultPlan
from orchestrator.testing import ChatModelContract
from tests.integration.batch_wire import BATCHED, Upper, process
from tests.integration.wire import service

ALWAYS_BUSY = FaultPlan(every=Fault(kind="overloaded"))


class HostedModel:
    """A batched model and its service, held open by a task of their own from the first request to `aclose`."""

    name = "the-model"

    def __init__(self, api, path, **settings):
        self._api, self._path, self._settings = api, path, settings
        self._ready, self._over = asyncio.Event(), asyncio.Event()
        self._model = self._host = None

    async def complete(self, prompt, meter):
        if self._host is None:
            self._host = asyncio.ensure_future(self._hold())
        await self._ready.wait()
        return await self._model.complete(prompt, meter)

    async def aclose(self):
        self._over.set()
        if self._host is not None:
            await self._host

    async def _hold(self):
        async with (
            service(Upper(), batch_s=0.0, **self._settings) as server,
            process(self._api, server.url, self._path, submit_tries=1) as self._model,
        ):
            self._ready.set()
            await self._over.wait()


class TestBatchedModel(ChatModelContract):
    is_deterministic = True

    @pytest.fixture(autouse=True, params=sorted(BATCHED))
    def _which(self, request, tmp_path):
        self.api, self.path = BATCHED[request.param], tmp_path / "batches.sqlite"

    def make(self):
        return HostedModel(self.api, self.path)

    def make_failing(self):
        return HostedModel(self.api, self.path, faults=ALWAYS_BUSY)
