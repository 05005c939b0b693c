"""The third edit format: a patch without line numbers, in an envelope that says where it ends.

    *** Begin Patch
    *** Update File: path/to/file.py
    @@ def total(items):
         result = 0
    -    for item in items:
    +    for item in sorted(items):
    *** End Patch

Every line of a hunk has a sign before it (' ', '-', '+'), so no content can be taken for a marker. A hunk is found by what
it quotes; a line after `@@` names one that stands above the place, where the same lines occur several times. Files are
also added, deleted and moved. A unified diff, as git writes it, is read too: see `core.edits.unified`.

`parse_patch(render_patch(edits)) == edits` for edits that are no whole files.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from orchestrator.core.edits.blocks import Edit, EditError, joined, lines_of, malformed
from orchestrator.core.edits.hunks import Lines, read_hunk
from orchestrator.core.edits.unified import parse_unified

PATCH_FORMAT = """\
Answer with one patch, exactly in this form:

*** Begin Patch
*** Update File: path/to/file.py
@@ def total(items):
     result = 0
-    for item in items:
+    for item in sorted(items):
         result += item
*** Add File: path/to/new.py
+every line of the new file, with a plus before it
*** Delete File: path/to/old.py
*** End Patch

- Paths are relative to the root of the repository. No line numbers.
- A hunk begins with `@@`. Every line below has a sign in its first column: a blank for a line that stays, `-` for one that
  goes, `+` for one that is new. Lines that stay or go are copied from the file, complete and exact.
- Show about three lines that stay above and below each change, so that they occur only once in the file. Where that is not
  enough, write a line that stands above the place after `@@`: the function's or the class's first line.
- Use one hunk for each place. Hunks are applied in their order; if one does not fit, nothing is applied.
- `*** Move to: new/path.py`, directly below `*** Update File: …`, renames the file. `*** End of File`, below a hunk, says
  that it ends where the file ends.
