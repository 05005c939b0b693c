"""The one task that talks to a provider's batch API: it submits what was gathered, asks after it, and hands out the results.

    gathered ── note ── submit ─┬─ accepted ── poll … ended ── results ── answers
                                ├─ refused ─── gathered again, later
                                └─ unclear ─── sought in the provider's list ─┬─ found ── poll …
                                                                              └─ absent ── gathered again

It goes on while anybody waits, and ends when nobody does. What fails and may work later is asked again at growing intervals; what
cannot work until a person acts (a key, a bill) is told to those who wait, and the batch stays in the ledger for the next process.
Only batches that somebody waits for are asked after.

A batch is submitted again only when it is certain, or after a search of `search_s`, that it was not accepted. What remains uncertain:

- A batch that shows in the provider's list later than that is paid for twice.
- Where the provider knows no name of ours, a batch of unknown fate is recognised by its results, among those of its size and of its
  minutes; one that was created when the clocks were further apart than `calls.SKEW_S` is not.
- A process that dies between the last result and the ledger's note of it gives a request that failed then its old failure once more.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import assert_never

from orchestrator.backends.batches.ledger import BatchLedger
from orchestrator.backends.batches.provider import (
    Absent,
    Accepted,
    BatchId,
    BatchProvider,
    BatchRequest,
    BatchResult,
    Declined,
    Ended,
    Found,
    Gone,
    Refused,
    Running,
    Sought,
    Unclear,
    Undecided,
    custom_id,
    number_in,
)
from orchestrator.backends.batches.settings import BatchSettings
from orchestrator.backends.batches.waiting import Batch, Request, WaitingRoom
from orchestrator.core.errors import BackendError, EnvironmentFault
from orchestrator.ports import Clock

_log = logging.getLogger(__name__)
_GROWTH = 1.5
# A batch that is not known, or a result that is missing, is believed the third time.
_DOUBTS = 3
# So many results are stored in one transaction.
_STORED_AT_ONCE = 64
_LOOKS_A_SEARCH = 4
_MINUTE_S, _HOUR_S = 60, 3600


class BatchDriver:
    """Drives the batches of one model. Only `drive` changes the room's batches, and it runs once at a time."""

    def __init__(
        self, provider: BatchProvider, ledger: BatchLedger, settings: BatchSettings, clock: Clock, room: WaitingRoom
    ) -> None:
        self._provider = provider
        self._ledger = ledger
        self._settings = settings
        self._clock = clock
        self._room = room
        self._most = min(settings.max_requests, provider.max_requests)
        self._woken = asyncio.Event()
        self._has_submitted = asyncio.Event()
        self._has_submitted.set()
        self._not_before = 0.0
        self._failures = 0
        self._refusals = 0

    def wake(self) -> None:
        """Something changed in the room."""
        self._woken.set()

    async def wait_submitted(self) -> None:
        """Return when no submission is under way."""
        await self._has_submitted.wait()

    async def drive(self) -> None:
        """Work while anybody waits. Cancelled, it leaves everything to the ledger."""
        try:
            while self._room.is_occupied:
                self._woken.clear()
                if self._gathered_due() <= _now():
                    await self._submit()
                for batch in self._due():
                    await self._look(batch)
                await self._rest()
        except EnvironmentFault as error:
            # The ledger is broken: without it nothing may be paid for.
            self._room.fail_all(error)

    def _gathered_due(self) -> float:
        """When the next batch goes out, on the loop's clock."""
        gathered = self._room.gathered
        if not gathered:
            return math.inf
        is_full = len(gathered) >= self._most or sum(each.size for each in gathered) >= self._provider.max_bytes
        due = min(
            gathered[-1].came_s + self._settings.collect_s,
            gathered[0].came_s + self._settings.max_collect_s,
        )
        return max(0.0 if is_full else due, self._not_before)

    def _due(self) -> Sequence[Batch]:
        now = _now()
        return [batch for batch in self._room.batches.values() if batch.look_s <= now and batch.is_awaited]

    async def _rest(self) -> None:
        looks = (batch.look_s for batch in self._room.batches.values() if batch.is_awaited)
        due = min((self._gathered_due(), *looks))
        if due < math.inf:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._woken.wait()

    async def _submit(self) -> None:
        requests = self._room.take(self._most, self._provider.max_bytes)
        if not requests:
            return
        batch = self._room.open(self._ledger.new_name(), self._clock.now(), requests)
        members = [BatchRequest(custom_id(batch.name, number), each.body) for number, each in enumerate(requests)]
        self._has_submitted.clear()
        try:
            digests = [request.digest for request in requests]
            await self._ledger.note(batch.name, self._provider.place, batch.noted_s, digests)
            batch.tell(f"batch {batch.name}: {len(requests)} requests are being submitted")
            submission = await self._provider.submit(batch.name, members)
            match submission:
                case Accepted(batch=accepted):
                    await self._accepted(batch, accepted)
                case Refused(error=error):
                    await self._refused(batch, error)
                case Unclear(error=error):
                    _log.warning("it is not known whether a batch was accepted", extra={"batch": batch.name})
                    batch.error = error
                    self._failures += 1
                case _:
                    assert_never(submission)
        finally:
            self._has_submitted.set()

    async def _accepted(self, batch: Batch, accepted: BatchId) -> None:
        batch.id = accepted
        self._failures = self._refusals = 0
        await self._ledger.submitted(batch.name, accepted)
        batch.tell(f"batch {accepted}: 0 of {len(batch.seats)} done")
        self._schedule(batch)

    async def _refused(self, batch: Batch, error: BackendError, faulty: Mapping[int, BackendError] = {}) -> None:
        """Nothing of a batch was accepted: its requests go again, later, unless that cannot help."""
        await self._ledger.close_batch(batch.name)
        for number, fault in faulty.items():
            if number in batch.seats:
                self._room.reject(batch.seats[number], fault)
        size = len(batch.seats)
        requests = self._room.forget(batch)
        if error.kind != "rate_limit":
            self._failures += 1
        self._refusals += 1
        pause_s = self._settings.poll_s * 2.0 ** min(self._refusals - 1, 16)
        self._not_before = _now() + self._bounded(max(pause_s, error.retry_after_s or 0.0))
        self._gather_again(requests, _about_all(error, size))

    def _gather_again(self, requests: Sequence[Request], error: BackendError) -> None:
        if error.is_retryable and self._failures < self._settings.submit_tries:
            self._room.gather_again(requests)
            return
        self._failures = self._refusals = 0
        for request in requests:
            request.answer.set_result(error)

    async def _look(self, batch: Batch) -> None:
        """Ask after one batch."""
        try:
            if batch.id is None:
                await self._seek(batch)
            else:
                await self._poll(batch, batch.id)
        except BackendError as error:
            _log.info("a batch could not be asked after", extra={"batch": batch.name, "fault": error.kind})
            self._schedule(batch, error.retry_after_s or 0.0)
            if not error.is_retryable:
                self._room.fail(batch, error)

    async def _seek(self, batch: Batch) -> None:
        known = frozenset(each.id for each in self._room.batches.values() if each.id is not None)
        batch.sought_s = _now() if batch.sought_s is None else batch.sought_s
        found = await self._provider.find(Sought(batch.name, len(batch.seats), batch.noted_s, known))
        match found:
            case Found(batch=accepted):
                await self._accepted(batch, accepted)
                batch.look_s = _now()
            case Undecided(batches=count):
                batch.tell(f"batch {batch.name}: perhaps submitted; waits for {count} to end that may be it")
                self._schedule(batch)
            case Absent():
                await self._absent(batch, batch.sought_s)
            case _:
                assert_never(found)

    async def _absent(self, batch: Batch, sought_s: float) -> None:
        search_s = self._settings.search_s
        if _now() - sought_s < search_s:
            batch.tell(f"batch {batch.name}: perhaps submitted; looks for it")
            batch.look_s = _now() + min(search_s / _LOOKS_A_SEARCH, self._settings.poll_s)
            return
        _log.info("a batch was not accepted; its requests go again", extra={"batch": batch.name})
        await self._ledger.close_batch(batch.name)
        error = batch.error or BackendError(f"{self._provider.name}: the batch was not accepted", kind="transient")
        self._gather_again(self._room.forget(batch), error)

    async def _poll(self, batch: Batch, known: BatchId) -> None:
        state = await self._provider.poll(known)
        match state:
            case Running(done=done, total=total):
                batch.doubts = 0
                batch.tell(
                    f"batch {known}: {done} of {total or len(batch.seats)} done, {_age(self._clock.now() - batch.noted_s)}"
                )
                self._schedule(batch)
            case Ended():
                await self._read_results(batch, known)
            case Declined(error=error, faulty=faulty):
                await self._refused(batch, error, faulty)
            case Gone():
                await self._doubted(batch, f"the provider has no batch {known} any more, or not its results")
            case _:
                assert_never(state)

    async def _read_results(self, batch: Batch, known: BatchId) -> None:
        read: list[BatchResult] = []
        async with aclosing(self._provider.results(known)) as results:
            async for result in results:
                read.append(result)
                if len(read) >= _STORED_AT_ONCE:
                    await self._keep(batch, read)
                    read = []
        await self._keep(batch, read)
        if all(seat.is_settled for seat in batch.seats.values()):
            await self._ledger.close_batch(batch.name)
            self._room.forget(batch)
        else:
            await self._doubted(batch, f"batch {known} ended without a result for this request")

    async def _keep(self, batch: Batch, results: Sequence[BatchResult]) -> None:
        """Store the answers, then give all results to those who wait."""
        numbered = [(number_in(result.custom_id, batch.name), result) for result in results]
        came = {number: result for number, result in numbered if number is not None and number in batch.seats}
        answered = {number: result.text for number, result in came.items() if result.is_answered}
        if answered:
            await self._ledger.keep(batch.name, answered)
        for number, result in came.items():
            if not batch.seats[number].is_settled:
                self._room.settle(batch.seats[number], result)

    async def _doubted(self, batch: Batch, why: str) -> None:
        """What was promised is not there: look again, and give it up the third time."""
        batch.doubts += 1
        if batch.doubts < _DOUBTS:
            self._schedule(batch)
            return
        await self._ledger.close_batch(batch.name)
        error = BackendError(f"{self._provider.name}: {why}", kind="transient")
        for request in self._room.forget(batch):
            request.answer.set_result(error)

    def _schedule(self, batch: Batch, at_least_s: float = 0.0) -> None:
        """Look again after a pause that grows each time."""
        batch.pause_s = self._bounded(max(batch.pause_s * _GROWTH, self._settings.poll_s))
        batch.look_s = _now() + self._bounded(max(batch.pause_s, at_least_s))

    def _bounded(self, seconds: float) -> float:
        return min(seconds, self._settings.max_poll_s)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _about_all(error: BackendError, size: int) -> BackendError:
    """What is said of a whole batch is not said of each of its prompts."""
    if error.kind != "context_too_long" or size == 1:
        return error
    return BackendError(
        f"a batch of {size} requests is too large ({error}); lower max_requests", kind="invalid_request"
    )


def _age(seconds: float) -> str:
    return f"{seconds / _MINUTE_S:.0f} min" if seconds < 2 * _HOUR_S else f"{seconds / _HOUR_S:.1f} h"
