"""Batches of the simulated service, kept in memory: requests that are answered together, `batch_s` after they came.

Each request is answered as a single one would be, by the same exchange and the same brain, once the batch is asked after and its time
is over. One goes wrong by the plan of the session named `batch`, counted over all batches: with an error status it errored, in any
other way it expires.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.dialect import Dialect, UnreadableRequest, mapping_of
from orchestrator.stub_server.exchange import Exchange, House, Seen
from orchestrator.stub_server.http import Responder
from orchestrator.stub_server.prompts import DRAW_HEADER
from orchestrator.stub_server.settings import Fault, FaultKind, FaultPlan, RateLimits

SESSION = "batch"
OK = 200
JSON, LINES = "application/json", "application/x-jsonl"


class RejectedError(Exception):
    """A request is not accepted: the kind of the error and its text."""

    def __init__(self, kind: FaultKind, why: str) -> None:
        super().__init__(why)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered to a request that is accepted."""

    body: bytes
    content_type: str = JSON


def as_json(value: object) -> Reply:
    """One JSON value."""
    return Reply(json.dumps(value).encode())


def as_lines(values: Iterable[object]) -> Reply:
    """A JSON value a line."""
    return Reply(b"".join(json.dumps(value).encode() + b"\n" for value in values), LINES)


@dataclass(slots=True)
class BatchMember:
    """One request of a batch. `status` is that of its answer; None while there is none, and for good if it expired."""

    custom_id: str
    body: Mapping[str, object]
    status: int | None = None
    answer: object = None
    is_cancelled: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether it succeeded."""
        return self.status == OK


@dataclass(slots=True, eq=False)
class StoredBatch:
    """One batch. Times are in seconds since the epoch; `errors` are what is wrong with a batch that was found faulty."""

    id: str
    dialect: Dialect
    path: str
    created_s: float
    members: Sequence[BatchMember]
    metadata: Mapping[str, object] = field(default_factory=dict)
    input_file: str = ""
    errors: Sequence[Mapping[str, object]] = ()
    ended_s: float | None = None
    is_cancelled: bool = False
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_ended(self) -> bool:
        """Whether every request has come to its end."""
        return self.ended_s is not None

    def count(self, *, succeeded: bool) -> int:
        """How many requests were answered, or were not, of a batch that has ended."""
        return sum(member.is_answered == succeeded for member in self.members) if self.is_ended else 0


class BatchStore:
    """All batches of a server, in the order in which they came."""

    def __init__(self, house: House) -> None:
        self.batches: dict[str, StoredBatch] = {}
        self._clock = house.clock
        self._batch_s = house.settings.batch_s
        # The pace and the limits of single requests, and what goes wrong with them, are not for these.
        apart = {"faults": FaultPlan(), "limits": RateLimits(), "ttft_s": 0.0, "tokens_per_s": None}
        self._house = House(house.brain, house.clock, house.settings.model_copy(update=apart))
        self._answered = 0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._clock.now()

    def add(self, batch: StoredBatch) -> StoredBatch:
        """Take a batch in; one that is faulty has ended."""
        if batch.errors:
            batch.ended_s = batch.created_s
        self.batches[batch.id] = batch
        return batch

    def done_share(self, batch: StoredBatch) -> float:
        """How much of its time a batch has had, from 0 to 1."""
        return 1.0 if self._batch_s == 0 else min(1.0, (self._clock.now() - batch.created_s) / self._batch_s)

    async def bring_up(self, batch: StoredBatch) -> None:
        """Let a batch be what it is now: ended, if its time is over."""
        async with batch.turn:
            if not batch.is_ended and self.done_share(batch) >= 1:
                async with asyncio.TaskGroup() as tasks:
                    for member in batch.members:
                        self._answered += 1
                        tasks.create_task(self._answer(batch, member, self._answered))
                batch.ended_s = self._clock.now()

    async def found(self, identity: str) -> StoredBatch:
        """A batch as it is now. Raises `RejectedError`."""
        batch = self.batches.get(identity)
        if batch is None:
            raise RejectedError("unknown_model", f"No batch found with id '{identity}'.")
        await self.bring_up(batch)
        return batch

    async def listed(self, dialect: Dialect) -> Sequence[StoredBatch]:
        """All batches of a wire format as they are now, the newest first."""
        batches = [batch for batch in reversed(self.batches.values()) if batch.dialect is dialect]
        for batch in batches:
            await self.bring_up(batch)
        return batches

    async def cancel(self, batch: StoredBatch) -> None:
        """Cancel what has not ended."""
        await self.bring_up(batch)
        if not batch.is_ended:
            batch.is_cancelled = True
            batch.ended_s = self._clock.now()
            for member in batch.members:
                member.is_cancelled = True

    async def _answer(self, batch: StoredBatch, member: BatchMember, number: int) -> None:
        seen = Seen(number, SESSION, batch.path, _draw_header(member.body), member.body)
        account = Account(self._house.settings.limits, self._clock.now())
        recorder = _Recorder()
        exchange = Exchange(self._house, account, batch.dialect, seen, recorder, f"b{number:07x}")
        try:
            await exchange.answer(batch.dialect.read(member.body))
        except UnreadableRequest as error:
            await exchange.reject(Fault(kind="invalid_request"), str(error))
        member.status, member.answer = recorder.status, recorder.answer


class _Recorder(Responder):
    """Keeps the answer instead of sending it. What is no whole JSON leaves nothing."""

    def __init__(self) -> None:
        self.on_head = lambda _: None
        self.is_open = True
        self.status: int | None = None
        self.answer: object = None

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, *, length: int | None = None) -> None:  # noqa: ARG002 — nobody reads them
        if length is None:
            try:
                self.status, self.answer = status, json.loads(body)
            except ValueError:
                self.status = None

    async def reset(self) -> None:
        return

    async def hang(self, seconds: float) -> None:  # noqa: ARG002 — a batch has no time to wait
        return


def _draw_header(body: Mapping[str, object]) -> Mapping[str, str]:
    """A request in a batch has no headers of its own: the key of its random choices stands in its metadata."""
    draw = mapping_of(body.get("metadata")).get(DRAW_HEADER, mapping_of(body.get("metadata")).get("user_id"))
    return {DRAW_HEADER: draw} if isinstance(draw, str) and draw.startswith("{") else {}
