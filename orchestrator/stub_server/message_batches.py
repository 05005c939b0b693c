"""Anthropic's Message Batches as the simulated service speaks them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from orchestrator.stub_server.batch_store import (
    BatchMember,
    BatchStore,
    RejectedError,
    Reply,
    StoredBatch,
    as_json,
    as_lines,
)
from orchestrator.stub_server.dialect import Dialect, mapping_of
from orchestrator.stub_server.messages_api import MessagesApi

_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class MessageBatches:
    """Batches of requests to the Messages API; what is wrong with a single request shows in its result only."""

    store: BatchStore
    dialect: Dialect = field(default_factory=MessagesApi)

    def create(self, body: Mapping[str, object]) -> Reply:
        """Accept a batch. Raises `RejectedError`."""
        asked = body.get("requests")
        if not isinstance(asked, list) or not asked:
            raise RejectedError("invalid_request", "requests: at least one is expected")
        members = [
            BatchMember(str(mapping_of(each).get("custom_id", "")), mapping_of(mapping_of(each).get("params")))
            for each in asked
        ]
        ids = [member.custom_id for member in members]
        if len(set(ids)) < len(ids) or not all(map(_CUSTOM_ID.fullmatch, ids)):
            raise RejectedError("invalid_request", "requests: each needs a custom_id of its own")
        identity = f"msgbatch_{len(self.store.batches) + 1:08x}"
        now = self.store.now()
        return as_json(self.shown(self.store.add(StoredBatch(identity, self.dialect, "/v1/messages", now, members))))

    def shown(self, batch: StoredBatch) -> Mapping[str, object]:
        """A batch as the API shows it. Nothing counts as done before everything is."""
        total = len(batch.members)
        succeeded = batch.count(succeeded=True)
        errored = sum(member.status is not None for member in batch.members) - succeeded
        cancelled = sum(member.is_cancelled for member in batch.members)
        counts = {"processing": total, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        if batch.is_ended:
            expired = total - succeeded - errored - cancelled
            counts = {
                "processing": 0,
                "succeeded": succeeded,
                "errored": errored,
                "canceled": cancelled,
                "expired": expired,
            }
        # A path alone, so that it leads back to wherever the client found this server.
        results = f"/v1/messages/batches/{batch.id}/results" if batch.is_ended else None
        return {
            "id": batch.id,
            "type": "message_batch",
            "processing_status": "ended" if batch.is_ended else "in_progress",
            "request_counts": counts,
            "created_at": _iso(batch.created_s),
            "expires_at": _iso(batch.created_s + _DAY_S),
            "ended_at": None if batch.ended_s is None else _iso(batch.ended_s),
            "cancel_initiated_at": _iso(batch.ended_s) if batch.is_cancelled and batch.ended_s else None,
            "archived_at": None,
            "results_url": results,
        }

    async def results(self, identity: str) -> Reply:
        """The results, in another order than the requests. Raises `RejectedError`."""
        batch = await self.store.found(identity)
        if not batch.is_ended:
            raise RejectedError("unknown_model", "the results are not there yet")
        return as_lines(
            {"custom_id": member.custom_id, "result": _message_result(member)} for member in reversed(batch.members)
        )


def _message_result(member: BatchMember) -> Mapping[str, object]:
    if member.is_answered:
        return {"type": "succeeded", "message": member.answer}
    if member.status is not None:
        return {"type": "errored", "error": member.answer}
    return {"type": "canceled" if member.is_cancelled else "expired"}


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat()
