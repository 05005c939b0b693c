"""Where an edit belongs in a file: found once, or not at all.

The lines that an edit quotes are looked for in four ways, from strict to lenient: exactly; without trailing whitespace;
shifted as a whole by some leading indentation; with typographic punctuation read as ASCII. The first way that finds them
decides. Found more than once they are refused, since a wrong place is worse than another try, unless the edit names a line
above its place: then it is the first one below that line, and never one above it. Used by `core.edits.apply`.
"""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.core.edits.blocks import Edit
from orchestrator.core.edits.lines import Document, positions

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


class DoesNotFitError(Exception):
    """One edit cannot be applied; the message is for the model."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a format calls what it consists of, so that feedback speaks the language of the answer.

    `edit` is one edit; `old` and `new` are its two texts. `create` says how to make a file, `quote` what to do where an
    edit quotes nothing of a file that is not empty, `narrow` where its text is found too often, `leave_out` where it is in
    place already.
    """

    edit: str = "block"
    old: str = "the SEARCH text"
    new: str = "the REPLACE text"
    create: str = "leave SEARCH empty to create it"
    quote: str = (
        "SEARCH is empty, but the file exists and is not empty. Quote the lines to replace; to replace the whole "
        "file, delete it with a block before this one."
    )
    deeper: str = "SEARCH is indented deeper than the file, and REPLACE is not."
    narrow: str = "Add lines before or after it until it occurs only once."
    leave_out: str = "leave this block out"


BLOCK_TERMS = Terms()


@dataclass(frozen=True, slots=True)
class Match:
    """A place in a file, and the indentation that the replacement needs there."""

    start: int
    add: str = ""
    drop: str = ""


def find(document: Document, edit: Edit, terms: Terms) -> Match:
    """Find what the edit quotes. Raises `DoesNotFitError` for nowhere and for more than one place."""
    wanted = edit.search.split("\n")[:-1]
    floor, doubt = _floor(document.bodies, edit.after)
    above: list[Match] = []
    for search in _RUNGS if document.is_utf8 else _RUNGS[:1]:
        matches = search(document.bodies, wanted)
        if floor is not None:
            above = above or matches
            matches = [match for match in matches if match.start >= floor][:1]
        if len(matches) > 1 and edit.is_at_end:
            matches = [match for match in matches if match.start + len(wanted) == len(document.bodies)] or matches
        if len(matches) == 1:
            return matches[0]
        if matches:
            raise DoesNotFitError(_found_often(matches, terms, doubt))
    if above and floor is not None:
        raise DoesNotFitError(
            f"{terms.old} is found at line {above[0].start + 1} only, which is above `{edit.after[-1].strip()}` "
            f"(line {floor + 1}). Name a line above the place, or quote other lines."
        )
    raise DoesNotFitError(_not_found(document, wanted, terms) + _already_there(document, edit, terms))


def line_below(document: Document, edit: Edit, terms: Terms) -> int:
    """Where an edit that quotes nothing puts its lines, from 0. Raises `DoesNotFitError` where that is not certain."""
    if edit.is_at_end:
        return len(document.bodies)
    floor, doubt = _floor(document.bodies, edit.after)
    if floor is None:
        raise DoesNotFitError(doubt.strip() or terms.quote)
    return floor + 1


def replacement(document: Document, edit: Edit, match: Match, terms: Terms) -> list[str]:
    """The lines that take the place of what was found: what the edit only quotes stays as the file has it."""
    wanted, fresh = edit.search.split("\n")[:-1], edit.replace.split("\n")[:-1]
    found = document.bodies[match.start : match.start + len(wanted)]
    if found == wanted:
        return fresh
    lines: list[str] = []
    for tag, start, stop, begin, end in difflib.SequenceMatcher(None, wanted, fresh, autojunk=False).get_opcodes():
        lines.extend(found[start:stop] if tag == "equal" else (_moved(line, match, terms) for line in fresh[begin:end]))
    return lines


