"""One cheap real request to each model API that is asked about: does it answer, who, how fast, and within which limits.

The request takes the way of a run's: the same adapter, the same judgement of failures. Between the adapter and the network
stands a witness that reads along: the answer names the model that gave it, and a server that does not have the model is
asked for its list, with the same headers.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import assert_never

import httpx2
from pydantic import SecretStr

from orchestrator.backends.limits.rate_headers import anthropic_rate_headers, openai_rate_headers
from orchestrator.backends.wire.api_model import ApiModel, Connection
from orchestrator.backends.wire.api_settings import (
    AnyApiSettings,
    ClaudeSettings,
    OpenAICompatibleSettings,
    OpenAISettings,
)
from orchestrator.backends.wire.sse import json_events
from orchestrator.backends.wire.streams import fields, items, text
from orchestrator.core.chat import Draw, Message, Prompt
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.core.values import SubtaskId, Usage
from orchestrator.ports import Clock, Meter
from orchestrator.views.doctor import AnnouncedLimit, Answer, Finding, State, answer_text

LIMIT_S = 30.0
_CONNECT_S = 10.0
_LIST_LIMIT_S = 10.0
_MAX_LIST_BYTES = 4_000_000
_MAX_HEARD_BYTES = 65_536
# OpenAI's Responses API takes no fewer; the others do.
_OUTPUT_TOKENS = 16
_PROMPT = Prompt(
    system="",
    messages=(Message(role="user", text="Reply with the word ok."),),
    draw=Draw(seed=0, subtask=SubtaskId("doctor")),
    max_output_tokens=_OUTPUT_TOKENS,
)
_PATHS = ("/messages", "/responses", "/chat/completions")
# The key was accepted, and the service is busy: that passes.
_BUSY: frozenset[BackendFault] = frozenset({"rate_limit", "overloaded"})
_ADVICE: Mapping[BackendFault, str] = {
    "rate_limit": "the key is accepted; try again {later}, and run fewer agents at once",
    "overloaded": "try again {later}",
    "transient": "see that base_url is right and can be reached from here ($HTTPS_PROXY is honoured)",
    "stall": "see whether the service is up, and that base_url is right",
    "malformed_response": "see that base_url is that of the API, and `backend` its type",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A configured model API and the key for it; whether it has to answer."""

    name: str
    settings: AnyApiSettings
    key: SecretStr | None = field(repr=False)
    is_needed: bool


async def ask_each(targets: Sequence[Target], clock: Clock) -> list[Finding]:
    """Send one request to each, all at once; each ends within `LIMIT_S` seconds."""
    # The SDKs take seconds to import, which would count as latency of whoever is asked meanwhile.
    probes = [_Probe(target, clock) for target in targets]
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(probe.ask()) for probe in probes]
    return [task.result() for task in asked]


