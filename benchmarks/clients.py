"""Three ways to ask a model over HTTP, to set side by side: the bare SDK, the adapter, the adapter with everything around it.

Each is a context that gives a function from a prompt to nothing, which raises `FailedRequest`.
"""

import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import anthropic
import openai

from orchestrator.backends.anthropic import AnthropicModel
from orchestrator.backends.openai import OpenAIModel
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAISettings
from orchestrator.catalog.configs import load_config
from orchestrator.core.chat import Prompt
from orchestrator.core.errors import BackendError
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import ChatModel, Meter
from orchestrator.wiring.assembly import Means
from orchestrator.wiring.services import build_service

Provider = Literal["claude", "openai"]
Ask = Callable[[Prompt, Meter], Awaitable[None]]
_MODEL, _KEY = "stub", "none"


class FailedRequest(Exception):
    """A request that came to nothing."""


@dataclass(frozen=True)
class Service:
    """Where a service listens, and which provider it is to play."""

    url: str
    provider: Provider

    @property
    def base_url(self) -> str:
        return self.url if self.provider == "claude" else f"{self.url}/v1"


def _asking(model: ChatModel) -> Ask:
    async def ask(prompt: Prompt, meter: Meter) -> None:
        try:
            await model.complete(prompt, meter)
        except BackendError as error:
            raise FailedRequest(str(error)) from error

    return ask


@asynccontextmanager
async def everything(service: Service, settings: Mapping[str, object]) -> AsyncIterator[Ask]:
    """A model as a configuration builds it: retries, siblings, prices, limits, and the adapter."""
    written = {
        "backend": service.provider,
        "model": _MODEL,
        "base_url": service.base_url,
        "api_key_env": None,
        "is_simulated": True,
        "prices": {"input_usd_per_million": 3.0, "output_usd_per_million": 15.0},
        **settings,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{service.provider}.yaml"
        path.write_text(json.dumps(written))
        chosen = build_service(load_config(path), Means(SystemClock(), reference=None))
    if chosen.model is None:
        raise RuntimeError(f"{service.provider} is no chat model")
    async with AsyncExitStack() as stack:
        for resource in chosen.resources:
            await stack.enter_async_context(resource)
        yield _asking(chosen.model)


@asynccontextmanager
async def adapter(service: Service) -> AsyncIterator[Ask]:
    """The adapter alone."""
    connection, model = Connection(None, SystemClock()), {"model": _MODEL, "base_url": service.base_url}
    if service.provider == "claude":
        async with AnthropicModel(ClaudeSettings.model_validate(model), connection) as claude:
            yield _asking(claude)
    else:
        async with OpenAIModel(OpenAISettings.model_validate(model), connection) as gpt:
            yield _asking(gpt)


@asynccontextmanager
async def bare(service: Service, max_retries: int) -> AsyncIterator[Ask]:
    """The provider's SDK as its manual shows it, streamed, with its own retries."""
    if service.provider == "claude":
        async with anthropic.AsyncAnthropic(api_key=_KEY, base_url=service.base_url, max_retries=max_retries) as claude:
            yield _bare_claude(claude)
    else:
        async with openai.AsyncOpenAI(api_key=_KEY, base_url=service.base_url, max_retries=max_retries) as gpt:
            yield _bare_openai(gpt)


def _bare_claude(client: anthropic.AsyncAnthropic) -> Ask:
    async def ask(prompt: Prompt, meter: Meter) -> None:
        said = []
        try:
            stream = await client.messages.create(
                model=_MODEL,
                max_tokens=prompt.max_output_tokens,
                messages=[{"role": "user", "content": turn.text} for turn in prompt.messages],
                stream=True,
            )
            async for event in stream:
                if event.type == "content_block_delta" and event.delta.type == "text_delta":
                    said.append(event.delta.text)
                    meter.output_tokens += 1
        except anthropic.AnthropicError as error:
            raise FailedRequest(str(error)) from error
        if not "".join(said):
            raise FailedRequest("no text came")

    return ask


def _bare_openai(client: openai.AsyncOpenAI) -> Ask:
    async def ask(prompt: Prompt, meter: Meter) -> None:
        said = []
        try:
            stream = await client.responses.create(
                model=_MODEL,
                max_output_tokens=prompt.max_output_tokens,
                input=[{"role": "user", "content": turn.text} for turn in prompt.messages],
                stream=True,
            )
            async for event in stream:
                if event.type == "response.output_text.delta":
                    said.append(event.delta)
                    meter.output_tokens += 1
        except openai.OpenAIError as error:
            raise FailedRequest(str(error)) from error
        if not "".join(said):
            raise FailedRequest("no text came")

    return ask
