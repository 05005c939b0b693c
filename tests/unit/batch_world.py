"""A provider of batches in memory, on virtual time, and models over it."""

import asyncio
import json
from collections import Counter
from contextlib import asynccontextmanager

from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.model import BatchedModel
from orchestrator.backends.batches.provider import (
    Absent,
    Accepted,
    BatchId,
    BatchResult,
    Ended,
    Found,
    Running,
    Unclear,
)
from orchestrator.backends.batches.settings import BatchSettings
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.fakes_backends import prompt_for
from tests.virtual_time import VirtualClock

LOST_S = 300


class InlineLedger(BatchLedger):
    """The ledger without its thread, whose time would be nobody's on a virtual clock."""

    async def _in_thread(self, work, what):
        await asyncio.sleep(0)
        return work()


class Provider:
    """Answers each request with its own text in capitals, `batch_s` after it was accepted.

    A call takes `call_s`, half of it before it is done and half after. `on` holds, by call, a list of what to do instead: an
    exception to raise, a value to return, or `LOST`: do it, and let the answer be lost, which shows after `LOST_S`.
    """

    name = "fake"
    place = "fake://place"
    max_requests = 10_000
    max_bytes = 10**9

    def __init__(self, batch_s=100.0, call_s=0.0, **on):
        self.batch_s = batch_s
        self.call_s = call_s
        self.on = on
        self.batches = {}
        self.calls = []
        self.faulty = {}

    @property
    def submitted(self):
        """How often each text was accepted."""
        return Counter(body["text"] for _, _, bodies in self.batches.values() for body in bodies.values())

    def count(self, call):
        return sum(name == call for name, _ in self.calls)

    def times(self, call):
        return [at for name, at in self.calls if name == call]

    def body(self, prompt):
        return {"model": self.name, "text": prompt.messages[0].text}

    def read(self, prompt, result):
        text = json.loads(result)
        if text.startswith("error:"):
            raise BackendError(text, kind="transient")
        usage = Usage(requests=1, input_tokens=10, output_tokens=len(text), cost_usd=None)
        return Completion(text=text, stop_reason="end_turn", usage=usage)

    async def submit(self, name, requests):
        async with self._call("submit") as instead:
            if not isinstance(instead, type(LOST)) and instead is not None:
                return instead
            batch = BatchId(f"id-{len(self.batches) + 1}")
            bodies = {request.custom_id: request.body for request in requests}
            self.batches[batch] = (name, now(), bodies)
        if instead is LOST:
            await asyncio.sleep(LOST_S)
            return Unclear(busy("no answer"))
        return Accepted(batch)

    async def find(self, sought):
        async with self._call("find") as instead:
            if instead is not None:
                return instead
            owners = [batch for batch, (name, _, _) in self.batches.items() if name == sought.name]
            return Found(owners[-1]) if owners else Absent()

    async def poll(self, batch):
        async with self._call("poll") as instead:
            if instead is not None:
                return instead
            _, began, bodies = self.batches[batch]
            share = (now() - began) / self.batch_s
            return Ended() if share >= 1 else Running(int(share * len(bodies)), len(bodies))

    async def results(self, batch):
        async with self._call("results") as instead:
            _, _, bodies = self.batches[batch]
        for number, (identity, body) in enumerate(reversed(bodies.items())):
            if isinstance(instead, int) and number >= instead:
                raise busy("cut off")
            error = self.faulty.get(body["text"])
            await asyncio.sleep(0)
            yield BatchResult(identity, json.dumps(error or body["text"].upper()), is_answered=error is None)

    @asynccontextmanager
    async def _call(self, call):
        self.calls.append((call, now()))
        script = self.on.get(call, [])
        instead = script.pop(0) if script else None
        await asyncio.sleep(self.call_s / 2)
        if isinstance(instead, BaseException):
            raise instead
        yield instead
        await asyncio.sleep(self.call_s / 2)


class _Lost:
    pass


LOST = _Lost()


def now():
    return asyncio.get_running_loop().time()


def busy(what="busy", kind="transient", retry_after_s=None):
    return BackendError(what, kind=kind, retry_after_s=retry_after_s)


def model_over(provider, ledger, **settings):
    return BatchedModel(provider, ledger, BatchSettings(**settings), VirtualClock())


def prompt(text):
    return prompt_for(text=text)


async def ask(model, text, meter=None):
    return (await model.complete(prompt(text), meter or Meter())).text


async def ask_all(model, texts):
    """Ask everything at once; return the answers or errors by text."""
    answers = {}

    async def one(text):
        try:
            answers[text] = await ask(model, text)
        except BackendError as error:
            answers[text] = error

    async with asyncio.TaskGroup() as tasks:
        for text in texts:
            tasks.create_task(one(text))
    return answers
