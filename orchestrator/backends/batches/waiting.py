"""Who waits for which request: the state of the batches, without waiting and without I/O.

A request that comes in (`enter`) takes the result of an equal one that was asked for before and is not given yet: a stored result
first, then a seat in a batch that is known to be there, then one in a batch that may be there. Only if there is none is it gathered
for a new batch. Equal means: the same JSON would be sent. Every seat is given once in a process, so two samples of one prompt are two
requests; a process that resumes begins with all stored results, since nobody knows which of them the last one still used.

A request that is given up leaves its seat to the next equal one: it is paid for.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.backends.batches.ledger import NotedBatch
from orchestrator.backends.batches.provider import BatchId, BatchName, BatchResult
from orchestrator.core.errors import BackendError, EnvironmentFault
from orchestrator.core.values import Digest
from orchestrator.ports import Meter

Outcome = str | EnvironmentFault
"""The text of a result, or why there is none."""


@dataclass(slots=True, eq=False)
class Request:
    """One request that somebody waits for. `size` is in bytes, `came_s` on the event loop's clock."""

    body: Mapping[str, object]
    digest: Digest
    size: int
    came_s: float
    meter: Meter
    answer: asyncio.Future[Outcome]
    seat: "Seat | None" = None

    @property
    def is_waiting(self) -> bool:
        """Whether no answer came yet."""
        return not self.answer.done()


@dataclass(slots=True, eq=False)
class Seat:
    """One request of a batch, and who waits for it now. `is_stored`: its result is in the ledger."""

    batch: "Batch"
    number: int
    digest: Digest
    request: Request | None = None
    is_stored: bool = False
    is_failed: bool = False

    @property
    def is_settled(self) -> bool:
        """Whether its result came."""
        return self.is_stored or self.is_failed

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for what has not come yet."""
        return self.request is not None and not self.is_settled and self.request.is_waiting


@dataclass(slots=True, eq=False)
class Batch:
    """A batch that is open. `id` is None while it is not known whether it was accepted; `noted_s` is on the clock.

    The rest is the driver's: when to look next and how long to pause then, both on the loop's clock, since when it is sought, how often
    in a row it was not what it should be, and why its submission failed.
    """

    name: BatchName
    noted_s: float
    id: BatchId | None = None
    seats: dict[int, Seat] = field(default_factory=dict)
    look_s: float = 0.0
    pause_s: float = 0.0
    sought_s: float | None = None
    doubts: int = 0
    error: BackendError | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits for a result of it."""
        return any(seat.is_awaited for seat in self.seats.values())

    def tell(self, note: str) -> None:
        """Show a note to everybody who waits for it."""
        for seat in self.seats.values():
            if seat.is_awaited and seat.request is not None:
                seat.request.meter.note = note


class WaitingRoom:
    """All requests and batches of one model. `gathered` are those that go into the next batch, in order."""

    def __init__(self) -> None:
        self.gathered: list[Request] = []
        self.batches: dict[BatchName, Batch] = {}
        self._free: dict[Digest, list[Seat]] = {}

    @property
    def is_occupied(self) -> bool:
        """Whether anybody waits for something that the provider has to say."""
        return bool(self.gathered) or any(batch.is_awaited for batch in self.batches.values())

    def adopt(self, noted: NotedBatch) -> None:
        """Take in a batch that the ledger has from before."""
        batch = Batch(noted.name, noted.noted_s, noted.batch)
        for request in noted.requests:
            seat = Seat(batch, request.number, request.digest, is_stored=request.is_stored)
            batch.seats[request.number] = seat
            self._release(seat)
        if not noted.is_closed:
            self.batches[batch.name] = batch

    def enter(self, request: Request) -> None:
        """Give a request its seat, or gather it for the next batch."""
        seats = self._free.get(request.digest)
        if not seats:
            self.gathered.append(request)
            request.meter.note = "waits for its batch to fill"
            return
        seat = min(seats, key=_rank)
        self._take(seat)
        seat.request, request.seat = request, seat
        request.meter.note = f"waits for batch {seat.batch.id or seat.batch.name}"

    def leave(self, request: Request) -> None:
        """A request goes without a result; a seat that may still get one is free again."""
        seat = request.seat
        if seat is None:
            self.gathered = [other for other in self.gathered if other is not request]
            return
        seat.request = None
        if seat.is_stored or (not seat.is_failed and self.batches.get(seat.batch.name) is seat.batch):
            self._release(seat)

    def take(self, most: int, most_bytes: int) -> Sequence[Request]:
        """Take the first requests that were gathered: as many as fit, and at least one, if anybody still waits."""
        taken, size = 0, 0
        self.gathered = [request for request in self.gathered if request.is_waiting]
        for request in self.gathered[:most]:
            size += request.size
            if taken and size > most_bytes:
                break
            taken += 1
        requests, self.gathered = self.gathered[:taken], self.gathered[taken:]
        return requests

    def open(self, name: BatchName, noted_s: float, requests: Sequence[Request]) -> Batch:
        """Seat requests in a new batch."""
        batch = self.batches[name] = Batch(name, noted_s)
        for number, request in enumerate(requests):
            seat = batch.seats[number] = Seat(batch, number, request.digest, request)
            request.seat = seat
        return batch

    def settle(self, seat: Seat, result: BatchResult) -> None:
        """The result of a seat came. An answer, which is stored, waits for an equal request if nobody waits for it now."""
        if result.is_answered:
            seat.is_stored = True
            _answer(seat, result.text)
        else:
            self.reject(seat, result.text)

    def reject(self, seat: Seat, outcome: Outcome) -> None:
        """Nothing was paid for a seat, and an equal request is to be asked anew."""
        seat.is_failed = True
        self._take(seat)
        _answer(seat, outcome)

    def fail(self, batch: Batch, error: EnvironmentFault) -> None:
        """Tell everybody who waits for a batch that it cannot be asked after now; the batch stays."""
        for seat in batch.seats.values():
            if seat.is_awaited:
                _answer(seat, error)

    def fail_all(self, error: EnvironmentFault) -> None:
        """Tell everybody that it cannot go on."""
        for request in self.gathered:
            # One that was just cancelled may not have left yet.
            if request.is_waiting:
                request.answer.set_result(error)
        self.gathered.clear()
        for batch in self.batches.values():
            self.fail(batch, error)

    def forget(self, batch: Batch) -> Sequence[Request]:
        """Nothing more comes of a batch; return who still waits for it. Its stored results stay."""
        del self.batches[batch.name]
        waiting = []
        for seat in batch.seats.values():
            if not seat.is_settled:
                self._take(seat)
            if seat.is_awaited and seat.request is not None:
                waiting.append(seat.request)
                seat.request.seat = None
                seat.request = None
        return waiting

    def gather_again(self, requests: Sequence[Request]) -> None:
        """Gather requests for the next batch, before those that came later."""
        self.gathered = [*requests, *self.gathered]
        for request in requests:
            request.meter.note = "waits for its batch to be submitted"

    def _release(self, seat: Seat) -> None:
        self._free.setdefault(seat.digest, []).append(seat)

    def _take(self, seat: Seat) -> None:
        """Take a seat out of those that are free, if it is one."""
        seats = self._free.get(seat.digest, [])
        if seat in seats:
            seats.remove(seat)
        if not seats:
            self._free.pop(seat.digest, None)


def _rank(seat: Seat) -> int:
    if seat.is_stored:
        return 0
    return 1 if seat.batch.id is not None else 2


def _answer(seat: Seat, outcome: Outcome) -> None:
    if seat.request is not None and seat.request.is_waiting:
        seat.request.answer.set_result(outcome)
