"""Edits onto files: all of them or none, and never a guess between two places.

Each SEARCH text is looked for in four ways, from strict to lenient: exactly; without trailing whitespace; shifted as a
whole by some leading indentation; with typographic punctuation read as ASCII. The first way that finds it decides. Found
more than once it is refused, since a wrong place is worse than another try. Lines of the file that a block only quotes
stay as they are in the file, even where the quotation was inexact.

What does not fit is told in words for the model: which block, the nearest lines of the file with their numbers, and that
nothing was applied. The caller, `backends.sessions.editing`, writes the result all at once.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.edits import Edit, EditError
from orchestrator.core.edits_lines import Document, is_binary, positions

MAX_FEEDBACK_CHARS = 3_000
_MAX_PROBLEMS = 3
_MAX_SHOWN_LINES = 12
_MAX_LINE_CHARS = 160
# Beyond this a similarity search over all lines would take longer than it helps.
_MAX_COMPARED_LINES = 5_000

_ASCII = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‚": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "«": '"',
        "»": '"',
        "‐": "-",
        "‑": "-",
        "‒": "-",
        "–": "-",
        "—": "-",
        "−": "-",
        "…": "...",
        "\u00a0": " ",
        "\u202f": " ",
        "\u2009": " ",
        "\u200b": None,
    }
)


class _DoesNotFitError(Exception):
    """One block cannot be applied; the message is for the model."""


@dataclass(frozen=True, slots=True)
class _Match:
    """A place in a file, and the indentation that the replacement needs there."""

    start: int
    add: str = ""
    drop: str = ""


def apply_edits(edits: Sequence[Edit], files: Mapping[str, bytes]) -> dict[str, bytes | None]:
    """Apply blocks in their order; return the files that differ from `files` afterwards, None for a removed one.

    Raises `EditError` (`edit_does_not_apply`) if any block does not fit; `files` is never changed.
    """
    documents: dict[str, Document | None] = {}
    problems: list[str] = []
    for number, edit in enumerate(edits, start=1):
        if edit.path not in documents:
            documents[edit.path] = _opened(files.get(edit.path))
        try:
            documents[edit.path] = _applied(edit, documents[edit.path], files)
        except _DoesNotFitError as problem:
            problems.append(f"Block {number} of {len(edits)} ({edit.path}): {problem}")
    if problems:
        raise EditError("edit_does_not_apply", _report(problems, len(edits)))
    after = {path: None if document is None else document.content for path, document in documents.items()}
    return {path: content for path, content in after.items() if content != files.get(path)}


def _opened(content: bytes | None) -> Document | None:
    return None if content is None else Document.of(content)


def _report(problems: Sequence[str], blocks: int) -> str:
    shown = list(problems[:_MAX_PROBLEMS])
    if len(problems) > len(shown):
        shown.append(f"({len(problems) - len(shown)} more blocks do not fit.)")
    head = "Nothing was applied" + (f": of {blocks} blocks, {len(problems)} did not fit." if blocks > 1 else ".")
    return "\n".join((head, *shown))[:MAX_FEEDBACK_CHARS]


def _applied(edit: Edit, document: Document | None, files: Mapping[str, bytes]) -> Document | None:
    if edit.is_deletion:
        if document is None:
            raise _DoesNotFitError("there is no such file to delete." + _similar_names(edit.path, files))
        return None
    wanted, fresh = edit.search.split("\n")[:-1], edit.replace.split("\n")[:-1]
    is_blank = document is None or not any(body.strip() for body in document.bodies)
    if is_blank and (not edit.search or (document is None and not edit.search.strip())):
        return Document.of(edit.replace.encode())
    if document is None:
        raise _DoesNotFitError(
            "there is no such file; leave SEARCH empty to create it." + _similar_names(edit.path, files)
        )
    if not wanted:
        raise _DoesNotFitError(
            "SEARCH is empty, but the file exists and is not empty. Quote the lines to replace; to replace the whole "
            "file, delete it with a block before this one."
        )
    if is_binary(document.content):
        raise _DoesNotFitError("the file is binary and cannot be edited as text.")
    match = _find(document, wanted, fresh)
    lines = _replacement(document.bodies[match.start : match.start + len(wanted)], wanted, fresh, match)
    document.put(match.start, match.start + len(wanted), lines)
    return document


def _find(document: Document, wanted: list[str], fresh: list[str]) -> _Match:
    for search in _RUNGS if document.is_utf8 else _RUNGS[:1]:
        matches = search(document.bodies, wanted)
        if len(matches) == 1:
            return matches[0]
        if matches:
            places = ", ".join(str(match.start + 1) for match in matches[:8])
            raise _DoesNotFitError(
                f"the SEARCH text is found {len(matches)} times (at lines {places}). "
                "Add lines before or after it until it occurs only once."
            )
    raise _DoesNotFitError(_not_found(document, wanted) + _already_there(document, fresh))


def _exactly(bodies: list[str], wanted: list[str]) -> list[_Match]:
    return [_Match(at) for at in positions(bodies, wanted)]


def _without_trailing_space(bodies: list[str], wanted: list[str]) -> list[_Match]:
    return [_Match(at) for at in positions([line.rstrip() for line in bodies], [line.rstrip() for line in wanted])]


def _shifted(bodies: list[str], wanted: list[str]) -> list[_Match]:
    found = positions([line.strip() for line in bodies], [line.strip() for line in wanted])
    shifts = ((at, _shift(bodies[at : at + len(wanted)], wanted)) for at in found)
    return [_Match(at, *shift) for at, shift in shifts if shift is not None]


def _with_ascii_punctuation(bodies: list[str], wanted: list[str]) -> list[_Match]:
    return _shifted([line.translate(_ASCII) for line in bodies], [line.translate(_ASCII) for line in wanted])


_RUNGS: tuple[Callable[[list[str], list[str]], list[_Match]], ...] = (
    _exactly,
    _without_trailing_space,
    _shifted,
    _with_ascii_punctuation,
)


def _shift(found: Sequence[str], wanted: Sequence[str]) -> tuple[str, str] | None:
    """The indentation to add and to drop that makes `wanted` into `found`, if it is the same for all lines."""
    shifts: set[tuple[str, str] | None] = set()
    for there, here in zip(found, wanted, strict=True):
        if here.strip():
            shifts.add(_shift_of_line(_indent(there), _indent(here)))
    return shifts.pop() if len(shifts) == 1 else None


def _shift_of_line(there: str, here: str) -> tuple[str, str] | None:
    if there.endswith(here):
        return there[: len(there) - len(here)], ""
    if here.endswith(there):
        return "", here[: len(here) - len(there)]
    return None


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _replacement(found: list[str], wanted: list[str], fresh: list[str], match: _Match) -> list[str]:
    if found == wanted:
        return fresh
    lines: list[str] = []
    for tag, start, stop, begin, end in difflib.SequenceMatcher(None, wanted, fresh, autojunk=False).get_opcodes():
        lines.extend(found[start:stop] if tag == "equal" else (_moved(line, match) for line in fresh[begin:end]))
    return lines


def _moved(line: str, match: _Match) -> str:
    if not line.strip():
        return line
    if not line.startswith(match.drop):
        raise _DoesNotFitError(
            "SEARCH is indented deeper than the file, and REPLACE is not. Copy the file's indentation."
        )
    return match.add + line.removeprefix(match.drop)


def _not_found(document: Document, wanted: list[str]) -> str:
    text = "the SEARCH text is not in the file."
    near = _nearest(document.bodies, wanted)
    if near is not None:
        stop = min(near + min(len(wanted), _MAX_SHOWN_LINES), len(document.bodies))
        shown = "\n".join(f"{at + 1:5} | {document.bodies[at][:_MAX_LINE_CHARS]}" for at in range(near, stop))
        text += f" The nearest lines are:\n{_printable(shown)}\nCopy them exactly."
    else:
        text += " No line of the file resembles it."
    return text


def _already_there(document: Document, fresh: list[str]) -> str:
    if not any(line.strip() for line in fresh):
        return ""
    found = positions([line.rstrip() for line in document.bodies], [line.rstrip() for line in fresh])
    if not found:
        return ""
    return f" But the REPLACE text is there already, at line {found[0] + 1}: if so, leave this block out."


def _printable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _nearest(bodies: Sequence[str], wanted: Sequence[str]) -> int | None:
    """Where most lines agree but for whitespace; else where the longest wanted line has its most similar one."""
    places: dict[str, list[int]] = {}
    for at, body in enumerate(bodies):
        places.setdefault(body.strip(), []).append(at)
    votes: Counter[int] = Counter()
    for offset, line in enumerate(wanted):
        # A line such as `return` stands in many places and says little about which is meant.
        spots = places.get(line.strip(), []) if line.strip() else []
        votes.update({at - offset: 1 for at in spots[:50]})
    if votes:
        most = max(votes.values())
        return max(0, min(at for at, count in votes.items() if count == most))
    return _most_similar(bodies[:_MAX_COMPARED_LINES], wanted)


def _most_similar(bodies: Sequence[str], wanted: Sequence[str]) -> int | None:
    offset = max(range(len(wanted)), key=lambda at: len(wanted[at].strip()))
    close = difflib.get_close_matches(wanted[offset], bodies, n=1, cutoff=0.6)
    return max(0, bodies.index(close[0]) - offset) if close else None


def _similar_names(path: str, files: Mapping[str, bytes]) -> str:
    close = difflib.get_close_matches(path, [name for name in files if name != path], n=2)
    return f" Did you mean {' or '.join(close)}?" if close else ""
