"""The second edit format: each file that changes is written whole.

    path/to/file.py
    <<<<<<< FILE
    every line that the file holds afterwards
    >>>>>>> END

A path followed by the single line `<<<<<<< DELETE` removes a file. Markers grow as in `core.edits.blocks`, so every text can be
written. A file whose closing marker is missing was cut off, and nothing is applied.

Models that write whole files like to leave out what stays ("... rest of the code unchanged ..."), which would delete it.
`first_elision` finds such a line; it is narrow on purpose: a comment that merely speaks of existing code is none, and
neither is a line that the file held before.
"""

import re
from collections.abc import Collection, Iterable, Sequence

from orchestrator.core.edits.blocks import Edit, EditError, joined, lines_of, malformed, path_above, path_line

WHOLE_FILE_FORMAT = """\
Answer with whole files, each exactly in this form:

path/to/file.py
<<<<<<< FILE
every line of the file, as it is to be afterwards
>>>>>>> END

- The path stands alone on the line above the file, relative to the root of the repository.
- Write each file that changes, or is new, completely: what is not in it is deleted. Never write "..." or "rest unchanged"
  in place of lines; an answer that leaves lines out is refused as a whole.
- Leave out files that stay as they are. Write each file once.
- To remove a file, write its path and below it the single line `<<<<<<< DELETE`.
- If a file itself holds a line like one of the markers, make both markers of that file one character longer.
"""

_OPENING = re.compile(r"(<{5,}) ?(FILE|DELETE)\s*")
_CLOSING = re.compile(r"(>{5,}) ?(?:END|FILE|END FILE)\s*")
_OTHER_FORMAT = re.compile(r"<{5,} ?SEARCH\s*|\*\*\* (?:Begin Patch|(?:Update|Add|Delete) File: .*)|diff --git .*")
_WIDTH = 7

_COMMENT = re.compile(r"\s*(?:#|//|/\*|--|;|%|<!--|\{#)")
_DOTS = re.compile(r"\.\.\.|…")
_LEADING_DOTS = re.compile(r"\W*?(?:\.\.\.|…)")
_NO_WORD = re.compile(r"\W+")
_TAIL = (
    r"(?: (?:is|are|remains?|stays?|goes|here|unchanged|unmodified|untouched|omitted|the same|same|as before|as is|"
    r"as it was|above|below|for brevity))*"
)
_UNIT = r"(?:file|code|module|class|function|method|implementation|script|document)"
_PART = (
    rf"(?:{_UNIT}|contents?|imports?|functions|methods|classes|definitions?|lines?|tests?|body|section|text|logic|fields?|"
    r"entries|rows|helpers?|constants?|configuration|config)"
)
# Between or after dots, as in `# ... existing code ...`: little else is written so.
_DOTTED = re.compile(
    rf"(?:the )?(?:rest|remainder)(?: of (?:the |this |your )?(?:existing |original |previous )?{_PART})?{_TAIL}"
    rf"|(?:the |all |your )*(?:existing|previous|unchanged|original|remaining|other|same)(?: \w+)? {_PART}{_TAIL}"
    rf"|(?:the |all )*{_PART} (?:is |are |remains? |stays? )?(?:unchanged|omitted|the same|as before){_TAIL}"
    rf"|(?:unchanged|unmodified|omitted|same as before|as before|no changes?(?: here)?){_TAIL}"
    rf"|keep (?:the )?(?:rest|remainder|existing|everything|other)(?: of)?(?: the)?(?: {_PART})?{_TAIL}"
)
# In a comment without dots only what cannot well be about the code below it.
_PLAIN = re.compile(
    rf"(?:the )?(?:rest|remainder) of (?:the |this )?(?:existing |original )?{_UNIT} "
    r"(?:is |are |remains? |stays? )?(?:unchanged|unmodified|untouched|omitted|the same|as before|as is|goes here|here)"
    r"(?: for brevity| here| as before)?"
    rf"|(?:existing|unchanged|original) {_UNIT} (?:unchanged|omitted|(?:goes )?here|as before)(?: for brevity| here)?"
)
_MAX_ELISION_CHARS = 160


