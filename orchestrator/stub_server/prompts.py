"""From what came over the wire back to a `Prompt`, so that any `ChatModel` can be the brain behind the service.

A wire format carries texts, tools and calls alone. The files that a prompt shows, and what it may write, are read back from the text that
`core.prompt` writes; a text from elsewhere simply shows none. The key of the random choices comes in the header
`x-orchestrate-draw` (a `Draw` as JSON); without it, it is derived from the text, so that equal requests get equal answers.
"""

import json
import re
from collections.abc import Mapping
from hashlib import sha256

from pydantic import ValidationError

from orchestrator.core.chat import Draw, Prompt, ShownFile
from orchestrator.core.values import SubtaskId
from orchestrator.stub_server.dialect import Asked, UnreadableRequest

DRAW_HEADER = "x-orchestrate-draw"
_DEFAULT_OUTPUT_TOKENS = 16_000
_FILE = re.compile(r'<(file_*) path=("(?:[^"\\]|\\.)*") access="(writable|read-only)">\n(.*?)\n</\1>', re.DOTALL)
_WRITABLE = re.compile(r"^Writable paths: (.+)$", re.MULTILINE)


def prompt_of(asked: Asked, headers: Mapping[str, str]) -> Prompt:
    """The prompt that a request stands for. Raises `UnreadableRequest` for a header that is no draw."""
    opening = asked.messages[0].text
    files, rest = _files_in(opening)
    writable = _WRITABLE.findall(rest)
    return Prompt(
        system=asked.system,
        messages=asked.messages,
        draw=_draw(asked, headers.get(DRAW_HEADER)),
        files=files,
        writable=tuple(writable[-1].split(", ")) if writable else (),
        tools=asked.tools,
        response_schema=asked.response_schema,
        max_output_tokens=asked.max_output_tokens or _DEFAULT_OUTPUT_TOKENS,
    )


def _files_in(text: str) -> tuple[tuple[ShownFile, ...], str]:
    """The files that a text shows, and the text without them: a file may hold anything, other prompts included."""
    files = []
    for found in _FILE.finditer(text):
        _, path, access, content = found.groups()
        files.append(ShownFile(path=str(json.loads(path)), text=f"{content}\n", is_writable=access == "writable"))
    return tuple(files), _FILE.sub("", text)


def _draw(asked: Asked, header: str | None) -> Draw:
    if header is not None:
        try:
            return Draw.model_validate_json(header)
        except ValidationError:
            raise UnreadableRequest(f"{DRAW_HEADER}: not the JSON of a draw") from None
    digest = sha256(asked.text.encode("utf-8", "backslashreplace")).hexdigest()
    return Draw(seed=int(digest[:8], 16), subtask=SubtaskId(f"request-{digest[:12]}"))
