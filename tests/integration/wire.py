"""The three model APIs against one server on loopback."""

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from pydantic import SecretStr

from orchestrator.backends.anthropic import AnthropicModel
from orchestrator.backends.openai import OpenAIModel
from orchestrator.backends.openai_chat import ChatCompletionsModel
from orchestrator.backends.wire.api_model import ApiModel, Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAICompatibleSettings, OpenAISettings
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.values import Usage
from orchestrator.engine.clock import SystemClock
from orchestrator.stub_server import ServerSettings, serving

KEY = "sk-test-0123456789abcdef"
# Long enough for a busy machine. Tests of what never ends shorten the one limit that ends it.
LIMITS = {"connect_s": 10.0, "first_byte_s": 10.0, "idle_s": 10.0, "deadline_s": 30.0}
SHORT_S = 0.3
TEXT = "The change: naïve → café.\n" + "x = 1\n" * 40
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
class Api:
    """One of the three: its name, its model, its settings, and what stands behind the server's address."""

    name: str
    model: type[ApiModel]
    settings: Any
    suffix: str

    def over(self, url: str, *, key: str = KEY, transport=None, on_response=None, **settings) -> Any:
        made = self.settings(**{"model": "the-model", "base_url": url + self.suffix, **LIMITS, **settings})
        # The real transport, without loading certificates that loopback does not need: 20 ms a model.
        transport = transport or httpx2.AsyncHTTPTransport(verify=False)
        return self.model(made, Connection(SecretStr(key), SystemClock(), transport, on_response))


APIS = {
    api.name: api
    for api in (
        Api("messages", AnthropicModel, ClaudeSettings, ""),
        Api("responses", OpenAIModel, OpenAISettings, "/v1"),
        Api("chat", ChatCompletionsModel, OpenAICompatibleSettings, "/v1"),
    )
}


class Brain:
    """Answers everything alike; keeps the prompts."""

    name = "brain"

    def __init__(self, text: str = TEXT, usage: Usage = USAGE, stop_reason: str = "end_turn", calls=()):
        self.completion = Completion(text=text, stop_reason=stop_reason, usage=usage, calls=calls)
        self.prompts: list[Prompt] = []

    async def complete(self, prompt, meter):
        self.prompts.append(prompt)
        return self.completion


@asynccontextmanager
async def service(brain=None, **settings):
    async with serving(brain or Brain(), SystemClock(), ServerSettings(**settings)) as server:
        yield server


class ServedModel:
    """A model over the provider's SDK and a connection to a service of its own, which starts with the first request."""

    name = "the-model"

    def __init__(self, api: str, brain, **settings):
        self._api, self._brain, self._settings = APIS[api], brain, settings
        self._stack, self._starting = AsyncExitStack(), asyncio.Lock()
        self._model: ApiModel | None = None

    async def complete(self, prompt, meter):
        async with self._starting:
            if self._model is None:
                server = await self._stack.enter_async_context(service(self._brain, **self._settings))
                self._model = await self._stack.enter_async_context(self._api.over(server.url, is_simulated=True))
        return await self._model.complete(prompt, meter)

    async def aclose(self):
        await self._stack.aclose()
