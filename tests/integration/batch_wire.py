"""Both batch APIs against one server on loopback, with their own SDKs."""

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import SecretStr

from orchestrator.backends.batches.anthropic_batches import AnthropicBatches
from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.model import BatchedModel
from orchestrator.backends.batches.openai_batches import OpenAIBatches
from orchestrator.backends.batches.settings import BatchSettings
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAISettings
from orchestrator.core.chat import Completion
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import Meter
from tests.fakes_backends import prompt_for
from tests.integration.wire import KEY, LIMITS

QUICK = {"collect_s": 0.05, "poll_s": 0.03, "max_poll_s": 0.06, "search_s": 0.15, "leave_s": 0.0, "deadline_s": 30.0}
BATCH_S = 0.12
TEXTS = [f"text {number}" for number in range(30)]
USAGE = Usage(
    requests=1,
    input_tokens=1_000,
    cached_input_tokens=640,
    cache_write_tokens=128,
    output_tokens=77,
    reasoning_tokens=12,
    cost_usd=None,
)


@dataclass(frozen=True)
class BatchedApi:
    """One of the two: `submission` and `poll` are the numbers of the requests that create the first batch and first ask after it."""

    name: str
    provider: Any
    settings: Any
    suffix: str
    create: str
    submission: int
    results: str

    @property
    def poll(self):
        return self.submission + 1

    def over(self, url, *, key=KEY, transport=None, **settings):
        made = self.settings(model="the-model", base_url=url + self.suffix, **{**LIMITS, **settings})
        transport = transport or httpx2.AsyncHTTPTransport(verify=False)
        return self.provider(made, Connection(SecretStr(key), SystemClock(), transport))

    def creations(self, server):
        """How many requests to create a batch came."""
        return sum(seen.path == self.create and bool(seen.body) for seen in server.requests)


BATCHED = {
    api.name: api
    for api in (
        BatchedApi("messages", AnthropicBatches, ClaudeSettings, "", "/v1/messages/batches", 1, "/results"),
        BatchedApi("responses", OpenAIBatches, OpenAISettings, "/v1", "/v1/batches", 2, "/content"),
    )
}


class Upper:
    """A brain that answers with the user's words in capitals."""

    name = "upper"

    async def complete(self, prompt, meter):
        text = prompt.messages[0].text
        if text.startswith("too long"):
            raise BackendError("too long", kind="context_too_long")
        if text.startswith("busy"):
            raise BackendError("busy", kind="overloaded")
        return Completion(text=text.upper(), stop_reason="end_turn", usage=USAGE)


def submitted(server):
    """How often each text was accepted in a batch."""
    counts = Counter()
    for batch in server.batches.store.batches.values():
        for member in batch.members:
            turns = member.body.get("messages") or member.body.get("input")
            counts[turns[0]["content"]] += 1
    return counts


@asynccontextmanager
async def process(api, url, path, *, key=KEY, transport=None, limits=(), **settings):
    """A process: a model over a ledger. Leaving it in any way is its death."""
    provider = api.over(url, key=key, transport=transport, **dict(limits))
    with BatchLedger(path) as ledger:
        async with (
            provider,
            BatchedModel(provider, ledger, BatchSettings(**{**QUICK, **settings}), SystemClock()) as model,
        ):
            yield model


async def ask_all(model, texts):
    """Ask everything at once; return the answers or errors by text."""
    answers = {}

    async def one(text):
        try:
            answers[text] = (await model.complete(prompt_for(text=text), Meter())).text
        except BackendError as error:
            answers[text] = error

    async with asyncio.TaskGroup() as tasks:
        for text in texts:
            tasks.create_task(one(text))
    return answers


async def killed_when(model, texts, is_time):
    """Ask, and be killed as soon as `is_time`."""
    asking = asyncio.ensure_future(ask_all(model, texts))
    async with asyncio.timeout(10):
        while not is_time():
            await asyncio.sleep(0.01)
    asking.cancel()
    await asyncio.wait([asking])


def upper(texts):
    return {text: text.upper() for text in texts}
