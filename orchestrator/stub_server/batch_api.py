"""Both providers' batch APIs as the simulated service speaks them.

    Anthropic   POST /v1/messages/batches · GET the list, one, its /results · POST its /cancel
    OpenAI      POST /v1/files · POST /v1/batches · GET the list, one, /v1/files/<id>/content · POST its /cancel

HTTP requests go wrong by their session's plan, like any other. With an error status nothing happened. Where the connection breaks,
what was asked for was done, and only the answer is lost: the fault for which a careless client pays twice.
"""

from collections.abc import Mapping

from orchestrator.stub_server.batch_store import BatchStore, RejectedError, Reply, as_json
from orchestrator.stub_server.breaking import break_whole
from orchestrator.stub_server.exchange import House, Seen
from orchestrator.stub_server.file_batches import FileBatches
from orchestrator.stub_server.http import Request, Responder
from orchestrator.stub_server.message_batches import MessageBatches
from orchestrator.stub_server.settings import Fault, FaultKind

_MESSAGES, _BATCHES, _FILES = "/v1/messages/batches", "/v1/batches", "/v1/files"
_WITH_STATUS: frozenset[FaultKind] = frozenset(
    {
        "rate_limit",
        "insufficient_quota",
        "overloaded",
        "server_error",
        "auth",
        "billing",
        "forbidden",
        "unknown_model",
        "too_large",
        "context_too_long",
        "invalid_request",
        "policy",
    }
)


class BatchApi:
    """The batch endpoints of a server. `store` has every batch that was accepted."""

    def __init__(self, house: House) -> None:
        self.store = BatchStore(house)
        self._settings = house.settings
        self._messages = MessageBatches(self.store)
        self._files = FileBatches(self.store)

    def takes(self, path: str) -> bool:
        """Whether a path is one of these endpoints."""
        return path.startswith((_MESSAGES, _BATCHES, _FILES))

    async def answer(self, request: Request, path: str, seen: Seen, responder: Responder) -> None:
        """Answer one request."""
        fault = self._settings.sessions.get(seen.session, self._settings.faults).fault_of(seen.session, seen.number)
        seen.fault = None if fault is None else fault.kind
        try:
            reply = await self._reply(request, path, seen.body, fault)
        except RejectedError as error:
            dialect = (self._messages if path.startswith(_MESSAGES) else self._files).dialect
            rejection = dialect.rejection(error.kind, str(error))
            wait_s = None if fault is None else fault.retry_after_s
            headers = {} if wait_s is None else {"retry-after": f"{wait_s:g}"}
            await responder.send_json(rejection.status, headers, rejection.body)
            return
        if fault is None or not await break_whole(fault, responder):
            await responder.send(200, {"content-type": reply.content_type}, reply.body)
            seen.is_complete = True

    async def _reply(self, request: Request, path: str, body: Mapping[str, object], fault: Fault | None) -> Reply:
        if fault is not None and fault.kind in _WITH_STATUS:
            raise RejectedError(fault.kind, "simulated")
        for collection in (_MESSAGES, _BATCHES):
            if path.startswith(collection):
                identity, _, action = path.removeprefix(collection).strip("/").partition("/")
                return await self._batches(collection, (request.method, identity, action), body)
        match request.method, path.removeprefix(_FILES).strip("/").split("/"):
            case "POST", [""]:
                return self._files.upload(request)
            case "GET", [identity, "content"]:
                return await self._files.content(identity)
            case _:
                raise RejectedError("unknown_model", f"no route {request.method} {path}")

    async def _batches(self, collection: str, asked: tuple[str, str, str], body: Mapping[str, object]) -> Reply:
        batches = self._messages if collection == _MESSAGES else self._files
        match asked:
            case "POST", "", "":
                return batches.create(body)
            case "GET", "", "":
                listed = [batches.shown(batch) for batch in await self.store.listed(batches.dialect)]
                ends = {"first_id": listed[0]["id"], "last_id": listed[-1]["id"]} if listed else {}
                # All of them at once: there are no pages.
                return as_json({"object": "list", "data": listed, "has_more": False, **ends})
            case "GET", identity, "":
                return as_json(batches.shown(await self.store.found(identity)))
            case "POST", identity, "cancel":
                batch = await self.store.found(identity)
                await self.store.cancel(batch)
                return as_json(batches.shown(batch))
            case "GET", identity, "results" if collection == _MESSAGES:
                return await self._messages.results(identity)
            case method, identity, action:
                raise RejectedError("unknown_model", f"no route {method} {collection}/{identity}/{action}")
