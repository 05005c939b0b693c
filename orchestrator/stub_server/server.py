"""The simulated service itself: connections, routes, limits, caches, faults, and what it counts.

One task serves one connection; all of them belong to the service and end with it. Everything that a test may want to
know afterwards is in `requests`, in the order of arrival.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.core.chat import estimate_tokens
from orchestrator.ports import ChatModel, Clock
from orchestrator.stub_server.batch_api import BatchApi
from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.caching import PromptCache
from orchestrator.stub_server.chat_api import ChatApi
from orchestrator.stub_server.dialect import Dialect, UnreadableRequest, mapping_of
from orchestrator.stub_server.exchange import Exchange, House, Seen
from orchestrator.stub_server.http import BadRequest, Request, Responder, read_request
from orchestrator.stub_server.messages_api import MessagesApi
from orchestrator.stub_server.responses_api import ResponsesApi
from orchestrator.stub_server.settings import Fault, ServerSettings

_HOST = "127.0.0.1"
_ANTHROPIC, _OPENAI = "anthropic", "openai"
_ROUTES: Mapping[str, tuple[str, Dialect]] = {
    "/v1/messages": (_ANTHROPIC, MessagesApi()),
    "/v1/messages/count_tokens": (_ANTHROPIC, MessagesApi()),
    "/v1/responses": (_OPENAI, ResponsesApi()),
    "/v1/chat/completions": (_OPENAI, ChatApi()),
}


@dataclass(slots=True)
class StubServer:
    """A running service. `url` is its base for Anthropic's clients, `openai_url` for OpenAI's.

    `accepted` counts all connections so far, `connections` those that are open.
    """

    house: House
    port: int = 0
    requests: list[Seen] = field(default_factory=list)
    accepted: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _mistakes: list[BaseException] = field(default_factory=list)
    _accounts: dict[str, tuple[Account, PromptCache]] = field(default_factory=dict)
    _numbers: Counter[str] = field(default_factory=Counter)
    batches: BatchApi = field(init=False)

    def __post_init__(self) -> None:
        self.batches = BatchApi(self.house)

    @property
    def url(self) -> str:
        """The base address, without /v1."""
        return f"http://{_HOST}:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base address with /v1."""
        return f"{self.url}/v1"

    def session_url(self, name: str) -> str:
        """The base address of a session with its own plan and count, without /v1."""
        return f"{self.url}/s/{name}"

    def statuses(self) -> Counter[int | None]:
        """How many requests got which status."""
        return Counter(seen.status for seen in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end."""
        self.accepted += 1
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._ended)
        try:
            # A lost connection is the client's affair; what was lost is in `requests`.
            with contextlib.suppress(ConnectionError):
                await self._serve(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            writer.close()

    async def stop(self) -> None:
        """End every connection at once. Raises what went wrong in the server itself meanwhile."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._mistakes:
            raise self._mistakes[0]

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        mistake = None if task.cancelled() else task.exception()
        if mistake is not None:
            self._mistakes.append(mistake)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_open = True
        while is_open:
            responder = Responder(reader, writer)
            try:
                self._check_room()
                async with asyncio.timeout(self.house.settings.idle_s):
                    request = await read_request(reader, writer, self.house.settings.max_body_bytes)
            except TimeoutError:
                return
            except BadRequest as error:
                why = {"error": {"type": "invalid_request_error", "message": str(error)}}
                await responder.send_json(error.status, {"connection": "close"}, why)
                return
            if request is None:
                return
            await self._route(request, responder)
            is_open = responder.is_open and request.headers.get("connection", "").lower() != "close"

    def _check_room(self) -> None:
        if self.connections > self.house.settings.max_connections:
            raise BadRequest(503, "too many connections")

    async def _route(self, request: Request, responder: Responder) -> None:
        session, path = _split_session(request.path)
        if request.method == "GET" and path == "/v1/models":
            await responder.send_json(200, {}, _models(self.house.settings.models))
            return
        if self.batches.takes(path):
            seen = self._seen(request, session, path, _body(request.body))
            responder.on_head = seen.begin
            await self.batches.answer(request, path, seen, responder)
            return
        if request.method != "POST" or path not in _ROUTES:
            message = f"no route {request.method} {path}"
            await responder.send_json(404, {}, {"error": {"type": "not_found_error", "message": message}})
            return
        provider, dialect = _ROUTES[path]
        body = _body(request.body)
        seen = self._seen(request, session, path, body)
        responder.on_head = seen.begin
        account, cache = self._account(provider)
        exchange = Exchange(self.house, account, dialect, seen, responder, f"{len(self.requests):08x}", cache)
        try:
            if path.endswith("/count_tokens"):
                await responder.send_json(200, {}, {"input_tokens": estimate_tokens(dialect.read(body).text)})
            else:
                await exchange.answer(dialect.read(body))
        except UnreadableRequest as error:
            await exchange.reject(Fault(kind="invalid_request"), str(error))

    def _seen(self, request: Request, session: str, path: str, body: Mapping[str, object]) -> Seen:
        self._numbers[session] += 1
        seen = Seen(self._numbers[session], session, path, request.headers, body)
        self.requests.append(seen)
        return seen

    def _account(self, provider: str) -> tuple[Account, PromptCache]:
        settings = self.house.settings
        if provider not in self._accounts:
            account = Account(
                settings.limits, self.house.clock.now(), burst_s=settings.limit_burst_s, later=settings.later_limits
            )
            self._accounts[provider] = account, PromptCache(settings.cache_lifetime_s)
        return self._accounts[provider]


@asynccontextmanager
async def serving(
    brain: ChatModel, clock: Clock, settings: ServerSettings | None = None, *, port: int = 0
) -> AsyncIterator[StubServer]:
    """Run a service on loopback until the context is left; port 0 takes a free one. Raises OSError for one in use.

    Leaving ends every connection at once, whatever it is in the middle of.
    """
    service = StubServer(House(brain, clock, settings or ServerSettings()))
    listener = await asyncio.start_server(service.serve, _HOST, port, backlog=1024)
    service.port = listener.sockets[0].getsockname()[1]
    try:
        yield service
    finally:
        listener.close()
        await service.stop()
        await listener.wait_closed()


def _split_session(path: str) -> tuple[str, str]:
    """`/s/<name>/v1/…` is the session and `/v1/…`; clients that add no /v1 of their own, or one too many, are understood."""
    session = ""
    if path.startswith("/s/"):
        session, _, rest = path.removeprefix("/s/").partition("/")
        path = f"/{rest}"
    while path.startswith("/v1/v1/"):
        path = path.removeprefix("/v1")
    return session, path if path.startswith("/v1/") else f"/v1{path}"


def _body(raw: bytes) -> Mapping[str, object]:
    """The JSON object of a body; an empty one for anything else, which then lacks what is required."""
    try:
        return mapping_of(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def _models(names: tuple[str, ...]) -> dict[str, object]:
    """A list that both providers' clients can read."""
    listed = [
        {
            "id": name,
            "type": "model",
            "object": "model",
            "display_name": name,
            "created": 0,
            "created_at": "1970-01-01T00:00:00Z",
            "owned_by": "stub",
        }
        for name in names
    ]
    return {"object": "list", "data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]}
