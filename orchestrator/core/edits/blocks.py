"""What an edit is, and the first of three formats to write it in: blocks that search and replace.

A reply holds any number of blocks; the text around them is for people and is ignored:

    path/to/file.py
    <<<<<<< SEARCH
    lines that are in the file
    =======
    lines that take their place
    >>>>>>> REPLACE

An empty SEARCH creates a file; a path followed by the single line `<<<<<<< DELETE` removes one. Markers count only at the
start of a line. Where a file itself holds such a line, the block uses longer markers, all of one length, as fences in
Markdown do; so every text can be edited, and `parse_reply(render_edits(edits)) == edits` for all edits.

Reading is strict where a guess could change the wrong thing, and lenient elsewhere (code fences, quoted paths, CRLF).
The other formats: `core.edits.whole`, `core.edits.patch`; all of them by name: `core.edits.formats`. Next:
`core.edits.apply` puts the edits onto files.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.core.values import Failure, FailureReason

EDIT_FORMAT = """\
Answer with edit blocks, each exactly in this form:

path/to/file.py
<<<<<<< SEARCH
lines copied from the file, complete and exact, enough of them to occur only once in it
=======
the lines that take their place
>>>>>>> REPLACE

- The path stands alone on the line above the block, relative to the root of the repository.
- Blocks are applied in their order; a later block sees what an earlier one changed. If one does not fit, none is applied.
- Keep SEARCH short: the lines to change and a few around them. Use several blocks for changes that are far apart.
- To create a file, leave SEARCH empty. To remove one, write its path and below it the single line `<<<<<<< DELETE`.
- If a file itself holds a line like one of the markers, make all markers of that block one character longer.
"""

_OPENING = re.compile(r"(<{5,}) ?(SEARCH|DELETE)\s*")
_CLOSING = re.compile(r"(>{5,}) ?REPLACE\s*")
_FENCE = re.compile(r"\s*(```|~~~)")
_QUOTED = re.compile(r"`([^`]+)`")
_LABEL = re.compile(r"(?:file|path|filename)\s*:\s*", re.IGNORECASE)
_SURROGATE = re.compile("[\ud800-\udfff]")
_WIDTH = 7


class EditError(Exception):
    """A reply that cannot become a change: an expected outcome, turned into a `Failure` by the backend.

    `reason` is `malformed_reply` or `edit_does_not_apply`; `feedback` is short and made to be sent to the model.
    """

    def __init__(self, reason: FailureReason, feedback: str) -> None:
        super().__init__(feedback)
        self.reason: FailureReason = reason
        self.feedback = feedback

    @property
    def failure(self) -> Failure:
        """The same, as the outcome of an attempt."""
        return Failure(reason=self.reason, feedback=self.feedback)


@dataclass(frozen=True, slots=True)
class Edit:
    r"""One change to one file. `search` and `replace` are whole lines, each ended by `\n`, or empty.

    `is_whole`: `replace` is all that the file holds afterwards. `after` are lines of the file, from the outside in (a class,
    then a method), below which the place is: the first one there. With an empty `search`, `replace` goes directly below
    them. `is_at_end` prefers the place at the end of the file. `new_path` moves the file there, and does nothing else.
    `line` is where the edit starts in the reply, from 1 (0: it was not read from one); it does not count in comparisons.
    """

    path: str
    search: str = ""
    replace: str = ""
    is_deletion: bool = False
    is_whole: bool = False
    after: tuple[str, ...] = ()
    is_at_end: bool = False
    new_path: str = ""
    line: int = field(default=0, compare=False)

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path that the edit touches."""
        return (self.path, self.new_path) if self.new_path else (self.path,)

    @property
    def is_creation(self) -> bool:
        """Whether it writes a file that is not there yet, or is empty."""
        return not (self.search or self.is_deletion or self.is_whole or self.after or self.is_at_end or self.new_path)


def parse_reply(text: str) -> tuple[Edit, ...]:
    """Read the blocks of a reply, in order. Raises `EditError` (`malformed_reply`): the line, what is there, what belongs there."""
    lines = lines_of(text)
    edits: list[Edit] = []
    at = after = 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at])
        if opening is None:
            if _CLOSING.fullmatch(lines[at]):
                raise malformed(at, f"found {lines[at][:80]!r} outside of a block", "a line `<<<<<<< SEARCH` before it")
            at += 1
            continue
        path = path_above(lines[after:at], edits[-1].path if edits else None, at)
        if opening[2] == "DELETE":
            edits.append(Edit(path, is_deletion=True, line=at + 1))
            at += 1
        else:
            end = _end_of_block(lines, at, len(opening[1]))
            edits.append(_block(lines[at + 1 : end], path, at, len(opening[1])))
            at = end + 1
        after = at
    if not edits:
        raise EditError(
            "malformed_reply",
            "The reply holds no edit block, so nothing was changed. Expected at least one block: the path of a file "
            "alone on a line, then `<<<<<<< SEARCH`, the old lines, `=======`, the new lines, `>>>>>>> REPLACE`.",
        )
    return tuple(edits)


