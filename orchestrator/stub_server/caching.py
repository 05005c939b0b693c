"""A provider's prompt cache: whoever sends a prefix again within five minutes reads it instead of paying for it in full.

Two kinds are simulated. Anthropic's caches where a request marks it: a request reads the longest prefix that is there, looking
back up to 20 blocks from each of its breakpoints, and writes the rest up to its last one. OpenAI's caches by itself, in
steps of 128 tokens. In both, nothing short is cached, what is read lives on, and what a request writes can be read only once
its answer has begun: siblings that start together all write.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from orchestrator.core.chat import estimate_tokens

MAX_BREAKPOINTS = 4
_LOOKBACK_BLOCKS = 20
_STEP_TOKENS = 128
_CHARS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a request that a prefix may end with: what is read of it, and, where that is not all, what makes it itself."""

    text: str
    is_breakpoint: bool = False
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Prefixes:
    """Which prefixes of a request may be read, the longest first, and which it writes, with their tokens.

    `paid_tokens` is where the paid writing ends; 0 where a provider writes for nothing and does not tell.
    `is_reading_limited` is false where what is read does not count against the account's limits.
    """

    readable: tuple[bytes, ...] = ()
    written: tuple[tuple[bytes, int], ...] = ()
    paid_tokens: int = 0
    is_reading_limited: bool = True


def marked(model: str, blocks: Sequence[Block], from_tokens: int) -> Prefixes:
    """The prefixes of a request with breakpoints, of so many tokens at least; each model has a cache of its own."""
    ends = _digests(model, (block.identity or block.text for block in blocks))
    marks = [index for index, block in enumerate(blocks) if block.is_breakpoint]
    seen = {at for mark in marks for at in range(max(0, mark - _LOOKBACK_BLOCKS + 1), mark + 1)}
    lengths = {mark: estimate_tokens("".join(block.text for block in blocks[: mark + 1])) for mark in marks}
    written = tuple((ends[mark], tokens) for mark, tokens in lengths.items() if tokens >= from_tokens)
    return Prefixes(
        readable=tuple(ends[at] for at in sorted(seen, reverse=True)),
        written=written,
        paid_tokens=max((tokens for _, tokens in written), default=0),
        is_reading_limited=False,
    )


def automatic(model: str, text: str, from_tokens: int) -> Prefixes:
    """The prefixes of a request that its provider chooses: from so many whole tokens on, every 128."""
    ends = [*range(from_tokens, len(text) // _CHARS_PER_TOKEN + 1, _STEP_TOKENS)]
    bounds = [0, *(end * _CHARS_PER_TOKEN for end in ends)]
    parts = (text[start:end] for start, end in pairwise(bounds))
    digests = _digests(model, parts)
    return Prefixes(readable=tuple(reversed(digests)), written=tuple(zip(digests, ends, strict=True)))


def _digests(model: str, parts: Iterable[str]) -> list[bytes]:
    """The digest of each prefix that ends with a part."""
    digest = sha256(model.encode("utf-8", "backslashreplace"))
    ends = []
    for part in parts:
        raw = part.encode("utf-8", "backslashreplace")
        digest.update(len(raw).to_bytes(8))
        digest.update(raw)
        ends.append(digest.digest())
    return ends


class PromptCache:
    """What one account has cached: prefixes with their tokens, each for `lifetime_s` since it was last used."""

    def __init__(self, lifetime_s: float = 300.0) -> None:
        self._lifetime_s = lifetime_s
        # In the order of their last use, which is the order in which they end.
        self._kept: dict[bytes, tuple[float, int]] = {}

    def read(self, prefixes: Prefixes, now: float) -> int:
        """How many tokens of a request are there to be read. `now` is in seconds, and never goes back."""
        self._forget(now)
        found = [self._kept[digest][1] for digest in prefixes.readable if digest in self._kept]
        for digest in prefixes.readable:
            if digest in self._kept:
                self._keep(digest, self._kept[digest][1], now)
        return max(found, default=0)

    def write(self, prefixes: Prefixes, now: float) -> None:
        """Keep what a request writes: its answer has begun."""
        self._forget(now)
        for digest, tokens in prefixes.written:
            self._keep(digest, tokens, now)

    def _keep(self, digest: bytes, tokens: int, now: float) -> None:
        self._kept.pop(digest, None)
        self._kept[digest] = (now + self._lifetime_s, tokens)

    def _forget(self, now: float) -> None:
        while self._kept:
            oldest = next(iter(self._kept))
            if self._kept[oldest][0] > now:
                return
            del self._kept[oldest]
