"""Unified diffs as values, and as edit blocks against files that may have changed since.

`parse_diff` reads what `git diff` writes. `edits_between` states the way from one text to another as blocks;
`edits_from_diff` does the same for a diff whose surroundings may have moved: a hunk is looked for with all of its
context, then with less of it, and dropped where its result already stands. What cannot be found is stated as the diff
has it, and will then not apply: that is what a model would answer that knows an older version of the file.

Used by the stub for its reference solutions.
"""

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.core.edits.blocks import Edit
from orchestrator.core.edits.lines import positions
from orchestrator.core.errors import SpecError

_HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@.*")
_CONTEXT = 3

Tag = Literal[" ", "-", "+"]


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place of change: its first line in the old file, from 1, and its lines without endings, each with its tag."""

    old_start: int
    lines: tuple[tuple[Tag, str], ...]

    @property
    def old(self) -> list[str]:
        """The lines before the change, context included."""
        return [text for tag, text in self.lines if tag != "+"]

    @property
    def new(self) -> list[str]:
        """The lines after the change, context included."""
        return [text for tag, text in self.lines if tag != "-"]


@dataclass(frozen=True, slots=True)
class FileDiff:
    """What a diff does to one file; `old_path` is None for a new one, `new_path` for a deleted one.

    Whether the last line ends with a newline cannot be said in edit blocks, so it is not kept here either.
    """

    old_path: str | None
    new_path: str | None
    hunks: tuple[Hunk, ...] = ()


def parse_diff(text: str) -> tuple[FileDiff, ...]:
    """Read a unified diff, with or without git's headers. Raises `SpecError` with the line for what is no such diff."""
    lines = text.removesuffix("\n").split("\n")
    diffs: list[FileDiff] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith("diff --git "):
            diff, at = _git_section(lines, at)
            diffs.append(diff)
        elif lines[at].startswith("--- "):
            diff, at = _plain_section(lines, at, None, None)
            diffs.append(diff)
        elif lines[at].startswith("@@ "):
            raise _not_a_diff(at, "a hunk without the `---` and `+++` lines of its file")
        else:
            at += 1
    return tuple(diffs)


def edits_between(path: str, old: str | None, new: str | None) -> tuple[Edit, ...]:
    """State the change from one text to another as blocks that apply to the first; None means that there is no file."""
    if old == new:
        return ()
    if new is None:
        return (Edit(path, is_deletion=True),)
    before, after = _lines_of(old or ""), _lines_of(new)
    if not before:
        return (Edit(path, replace=_text(after)),)
    edits: list[Edit] = []
    current = list(before)
    moved = 0
    for start, stop, fresh in _changes(before, after):
        edits.append(_block(path, current, (start + moved, stop + moved), fresh))
        current[start + moved : stop + moved] = fresh
        moved += len(fresh) - (stop - start)
    return tuple(edits)


def edits_from_diff(diffs: Sequence[FileDiff], files: Mapping[str, str]) -> tuple[Edit, ...]:
    """State a diff as blocks against the files as they are now. A file that is not in `files` is taken to be as the diff says."""
    edits: list[Edit] = []
    for diff in diffs:
        edits.extend(_edits_of(diff, files))
    return tuple(edits)


def _edits_of(diff: FileDiff, files: Mapping[str, str]) -> Iterator[Edit]:
    if diff.old_path is None and diff.new_path is not None:
        created = _text([line for hunk in diff.hunks for line in hunk.new])
        if files.get(diff.new_path) != created:
            yield Edit(diff.new_path, replace=created)
    elif diff.new_path is None and diff.old_path is not None:
        yield Edit(diff.old_path, is_deletion=True)
    elif diff.old_path is not None and diff.new_path is not None:
        current = _lines_of(files[diff.old_path]) if diff.old_path in files else None
        edits = list(_hunk_edits(diff.old_path, diff.hunks, current))
        if diff.old_path == diff.new_path or current is None:
            yield from edits
        else:
            yield Edit(diff.old_path, is_deletion=True)
            yield Edit(diff.new_path, replace=_text(current))


def _hunk_edits(path: str, hunks: Sequence[Hunk], current: list[str] | None) -> Iterator[Edit]:
    moved = 0
    for hunk in hunks:
        place = None if current is None else _locate(hunk, current, hunk.old_start - 1 + moved)
        if current is None or place is None:
            yield Edit(path, _text(hunk.old), _text(hunk.new))
        elif not isinstance(place, _Done):
            yield _block(path, current, (place.start, place.stop), place.fresh)
            current[place.start : place.stop] = place.fresh
            moved += len(hunk.new) - len(hunk.old)


@dataclass(frozen=True, slots=True)
class _Place:
    """The lines `start` to `stop` of a file become `fresh`."""

    start: int
    stop: int
    fresh: list[str]


@dataclass(frozen=True, slots=True)
class _Done:
    """The change is in the file already."""


def _locate(hunk: Hunk, current: list[str], expected: int) -> _Place | _Done | None:
    """Find a hunk: near where it is expected with all its context, else where it occurs once with less of it."""
    for lead, trail in _trims(hunk):
        lines = hunk.lines[lead : len(hunk.lines) - trail]
        part = Hunk(hunk.old_start + lead, lines)
        old, new = part.old, part.new
        found = positions(current, old) if old else []
        is_whole = lead == trail == 0
        if len(found) == 1 or (found and is_whole):
            start = min(found, key=lambda at: abs(at - expected))
            return _Place(start, start + len(old), new)
        is_telling = is_whole or any(tag == "+" and text.strip() for tag, text in lines)
        if not found and is_telling and any(tag == " " for tag, _ in lines) and positions(current, new):
            return _Done()
    return None


