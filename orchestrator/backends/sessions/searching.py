"""Searching texts for a pattern from a model: bounded in what is searched, in what is found, and in time.

A pattern without a special character is looked for in a thread; any other in a process of its own (`search_worker`), since
a regular expression can take longer than the world will last, and nothing but the end of its process ends it. That process
gets an empty environment: an interpreter needs none, and a key in this one's is none of its business.
"""

import asyncio
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.backends.sessions import search_worker
from orchestrator.backends.sessions.search_worker import matching_lines
from orchestrator.backends.sessions.tool_calls import BadCallError

MAX_PATTERN_CHARS = 1_000
_BOUNDS: Mapping[str, int] = {"matches": 200, "matches_a_file": 50, "width": 240}
_SPECIAL = re.compile(r"[\\.^$*+?{}\[\]()|]")

Texts = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Searcher:
    """Runs searches; `time_s` is what an expression may take.

    `slots` bounds the searches at once: whoever searches holds one from before the texts are loaded, since they are what
    takes memory.
    """

    slots: asyncio.Semaphore
    time_s: float

    async def search(self, pattern: str, texts: Texts) -> list[str]:
        """Return the lines of `(path, text)` pairs that match, as `path:line: text`.

        Raises `BadCallError` for a pattern that is none, or that takes too long. On cancellation the process is ended.
        """
        _refuse_odd(pattern)
        if _SPECIAL.search(pattern) is None:
            return await asyncio.to_thread(_lines_with, pattern, texts)
        answer = await self._answered(await asyncio.to_thread(_question, pattern, texts, self.time_s))
        if "problem" in answer:
            raise BadCallError(f"{pattern!r} is no regular expression of Python's: {answer['problem']}.")
        return [str(line) for line in answer["lines"]]

    async def _answered(self, question: bytes) -> Mapping[str, Sequence[str]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(Path(search_worker.__file__))),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={},
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self.time_s):
                output, _ = await process.communicate(question)
        except TimeoutError:
            raise BadCallError(
                f"The search did not end within {self.time_s:g} s. Repetition within repetition, as in (a+)+, is slow: "
                "search for something simpler, or in fewer files."
            ) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise BadCallError(f"The search came to no end (exit {process.returncode}). Search for something simpler.")
        answer: Mapping[str, Sequence[str]] = json.loads(output)
        return answer


def _lines_with(pattern: str, texts: Texts) -> list[str]:
    near = [(path, text) for path, text in texts if pattern in text]
    return matching_lines(re.compile(pattern), near, _BOUNDS)


def _question(pattern: str, texts: Texts, time_s: float) -> bytes:
    """What the worker reads. Text by text, since the encoder lets no other thread run until it has ended."""
    asked = json.dumps({"pattern": pattern, "bounds": _BOUNDS, "time_s": time_s})
    listed = b", ".join(json.dumps(pair).encode() for pair in texts)
    return asked.removesuffix("}").encode() + b', "texts": [' + listed + b"]}"


def _refuse_odd(pattern: str) -> None:
    if not pattern:
        raise BadCallError("`pattern` is empty. To see which files there are, call list_files.")
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadCallError(f"`pattern` is longer than {MAX_PATTERN_CHARS} characters. Search for something shorter.")
    if "\n" in pattern:
        raise BadCallError(
            "`pattern` holds a line break, but each line is searched by itself. Search for one line of it."
        )
