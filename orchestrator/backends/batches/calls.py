"""What both providers' batch APIs share: calls that are bounded in time and judged, lists that are read to the end, lines of JSON.

It stands on the same client, tables and words as single requests (`wire`), so a fault means the same here. Bodies are read as what they
are, JSON from somebody else: the SDKs' types check nothing, and take a proxy's page for an answer.
"""

import asyncio
import json
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from typing import Protocol, cast

import httpx2

from orchestrator.backends.batches.provider import Refused, Sought, Submission, Unclear
from orchestrator.backends.wire.api_model import ApiModel, Reply
from orchestrator.backends.wire.faults import Reported, reported
from orchestrator.backends.wire.streams import fields, text
from orchestrator.backends.wire.wire_faults import fault_in
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError, BackendFault

NOT_FOUND = 404
# How far the provider's clock may be from ours.
SKEW_S = 300.0
PAGE = 100
_MAX_PAGES = 1_000
# Before anything of the request was sent.
_UNSENT: tuple[type[Exception], ...] = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
    httpx2.InvalidURL,
    UnicodeEncodeError,
)
# These statuses say that something went wrong with a request that may have been taken.
_UNSURE_STATUSES = frozenset({408, 409, 425, 499})


class FailedCallError(BackendError):
    """A call that failed. `status` is the HTTP status, None where no answer came; `is_unsent`: it never got as far as the provider."""

    def __init__(self, error: BackendError, status: int | None, *, is_unsent: bool) -> None:
        super().__init__(str(error), kind=error.kind, retry_after_s=error.retry_after_s)
        self.status = status
        self.is_unsent = is_unsent

    @property
    def is_certain(self) -> bool:
        """Whether what was asked for was certainly not done."""
        if self.is_unsent or (self.status is not None and self.kind in {"rate_limit", "overloaded"}):
            return True
        return self.status is not None and 300 <= self.status < 500 and self.status not in _UNSURE_STATUSES


