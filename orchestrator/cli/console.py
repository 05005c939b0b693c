"""Standard output and error, as terminals or pipes. The only room's page that writes to them for people."""

import os
import sys

from rich.console import Console

from orchestrator.views.text import clean


def out() -> Console:
    """Standard output; in a pipe, lines are as long as they are."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=200)


def err() -> Console:
    """Standard error, for what is said beside the result."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def line(text: str) -> None:
    """Write one plain line to standard output, at once."""
    sys.stdout.write(clean(text) + "\n")
    sys.stdout.flush()


def raw(text: str) -> None:
    """Write text as it is to standard output: for what another program reads."""
    sys.stdout.write(text)
    sys.stdout.flush()


def stop_writing() -> None:
    """Leave a closed pipe alone from now on: the interpreter flushes standard output when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
