"""What a model is shown of a failed check: the failing test, the assertion, the first error, and no more.

Small contexts keep quality, so a page of output becomes at most some twenty lines. Lines are ranked by what they say:
how a test failed and the last line of a traceback come first, then errors of compilers and linters, then what sounds
like trouble; warnings and tests that pass never. Of too many of one rank the beginning and the end are shown. Output is
data from a program that ran model-written code: control characters are taken out, and the caller delimits what is left.
"""

import re
from collections.abc import Sequence
from enum import IntEnum

MAX_LINES = 24
MAX_CHARS = 2_400

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# A line is judged by its beginning: an expression that looks at each word again must not meet one of a megabyte.
_JUDGED_CHARS = 1_000
_WIDTHS = (300, 200, 140, MAX_CHARS // (MAX_LINES + 1) - 2)


class _Rank(IntEnum):
    NEVER = -1
    PLAIN = 0
    HINT = 1
    ERROR = 2
    FAILURE = 3


_TRACEBACK = re.compile(r"^\s*(?:[|+]\s*)*(?:Exception Group )?Traceback \(most recent call last\)")
_FAILURE = re.compile(
    r"^E  |^FAILED |^ERROR |^(?:FAIL|ERROR): |^\s*--- FAIL|^not ok |^\s*[✕✗×●] |panicked at"  # test runners
    r"|^(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|Failure)(?::| \[|$)"
)
_NEVER = re.compile(
    r"\b\w{0,60}Warning\b|\bwarning(?:\[[\w-]+\])?:|^\s*warning\b|\bW\d{3,4}\b"
    r"|(?:\b(?:ok|passed|skipped|xfail|xpass)|expected failure)\s*(?:\[[\s\d%]+\])?$|^\s*(?:ok|pass|passed|[✓✔])\s"
    r"|\b0 (?:failed|failures|errors)\b",
    re.IGNORECASE,
)
_ERROR = re.compile(
    r"^\S+:\d+(?::\d+)?: |^\S+\.\w+:\d+|^\S+\.\w+\(\d+,\d+\)|^\s*--> \S+:\d+|\berror(?:\[[\w-]+\]| \w+\d+)?:|^>  ",
    re.IGNORECASE,
)
_HINT = re.compile(r"\bfailed\b|\bexpected\b|^\s*assert |^> |\b\w{0,60}(?:Error|Exception)\b.*:", re.IGNORECASE)


def excerpt(output: bytes) -> str:
    """Choose the lines of a check's output that say what is wrong; the end of it when none stands out."""
    text = _ESCAPES.sub("", output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    ranks = _ranked(lines)
    if max(ranks, default=_Rank.PLAIN) <= _Rank.PLAIN:
        return _bounded(lines[-MAX_LINES:])
    return _bounded(_chosen(lines, ranks))


def _ranked(lines: Sequence[str]) -> list[_Rank]:
    """What each line says; the line that ends a traceback is known by what it follows, whatever it looks like."""
    ranks: list[_Rank] = []
    margin: int | None = None  # how far the traceback is indented that we are in
    for line in lines:
        if _TRACEBACK.search(line[:_JUDGED_CHARS]):
            margin = _margin(line)
            ranks.append(_Rank.PLAIN)
        elif margin is not None and _margin(line) <= margin:
            margin = None
            ranks.append(_Rank.FAILURE)
        else:
            ranks.append(_rank(line[:_JUDGED_CHARS]))
    return ranks


def _margin(line: str) -> int:
    return len(line) - len(line.lstrip(" \t|+"))


def _rank(line: str) -> _Rank:
    for pattern, rank in (
        (_FAILURE, _Rank.FAILURE),
        (_NEVER, _Rank.NEVER),
        (_ERROR, _Rank.ERROR),
        (_HINT, _Rank.HINT),
    ):
        if pattern.search(line):
            return rank
    return _Rank.PLAIN


def _chosen(lines: Sequence[str], ranks: Sequence[_Rank]) -> list[str]:
    """The strongest lines in their order, each with the one before it where there is room: it is what was being done."""
    shown: dict[int, str] = {}
    for rank in (_Rank.FAILURE, _Rank.ERROR, _Rank.HINT):
        hits = [index for index, found in enumerate(ranks) if found is rank and index not in shown]
        room = MAX_LINES - len(shown)
        cut = len(hits) - room
        if cut > 0:
            head = (room + 1) // 2
            hits = [*hits[:head], *hits[len(hits) - (room - head) :]]
        shown |= {index: lines[index] for index in hits}
        if cut > 0:
            if hits:
                shown[hits[head - 1]] += f"\n… {cut} more lines like it …"
            break
        before = [
            index - 1 for index in hits if index and index - 1 not in shown and ranks[index - 1] is not _Rank.NEVER
        ]
        shown |= {index: lines[index] for index in before[: MAX_LINES - len(shown)]}
    return [line for _, text in sorted(shown.items()) for line in text.split("\n")]


def _bounded(lines: Sequence[str]) -> str:
    """Shorten lines, the longest first, until all fit: the last one may be the one that matters."""
    text = ""
    for width in _WIDTHS:
        text = "\n".join(line if len(line) <= width else f"{line[:width]}…" for line in lines)
        if len(text) <= MAX_CHARS:
            break
    return text