class RawResponse(Protocol):
    """A response whose head is there, as both SDKs give it."""

    async def read(self) -> bytes:
        """The whole body."""
        ...

    def iter_bytes(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        ...


class BatchCalls(ApiModel):
    """A model's batch API; a subclass is a model of that provider as well, and shares its client."""

    @property
    def place(self) -> str:
        """Which service this is."""
        return f"{self._settings.backend} {self._settings.base_url}"

    @asynccontextmanager
    async def _calling(self, limit_s: float) -> AsyncIterator[None]:
        """Judge what goes wrong inside. Raises `FailedCallError`; no generator may yield inside."""
        scope = asyncio.timeout(max(0.0, limit_s))
        try:
            async with scope:
                try:
                    yield
                except self._errors as error:
                    raise self._failed(error) from None
        except TimeoutError:
            if not scope.expired():
                raise
            what = f"{self.name}: no answer about a batch within {limit_s:g} s"
            raise FailedCallError(BackendError(what, kind="stall"), None, is_unsent=False) from None

    async def _object(
        self, call: AbstractAsyncContextManager[RawResponse], limit_s: float | None = None
    ) -> Mapping[str, object]:
        """The JSON object that a call answers with."""
        async with self._calling(limit_s or self._settings.first_byte_s), call as response:
            return fields(json.loads(await response.read()))

    async def _lines(self, call: AbstractAsyncContextManager[RawResponse]) -> AsyncGenerator[bytes, None]:
        """The lines of a file as they come. Raises `FailedCallError`, in the middle as well."""
        settings = self._settings
        end = asyncio.get_running_loop().time() + settings.deadline_s
        async with AsyncExitStack() as opened:
            async with self._calling(settings.first_byte_s):
                response = await opened.enter_async_context(call)
            chunks = cast(AsyncGenerator[bytes, None], response.iter_bytes())
            await opened.enter_async_context(aclosing(chunks))
            rest = b""
            while (chunk := await self._chunk(chunks, end)) is not None:
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line
            yield rest

    async def _chunk(self, chunks: AsyncIterator[bytes], end: float) -> bytes | None:
        left_s = end - asyncio.get_running_loop().time()
        async with self._calling(min(self._settings.idle_s, left_s)):
            return await anext(chunks, None)

    async def _listed(self, since: float) -> Sequence[Mapping[str, object]]:
        """The batches that were created since then, and perhaps some that are older. Raises `FailedCallError`.

        Reading ends early only where the list is seen to go from new to old.
        """
        found: list[Mapping[str, object]] = []
        after: str | None = None
        for _ in range(_MAX_PAGES):
            page = await self._object(self._page(after))
            listed = page.get("data")
            if not isinstance(listed, list):
                raise self._malformed("no list of batches")
            batches = [fields(each) for each in listed]
            found += batches
            created = [self._created_s(batch) for batch in batches]
            is_falling = created[:1] >= created[-1:]
            last = text(batches[-1].get("id")) if batches else ""
            if page.get("has_more") is not True or last in {"", after}:
                break
            if is_falling and created and max(created) < since:
                break
            after = last
        return found

    def _submission_of(self, error: FailedCallError) -> Submission:
        return Refused(error) if error.is_certain else Unclear(error)

    def _id_in(self, created: Mapping[str, object], besides: str) -> str:
        """The id of what was just created, which must have that field as well. Raises `FailedCallError` where there is none."""
        identity = text(created.get("id"))
        if not identity or not text(created.get(besides)):
            raise self._malformed("no id of what was created")
        return identity

    def _malformed(self, what: str) -> FailedCallError:
        error = self._teller.broken("malformed_response", f"the answer holds {what}; is base_url right?")
        return FailedCallError(error, 200, is_unsent=False)

    def _read(self, prompt: Prompt, reply: Reply) -> Completion:
        """What a reply comes to. Raises `BackendError`."""
        outcome = self._outcome(prompt, reply, None)
        if isinstance(outcome, BackendError):
            raise outcome
        return outcome

    def _failure(self, status: int, error: Mapping[str, object]) -> Completion:
        """What a request's own error comes to: a refusal is a result. Raises `BackendError` for anything else."""
        told = self._teller.reported(reported(status, error))
        if told is not None:
            raise told
        return self._completion(self._reply(), "refusal")

    def _told(self, kind: BackendFault, what: str, detail: str = "") -> BackendError:
        return self._teller.broken(kind, what, detail)

    def _failed(self, error: Exception) -> FailedCallError:
        is_unsent = any(isinstance(cause, _UNSENT) for cause in _causes(error))
        failure: Reported | None = self._reported(error)
        if failure is not None:
            told = self._teller.reported(failure)
            # A batch is no prompt that a model could refuse.
            told = told or self._teller.broken("invalid_request", "the batch was declined", failure.message)
            return FailedCallError(told, failure.status, is_unsent=is_unsent)
        kind, what = fault_in(self.faults, error)
        cause = error.__cause__ or error
        return FailedCallError(
            self._teller.broken(kind, what, str(cause) or type(cause).__name__), None, is_unsent=is_unsent
        )

    @abstractmethod
    def _page(self, after: str | None) -> AbstractAsyncContextManager[RawResponse]:
        """A page of the list of batches, after the batch of that id."""

    @abstractmethod
    def _created_s(self, batch: Mapping[str, object]) -> float:
        """When a batch of the list was created, in seconds since the epoch; 0 if it does not say."""


def earliest_s(sought: Sought) -> float:
    """When a batch that is sought can have been created at the earliest."""
    return sought.noted_s - SKEW_S


def line_of(line: bytes) -> tuple[str, Mapping[str, object]]:
    """A line of results as text and as JSON; nothing for what is no JSON object."""
    try:
        said = line.decode()
        return said, fields(json.loads(said))
    except (ValueError, RecursionError):
        return "", {}


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes
