"""OpenAI's files and batches as the simulated service speaks them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import HTTP

from orchestrator.stub_server.batch_store import (
    LINES,
    BatchMember,
    BatchStore,
    RejectedError,
    Reply,
    StoredBatch,
    as_json,
    as_lines,
)
from orchestrator.stub_server.dialect import Dialect, mapping_of
from orchestrator.stub_server.http import Request
from orchestrator.stub_server.responses_api import ResponsesApi

_ENDPOINT = "/v1/responses"
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class FileBatches:
    """Batches of requests to the Responses API, out of uploaded files and into others."""

    store: BatchStore
    files: dict[str, bytes] = field(default_factory=dict)
    dialect: Dialect = field(default_factory=ResponsesApi)

    def upload(self, request: Request) -> Reply:
        """Keep a file. Raises `RejectedError`."""
        parts = _form(request)
        if parts.get("purpose") != b"batch" or "file" not in parts:
            raise RejectedError("invalid_request", "a file with the purpose 'batch' is expected")
        identity = f"file-{len(self.files) + 1:08x}"
        self.files[identity] = parts["file"]
        now = int(self.store.now())
        return as_json(
            {
                "id": identity,
                "object": "file",
                "bytes": len(parts["file"]),
                "created_at": now,
                "filename": "batch.jsonl",
                "purpose": "batch",
                "status": "processed",
            }
        )

    async def content(self, identity: str) -> Reply:
        """A file: an input, or what a batch came to, in another order than the requests. Raises `RejectedError`."""
        if identity in self.files:
            return Reply(self.files[identity], LINES)
        kind, _, owner = identity.partition("-")
        if kind not in {"output", "error"}:
            raise RejectedError("unknown_model", f"No such File object: {identity}")
        batch = await self.store.found(owner)
        wanted = (member for member in reversed(batch.members) if member.is_answered == (kind == "output"))
        return as_lines(_line(batch, member) for member in wanted)

    def create(self, body: Mapping[str, object]) -> Reply:
        """Accept a batch; one whose file is faulty fails at once. Raises `RejectedError`."""
        source = str(body.get("input_file_id", ""))
        if source not in self.files:
            raise RejectedError("invalid_request", f"input_file_id: there is no file {source!r}")
        if body.get("endpoint") != _ENDPOINT or body.get("completion_window") != "24h":
            raise RejectedError("invalid_request", f"only {_ENDPOINT} within 24h is known here")
        members, errors = _members(self.files[source])
        identity = f"batch_{len(self.store.batches) + 1:08x}"
        now, metadata = self.store.now(), mapping_of(body.get("metadata"))
        batch = StoredBatch(identity, self.dialect, _ENDPOINT, now, members, metadata, source, errors)
        return as_json(self.shown(self.store.add(batch)))

    def shown(self, batch: StoredBatch) -> Mapping[str, object]:
        """A batch as the API shows it; what is done grows with the time."""
        total, ended = len(batch.members), None if batch.ended_s is None else int(batch.ended_s)
        succeeded, failed = batch.count(succeeded=True), batch.count(succeeded=False)
        if not batch.is_ended:
            succeeded = int(total * self.store.done_share(batch))
        status = _status(batch)
        return {
            "id": batch.id,
            "object": "batch",
            "endpoint": batch.path,
            "input_file_id": batch.input_file,
            "completion_window": "24h",
            "status": status,
            "created_at": int(batch.created_s),
            "expires_at": int(batch.created_s) + _DAY_S,
            "completed_at": ended if status == "completed" else None,
            "failed_at": ended if status == "failed" else None,
            "errors": {"object": "list", "data": list(batch.errors)} if batch.errors else None,
            # An output without a line in it is left out; the absence of errors is an empty name.
            "output_file_id": f"output-{batch.id}" if batch.is_ended and succeeded else None,
            "error_file_id": f"error-{batch.id}" if batch.is_ended and failed else "",
            "request_counts": {"total": total, "completed": succeeded, "failed": failed},
            "metadata": batch.metadata,
        }


def _status(batch: StoredBatch) -> str:
    if batch.errors:
        return "failed"
    if not batch.is_ended:
        return "in_progress"
    if batch.is_cancelled:
        return "cancelled"
    return "expired" if any(member.status is None for member in batch.members) else "completed"


def _line(batch: StoredBatch, member: BatchMember) -> Mapping[str, object]:
    line: dict[str, object] = {"id": f"batch_req_{member.custom_id}", "custom_id": member.custom_id}
    if member.status is not None:
        response = {"status_code": member.status, "request_id": f"req_{member.custom_id}", "body": member.answer}
        return {**line, "response": response, "error": None}
    code = "batch_cancelled" if batch.is_cancelled else "batch_expired"
    why = "This request could not be executed before the completion window expired."
    return {**line, "response": None, "error": {"code": code, "message": why}}


def _members(content: bytes) -> tuple[list[BatchMember], list[Mapping[str, object]]]:
    """The requests of an input file, and what is wrong with its lines, numbered from 1."""
    members: list[BatchMember] = []
    errors: list[Mapping[str, object]] = []
    taken: set[str] = set()
    for number, line in enumerate(content.splitlines(), 1):
        try:
            asked = mapping_of(json.loads(line))
        except ValueError:
            errors.append(_wrong("invalid_json_line", number, "This line is not parseable as valid JSON."))
            continue
        custom_id = str(asked.get("custom_id", ""))
        if custom_id in taken:
            errors.append(_wrong("duplicate_custom_id", number, f"The custom_id {custom_id!r} is taken."))
        elif asked.get("url") != _ENDPOINT or asked.get("method") != "POST":
            errors.append(_wrong("url_mismatch", number, "The url is not that of the batch."))
        taken.add(custom_id)
        members.append(BatchMember(custom_id, mapping_of(asked.get("body"))))
    if not members and not errors:
        errors.append({"code": "empty_file", "line": None, "message": "The file is empty.", "param": None})
    return members, errors


def _wrong(code: str, line: int, message: str) -> Mapping[str, object]:
    return {"code": code, "line": line, "message": message, "param": None}


def _form(request: Request) -> Mapping[str, bytes]:
    """The parts of a multipart body by name."""
    head = f"content-type: {request.headers.get('content-type', '')}\r\n\r\n".encode("latin-1")
    message = message_from_bytes(head + request.body, policy=HTTP)
    parts = {}
    for part in message.iter_parts() if message.is_multipart() else ():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            parts[name] = content
    return parts
