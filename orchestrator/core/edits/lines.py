"""A file as lines that can be replaced without disturbing the rest: byte-order mark, line endings, final newline.

`Document.of(content).content == content` for every content that is not binary, so what an edit does not touch stays as
it was, byte for byte. Used by `core.edits.apply`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

_MARK = "\ufeff"


@dataclass(slots=True)
class Document:
    r"""The lines of one file: `bodies` without their endings, and `ends` beside them (`\n` or `\r\n`).

    `ending` is the more frequent of the two and is given to new lines. `is_utf8` is False where some bytes are no
    UTF-8: they are kept, but only exact matching is safe.
    """

    bodies: list[str]
    ends: list[str]
    ending: str = "\n"
    mark: str = ""
    has_final_newline: bool = True
    is_utf8: bool = True

    @classmethod
    def of(cls, content: bytes) -> Self:
        """Read a file's content."""
        text = content.decode("utf-8", "surrogateescape")
        mark = _MARK if text.startswith(_MARK) else ""
        parts = text[len(mark) :].split("\n")
        last = parts.pop()
        ends = ["\r\n" if part.endswith("\r") else "\n" for part in parts]
        ending = "\r\n" if 2 * ends.count("\r\n") > len(ends) else "\n"
        bodies = [part.removesuffix("\r") for part in parts]
        if last:
            bodies.append(last)
            ends.append(ending)
        return cls(bodies, ends, ending, mark, not last, _is_utf8(content))

    @property
    def content(self) -> bytes:
        """The file's content as it is now."""
        text = self.mark + "".join(body + end for body, end in zip(self.bodies, self.ends, strict=True))
        if self.ends and not self.has_final_newline:
            text = text.removesuffix(self.ends[-1])
        return text.encode("utf-8", "surrogateescape")

    @property
    def is_mixed(self) -> bool:
        """Whether its lines end in both ways."""
        return any(end != self.ending for end in self.ends)

    def put(self, start: int, stop: int, bodies: Sequence[str]) -> None:
        """Replace the lines `start` to `stop` (from 0, end exclusive); lines that stay the same keep their endings."""
        before = self.bodies[start:stop]
        head = _shared(before, bodies)
        tail = _shared(before[head:][::-1], bodies[head:][::-1])
        fresh = bodies[head : len(bodies) - tail]
        self.bodies[start + head : stop - tail] = fresh
        self.ends[start + head : stop - tail] = [self.ending] * len(fresh)


def is_binary(content: bytes) -> bool:
    """Tell whether a file is no text: it holds a zero byte in its first 8,000 bytes, as git decides it."""
    return b"\0" in content[:8000]


def positions(haystack: Sequence[str], needle: Sequence[str]) -> list[int]:
    """Every place, from 0, at which the lines `needle` stand in `haystack`; overlapping places count."""
    found: list[int] = []
    at = -1
    while needle:
        try:
            at = haystack.index(needle[0], at + 1)
        except ValueError:
            break
        if haystack[at : at + len(needle)] == needle:
            found.append(at)
    return found


def _shared(left: Sequence[str], right: Sequence[str]) -> int:
    count = 0
    for one, other in zip(left, right, strict=False):
        if one != other:
            break
        count += 1
    return count


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
