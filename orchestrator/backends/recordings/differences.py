"""Why a request is not the one that was recorded, in words for the person who replays."""

import re
from collections import deque
from collections.abc import Iterator
from itertools import zip_longest

from orchestrator.backends.recordings.exchanges import as_compared
from orchestrator.backends.recordings.redaction import Redactor
from orchestrator.core.chat import Message, Prompt, Tool

_BEFORE, _AFTER = 10, 50
_TAG = re.compile(r"^<([a-z_]+) [^\n]*>$", re.MULTILINE)
_LONGEST_TAG = 200


def comparable(new: Prompt, redactor: Redactor) -> Prompt:
    """A new prompt as a recorded one is kept: as the digest sees it, without secrets."""
    return redactor.value(as_compared(new).model_copy(update={"files": (), "writable": ()}))


def likeness(recorded: Prompt, now: Prompt) -> tuple[int, bool, bool, int]:
    """How much a recorded prompt is like a comparable one; the greater, the more."""
    old = as_compared(recorded)
    return (
        _equal_turns(old.messages, now.messages),
        old.system == now.system,
        old.tools == now.tools,
        -abs(len(old.text) - len(now.text)),
    )


def differences(recorded: Prompt, now: Prompt) -> list[str]:
    """What differs from a comparable prompt, as a model reads it: the first place of each part. Empty where nothing shows."""
    old = as_compared(recorded)
    return [
        *_in_text("the system text", old.system, now.system),
        *_in_tools(old.tools, now.tools),
        *_in_turns(old.messages, now.messages),
        *(["the schema of the answer"] if old.response_schema != now.response_schema else []),
        *_in_limit(old.max_output_tokens, now.max_output_tokens),
    ]


def _equal_turns(old: tuple[Message, ...], now: tuple[Message, ...]) -> int:
    pairs = enumerate(zip(old, now, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(old), len(now)))


def _in_text(what: str, old: str, now: str) -> Iterator[str]:
    if old == now:
        return
    pairs = zip_longest(old, now)
    at = next(place for place, (one, other) in enumerate(pairs) if one != other)
    line = now.count("\n", 0, at) + 1
    sizes = f"{len(old):,} characters recorded, {len(now):,} now"
    yield f"{what} from line {line} on{_inside(now, at)} ({sizes}): recorded {_around(old, at)}, now {_around(now, at)}"


def _inside(text: str, at: int) -> str:
    """The tag, such as that of a file, within which a place lies."""
    opened = deque(_TAG.finditer(text, 0, at), maxlen=1)
    if not opened or f"</{opened[0][1]}>" in text[opened[0].end() : at]:
        return ""
    return f" in {opened[0][0][:_LONGEST_TAG]}"


def _around(text: str, at: int) -> str:
    if at >= len(text):
        return "it ends there"
    start = max(0, at - _BEFORE)
    return f"{'…' * (start > 0)}{text[start : at + _AFTER]!r}{'…' * (at + _AFTER < len(text))}"


def _in_tools(old: tuple[Tool, ...], now: tuple[Tool, ...]) -> Iterator[str]:
    before, after = {tool.name: tool for tool in old}, {tool.name: tool for tool in now}
    changed = [name for name in before if name in after and before[name] != after[name]]
    told = [
        *(f"{name} is new" for name in after if name not in before),
        *(f"{name} is gone" for name in before if name not in after),
        *(f"{name} is described otherwise" for name in changed),
    ]
    if told or old != now:
        yield f"the tools ({', '.join(told) or 'their order'})"


def _in_turns(old: tuple[Message, ...], now: tuple[Message, ...]) -> Iterator[str]:
    """The first turn that differs, since those after it follow from it; and how many there are."""
    place = _equal_turns(old, now)
    if place < min(len(old), len(now)):
        before, after = old[place], now[place]
        what = f"turn {place + 1} ({after.role})"
        yield from list(_in_text(what, before.whole, after.whole)) or [f"{what}: it is another role's"]
    if len(old) != len(now):
        yield f"the number of turns: {len(old)} recorded, {len(now)} now"


def _in_limit(old: int, now: int) -> Iterator[str]:
    if old != now:
        yield f"the limit on output tokens: {old:,} recorded, {now:,} now"