def parse_whole(text: str) -> tuple[Edit, ...]:
    """Read the files of a reply, in order. Raises `EditError` (`malformed_reply`): the line, what is there, what belongs there."""
    lines = lines_of(text)
    edits: list[Edit] = []
    at = after = 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at])
        if opening is None:
            _refuse_stray(lines[at], at)
            at += 1
            continue
        path = path_above(lines[after:at], None, at)
        if opening[2] == "DELETE":
            edits.append(Edit(path, is_deletion=True, line=at + 1))
            at += 1
        else:
            end = _end_of_file(lines, at, len(opening[1]))
            edits.append(Edit(path, replace=joined(lines[at + 1 : end]), is_whole=True, line=at + 1))
            at = end + 1
        after = at
    if not edits:
        raise EditError(
            "malformed_reply",
            "The reply holds no file, so nothing was changed. Expected at least one: the path of a file alone on a line, "
            "then `<<<<<<< FILE`, every line of the file, `>>>>>>> END`.",
        )
    return tuple(edits)


def render_whole(edits: Iterable[Edit]) -> str:
    """Write whole files and deletions in the form that `parse_whole` reads, one blank line between them."""
    return "\n".join(_render(edit) for edit in edits)


def first_elision(fresh: Sequence[str], original: Collection[str]) -> int | None:
    """The first line, from 0, that stands for lines left out and was not in the original; None where none does."""
    known: frozenset[str] | None = None
    for at, line in enumerate(fresh):
        if _is_elision(line):
            known = frozenset(each.strip() for each in original) if known is None else known
            if line.strip() not in known:
                return at
    return None


def _render(edit: Edit) -> str:
    path = path_line(edit.path)
    if edit.is_deletion:
        return f"{path}\n{'<' * _WIDTH} DELETE\n"
    width = _WIDTH
    lines = edit.replace.split("\n")
    while any(_looks_like_marker(line, width) for line in lines):
        width += 1
    return f"{path}\n{'<' * width} FILE\n{edit.replace}{'>' * width} END\n"


def _looks_like_marker(line: str, width: int) -> bool:
    marker = _OPENING.fullmatch(line) or _CLOSING.fullmatch(line)
    return marker is not None and len(marker[1]) == width


def _refuse_stray(line: str, at: int) -> None:
    if _CLOSING.fullmatch(line):
        raise malformed(at, f"found {line[:80]!r} outside of a file", "a line `<<<<<<< FILE` before it")
    if _OTHER_FORMAT.fullmatch(line):
        raise malformed(
            at, f"found {line[:80]!r}, which is of another format", "whole files, each below `<<<<<<< FILE`"
        )


def _end_of_file(lines: Sequence[str], opened: int, width: int) -> int:
    for at in range(opened + 1, len(lines)):
        closing = _CLOSING.fullmatch(lines[at])
        if closing is not None and len(closing[1]) == width:
            return at
        opening = _OPENING.fullmatch(lines[at])
        if opening is not None and len(opening[1]) == width:
            raise malformed(
                at,
                f"found {lines[at][:80]!r} while the file of line {opened + 1} is open",
                f"`{'>' * width} END` before it",
            )
    raise malformed(
        opened, "the file that starts here is never ended", f"a line `{'>' * width} END` below its last line"
    )


def _is_elision(line: str) -> bool:
    if len(line) > _MAX_ELISION_CHARS:
        return False
    is_comment = _COMMENT.match(line) is not None
    is_dotted = (_DOTS.search(line) if is_comment else _LEADING_DOTS.match(line)) is not None
    if not (is_comment or is_dotted):
        return False
    words = _NO_WORD.sub(" ", line).strip().lower()
    return (_DOTTED if is_dotted else _PLAIN).fullmatch(words) is not None
