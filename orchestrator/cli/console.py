"""Standard output and error, as terminals or pipes. The only room's page that writes to them for people.

A reader may go away before the end (`orchestrate show | head -1`). Then what is left to write goes nowhere, nobody
complains, and the command ends as it would have: with its own work done, and its own exit code.
"""

import os
import sys
from io import TextIOWrapper
from typing import TextIO

from rich.console import Console

from orchestrator.views.text import clean

_deserted: set[TextIO] = set()  # those of this process's streams whose readers went away


def out() -> Console:
    """Standard output; in a pipe, lines are as long as they are."""
    console = _Outlet(highlight=False)
    return console if console.is_terminal else _Outlet(highlight=False, soft_wrap=True, width=200)


def err() -> Console:
    """Standard error, for what is said beside the result."""
    return _Outlet(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> bool:
    """Write one plain line to standard output, at once; return whether anybody is there to read it. Never raises."""
    return raw(clean(text) + "\n")


def raw(text: str) -> bool:
    """Write text as it is to standard output, for what another program reads; return as `line` does."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        stop_writing(sys.stdout)
    return sys.stdout not in _deserted


def raw_bytes(content: bytes) -> None:
    """Write bytes as they are to standard output: what is fed to another program may be in any encoding."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        stop_writing(sys.stdout)


def speak_any_encoding() -> None:
    """Where a terminal or a locale cannot show a character, show a question mark instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


def stop_writing(stream: TextIO) -> None:
    """Let a stream that nobody reads end in the null device, with what it still holds: Python flushes it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)
    _deserted.add(stream)


class _Outlet(Console):
    """A console that outlives its reader."""

    def on_broken_pipe(self) -> None:
        """Write to nowhere from now on. Rich itself would end the process with 1, which here means something else."""
        stop_writing(sys.stderr if self.stderr else sys.stdout)
