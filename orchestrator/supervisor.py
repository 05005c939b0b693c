"""The small program that every command runs under: it starts one command, and ends with all that came of it.

`process.run_command` calls `main` in an interpreter alone (`-I -S`), so it imports next to nothing and takes some 15 ms.
On Linux it is the *subreaper* of what it starts: whatever a descendant does to get away (a second fork, `setsid`, an
empty environment), it stays a descendant of this process, which ends only when there is none left. The command dies
with it (`PR_SET_PDEATHSIG`), and it ends with its caller, since a pipe whose other end the caller holds tells it so.

    argv     the LC_CTYPE of the command's environment ("" for none; the interpreter sets one), then the command
    fd 0     control: when it is closed, everything is killed
    fd 1     the output of the command, both streams
    fd 2     the report: one line, `exit CODE LEFT`, or `errno NUMBER 0` when the command could not be started.
             CODE is negative for a signal; LEFT counts processes that could not be ended within `END_S`.

Elsewhere than on Linux there is no subreaper, and only the command's own process group is killed.
"""

import os
import select
import sys
import time
from ctypes import CDLL, c_int, c_ulong, c_void_p

END_S = 5.0
"""Time in seconds that killed processes get to go: only one in an uninterruptible call, or of another user, needs more."""

# Numbers instead of the module `signal`, whose import takes as long as all the rest: these are the same everywhere.
_SIGKILL, _SIGPIPE, _SIGXFSZ = 9, 13, 25
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_IS_LINUX = sys.platform == "linux"
_TICK_MS = 20
_REAP_EVERY_MS = 1_000


def main() -> None:
    """Run the command of `sys.argv` to its end and report it."""
    libc = CDLL(None)
    if _IS_LINUX:
        libc.prctl.argtypes = (c_int, c_ulong, c_ulong, c_ulong, c_ulong)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    report = os.dup(2)  # not inherited, as nothing that Python opens
    failed_read, failed_write = os.pipe()
    here = os.getpid()
    leader = os.fork()
    if leader == 0:
        _become(libc, here, failed_write)
    os.close(failed_write)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # the end of the output is the end of the command's processes, not of this one
    number = os.read(failed_read, 16)  # nothing, as soon as the command runs
    code = _wait(leader)
    left = _end_all(leader)
    line = f"errno {int(number)} 0\n" if number else f"exit {code} {left}\n"
    os.write(report, line.encode())
    os._exit(0)  # at once: an interpreter that takes itself down takes a millisecond or two


def _become(libc: CDLL, parent: int, failed: int) -> None:
    """Turn this process into the command, or write to `failed` why not."""
    try:
        os.setsid()
        if _IS_LINUX:
            libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)
        libc.signal.argtypes, libc.signal.restype = (c_int, c_void_p), c_void_p
        for number in (_SIGPIPE, _SIGXFSZ):  # Python ignores them, and what is ignored stays so in a new program
            libc.signal(number, None)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(1, 2)
        locale, *argv = sys.argv[1:]
        os.environ.pop("LC_CTYPE", None)  # noqa: TID251 — what the interpreter added for itself
        if locale:
            os.environ["LC_CTYPE"] = locale  # noqa: TID251 — its own, handed to it
        os.execvp(argv[0], argv)  # noqa: S606 — without a shell on purpose
    except OSError as error:
        os.write(failed, str(error.errno or 0).encode())
    finally:
        os._exit(127)


def _wait(leader: int) -> int:
    """Wait until the leader has ended, and return its exit code; when control is closed before, that of one killed."""
    waiting = select.poll()
    waiting.register(0, select.POLLIN | select.POLLHUP)
    interval = _TICK_MS
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        waiting.register(os.pidfd_open(leader), select.POLLIN)
        interval = _REAP_EVERY_MS
    while True:
        ready = waiting.poll(interval)
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == leader:
                return os.waitstatus_to_exitcode(status)
            if pid == 0:
                break
        if any(descriptor == 0 for descriptor, _ in ready):
            return -_SIGKILL


def _end_all(leader: int) -> int:
    """Kill until no descendant is left, and return how many there are after `END_S`. Killed groups cannot fork on."""
    until = time.monotonic() + END_S
    found: dict[int, int] = {}
    while time.monotonic() < until:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return 0
        found = _descendants() if _IS_LINUX else {leader: leader}
        for group in set(found.values()):
            _kill(group)
        time.sleep(0.002)
    return len(found)


def _kill(group: int) -> None:
    try:  # without contextlib: its import takes longer
        os.killpg(group, _SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _descendants() -> dict[int, int]:
    """Every process below this one, with its group."""
    below: dict[int, list[tuple[int, int]]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 — pathlib takes longer to import than all of this to run
        if not name.isdigit():
            continue
        try:
            descriptor = os.open(f"/proc/{name}/stat", os.O_RDONLY)
        except OSError:
            continue
        try:
            parent, group = map(int, os.read(descriptor, 4096).rpartition(b")")[2].split()[1:3])
        except (OSError, ValueError):
            continue
        finally:
            os.close(descriptor)
        below.setdefault(parent, []).append((int(name), group))
    found: dict[int, int] = {}
    pending = [os.getpid()]
    while pending:
        for pid, group in below.get(pending.pop(), ()):
            found[pid] = group
            pending.append(pid)
    return found
