"""Unified diffs in a reply: what models write who were asked for a patch and think of `git diff`.

Unlike `core.edits.diff`, which reads what git wrote, line numbers and counts are not believed. A diff stands in a code fence
or alone; within a hunk every line has its sign, so text below a diff that stands in no fence is refused rather than guessed at.
"""

import re

from orchestrator.core.edits.blocks import Edit, EditError, malformed
from orchestrator.core.edits.diff import header_paths, side_path, unquoted
from orchestrator.core.edits.hunks import Lines, read_hunk

_HUNK = re.compile(r"@@ ?-\d")
_HEADERS = ("index ", "old mode ", "new mode ", "new file mode ", "deleted file mode ", "similarity ", "dissimilarity ")
_RENAMES = ("rename from ", "rename to ")


def parse_unified(lines: Lines) -> tuple[Edit, ...]:
    """Read every diff in a reply; none is no error. Raises `EditError` (`malformed_reply`) for a line that is none of a diff."""
    edits: list[Edit] = []
    at = 0
    while at < len(lines):
        if lines[at].startswith("diff --git "):
            found, at = _git_section(lines, at)
            edits.extend(found)
        elif _opens_file(lines, at):
            found, at = _file_section(lines, at, at)
            edits.extend(found)
        elif _HUNK.match(lines[at]):
            raise malformed(
                at, f"found {lines[at][:80]!r}, a hunk of no file", "`--- a/path` and `+++ b/path` before it"
            )
        else:
            at += 1
    return tuple(edits)


def _git_section(lines: Lines, opened: int) -> tuple[list[Edit], int]:
    old, new = header_paths(lines[opened])
    renamed_from = ""
    is_new = is_deleted = False
    at = opened + 1
    while at < len(lines) and lines[at].startswith((*_HEADERS, *_RENAMES)):
        is_new = is_new or lines[at].startswith("new file")
        is_deleted = is_deleted or lines[at].startswith("deleted file")
        if lines[at].startswith("rename from "):
            renamed_from = unquoted(lines[at].removeprefix("rename from "))
        elif lines[at].startswith("rename to "):
            new = unquoted(lines[at].removeprefix("rename to "))
        at += 1
    if _opens_file(lines, at):
        return _file_section(lines, at, opened)
    line = opened + 1
    if renamed_from:
        return [Edit(renamed_from, new_path=new, line=line)], at
    if is_deleted:
        return [Edit(old, is_deletion=True, line=line)], at
    if is_new:
        return [Edit(new, line=line)], at
    raise _no_hunk(opened)


def _file_section(lines: Lines, at: int, opened: int) -> tuple[list[Edit], int]:
    old, new = side_path(lines[at][4:].strip(), "a/"), side_path(lines[at + 1][4:].strip(), "b/")
    hunks: list[Edit] = []
    path = old or new or ""
    at += 2
    while at < len(lines) and lines[at].startswith("@@"):
        hunk, at = read_hunk(lines, at, path, _ends)
        hunks.append(hunk)
    if old is None and new is not None:
        return [Edit(new, replace="".join(hunk.replace for hunk in hunks), line=opened + 1)], at
    if old is not None and new is None:
        return [Edit(old, is_deletion=True, line=opened + 1)], at
    if old is None or new is None or not (hunks or old != new):
        raise _no_hunk(opened)
    return hunks if old == new else [*hunks, Edit(old, new_path=new, line=opened + 1)], at


def _opens_file(lines: Lines, at: int) -> bool:
    return at + 1 < len(lines) and lines[at].startswith("--- ") and lines[at + 1].startswith("+++ ")


def _ends(lines: Lines, at: int) -> bool:
    """Whether a hunk ends here: at a fence, at the next file. A removed `-- x` above an added `++ x` is no next file."""
    if _opens_file(lines, at):
        return at + 2 < len(lines) and lines[at + 2].startswith("@@")
    return lines[at].startswith(("diff --git ", "*** ", "```", "~~~"))


def _no_hunk(opened: int) -> EditError:
    return malformed(opened, "a file of a diff without a hunk", "a line `@@` and below it the lines that change")