def render_edits(edits: Iterable[Edit]) -> str:
    """Write edits in the form that `parse_reply` reads, one blank line between blocks: such as replace, create, or delete."""
    return "\n".join(_render(edit) for edit in edits)


def _render(edit: Edit) -> str:
    path = path_line(edit.path)
    if edit.is_deletion:
        return f"{path}\n{'<' * _WIDTH} DELETE\n"
    width = _WIDTH
    lines = (edit.search + edit.replace).split("\n")
    while any(_looks_like_marker(line, width) for line in lines):
        width += 1
    return f"{path}\n{'<' * width} SEARCH\n{edit.search}{'=' * width}\n{edit.replace}{'>' * width} REPLACE\n"


def _looks_like_marker(line: str, width: int) -> bool:
    if line.rstrip() == "=" * width:
        return True
    marker = _OPENING.fullmatch(line) or _CLOSING.fullmatch(line)
    return marker is not None and len(marker[1]) == width


def _block(lines: Sequence[str], path: str, opened: int, width: int) -> Edit:
    dividers = [at for at, line in enumerate(lines) if line.rstrip() == "=" * width]
    if len(dividers) != 1:
        near = next((line for line in lines if len(line) > 2 and not line.strip("= ")), None)
        found = f"{len(dividers)} lines of exactly {'=' * width!r}"
        if not dividers and near is not None:
            found += f" (but {near!r})"
        hint = "" if not dividers else "; if the file itself holds such a line, make this block's markers longer"
        raise malformed(opened, f"the block that starts here has {found}", "exactly one" + hint)
    search, replace = lines[: dividers[0]], lines[dividers[0] + 1 :]
    return Edit(path, joined(search), joined(replace), line=opened + 1)


def joined(lines: Sequence[str]) -> str:
    """Lines as a text, each of them ended."""
    return "".join(f"{line}\n" for line in lines)


def _end_of_block(lines: Sequence[str], opened: int, width: int) -> int:
    for at in range(opened + 1, len(lines)):
        closing = _CLOSING.fullmatch(lines[at])
        if closing is not None and len(closing[1]) == width:
            return at
        opening = _OPENING.fullmatch(lines[at])
        if opening is not None and len(opening[1]) == width:
            raise malformed(
                at,
                f"found {lines[at][:80]!r} while the block of line {opened + 1} is open",
                f"`{'>' * width} REPLACE` before it",
            )
    raise malformed(opened, "the block that starts here is never closed", f"a line `{'>' * width} REPLACE` at its end")


def path_above(lines: Sequence[str], previous: str | None, at: int) -> str:
    """Find the path in the lines between the block before and this one; next to a block of the same file it may be left out."""
    for line in reversed(lines):
        if not line.strip() or _FENCE.match(line):
            continue
        path = path_in(line)
        if path is None:
            raise malformed(at, f"above this block stands {line[:80]!r}", "the path of a file, alone on the line")
        return path
    if previous is None:
        raise malformed(at, "nothing stands above this block", "the path of a file, alone on the line")
    return previous


def path_line(path: str) -> str:
    """Write a path such that `path_in` reads it."""
    return path if path_in(path) == path else f"`{path}`"


def path_in(line: str) -> str | None:
    """The path that stands alone on a line, in any of the usual dresses; None where none does."""
    quoted = _QUOTED.findall(line)
    if len(quoted) == 1:
        return str(quoted[0]).removeprefix("./")
    bare = _LABEL.sub("", line.strip().lstrip("#* "), count=1).rstrip("*: ")
    if not bare or any(letter.isspace() for letter in bare) or "`" in bare:
        return None
    return bare.removeprefix("./")


def lines_of(reply: str) -> list[str]:
    """The lines of a reply in any format. Raises `EditError` where one holds what cannot be written to a file."""
    lines = [line.removesuffix("\r") for line in reply.split("\n")]
    for at, line in enumerate(lines):
        if not line.isascii() and _SURROGATE.search(line):
            raise malformed(at, "half of a surrogate pair, which is no character", "the whole character")
    return lines


def malformed(at: int, found: str, expected: str) -> EditError:
    """The error for a line of a reply, counted from 0: what is there, and what belongs there."""
    return EditError(
        "malformed_reply", f"Nothing was applied. Line {at + 1} of the reply: {found}; expected {expected}."
    )
