"""Claude through Anthropic's Message Batches. Importing this module imports the SDK.

A batch holds up to 100,000 requests or 256 MB, ends within 24 hours, and keeps its results for 29 days. The parameters of a request are
checked when it is worked at, so a faulty one errors alone. Counts move only at the end.

The provider knows no name of ours for a batch: what shows is when it was created and how many requests it holds, and, in the results
alone, their custom ids. So a submission of unknown fate is sought among the batches of that time and size; one that has not ended yet
may be it, and has to be waited for.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from datetime import datetime
from typing import cast

import httpx2
from anthropic import AsyncAPIResponse
from anthropic.types.messages.batch_create_params import Request as RequestParam

from orchestrator.backends.anthropic import AnthropicModel
from orchestrator.backends.batches.calls import (
    NOT_FOUND,
    PAGE,
    SKEW_S,
    BatchCalls,
    FailedCallError,
    RawResponse,
    earliest_s,
    line_of,
)
from orchestrator.backends.batches.provider import (
    Absent,
    Accepted,
    BatchId,
    BatchName,
    BatchRequest,
    BatchResult,
    BatchState,
    Ended,
    Found,
    Gone,
    Running,
    Search,
    Sought,
    Submission,
    Undecided,
    number_in,
)
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings
from orchestrator.backends.wire.streams import count, fields, items, text
from orchestrator.core.chat import Completion, Prompt

_STREAMED = {"X-Stainless-Raw-Response": "stream", "Accept": "application/binary"}
_OUTCOMES = ("processing", "succeeded", "errored", "canceled", "expired")
# An errored result has no status; its type stands for one, and only this one is the request's own fault without saying how.
_STATUS_OF = {"invalid_request_error": 400}
_SERVER_ERROR = 500


class AnthropicBatches(BatchCalls, AnthropicModel):
    """A `BatchProvider` of the Messages API. Raises `BackendError` at once for a key that no header can carry."""

    max_requests = 100_000
    max_bytes = 250_000_000

    def __init__(self, settings: ClaudeSettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._batches = self._client.messages.batches.with_streaming_response
        self._strangers: set[BatchId] = set()

    async def submit(self, name: BatchName, requests: Sequence[BatchRequest]) -> Submission:  # noqa: ARG002 — the ids say it
        """Submit a batch."""
        asked = [{"custom_id": request.custom_id, "params": request.body} for request in requests]
        call = self._batches.create(requests=cast(list[RequestParam], asked))
        try:
            created = await self._object(call, self._settings.deadline_s)
            return Accepted(BatchId(self._id_in(created, "processing_status")))
        except FailedCallError as error:
            return self._submission_of(error)

    async def find(self, sought: Sought) -> Search:
        """Look for a submission among the batches of its time and size; those that have ended tell by their first result."""
        undecided = 0
        for batch in await self._listed(earliest_s(sought)):
            identity = BatchId(text(batch.get("id")))
            if identity in self._strangers or identity in sought.others or not self._may_be(batch, sought):
                continue
            if text(batch.get("processing_status")) != "ended":
                undecided += 1
            elif await self._holds(identity, sought.name):
                return Found(identity)
            else:
                self._strangers.add(identity)
        return Undecided(undecided) if undecided else Absent()

    async def poll(self, batch: BatchId) -> BatchState:
        """How far a batch is. Raises `BackendError`."""
        try:
            shown = await self._object(self._batches.retrieve(batch))
        except FailedCallError as error:
            if error.status == NOT_FOUND:
                return Gone()
            raise
        match text(shown.get("processing_status")):
            case "ended":
                return Ended() if text(shown.get("results_url")) else Gone()
            case "in_progress" | "canceling":
                total = _total(shown)
                return Running(total - (count(_counts(shown).get("processing")) or 0), total)
            case _:
                raise self._malformed("no known status of a batch")

    async def results(self, batch: BatchId) -> AsyncGenerator[BatchResult, None]:
        """The results of a batch that has ended. Raises `BackendError`, in the middle as well."""
        shown = await self._object(self._batches.retrieve(batch))
        address = text(shown.get("results_url"))
        if not address:
            return
        async with aclosing(self._lines(self._download(address))) as lines:
            async for line in lines:
                said, result = line_of(line)
                if result:
                    kind = text(fields(result.get("result")).get("type"))
                    yield BatchResult(text(result.get("custom_id")), said, is_answered=kind == "succeeded")

    def read(self, prompt: Prompt, result: str) -> Completion:
        """Read a result's line. Raises `BackendError` for one that is no answer."""
        outcome = fields(line_of(result.encode())[1].get("result"))
        reply = self._reply()
        match text(outcome.get("type")):
            case "succeeded":
                for event in events_of(fields(outcome.get("message"))):
                    reply.take(event)
                return self._read(prompt, reply)
            case "errored":
                error = fields(outcome.get("error"))
                kind = text(fields(error.get("error", error)).get("type"))
                return self._failure(_STATUS_OF.get(kind, _SERVER_ERROR), error)
            case "expired" | "canceled" as kind:
                raise self._told("transient", f"the request was {kind} with its batch, before anybody worked at it")
            case _:
                raise self._told("malformed_response", "the result of a batch is of no known type")

    def _page(self, after: str | None) -> AbstractAsyncContextManager[RawResponse]:
        if after is None:
            return self._batches.list(limit=PAGE)
        return self._batches.list(limit=PAGE, after_id=after)

    def _created_s(self, batch: Mapping[str, object]) -> float:
        try:
            return datetime.fromisoformat(text(batch.get("created_at"))).timestamp()
        except ValueError:
            return 0.0

    def _may_be(self, batch: Mapping[str, object], sought: Sought) -> bool:
        latest_s = sought.noted_s + self._settings.deadline_s + SKEW_S
        return _total(batch) == sought.requests and earliest_s(sought) <= self._created_s(batch) <= latest_s

    async def _holds(self, batch: BatchId, name: BatchName) -> bool:
        async with aclosing(self.results(batch)) as results:
            async for result in results:
                return number_in(result.custom_id, name) is not None
        return False

    @asynccontextmanager
    async def _download(self, address: str) -> AsyncIterator[RawResponse]:
        """A file of results, from where everything else is: what the answer names may be another host, which gets no key."""
        base = self._settings.base_url.rstrip("/")
        if not address.startswith(f"{base}/"):
            address = httpx2.URL(address).raw_path.decode()
        response = await self._client.get(address, cast_to=AsyncAPIResponse[bytes], options={"headers": _STREAMED})
        try:
            yield response
        finally:
            await response.close()


