"""Commits as a stream for `git fast-import`: one process writes any number of stacked commits, with no tree checked out.

Pure text making. The stream names a throw-away branch and resets it at its end, so that no ref is left behind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.values import CommitId

IDENTITY = "orchestrate <orchestrate@localhost>"
_BRANCH = "refs/orchestrate/importing"


@dataclass(frozen=True, slots=True)
class Put:
    """What a path holds after a commit: new content, or (as `str`) the id of a blob that the repository has."""

    mode: str
    content: bytes | str


@dataclass(frozen=True, slots=True)
class Draft:
    """One commit to write. In `changes` None removes the path. `at` is its date in whole seconds since the epoch."""

    message: str
    changes: Mapping[str, Put | None]
    at: int = 0


def render_stream(onto: CommitId | None, drafts: Sequence[Draft]) -> bytes:
    """The stream that stacks the drafts on `onto` (None makes a root) and prints their ids, one a line, in order."""
    return b"".join(_stream(onto, drafts))


def quote_path(path: str) -> bytes:
    """A path in git's C-style quotes, safe for every byte; bytes that are not UTF-8 come as surrogates."""
    quoted = bytearray(b'"')
    for byte in path.encode("utf-8", "surrogateescape"):
        if byte in b'"\\':
            quoted += b"\\" + bytes((byte,))
        elif 0x20 <= byte < 0x7F:
            quoted.append(byte)
        else:
            quoted += b"\\%03o" % byte
    return bytes(quoted + b'"')


def _stream(onto: CommitId | None, drafts: Sequence[Draft]) -> Iterator[bytes]:
    for number, draft in enumerate(drafts, start=1):
        yield f"commit {_BRANCH}\nmark :{number}\n".encode()
        yield f"author {IDENTITY} {draft.at} +0000\ncommitter {IDENTITY} {draft.at} +0000\n".encode()
        yield _literal(draft.message.encode("utf-8", "replace"))
        if number == 1 and onto is not None:
            yield f"from {onto}\n".encode()
        yield from _changes(draft.changes)
    for number in range(1, len(drafts) + 1):
        yield f"get-mark :{number}\n".encode()
    yield f"reset {_BRANCH}\n\ndone\n".encode()


def _changes(changes: Mapping[str, Put | None]) -> Iterator[bytes]:
    # Removals first: a folder may take the place of a file, and the other way round.
    for path, put in changes.items():
        if put is None:
            yield b"D " + quote_path(path) + b"\n"
    for path, put in changes.items():
        if put is None:
            continue
        if isinstance(put.content, str):
            yield f"M {put.mode} {put.content} ".encode() + quote_path(path) + b"\n"
        else:
            yield f"M {put.mode} inline ".encode() + quote_path(path) + b"\n" + _literal(put.content)


def _literal(content: bytes) -> bytes:
    return b"data %d\n%b\n" % (len(content), content)
