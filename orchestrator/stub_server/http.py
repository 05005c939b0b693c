"""As much of HTTP/1.1 as two providers' clients use: requests with a length, answers whole or in chunks, and broken ones."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

_MAX_HEAD_BYTES = 65_536
_OVERLOADED = 529


class BadRequest(Exception):
    """What came is no request that this can read; `status` is the answer, after which the connection ends."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


async def read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_body_bytes: int
) -> Request | None:
    """Read the next request of a connection; None at its end. Raises `BadRequest`, and OSError for a lost connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise BadRequest(431, "the head is too long") from None
    if len(head) > _MAX_HEAD_BYTES:
        raise BadRequest(431, "the head is too long")
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest(400, "no HTTP/1.1 request")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, headers, max_body_bytes)
    return Request(parts[0], parts[1].partition("?")[0], headers, body)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str], limit: int) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await _read_chunks(reader, limit)
    length = headers.get("content-length", "0")
    if not length.isdecimal():
        raise BadRequest(400, "content-length is no number")
    if int(length) > limit:
        raise BadRequest(413, f"the body is larger than {limit} bytes")
    try:
        return await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        raise BadRequest(400, "the body ends early") from None


async def _read_chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    try:
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            if len(body) + size > limit:
                raise BadRequest(413, f"the body is larger than {limit} bytes")
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        raise BadRequest(400, "the chunks cannot be read") from None
    return bytes(body)


class Responder:
    """The answer to one request. `on_head` is told its status; once `is_open` is false the connection is useless."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.on_head: Callable[[int], None] = lambda _: None
        self.is_open = True

    async def send(self, status: int, headers: Mapping[str, str], body: bytes, *, length: int | None = None) -> None:
        """Send a whole answer. A `length` that is not the body's own promises more than comes: then the connection ends."""
        self._head(status, {**headers, "content-length": str(len(body) if length is None else length)})
        self._writer.write(body)
        if length is not None and length != len(body):
            await self.cut()
            return
        await self._writer.drain()

    async def send_json(self, status: int, headers: Mapping[str, str], value: object) -> None:
        """Send a value as JSON."""
        await self.send(status, {**headers, "content-type": "application/json"}, json.dumps(value).encode())

    async def start(self, headers: Mapping[str, str]) -> None:
        """Begin an answer in chunks, with status 200."""
        self._head(200, {**headers, "transfer-encoding": "chunked"})
        await self._writer.drain()

    async def chunk(self, body: bytes) -> None:
        """Send a piece. Raises ConnectionError once the client has left."""
        if self._writer.is_closing():
            raise ConnectionResetError("the client left")
        self._writer.write(b"%x\r\n%s\r\n" % (len(body), body))
        await self._writer.drain()

    async def end(self) -> None:
        """End an answer in chunks, so that it is complete."""
        self._writer.write(b"0\r\n\r\n")
        await self._writer.drain()

    async def cut(self) -> None:
        """Close the connection in the middle of what was being said."""
        self.is_open = False
        await self._writer.drain()
        self._writer.close()

    async def reset(self) -> None:
        """Break the connection off with a TCP reset."""
        self.is_open = False
        connection = self._writer.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hang(self, seconds: float) -> None:
        """Say nothing for so long, or until the client leaves; the connection is useless then."""
        self.is_open = False
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(4096):
                    pass
        except TimeoutError:
            return

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.on_head(status)
        phrase = "Overloaded" if status == _OVERLOADED else HTTPStatus(status).phrase
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        self._writer.write("\r\n".join(lines).encode("latin-1"))
