"""What the tools do with one file's text: show it with numbers, and replace lines of it. Pure."""

from orchestrator.backends.sessions.tool_calls import BadCallError, EditFile, ReadFile
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.lines import is_binary
from orchestrator.core.edits.locate import Terms
from orchestrator.core.edits.whole import first_elision

EMPTY = "(the file is empty)"
_MAX_QUOTED_CHARS = 160
_TERMS = Terms(
    edit="call",
    old="`search`",
    new="`replace`",
    create="write_file creates one",
    quote="`search` is empty, but the file is not. Quote the lines to replace; write_file replaces a whole file.",
    deeper="`search` is indented deeper than the file, and `replace` is not.",
    leave_out="the change is made",
)


def text_in(content: bytes) -> str | None:
    """The text of a file; None for a binary one, and for one that is not UTF-8."""
    if is_binary(content):
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def numbered(request: ReadFile, text: str, room: int) -> str:
    r"""The lines asked for, as `number\tline`, in no more than `room` characters besides a note of how to read on.

    Without the numbers and the note it is the text again, but for the line break at its end. Raises `BadCallError` for
    lines that there are not.
    """
    lines = text.removesuffix("\n").split("\n") if text else []
    first, last = request.first_line, min(request.last_line or len(lines), len(lines))
    if not lines and first == 1:
        return EMPTY
    if first > len(lines):
        raise BadCallError(f"{request.path} ends with line {len(lines)}.")
    if request.last_line is not None and request.last_line < first:
        raise BadCallError("`last_line` is before `first_line`.")
    shown: list[str] = []
    for number in range(first, last + 1):
        line = f"{number:>6}\t{lines[number - 1]}"
        room -= len(line) + 1
        if room < 0 and not shown:
            return _cut(line, len(line) + 1 + room, number, last)
        if room < 0:
            told = (
                f"[lines {first} to {number - 1} of {len(lines)}; call read_file with first_line={number} to read on]"
            )
            return "\n".join((*shown, told))
        shown.append(line)
    return "\n".join(shown)


def _cut(line: str, room: int, number: int, last: int) -> str:
    more = f"; call read_file with first_line={number + 1} to read on" if number < last else ""
    return f"{line[:room]}\n[line {number} is cut: {len(line) - room} more characters{more}]"


def edited(request: EditFile, content: bytes) -> bytes:
    """Put one edit onto a file's content. Raises `BadCallError` with what does not fit, and the nearest lines.

    What is quoted is taken as whole lines; failing that, as a piece of a line or lines, if that stands there exactly once.
    """
    edit = Edit(request.path, _lines(request.search), _lines(request.replace))
    changed: bytes | None
    try:
        changed = apply_edits([edit], {request.path: content}, _TERMS).get(request.path, content)
    except EditError as error:
        changed = _with_piece(request, content)
        if changed is None:
            told = error.feedback.removeprefix("Nothing was applied.\n")
            told = told.removeprefix(f"Call 1 of 1 ({request.path}): ")
            raise BadCallError(f"Nothing was changed: {told}") from None
    if changed is None or changed == content:
        raise BadCallError("Nothing was changed: `replace` is what stands there already.")
    return changed


def written(text: str, before: bytes | None) -> bytes:
    """The content of a file that is written whole. Raises `BadCallError` where a line of it stands for lines left out."""
    lines = text.split("\n")
    elision = first_elision(lines, (text_in(before or b"") or "").split("\n"))
    if elision is not None:
        raise BadCallError(
            f"Nothing was changed: line {elision + 1}, {lines[elision].strip()[:_MAX_QUOTED_CHARS]!r}, stands for lines that "
            "were left out, and they would be lost. Write every line, or use edit_file."
        )
    return text.encode()


def _with_piece(request: EditFile, content: bytes) -> bytes | None:
    text = text_in(content)
    if text is None or not request.search.strip():
        return None
    at = text.find(request.search)
    if at < 0 or at != text.rfind(request.search):
        return None
    return f"{text[:at]}{request.replace}{text[at + len(request.search) :]}".encode()


def _lines(text: str) -> str:
    r"""Whole lines, each ended by `\n`; nothing stays nothing."""
    text = text.replace("\r\n", "\n")
    return text if not text or text.endswith("\n") else f"{text}\n"
