"""Objects out of one long-lived `git cat-file --batch`: a blob costs a pipe round trip instead of a process.

Safe to call from several threads. A process that died is started again; one that hangs is killed at the time limit.
"""

import subprocess
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.errors import GitError
from orchestrator.git.command import Git, kill_group

# git answers while it is still being asked; more ids at once than the pipe holds (64 KiB) would block both sides.
_IDS_AT_ONCE = 256


@dataclass(slots=True)
class ObjectReader:
    """Reads objects of one repository by id, or by anything that `git rev-parse` takes on one line."""

    git: Git
    git_dir: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _process: subprocess.Popen[bytes] | None = None

    def read(self, names: Iterable[str]) -> list[bytes]:
        """The contents, in the order asked. Raises `GitError` for a name that the repository does not have."""
        wanted = list(names)
        contents: list[bytes] = []
        with self._lock:
            for start in range(0, len(wanted), _IDS_AT_ONCE):
                contents += self._batch(wanted[start : start + _IDS_AT_ONCE])
        return contents

    def close(self) -> None:
        """End the process; a later `read` starts a new one."""
        with self._lock:
            self._stop()

    def _batch(self, names: Sequence[str]) -> list[bytes]:
        try:
            return self._ask(names)
        except (BrokenPipeError, EOFError):
            # It was killed from outside, or stopped at the time limit. Once more with a new one; then it is an error.
            self._stop()
        try:
            return self._ask(names)
        except (BrokenPipeError, EOFError):
            self._stop()
            raise GitError("git cat-file ended while it was being read: the object store may be damaged") from None

    def _ask(self, names: Sequence[str]) -> list[bytes]:
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - `start` opens all three
        watch = threading.Timer(self.git.timeout_s, process.kill)
        watch.start()
        try:
            process.stdin.write("".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
            process.stdin.flush()
            answers = [_answer(process) for _ in names]
        except BaseException:
            # Half an answer may be left in the pipe; the next question must not read it.
            process.kill()
            raise
        finally:
            watch.cancel()
        missing = [name for name, answer in zip(names, answers, strict=True) if answer is None]
        if missing:
            raise GitError(f"the repository has no object {missing[0]!r}")
        return [answer for answer in answers if answer is not None]

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._stop()
            self._process = self.git.start(["--git-dir", str(self.git_dir), "cat-file", "--batch"])
            # Nobody reads its complaints; a full pipe would stop it.
            _close(self._process.stderr)
        return self._process

    def _stop(self) -> None:
        if self._process is None:
            return
        kill_group(self._process)
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            _close(stream)
        self._process = None


def _answer(process: subprocess.Popen[bytes]) -> bytes | None:
    stdout = process.stdout
    assert stdout is not None  # noqa: S101 - `start` opens all three
    header = stdout.readline()
    if not header.endswith(b"\n"):
        raise EOFError
    words = header.rstrip(b"\n").rsplit(b" ", 2)
    if words[-1] in {b"missing", b"ambiguous"}:
        return None
    size = int(words[-1])
    content = stdout.read(size + 1)
    if len(content) != size + 1:
        raise EOFError
    return content[:-1]


def _close(stream: object) -> None:
    with suppress(BrokenPipeError):
        getattr(stream, "close", lambda: None)()
