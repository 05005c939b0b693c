r"""What `git diff-tree` says, as values: the paths that changed, and the non-blank lines that came and went.

One process gives both: `--raw` lists the changes, `-p -U0` holds the lines. Lines are counted by the blobs that the
`index` line names and by the lengths that each hunk announces, so no content, however it looks, can be taken for a
header; paths come C-quoted and therefore on one line each. A binary file counts as 0 lines.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from orchestrator.core.paths import UnsafePath
from orchestrator.core.values import FileChange

DIFF_OPTIONS: Sequence[str] = (
    *("-r", "--raw", "-p", "-U0", "--no-renames", "--no-abbrev", "--full-index"),
    *("--no-ext-diff", "--no-textconv", "--no-color", "--diff-algorithm=myers"),
)
_HUNK = re.compile(rb"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")
_INDEX = re.compile(rb"index ([0-9a-f]+)\.\.([0-9a-f]+)")
_COMMIT = re.compile(rb"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_ESCAPE = re.compile(rb'\\([0-7]{3}|[abfnrtv"\\])')
_LETTERS = {b"a": 7, b"b": 8, b"t": 9, b"n": 10, b"v": 11, b"f": 12, b"r": 13, b'"': 34, b"\\": 92}
_Counts = tuple[int, int]


@dataclass(slots=True)
class _Section:
    """What is known of one pair of commits: raw lines, and the counts (added, deleted) of each pair of blobs."""

    raw: list[bytes] = field(default_factory=list)
    counts: dict[tuple[str, str], _Counts] = field(default_factory=dict)
    pair: tuple[str, str] = ("", "")

    def take(self, line: bytes, rest: Iterator[bytes]) -> None:
        """Take in a line that is no content; a hunk's header takes its content off `rest`."""
        if line.startswith(b":"):
            self.raw.append(line)
        elif index := _INDEX.match(line):
            self.pair = (index[1].decode(), index[2].decode())
            self.counts[self.pair] = (0, 0)  # the same pair may stand behind several paths; each states it in full
        elif hunk := _HUNK.match(line):
            before, after = self.counts[self.pair]
            added, deleted = _count(rest, int(hunk[1] or 1), int(hunk[2] or 1))
            self.counts[self.pair] = (before + added, after + deleted)


def parse_differences(output: bytes) -> list[tuple[FileChange, ...]]:
    """The changes of each commit that `git diff-tree --stdin` was asked about, in order.

    Raises `UnsafePath` where a changed path is not UTF-8.
    """
    return [_file_changes(section) for section in _sections(output)]


def _sections(output: bytes) -> Iterator[_Section]:
    lines = iter(output.split(b"\n"))
    section: _Section | None = None
    for line in lines:
        if _COMMIT.match(line):
            if section is not None:
                yield section
            section = _Section()
        elif section is not None:
            section.take(line, lines)
    if section is not None:
        yield section


def _count(lines: Iterator[bytes], old: int, new: int) -> _Counts:
    """Take a hunk's lines off and count the non-blank ones."""
    added = deleted = 0
    while old or new:
        line = next(lines)
        if line.startswith(b"-"):
            old -= 1
            deleted += bool(line[1:].strip())
        elif line.startswith(b"+"):
            new -= 1
            added += bool(line[1:].strip())
    return added, deleted


def _file_changes(section: _Section) -> tuple[FileChange, ...]:
    return tuple(_file_change(line, section) for line in section.raw)


def _file_change(line: bytes, section: _Section) -> FileChange:
    head, quoted = line.split(b"\t", 1)
    old_mode, new_mode, old_blob, new_blob, _ = head[1:].decode().split(" ")
    added, deleted = _lines_of(old_mode, new_mode, old_blob, new_blob, section)
    return FileChange(
        path=_unquoted(quoted),
        old_mode=_present(old_mode),
        new_mode=_present(new_mode),
        old_blob=_present(old_blob),
        new_blob=_present(new_blob),
        added_lines=added,
        deleted_lines=deleted,
    )


def _lines_of(old_mode: str, new_mode: str, old_blob: str, new_blob: str, section: _Section) -> _Counts:
    nothing = "0" * len(old_blob)
    if _is_regular(old_mode) and _is_regular(new_mode):
        return section.counts.get((old_blob, new_blob), (0, 0))
    # A file that came, went, or changed its kind: git shows a kind that changes as a removal and an addition.
    added = section.counts.get((nothing, new_blob), (0, 0))[0] if _is_regular(new_mode) else 0
    deleted = section.counts.get((old_blob, nothing), (0, 0))[1] if _is_regular(old_mode) else 0
    return added, deleted


def _is_regular(mode: str) -> bool:
    return mode.startswith("100")


def _present(word: str) -> str | None:
    return word if word.strip("0") else None


def _unquoted(quoted: bytes) -> str:
    raw = quoted
    if quoted.startswith(b'"'):
        raw = _ESCAPE.sub(lambda found: bytes((_LETTERS.get(found[1]) or int(found[1], 8),)), quoted[1:-1])
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise UnsafePath(f"{raw!r} changed, and its name is not UTF-8: rename it, or leave it alone") from None
