"""One child process: its own group, bounded in time and output, gone when this says so.

What a gate starts may start more; the whole group is killed when the command ends, is too slow, or the caller is
cancelled. Output is kept up to a limit, the beginning and the end of it, and the rest is counted.
"""

import asyncio
import contextlib
import logging
import os
import signal
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_log = logging.getLogger(__name__)
_CHUNK = 65_536
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. `exit_code` is None when it was killed for its time; negative means a signal."""

    exit_code: int | None
    output: bytes
    timed_out: bool


@dataclass(slots=True)
class _Tail:
    """The first and the last half of what was written, at most `limit` bytes in all."""

    limit: int
    head: bytearray = field(default_factory=bytearray)
    tail: deque[bytes] = field(default_factory=deque)
    kept: int = 0
    dropped: int = 0

    def feed(self, chunk: bytes) -> None:
        room = self.limit // 2 - len(self.head)
        self.head += chunk[:room] if room > 0 else b""
        rest = chunk[max(room, 0) :]
        if rest:
            self.tail.append(rest)
            self.kept += len(rest)
        while self.tail and self.kept - len(self.tail[0]) >= self.limit // 2:
            gone = self.tail.popleft()
            self.kept -= len(gone)
            self.dropped += len(gone)

    def text(self) -> bytes:
        end = b"".join(self.tail)
        excess = max(0, len(end) - self.limit // 2)
        dropped = self.dropped + excess
        note = f"\n[… {dropped} bytes left out …]\n".encode() if dropped else b""
        return bytes(self.head) + note + end[excess:]


async def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    max_output_bytes: int = 262_144,
) -> Finished:
    """Run a command without a shell and return how it ended; standard error goes where standard output goes.

    Raises FileNotFoundError and PermissionError when it cannot be started. On cancellation the group is killed first.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=dict(env),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    kept = _Tail(max_output_bytes)
    timed_out = False
    try:
        async with asyncio.timeout(timeout_s):
            await _read(process, kept)
            await process.wait()
    except TimeoutError:
        timed_out = True
    finally:
        _kill_group(process.pid)
        await asyncio.shield(process.wait())
    code = None if timed_out else process.returncode
    _log.debug("command ended", extra={"argv": list(argv), "exit_code": code, "timed_out": timed_out})
    return Finished(code, kept.text(), timed_out)


async def _read(process: asyncio.subprocess.Process, kept: _Tail) -> None:
    """Read to the end of the output; once the leader has ended, what it left behind is killed, so that the end comes."""
    stream = process.stdout
    if stream is None:
        return
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(_end_group(process))
        while chunk := await stream.read(_CHUNK):
            kept.feed(chunk)
        watch.cancel()


async def _end_group(process: asyncio.subprocess.Process) -> None:
    """Wait for the leader itself: `Process.wait` waits for the pipe as well, which a background child keeps open."""
    while process.returncode is None:  # noqa: ASYNC110 — asyncio has no event for it
        await asyncio.sleep(_POLL_S)
    _kill_group(process.pid)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
