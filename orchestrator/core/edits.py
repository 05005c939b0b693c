"""The edit format: what a model is asked to write, how it is read, how it is written.

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
Next: `core.edits_apply` puts the edits onto files.
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
    r"""One block. `search` and `replace` are whole lines, each ended by `\n`, or empty.

    `line` is where the block starts in the reply, from 1 (0: it was not read from one); it does not count in comparisons.
    """

    path: str
    search: str = ""
    replace: str = ""
    is_deletion: bool = False
    line: int = field(default=0, compare=False)


def parse_reply(text: str) -> tuple[Edit, ...]:
    """Read the blocks of a reply, in order. Raises `EditError` (`malformed_reply`): the line, what is there, what belongs there."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    _refuse_half_characters(lines)
    edits: list[Edit] = []
    at = after = 0
    while at < len(lines):
        opening = _OPENING.fullmatch(lines[at])
        if opening is None:
            if _CLOSING.fullmatch(lines[at]):
                raise _malformed(at, f"found {lines[at]!r} outside of a block", "a line `<<<<<<< SEARCH` before it")
            at += 1
            continue
        path = _path_above(lines[after:at], edits[-1].path if edits else None, at)
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
    """Write edits in the form that `parse_reply` reads, one blank line between blocks."""
    return "\n".join(_render(edit) for edit in edits)


def _render(edit: Edit) -> str:
    path = edit.path if _path_in(edit.path) == edit.path else f"`{edit.path}`"
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
        raise _malformed(opened, f"the block that starts here has {found}", "exactly one" + hint)
    search, replace = lines[: dividers[0]], lines[dividers[0] + 1 :]
    return Edit(path, _joined(search), _joined(replace), line=opened + 1)


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _end_of_block(lines: Sequence[str], opened: int, width: int) -> int:
    for at in range(opened + 1, len(lines)):
        closing = _CLOSING.fullmatch(lines[at])
        if closing is not None and len(closing[1]) == width:
            return at
        opening = _OPENING.fullmatch(lines[at])
        if opening is not None and len(opening[1]) == width:
            raise _malformed(
                at,
                f"found {lines[at]!r} while the block of line {opened + 1} is open",
                f"`{'>' * width} REPLACE` before it",
            )
    raise _malformed(opened, "the block that starts here is never closed", f"a line `{'>' * width} REPLACE` at its end")


def _path_above(lines: Sequence[str], previous: str | None, at: int) -> str:
    """Find the path in the lines between the block before and this one; next to a block of the same file it may be left out."""
    for line in reversed(lines):
        if not line.strip() or _FENCE.match(line):
            continue
        path = _path_in(line)
        if path is None:
            raise _malformed(at, f"above this block stands {line[:80]!r}", "the path of a file, alone on the line")
        return path
    if previous is None:
        raise _malformed(at, "nothing stands above this block", "the path of a file, alone on the line")
    return previous


def _path_in(line: str) -> str | None:
    quoted = _QUOTED.findall(line)
    if len(quoted) == 1:
        return str(quoted[0]).removeprefix("./")
    bare = _LABEL.sub("", line.strip().lstrip("#* "), count=1).rstrip("*: ")
    if not bare or any(letter.isspace() for letter in bare) or "`" in bare:
        return None
    return bare.removeprefix("./")


def _refuse_half_characters(lines: Sequence[str]) -> None:
    for at, line in enumerate(lines):
        if not line.isascii() and _SURROGATE.search(line):
            raise _malformed(at, "half of a surrogate pair, which is no character", "the whole character")


def _malformed(at: int, found: str, expected: str) -> EditError:
    return EditError(
        "malformed_reply", f"Nothing was applied. Line {at + 1} of the reply: {found}; expected {expected}."
    )
