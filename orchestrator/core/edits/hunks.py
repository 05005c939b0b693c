"""Hunks in a reply: lines with ' ', '-' and '+' before them, found by what they quote and never by a number.

Models count badly, so the numbers of a unified diff's header are skipped; the heading behind them, or what stands after a
bare `@@`, is a line above the place and narrows it. Shared by `core.edits.patch` and `core.edits.unified`.
"""

import re
from collections.abc import Callable, Sequence

from orchestrator.core.edits.blocks import Edit, joined, malformed

Lines = Sequence[str]
Ends = Callable[[Lines, int], bool]

_NUMBERS = re.compile(r"@@ ?-\d+(?:,\d+)? \+\d+(?:,\d+)? @@ ?(.*)")
_END_OF_FILE = re.compile(r"\*\*\* ?End of File\s*")
_NO_HEADING = " .@…"
_EXPECTED = "a line that begins with ' ' (it stays), '-' (it goes) or '+' (it is new)"


def read_hunk(lines: Lines, at: int, path: str, ends: Ends) -> tuple[Edit, int]:
    """Read one hunk from its `@@` or its first line on; return it as an edit, and the line after it.

    It goes until the next `@@` or to where `ends` says. Raises `EditError` for a line that is none of a hunk.
    """
    opened = at
    after: list[str] = []
    is_numbered = False
    while at < len(lines) and lines[at].startswith("@@"):
        numbers = _NUMBERS.fullmatch(lines[at])
        is_numbered = is_numbered or numbers is not None
        heading = numbers[1] if numbers else lines[at].removeprefix("@@").removeprefix(" ")
        if heading.strip(_NO_HEADING):
            after.append(heading)
        at += 1
    tagged, at = _tagged_lines(lines, at, ends)
    is_at_end = at < len(lines) and _END_OF_FILE.fullmatch(lines[at]) is not None
    if not tagged:
        raise malformed(opened, f"found {lines[opened][:80]!r}, a hunk without lines", f"{_EXPECTED} below it")
    search = joined([text for tag, text in tagged if tag != "+"])
    replace = joined([text for tag, text in tagged if tag != "-"])
    if is_numbered and not search:
        # Such a heading is the function around the place, not the line above it.
        after = []
    edit = Edit(path, search, replace, after=tuple(after), is_at_end=is_at_end, line=opened + 1)
    return edit, at + is_at_end


def _tagged_lines(lines: Lines, at: int, ends: Ends) -> tuple[list[tuple[str, str]], int]:
    tagged: list[tuple[str, str]] = []
    blanks = 0
    while at < len(lines) and not lines[at].startswith("@@") and not ends(lines, at):
        tag = lines[at][:1]
        if not tag:
            # An empty line of the file whose blank was lost, unless nothing follows it.
            blanks += 1
        elif tag in " +-":
            tagged.extend([(" ", "")] * blanks)
            tagged.append((tag, lines[at][1:]))
            blanks = 0
        elif tag != "\\":
            raise malformed(at, f"found {lines[at][:80]!r} in a hunk", _EXPECTED)
        at += 1
    return tagged, at
