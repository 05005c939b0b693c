"""Which paths a change may name, and which names would meet on a file system that folds them.

A model states paths, and so does an agent that ran in a worktree. `git apply` accepts newlines, backslashes, names
that differ in case alone and spellings of `.git` that a Mac or Windows file system takes for the real one, so the rule
is our own and stands before anything is written.
"""

import unicodedata
from collections.abc import Iterable

from orchestrator.core.errors import OrchestratorError

MAX_PATH_BYTES = 4096
MAX_NAME_BYTES = 255

# HFS+ ignores these code points in names (git's utf8.c, next_hfs_char): `.g<U+200C>it` opens `.git` there.
_IGNORED_BY_HFS = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF],
)


class UnsafePath(OrchestratorError):
    """A change names a path that must not be written; the message says which and why, and can be shown to a model."""


def unsafe_reason(path: str) -> str | None:
    """Say why a path must not be written, or None for a plain POSIX path relative to the repository's root."""
    if not path or path.startswith("/"):
        return "must be relative to the repository's root"
    if "\\" in path:
        return "must use / and no backslash"
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in path):
        return "must not contain control characters or bytes that are not UTF-8"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"must not be longer than {MAX_PATH_BYTES} bytes"
    return next((reason for name in path.split("/") if (reason := _unsafe_name(name))), None)


def collisions(paths: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of files or folders that differ, but not for a file system that folds case or Unicode forms (NFC).

    `Lib/a.py` beside `lib/b.py` is reported once, as the folders `Lib` and `lib`.
    """
    spelled: dict[str, str] = {}
    found: set[tuple[str, str]] = set()
    for path in sorted(paths):
        for prefix in _prefixes(path):
            first = spelled.setdefault(_folded(prefix), prefix)
            if first != prefix:
                found.add((first, prefix))
                break
    return sorted(found)


def _unsafe_name(name: str) -> str | None:
    if name in {"", ".", ".."}:
        return "must not contain empty, `.` or `..` components"
    if len(name.encode()) > MAX_NAME_BYTES:
        return f"must not contain a name longer than {MAX_NAME_BYTES} bytes"
    return "must not reach into git's own folder" if _is_git_folder(name) else None


def _is_git_folder(name: str) -> bool:
    """Whether some file system takes the name for `.git`: in any case, with code points HFS ignores, or NTFS's forms."""
    plain = unicodedata.normalize("NFC", name.translate(_IGNORED_BY_HFS)).casefold()
    return plain.split(":")[0].rstrip(" .") in {".git", "git~1"}


def _folded(path: str) -> str:
    return (
        path.lower() if path.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
    )


def _prefixes(path: str) -> Iterable[str]:
    """The folders that a path lies in, outermost first, then the path."""
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)
    yield path
