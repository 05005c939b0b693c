"""The small program that runs a regular expression from a model over texts: one that does not end can be killed.

A match in progress cannot be interrupted in Python, not even in a thread, so `sessions.searching` runs this file in an
interpreter alone (`-I -S`); hence it imports nothing of the program. Standard input is JSON: the pattern, `[path, text]`
pairs and the bounds; standard output is JSON: `lines`, or a `problem` with the pattern. It ends itself after `time_s`, should
nobody be left to end it.
"""

import json
import re
import resource
import signal
import sys
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress

_MAX_MEMORY_BYTES = 2 << 30


def matching_lines(
    expression: re.Pattern[str], texts: Iterable[tuple[str, str]], bounds: Mapping[str, int]
) -> list[str]:
    """Find matching lines, as `path:line: text`: `matches` at most, `matches_a_file` of one file, `width` characters of a line."""
    found: list[str] = []
    for path, text in texts:
        here = 0
        for number, line in enumerate(text.split("\n"), start=1):
            hit = expression.search(line.removesuffix("\r"))
            if hit is None:
                continue
            if len(found) >= bounds["matches"]:
                return [*found, f"… more lines match; only the first {bounds['matches']} are shown"]
            if here >= bounds["matches_a_file"]:
                found.append(f"{path}: … more lines match in this file")
                break
            here += 1
            found.append(f"{path}:{number}: {_around(line.removesuffix(chr(13)), hit.start(), bounds['width'])}")
    return found


def _around(line: str, at: int, width: int) -> str:
    """The line, or the part of a long one around a match."""
    if len(line) <= width:
        return line
    start = max(0, min(at - width // 4, len(line) - width))
    return ("…" if start else "") + line[start : start + width] + ("…" if start + width < len(line) else "")


def main() -> None:
    """Answer one question."""
    asked = json.loads(sys.stdin.buffer.read())
    signal.alarm(int(asked["time_s"]) + 1)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    warnings.simplefilter("ignore")
    try:
        expression = re.compile(asked["pattern"])
    except (re.error, RecursionError, OverflowError, MemoryError) as error:
        sys.stdout.write(json.dumps({"problem": str(error) or type(error).__name__}))
    else:
        sys.stdout.write(json.dumps({"lines": matching_lines(expression, asked["texts"], asked["bounds"])}))


if __name__ == "__main__":
    main()