class _Probe:
    """One request to one model API."""

    def __init__(self, target: Target, clock: Clock) -> None:
        self._target = target
        self._clock = clock
        self._headers: Mapping[str, str] = {}
        self._witness = _Witness()
        self._model: ApiModel | BackendError
        try:
            self._model = _model(_hurried(target.settings), Connection(target.key, clock, self._witness, self._saw))
        except BackendError as error:  # a key that no header can carry
            self._model = error
        except httpx2.InvalidURL as error:
            self._model = BackendError(f"base_url is no URL: {error}", kind="invalid_request")

    async def ask(self) -> Finding:
        """Ask, and say how it went."""
        if isinstance(self._model, BackendError):
            await self._witness.aclose()
            return self._failed(self._model)
        async with self._model:
            began = self._clock.now()
            try:
                completion = await self._model.complete(_PROMPT, Meter())
            except BackendError as error:
                return self._failed(error, await self._nearest() if error.kind == "unknown_model" else "")
            latency_s = self._clock.now() - began
        return self._answered(completion.usage, latency_s, await self._witness.heard_model())

    def _saw(self, _: int, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def _answered(self, usage: Usage, latency_s: float, model: str | None) -> Finding:
        read = anthropic_rate_headers if isinstance(self._target.settings, ClaudeSettings) else openai_rate_headers
        limits = tuple(
            AnnouncedLimit(name=name, limit=quota.limit, remaining=quota.remaining, reset_s=quota.reset_s)
            for name, quota in read(self._headers).quotas()
        )
        answer = Answer(latency_s=latency_s, usage=usage, model=model, limits=limits)
        return self._found("ok", answer_text(answer)).model_copy(update={"answer": answer})

    def _failed(self, error: BackendError, advice: str = "") -> Finding:
        later = "in a minute" if error.retry_after_s is None else f"in {error.retry_after_s:,.0f} s"
        told = f"{error.kind.replace('_', ' ')}: {error}"
        advice = advice or _ADVICE.get(error.kind, "").format(later=later)
        return self._found("warning" if error.kind in _BUSY else "missing", told, advice)

    def _found(self, state: State, detail: str, advice: str = "") -> Finding:
        name, is_needed = self._target.name, self._target.is_needed
        return Finding(topic="live", name=name, state=state, detail=detail, advice=advice, is_needed=is_needed)

    async def _nearest(self) -> str:
        """Name the model of the server's list that is meant, or what the list begins with; empty where there is none."""
        names = await self._witness.listed_models()
        if not names:
            return ""
        close = get_close_matches(self._target.settings.model, names, n=1, cutoff=0.5)
        if close:
            return f"did you mean `model: {close[0]}`?"
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        return f"it has {', '.join(names[:8])}{more}"


class _Witness(httpx2.AsyncBaseTransport):
    """The network as an adapter would use it, proxies included, with the request and the answer's beginning kept."""

    def __init__(self) -> None:
        self._network = httpx2.AsyncClient(timeout=LIMIT_S, follow_redirects=False)
        self._request: httpx2.Request | None = None
        self._heard = bytearray()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass a request on; its answer is asked for without compression, so that it can be read."""
        request.headers["accept-encoding"] = "identity"
        self._request = request
        response = await self._network.send(request, stream=True, auth=None)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=_Overheard(response, self._heard),
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close all connections."""
        await self._network.aclose()

    async def heard_model(self) -> str | None:
        """The model that the answer names: at the top of an event, or in the message or response that it opens."""

        async def heard() -> AsyncIterator[bytes]:
            yield bytes(self._heard)

        try:
            async for event in json_events(heard()):
                for place in (fields(event), *(fields(fields(event).get(name)) for name in ("message", "response"))):
                    if named := text(place.get("model")):
                        return named
        except ValueError:  # the last event that was kept is cut off
            return None
        return None

    async def listed_models(self) -> list[str]:
        """The names of the models that the server lists; none where it does not, whatever the reason."""
        asked = self._request
        end = next((end for end in _PATHS if asked is not None and asked.url.path.endswith(end)), None)
        if asked is None or end is None:
            return []
        query = {"limit": "1000"} if end == _PATHS[0] else {}
        url = asked.url.copy_with(path=asked.url.path.removesuffix(end) + "/models", query=None)
        headers = {name: value for name, value in asked.headers.items() if not name.startswith("content-")}
        try:
            async with asyncio.timeout(_LIST_LIMIT_S):
                async with self._network.stream("GET", url, params=query, headers=headers) as response:
                    body = bytearray()
                    async for chunk in response.aiter_bytes():
                        body += chunk
                        if len(body) > _MAX_LIST_BYTES:
                            return []
            listed = items(fields(json.loads(body)).get("data"))
        except (httpx2.HTTPError, OSError, ValueError, RecursionError):
            return []
        return [name for entry in listed if (name := text(fields(entry).get("id")))]


class _Overheard(httpx2.AsyncByteStream):
    """A response's body, whose beginning is kept."""

    def __init__(self, response: httpx2.Response, heard: bytearray) -> None:
        self._response = response
        self._heard = heard

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._response.aiter_raw():
            self._heard += chunk[: max(0, _MAX_HEARD_BYTES - len(self._heard))]
            yield chunk

    async def aclose(self) -> None:
        await self._response.aclose()


def _hurried(settings: AnyApiSettings) -> AnyApiSettings:
    """The settings with limits that fit somebody who waits."""
    limits = {"connect_s": _CONNECT_S, "first_byte_s": LIMIT_S, "idle_s": LIMIT_S, "deadline_s": LIMIT_S}
    return settings.model_copy(update={name: min(most, getattr(settings, name)) for name, most in limits.items()})


def _model(settings: AnyApiSettings, connection: Connection) -> ApiModel:
    """The adapter. Its SDK is imported here, since that takes a second or two, which only this command has to pay."""
    match settings:
        case ClaudeSettings():
            from orchestrator.backends.anthropic import AnthropicModel  # noqa: PLC0415

            return AnthropicModel(settings, connection)
        case OpenAISettings():
            from orchestrator.backends.openai import OpenAIModel  # noqa: PLC0415

            return OpenAIModel(settings, connection)
        case OpenAICompatibleSettings():
            from orchestrator.backends.openai_chat import ChatCompletionsModel  # noqa: PLC0415

            return ChatCompletionsModel(settings, connection)
        case _:
            assert_never(settings)