def _trims(hunk: Hunk) -> Iterator[tuple[int, int]]:
    """How many context lines to leave out before and after, from none to all of one side and then of both."""
    tags = [tag for tag, _ in hunk.lines]
    lead = next((at for at, tag in enumerate(tags) if tag != " "), 0)
    trail = next((at for at, tag in enumerate(reversed(tags)) if tag != " "), 0)
    pairs = [(before, after) for before in range(lead + 1) for after in range(trail + 1)]
    return iter(sorted(pairs, key=lambda pair: (sum(pair), abs(pair[0] - pair[1]))))


def _changes(before: list[str], after: list[str]) -> Iterator[tuple[int, int, list[str]]]:
    """The changes between two texts with up to three lines of context each, as ranges of `before` and their new lines."""
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for group in matcher.get_grouped_opcodes(_CONTEXT):
        yield group[0][1], group[-1][2], after[group[0][3] : group[-1][4]]


def _block(path: str, current: list[str], where: tuple[int, int], fresh: list[str]) -> Edit:
    """Quote a range of a file, with as many lines around it as it takes to occur only once."""
    start, stop = where
    low, high = start, stop
    while low == high or len(positions(current, current[low:high])) > 1:
        low, high = max(0, low - 1), min(len(current), high + 1)
    return Edit(path, _text(current[low:high]), _text(current[low:start] + fresh + current[stop:high]))


def _git_section(lines: Sequence[str], at: int) -> tuple[FileDiff, int]:
    """Read from one `diff --git` line to the next: renames and empty files have no `---` and `+++` lines."""
    names = header_paths(lines[at])
    old: str | None = names[0]
    new: str | None = names[1]
    at += 1
    while at < len(lines) and not lines[at].startswith("diff --git "):
        line = lines[at]
        if line.startswith("--- "):
            return _plain_section(lines, at, old, new)
        if line.startswith(("GIT binary patch", "Binary files ")):
            raise _not_a_diff(at, "a binary patch, which edit blocks cannot state")
        if line.startswith("new file mode"):
            old = None
        elif line.startswith("deleted file mode"):
            new = None
        elif line.startswith("rename from "):
            old = unquoted(line.removeprefix("rename from "))
        elif line.startswith("rename to "):
            new = unquoted(line.removeprefix("rename to "))
        at += 1
    return FileDiff(old, new), at


def _plain_section(lines: Sequence[str], at: int, old: str | None, new: str | None) -> tuple[FileDiff, int]:
    if at + 1 >= len(lines) or not lines[at + 1].startswith("+++ "):
        raise _not_a_diff(at, "a `---` line without a `+++` line after it")
    old = side_path(lines[at].removeprefix("--- "), "a/")
    new = side_path(lines[at + 1].removeprefix("+++ "), "b/")
    at += 2
    hunks: list[Hunk] = []
    while at < len(lines) and lines[at].startswith("@@ "):
        hunk, at = _hunk(lines, at)
        hunks.append(hunk)
    return FileDiff(old, new, tuple(hunks)), at


def _hunk(lines: Sequence[str], at: int) -> tuple[Hunk, int]:
    header = _HUNK.fullmatch(lines[at])
    if header is None:
        raise _not_a_diff(at, f"no hunk header: {lines[at]!r}")
    old_left, new_left = int(header[2] or 1), int(header[4] or 1)
    body: list[tuple[Tag, str]] = []
    opened = at
    at += 1
    while old_left or new_left:
        if at >= len(lines):
            raise _not_a_diff(opened, "a hunk that ends before its header says")
        tagged = _tagged(lines[at])
        if tagged is not None:
            body.append(tagged)
            old_left -= tagged[0] != "+"
            new_left -= tagged[0] != "-"
        elif not lines[at].startswith("\\"):
            raise _not_a_diff(at, f"a line that is none of a hunk: {lines[at][:60]!r}")
        at += 1
    if at < len(lines) and lines[at].startswith("\\"):
        at += 1
    return Hunk(int(header[1]), tuple(body)), at


def _tagged(line: str) -> tuple[Tag, str] | None:
    text = line[1:].removesuffix("\r")
    match line[:1]:
        case "+":
            return "+", text
        case "-":
            return "-", text
        case " " | "":
            # Some editors strip the blank that marks an empty context line.
            return " ", text
        case _:
            return None


def header_paths(header: str) -> tuple[str, str]:
    """The two names of a `diff --git` line; where the path has blanks, both halves are the same, so the middle is known."""
    rest = header.removeprefix("diff --git ")
    middle = len(rest) // 2
    left, right = (rest[:middle], rest[middle + 1 :]) if rest[middle : middle + 1] == " " else rest.split(" ", 1)
    return unquoted(left).removeprefix("a/"), unquoted(right).removeprefix("b/")


def side_path(name: str, prefix: str) -> str | None:
    """The path of a `---` or `+++` line, given what stands after that; None for no file."""
    name = unquoted(name.split("\t")[0].removesuffix("\r"))
    return None if name == "/dev/null" else name.removeprefix(prefix)


def unquoted(name: str) -> str:
    """Undo git's quoting of unusual paths: octal bytes and escapes between double quotes."""
    if not (len(name) > 1 and name[0] == name[-1] == '"'):
        return name
    escapes = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
    encoded = re.sub(
        rb"\\([0-7]{3}|.)",
        lambda found: (
            bytes([int(found[1], 8) & 255])
            if len(found[1]) == 3
            else escapes.get(found[1].decode(), found[1].decode()).encode()
        ),
        name[1:-1].encode(),
    )
    return encoded.decode("utf-8", "replace")


def _lines_of(text: str) -> list[str]:
    lines = text.removeprefix("\ufeff").split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _not_a_diff(at: int, what: str) -> SpecError:
    return SpecError([f"line {at + 1}: {what}; write what `git diff` prints"])
