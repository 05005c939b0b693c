"""What a model is shown of a failed check: the failing test, the assertion, the first error, and no more.

Small contexts keep quality, so a page of output becomes at most some twenty lines. Output is data from a program that
ran model-written code: control characters are taken out, and the caller delimits what is left.
"""

import re
from collections.abc import Sequence

MAX_LINES = 24
MAX_CHARS = 2_400

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_TELLING = re.compile(
    r"^(E  |FAILED |ERROR |FAIL: |AssertionError|\w*(?:Error|Exception|Warning)\b.*:|\s*assert |> )"  # test runners
    r"|^\S+:\d+(:\d+)?: |^\S+\.\w+:\d+"  # compilers, linters, type checkers
    r"|\berror(\[[\w-]+\])?:|\bfailed\b|\bexpected\b",
    re.IGNORECASE,
)


def excerpt(output: bytes) -> str:
    """Choose the lines of a check's output that say what is wrong; the end of it when none stands out."""
    text = _ESCAPES.sub("", output.decode(errors="replace").replace("\r\n", "\n").replace("\r", "\n"))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    telling = [index for index, line in enumerate(lines) if _TELLING.search(line)]
    chosen = _with_neighbours(telling, len(lines)) if telling else range(max(0, len(lines) - MAX_LINES), len(lines))
    return _bounded([lines[index] for index in chosen])


def _with_neighbours(indices: Sequence[int], count: int) -> Sequence[int]:
    """Add the line before each telling one: it is what was being done."""
    near = {index for hit in indices for index in (hit - 1, hit) if 0 <= index < count}
    return sorted(near)


def _bounded(lines: Sequence[str]) -> str:
    kept = list(lines[:MAX_LINES])
    if len(lines) > MAX_LINES:
        kept.append(f"… and {len(lines) - MAX_LINES} more lines")
    text = "\n".join(line if len(line) <= 300 else f"{line[:300]}…" for line in kept)
    return text if len(text) <= MAX_CHARS else f"{text[:MAX_CHARS]}…"