def events_of(message: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """A whole message as the stream that it would have been, so that both are read by the same hands."""
    usage = message.get("usage")
    yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}}
    for index, block in enumerate(map(fields, items(message.get("content")))):
        opened, pieces = _opened(block)
        yield {"type": "content_block_start", "index": index, "content_block": opened}
        for piece in pieces:
            yield {"type": "content_block_delta", "index": index, "delta": piece}
        yield {"type": "content_block_stop", "index": index}
    yield {"type": "message_delta", "delta": {"stop_reason": message.get("stop_reason")}, "usage": usage}
    yield {"type": "message_stop"}


def _opened(block: Mapping[str, object]) -> tuple[Mapping[str, object], Sequence[Mapping[str, object]]]:
    """A block as it begins in a stream, and what comes in pieces; one of an unknown kind comes whole."""
    match block.get("type"):
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block.get("text")}]
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block.get("thinking")}
            signature = {"type": "signature_delta", "signature": block.get("signature")}
            return {**block, "thinking": "", "signature": ""}, [thought, signature]
        case "tool_use":
            arguments = {"type": "input_json_delta", "partial_json": json.dumps(block.get("input"), ensure_ascii=False)}
            return {**block, "input": {}}, [arguments]
        case _:
            return block, []


def _counts(batch: Mapping[str, object]) -> Mapping[str, object]:
    return fields(batch.get("request_counts"))


def _total(batch: Mapping[str, object]) -> int:
    return sum(count(_counts(batch).get(name)) or 0 for name in _OUTCOMES)
