"""One command at a time: bounded in time and output, and gone, with all that came of it, when this says so.

A command runs under `supervisor`, a small process of its own that ends only when every descendant has. What holds when
`run_command` returns or raises, or its caller is cancelled, and also when this program is killed by SIGKILL:

- On Linux every process that the command started, directly or not, has been killed, whatever session or group it moved
  to and whatever environment it gave itself. If the supervisor was killed itself (a command may: they run as one user),
  the command dies by the kernel's hand (`PR_SET_PDEATHSIG`), and what it started is found by a mark in the environment.
- Elsewhere the command's process group has been killed; a process that left the group may live on.
- The exit code is the command's own. A process that it left behind never turns it into a timeout.

Not promised, and a matter for confinement (a sandbox): that a command which *wants* to harm cannot. Running as the same
user it may kill any process of that user, this one included, or kill its supervisor and go on with an empty environment;
it may ask another service to work for it (`at`, `systemd-run`, a container daemon), which is then no descendant; a
process of another user (`sudo`) or in an uninterruptible call is waited for some seconds, then left, and logged.

Output is kept up to a limit, the beginning and the end of it, and the rest is counted.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

_log = logging.getLogger(__name__)
# Imported, not run as a script: byte code is kept for what is imported. The folder comes last, and hides no module.
_SUPERVISE = f"import sys; sys.path.append({str(Path(__file__).parent)!r}); import supervisor; supervisor.main()"
_MARK = "ORCHESTRATE_COMMAND"
_REPORT = re.compile(r"^(?P<kind>exit|errno) (?P<number>-?\d+) (?P<left>\d+)$", re.MULTILINE)
_CHUNK = 65_536
_POLL_S = 0.01
# The supervisor gives killed processes 5 s; one that needs longer than this is stuck, and is killed.
_END_S = 8.0
# What is still in the pipe after the last process has ended is read at once; only one that got away keeps it open.
_GRACE_S = 0.3
_SWEEPS, _SWEEP_EVERY_S = 20, 0.005
_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. `exit_code` is None when it was killed for its time; negative means a signal."""

    exit_code: int | None
    output: bytes
    timed_out: bool


class _Report(NamedTuple):
    """How the supervisor says that a command ended: `exit` and the code, or `errno` and why it could not start."""

    kind: str
    number: int


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


@dataclass(slots=True)
class _Pipe:
    """A pipe of which each end is closed once, whoever comes first."""

    read: int
    write: int

    @classmethod
    def open(cls, ends: contextlib.ExitStack) -> "_Pipe":
        pipe = cls(*os.pipe())
        ends.callback(pipe.close_read)
        ends.callback(pipe.close_write)
        return pipe

    def close_read(self) -> None:
        if self.read >= 0:
            os.close(self.read)
            self.read = -1

    def close_write(self) -> None:
        if self.write >= 0:
            os.close(self.write)
            self.write = -1


@dataclass(slots=True)
class _Output:
    """Feeds what arrives in a pipe to `take`, until its end or until nobody wants more."""

    pipe: _Pipe
    take: Callable[[bytes], None]
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self) -> None:
        os.set_blocking(self.pipe.read, False)
        asyncio.get_running_loop().add_reader(self.pipe.read, self._read)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self.pipe.read)

    def _read(self) -> None:
        try:
            chunk = os.read(self.pipe.read, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            self.take(chunk)
        else:
            self.stop()
            self.ended.set()


async def run_command(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    timeout_s: float,
    max_output_bytes: int = 262_144,
) -> Finished:
    """Run a command without a shell and return how it ended; standard error goes where standard output goes.

    Raises the OSError (FileNotFoundError, PermissionError, …) that kept it from starting: its `filename` is `argv[0]`,
    or `cwd` as a str when that is no folder. On cancellation everything is killed first.
    """
    mark = f"{os.getpid()}-{time.monotonic_ns()}-{next(_NUMBERS)}"
    kept = _Tail(max_output_bytes)
    with contextlib.ExitStack() as ends:
        control, output, report = _Pipe.open(ends), _Pipe.open(ends), _Pipe.open(ends)
        reader = _Output(output, kept.feed)
        reader.start()
        ends.callback(reader.stop)
        try:
            supervisor = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _SUPERVISE, env.get("LC_CTYPE", ""), *argv),
                cwd=str(cwd),
                env={**env, _MARK: mark},
                stdin=control.read,
                stdout=output.write,
                stderr=report.write,
                start_new_session=True,
            )
            for close in (control.close_read, output.close_write, report.close_write):
                close()
            timed_out = not await _ends_within(timeout_s, supervisor, control)
            await _drained(reader)
        finally:
            said = _read_report(report)
            if said is None:
                _sweep(mark)
    if said and said.kind == "errno":
        raise OSError(said.number, os.strerror(said.number), argv[0])
    code = said.number if said else supervisor.returncode
    _log.debug("command ended", extra={"argv": list(argv), "exit_code": code, "timed_out": timed_out})
    return Finished(None if timed_out else code, kept.text(), timed_out)


async def _ends_within(timeout_s: float, supervisor: asyncio.subprocess.Process, control: _Pipe) -> bool:
    """Wait for the end, and bring it about when the time is up or the caller is cancelled. Returns whether it came."""
    try:
        async with asyncio.timeout(timeout_s):
            await supervisor.wait()
    except TimeoutError:
        return False
    finally:
        control.close_write()
        if not await _has_ended(supervisor):
            supervisor.kill()
            await _has_ended(supervisor)
    return True


async def _has_ended(supervisor: asyncio.subprocess.Process) -> bool:
    """Wait some seconds for a supervisor that has been told to end, cancelled again or not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _END_S
    cancelled: asyncio.CancelledError | None = None
    while supervisor.returncode is None and loop.time() < until:
        try:
            await asyncio.sleep(_POLL_S)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    return supervisor.returncode is not None


async def _drained(reader: _Output) -> None:
    try:
        async with asyncio.timeout(_GRACE_S):
            await reader.ended.wait()
    except TimeoutError:
        _log.warning("a process got away from a command and keeps its output open; no longer read")


def _read_report(report: _Pipe) -> _Report | None:
    """What the supervisor wrote, which has ended; None when it came to no end of its own."""
    os.set_blocking(report.read, False)
    try:
        text = os.read(report.read, _CHUNK).decode(errors="replace")
    except BlockingIOError:
        return None
    found = _REPORT.search(text)
    if found is None:
        _log.warning("a command's supervisor ended without a report", extra={"said": text})
        return None
    if left := int(found["left"]):
        _log.warning("processes of a command could not be ended", extra={"count": left})
    return _Report(found["kind"], int(found["number"]))


def _sweep(mark: str) -> None:
    """Kill what carries the mark, again and again until nothing does: the way when a supervisor was killed itself."""
    wanted = f"{_MARK}={mark}".encode()
    for _ in range(_SWEEPS):
        found = [pid for pid in _pids() if wanted in _environment(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_SWEEP_EVERY_S)


def _pids() -> list[int]:
    proc = Path("/proc")
    return [int(place.name) for place in proc.iterdir() if place.name.isdigit()] if proc.is_dir() else []


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
