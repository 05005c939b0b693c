"""OpenAI through its Batch API, with the Responses API inside. Importing this module imports the SDK.

The requests go up as a file, the answers and the errors come down as two. A batch holds up to 50,000 requests or 200 MB of one model and
ends within 24 hours. The file is checked before any request is worked at: one faulty line fails the whole batch, and nothing is billed.
An account's queue is limited in tokens; a batch that does not fit fails in the same way, and goes again later.

Our name for a batch stands in its metadata, so a submission of unknown fate is found by it.
"""

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Final

from orchestrator.backends.batches.calls import (
    NOT_FOUND,
    PAGE,
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
    Declined,
    Ended,
    Found,
    Gone,
    Refused,
    Running,
    Search,
    Sought,
    Submission,
)
from orchestrator.backends.openai import OpenAIModel
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import OpenAISettings
from orchestrator.backends.wire.faults import reported
from orchestrator.backends.wire.streams import count, fields, items, text
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError

_ENDPOINT: Final = "/v1/responses"
_NAME = "orchestrate_batch"
_FILES = ("output_file_id", "error_file_id")
_RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_ENDED = frozenset({"completed", "expired", "cancelled"})
_OK, _BAD_REQUEST, _TOO_MANY = 200, 400, 429
# The statuses of a response that a model has worked at to its end.
_WHOLE = frozenset({"completed", "incomplete"})
# The code of a batch that failed since the account's queue is full: later it fits.
_QUEUE_IS_FULL = "token_limit_exceeded"


class OpenAIBatches(BatchCalls, OpenAIModel):
    """A `BatchProvider` of the Responses API. Raises `BackendError` at once for a key that no header can carry."""

    max_requests = 50_000
    max_bytes = 190_000_000

    def __init__(self, settings: OpenAISettings, connection: Connection) -> None:
        super().__init__(settings, connection)
        self._batches = self._client.batches.with_streaming_response
        self._files = self._client.files.with_streaming_response

    async def submit(self, name: BatchName, requests: Sequence[BatchRequest]) -> Submission:
        """Submit a batch. A file that went up without its batch costs nothing, and goes by itself after 30 days."""
        limit_s = self._settings.deadline_s
        content = b"".join(_line(request) for request in requests)
        upload = self._files.create(file=(f"{name}.jsonl", content, "application/jsonl"), purpose="batch")
        try:
            file = self._id_in(await self._object(upload, limit_s), "object")
        except FailedCallError as error:
            return Refused(error)
        call = self._batches.create(
            input_file_id=file, endpoint=_ENDPOINT, completion_window="24h", metadata={_NAME: name}
        )
        try:
            return Accepted(BatchId(self._id_in(await self._object(call, limit_s), "status")))
        except FailedCallError as error:
            return self._submission_of(error)

    async def find(self, sought: Sought) -> Search:
        """Look for a submission by its name in the metadata of the batches since then."""
        for batch in await self._listed(earliest_s(sought)):
            if text(fields(batch.get("metadata")).get(_NAME)) == sought.name:
                return Found(BatchId(self._id_in(batch, "id")))
        return Absent()

    async def poll(self, batch: BatchId) -> BatchState:
        """How far a batch is. Raises `BackendError`."""
        try:
            shown = await self._object(self._batches.retrieve(batch))
        except FailedCallError as error:
            if error.status == NOT_FOUND:
                return Gone()
            raise
        status = text(shown.get("status"))
        if status in _ENDED:
            return Ended()
        if status == "failed":
            return self._declined(shown)
        if status not in _RUNNING:
            raise self._malformed("no known status of a batch")
        counts = fields(shown.get("request_counts"))
        done = (count(counts.get("completed")) or 0) + (count(counts.get("failed")) or 0)
        return Running(done, count(counts.get("total")) or 0)

    async def results(self, batch: BatchId) -> AsyncGenerator[BatchResult, None]:
        """The results of a batch that has ended, from both its files. Raises `BackendError`, in the middle as well."""
        shown = await self._object(self._batches.retrieve(batch))
        for name in _FILES:
            file = text(shown.get(name))
            if file:
                async with aclosing(self._lines_of(file)) as lines:
                    async for line in lines:
                        said, result = line_of(line)
                        if result:
                            yield BatchResult(text(result.get("custom_id")), said, is_answered=_is_answered(result))

    def read(self, prompt: Prompt, result: str) -> Completion:
        """Read a result's line. Raises `BackendError` for one that is no answer."""
        line = line_of(result.encode())[1]
        response, error = fields(line.get("response")), fields(line.get("error"))
        status, body = count(response.get("status_code")), fields(response.get("body"))
        if status == _OK and body:
            reply = self._reply()
            for event in events_of(body):
                reply.take(event)
            return self._read(prompt, reply)
        if status is not None and status >= _BAD_REQUEST:
            return self._failure(status, body)
        code = text(error.get("code"))
        if error and not code.startswith("batch_"):
            return self._failure(_BAD_REQUEST, error)
        what = code.removeprefix("batch_") or "left out"
        raise self._told("transient", f"the request was {what} with its batch", text(error.get("message")))

    def _declined(self, batch: Mapping[str, object]) -> Declined:
        """Why a batch failed as a whole: lines at fault, or something that concerns them all."""
        faulty: dict[int, BackendError] = {}
        general: BackendError | None = None
        for error in map(fields, items(fields(batch.get("errors")).get("data"))):
            line, code = count(error.get("line")), text(error.get("code"))
            told = self._teller.reported(reported(_TOO_MANY if code == _QUEUE_IS_FULL else _BAD_REQUEST, error))
            told = told or self._told("invalid_request", "the batch was declined", text(error.get("message")))
            if line:
                faulty[line - 1] = told
            else:
                general = general or told
        if faulty:
            return Declined(self._told("transient", "another request of the batch was faulty"), faulty)
        return Declined(general or self._told("transient", "the batch failed without a reason"))

    async def _lines_of(self, file: str) -> AsyncGenerator[bytes, None]:
        """A file's lines; none of one that is not kept any more."""
        try:
            async with aclosing(self._lines(self._files.content(file))) as lines:
                async for line in lines:
                    yield line
        except FailedCallError as error:
            if error.status != NOT_FOUND:
                raise

    def _page(self, after: str | None) -> AbstractAsyncContextManager[RawResponse]:
        if after is None:
            return self._batches.list(limit=PAGE)
        return self._batches.list(limit=PAGE, after=after)

    def _created_s(self, batch: Mapping[str, object]) -> float:
        return float(count(batch.get("created_at")) or 0)


def events_of(response: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """A whole response as the stream that it would have been, so that both are read by the same hands."""
    for item in map(fields, items(response.get("output"))):
        for part in map(fields, items(item.get("content"))):
            kind = text(part.get("type"))
            yield {"type": f"response.{kind}.delta", "delta": part.get("refusal" if kind == "refusal" else "text")}
    yield {"type": f"response.{text(response.get('status'))}", "response": response}


def _line(request: BatchRequest) -> bytes:
    asked = {"custom_id": request.custom_id, "method": "POST", "url": _ENDPOINT, "body": request.body}
    return json.dumps(asked, ensure_ascii=False).encode() + b"\n"


def _is_answered(result: Mapping[str, object]) -> bool:
    response = fields(result.get("response"))
    return response.get("status_code") == _OK and text(fields(response.get("body")).get("status")) in _WHOLE