def _floor(bodies: Sequence[str], after: Sequence[str]) -> tuple[int | None, str]:
    """The line that an edit's context names, from 0, and what is in doubt about it if there is none."""
    floor: int | None = None
    for line in after:
        places = _places_of(bodies, line, 0 if floor is None else floor + 1)
        if not places or (floor is None and len(places) > 1):
            found = f"found {len(places)} times" if places else "not in the file" if floor is None else "not below it"
            return None, f" The line `{line.strip()[:_MAX_LINE_CHARS]}` that should tell the place is {found}."
        floor = places[0]
    return floor, ""


def _places_of(bodies: Sequence[str], line: str, start: int) -> list[int]:
    """Where a context line stands: exactly, but for blanks around it, or as the beginning of a longer line."""
    bare = line.strip().removesuffix("@@").rstrip(" .…")
    for is_it in _CONTEXT_RUNGS:
        places = [at for at in range(start, len(bodies)) if is_it(bodies[at], line, bare)]
        if places:
            return places
    return []


def _begins(body: str, bare: str) -> bool:
    return bare != "" and body.startswith(bare) and not (_is_of_name(bare[-1:]) and _is_of_name(body[len(bare) :][:1]))


_CONTEXT_RUNGS: tuple[Callable[[str, str, str], bool], ...] = (
    lambda body, line, _: body == line,
    lambda body, _, bare: bare != "" and body.strip() == bare,
    lambda body, _, bare: _begins(body.strip(), bare),
)


def _is_of_name(letter: str) -> bool:
    return letter.isalnum() or letter == "_"


def _found_often(matches: Sequence[Match], terms: Terms, doubt: str) -> str:
    places = ", ".join(str(match.start + 1) for match in matches[:8])
    return f"{terms.old} is found {len(matches)} times (at lines {places}).{doubt} {terms.narrow}"


def _exactly(bodies: list[str], wanted: list[str]) -> list[Match]:
    return [Match(at) for at in positions(bodies, wanted)]


def _without_trailing_space(bodies: list[str], wanted: list[str]) -> list[Match]:
    return [Match(at) for at in positions([line.rstrip() for line in bodies], [line.rstrip() for line in wanted])]


def _shifted(bodies: list[str], wanted: list[str]) -> list[Match]:
    found = positions([line.strip() for line in bodies], [line.strip() for line in wanted])
    shifts = ((at, _shift(bodies[at : at + len(wanted)], wanted)) for at in found)
    return [Match(at, *shift) for at, shift in shifts if shift is not None]


def _with_ascii_punctuation(bodies: list[str], wanted: list[str]) -> list[Match]:
    return _shifted([line.translate(_ASCII) for line in bodies], [line.translate(_ASCII) for line in wanted])


_RUNGS: tuple[Callable[[list[str], list[str]], list[Match]], ...] = (
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


def _moved(line: str, match: Match, terms: Terms) -> str:
    if not line.strip():
        return line
    if not line.startswith(match.drop):
        raise DoesNotFitError(f"{terms.deeper} Copy the file's indentation.")
    return match.add + line.removeprefix(match.drop)


def _not_found(document: Document, wanted: list[str], terms: Terms) -> str:
    text = f"{terms.old} is not in the file."
    near = _nearest(document.bodies, wanted)
    if near is not None:
        stop = min(near + min(len(wanted), _MAX_SHOWN_LINES), len(document.bodies))
        shown = "\n".join(f"{at + 1:5} | {document.bodies[at][:_MAX_LINE_CHARS]}" for at in range(near, stop))
        text += f" The nearest lines are:\n{_printable(shown)}\nCopy them exactly."
    else:
        text += " No line of the file resembles it."
    return text


def _already_there(document: Document, edit: Edit, terms: Terms) -> str:
    fresh = [line.rstrip() for line in edit.replace.split("\n")[:-1]]
    if not any(fresh):
        return ""
    found = positions([line.rstrip() for line in document.bodies], fresh)
    if not found:
        return ""
    return f" But {terms.new} is there already, at line {found[0] + 1}: if so, {terms.leave_out}."


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