"""

_BEGIN = re.compile(r"\*\*\* ?Begin Patch\s*")
_END = re.compile(r"\*\*\* ?End Patch\s*")
_HEADER = re.compile(r"\*\*\* ?(Update|Add|Delete) File:(.*)")
_MOVE = re.compile(r"\*\*\* ?Move to:(.*)")
_QUOTES = "`\"'"
_HEADERS = "`*** Update File: path`, `*** Add File: path`, `*** Delete File: path` or `*** End Patch`"


def parse_patch(text: str) -> tuple[Edit, ...]:
    """Read the patches of a reply, in order. Raises `EditError` (`malformed_reply`): the line, what is there, what belongs there."""
    lines = lines_of(text)
    edits: list[Edit] = []
    at = 0
    while at < len(lines):
        if _BEGIN.fullmatch(lines[at]) or _header(lines[at]):
            found, at = _patch(lines, at)
            edits.extend(found)
        elif _END.fullmatch(lines[at]):
            raise malformed(at, f"found {lines[at][:80]!r} outside of a patch", "a line `*** Begin Patch` before it")
        else:
            at += 1
    edits = edits or list(parse_unified(lines))
    if not edits:
        raise EditError(
            "malformed_reply",
            "The reply holds no patch, so nothing was changed. Expected `*** Begin Patch`, then for each file "
            "`*** Update File: path` and its hunks, and `*** End Patch`.",
        )
    return tuple(edits)


def render_patch(edits: Iterable[Edit]) -> str:
    """Write edits as one patch in the form that `parse_patch` reads."""
    return "\n".join(("*** Begin Patch", *_sections(edits), "*** End Patch", ""))


def _patch(lines: Lines, opened: int) -> tuple[list[Edit], int]:
    edits: list[Edit] = []
    at = opened + 1 if _BEGIN.fullmatch(lines[opened]) else opened
    while at < len(lines):
        if _END.fullmatch(lines[at]):
            return edits, at + 1
        header = _header(lines[at])
        if header is not None:
            found, at = _section(lines, at, *header)
            edits.extend(found)
        elif lines[at].strip():
            raise malformed(at, f"found {lines[at][:80]!r} in a patch", _HEADERS)
        else:
            at += 1
    raise malformed(opened, "the patch that starts here is never ended", "a line `*** End Patch` at its end")


def _section(lines: Lines, opened: int, kind: str, path: str) -> tuple[list[Edit], int]:
    if kind == "Delete":
        return [Edit(path, is_deletion=True, line=opened + 1)], opened + 1
    if kind == "Add":
        content, at = _added(lines, opened + 1)
        return [Edit(path, replace=joined(content), line=opened + 1)], at
    return _updated(lines, opened, path)


def _added(lines: Lines, at: int) -> tuple[list[str], int]:
    content: list[str] = []
    blanks = 0
    if at < len(lines) and lines[at].startswith("@@"):
        at += 1
    while at < len(lines) and not _ends(lines, at):
        if not lines[at]:
            blanks += 1
        elif lines[at][0] == "+":
            content.extend([""] * blanks)
            content.append(lines[at][1:])
            blanks = 0
        elif lines[at][0] != "\\":
            raise malformed(at, f"found {lines[at][:80]!r} in a file that is added", "a line that begins with '+'")
        at += 1
    return content, at


def _updated(lines: Lines, opened: int, path: str) -> tuple[list[Edit], int]:
    edits: list[Edit] = []
    at = _next_text(lines, opened + 1)
    move = _MOVE.fullmatch(lines[at]) if at < len(lines) else None
    if move is not None:
        if not _unquoted(move[1]):
            raise malformed(at, f"found {lines[at][:80]!r}", "`*** Move to: path`")
        at = _next_text(lines, at + 1)
    signs = [line[:3] for line in lines[at : at + 3]]
    if signs[:2] == ["---", "+++"] and signs[2:] and signs[2].startswith("@@"):
        # The two lines that a unified diff has above its hunks.
        at += 2
    while at < len(lines) and not _ends(lines, at):
        hunk, at = read_hunk(lines, at, path, _ends)
        edits.append(hunk)
        at = _next_text(lines, at)
    if move is not None:
        edits.append(Edit(path, new_path=_unquoted(move[1]), line=opened + 1))
    if not edits:
        raise malformed(opened, f"found {lines[opened][:80]!r} without a hunk", "a line `@@` and a hunk below it")
    return edits, at


def _ends(lines: Lines, at: int) -> bool:
    return lines[at].startswith("***")


def _next_text(lines: Lines, at: int) -> int:
    while at < len(lines) and not lines[at]:
        at += 1
    return at


def _header(line: str) -> tuple[str, str] | None:
    """What is to be done with which file; None for a line that does not say so."""
    header = _HEADER.fullmatch(line)
    path = "" if header is None else _unquoted(header[2])
    return (header[1], path) if header is not None and path else None


def _unquoted(path: str) -> str:
    path = path.strip()
    is_quoted = len(path) > 2 and path[0] == path[-1] and path[0] in _QUOTES
    return (path[1:-1] if is_quoted else path).removeprefix("./")


def _sections(edits: Iterable[Edit]) -> Iterator[str]:
    """The lines of all sections: hunks that follow each other in the same file stand below one header, its move with them."""
    for (path, is_hunk), group in groupby(edits, key=lambda edit: (edit.path, _is_update(edit))):
        if is_hunk:
            yield from _update_lines(_quoted(path), list(group))
        else:
            for edit in group:
                kind = "Delete" if edit.is_deletion else "Add"
                yield f"*** {kind} File: {_quoted(path)}"
                yield from (f"+{line}" for line in edit.replace.split("\n")[:-1])


def _is_update(edit: Edit) -> bool:
    return not (edit.is_deletion or edit.is_creation)


def _update_lines(path: str, edits: Sequence[Edit]) -> Iterator[str]:
    is_open = False
    for at, edit in enumerate(edits):
        if not is_open:
            yield f"*** Update File: {path}"
            move = next((each.new_path for each in edits[at:] if each.new_path), "")
            if move:
                yield f"*** Move to: {_quoted(move)}"
        is_open = not edit.new_path
        if is_open:
            yield from _hunk_lines(edit)


def _hunk_lines(edit: Edit) -> Iterator[str]:
    old, new = edit.search.split("\n")[:-1], edit.replace.split("\n")[:-1]
    yield from (f"@@ {line}" for line in edit.after)
    if not edit.after:
        yield "@@"
    for tag, start, stop, begin, end in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from (f" {line}" for line in old[start:stop])
        else:
            yield from (f"-{line}" for line in old[start:stop])
            yield from (f"+{line}" for line in new[begin:end])
    if edit.is_at_end:
        yield "*** End of File"


def _quoted(path: str) -> str:
    return path if _unquoted(path) == path else f"`{path}`"
