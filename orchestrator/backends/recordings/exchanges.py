"""One recorded exchange, and the digest by which a request is found again.

Two requests are the same when the model is shown the same: system text, turns with their calls and results, tools, schema,
output limit. Who asks (`Draw`) and what a provider wants back unread (`opaque`) are no part of it, nor is what no two runs of
the same checks have alike: in the output of checks and tools, durations, addresses and absolute folders are all one, and the
number of an earlier try is left out. Otherwise no session that was told of a failed test could ever be replayed.
"""

import json
import re
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from orchestrator.core.chat import Completion, Message, Prompt
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.core.values import Digest, Value, digest_of

FORMAT: Literal[1] = 1
# As `core.prompt` writes it; it bounds a report, so the search for its end may be bounded too.
_EARLIER = re.compile(r"<(earlier_try_*)((?: [a-z]+=\"[^\"\n]*\")*)>\n(.{0,12000}?)\n</\1>", re.DOTALL)
_NUMBER = re.compile(r' attempt="\d+"')
_VOLATILE = (
    (re.compile(r"\b\d+(?:\.\d+)? ?(?:ns|µs|us|ms|s|secs?|seconds?)\b"), "0s"),
    (re.compile(r"\(\d+:\d\d:\d\d\)"), "(0s)"),
    (re.compile(r"\b0x[0-9a-fA-F]{6,16}\b"), "0x0"),
    (re.compile(r"(?<![\w.:/])/(?:[^\s/'\"`:,;()<>\[\]]+/)+"), "/"),
    # A rule fills what the figures in it leave of the line.
    (re.compile(r"([=_-])\1{2,}"), r"\1\1\1"),
)


class RecordedError(Value):
    """An answer that was an error, as `BackendError` carries it."""

    kind: BackendFault
    message: str
    retry_after_s: float | None = None

    @classmethod
    def of(cls, error: BackendError) -> Self:
        """Take down an error."""
        return cls(kind=error.kind, message=str(error), retry_after_s=error.retry_after_s)

    def again(self) -> BackendError:
        """The error, to be raised once more."""
        return BackendError(self.message, kind=self.kind, retry_after_s=self.retry_after_s)


class RecordedExchange(Value):
    """One request and what came of it: a completion or an error.

    `when` is the moment of the request, ISO 8601 in UTC; `duration_s` the seconds to its answer. The prompt is kept as the model
    saw it, so its `files` and `writable`, which repeat a part of it as values, are empty.
    """

    format: Literal[1] = FORMAT
    digest: Digest = Field(pattern=r"^[0-9a-f]{64}$")
    model: str
    when: str
    duration_s: float = Field(ge=0)
    prompt: Prompt
    completion: Completion | None = None
    error: RecordedError | None = None

    @model_validator(mode="after")
    def _has_one_answer(self) -> Self:
        if (self.completion is None) == (self.error is None):
            raise ValueError("there must be a completion or an error, and not both")
        return self

    def encoded(self) -> bytes:
        """The exchange as JSON, for people too; `decode` reads it."""
        # Not `mode="json"`, which refuses deep nesting and changes keys that are no text.
        body = self.model_dump(exclude={"prompt"})
        prompt = self.prompt.model_dump(exclude={"draw", "files", "writable"})
        # Who asked stands near the beginning, so that it can be found without reading the rest.
        head = {name: body[name] for name in ("format", "digest", "model", "when", "duration_s")}
        whole = {**head, "prompt": {"draw": self.prompt.draw.model_dump(), **prompt}, **body}
        try:
            return json.dumps(whole, indent=1, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            # Half a character, as a reply that was cut off may end in: no UTF-8 holds it, an escape does.
            return json.dumps(whole, indent=1).encode()


def decode(body: bytes) -> RecordedExchange:
    """Read an exchange. Raises ValueError, whose text says what is wrong with it."""
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("format"), int) and value["format"] > FORMAT:
        raise ValueError(f"it has format {value['format']}; this program reads {FORMAT}")
    try:
        return RecordedExchange.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"]) or "the whole"
        raise ValueError(f"{where}: {first['msg']}") from error


def request_digest(prompt: Prompt) -> Digest:
    """The name of a request: SHA-256 over canonical JSON of `as_compared`, the same in every run and on every Python."""
    compared = as_compared(prompt)
    # Written out, so that what the values gain one day does not make every recording a stranger.
    shown = {
        "system": compared.system,
        "messages": [
            {
                "role": message.role,
                "text": message.text,
                "calls": [{"id": call.id, "name": call.name, "arguments": call.arguments} for call in message.calls],
                "results": [{"call": one.call, "text": one.text, "is_error": one.is_error} for one in message.results],
            }
            for message in compared.messages
        ],
        "tools": [
            {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
            for tool in compared.tools
        ],
        "response_schema": compared.response_schema,
        "max_output_tokens": compared.max_output_tokens,
    }
    return digest_of(json.dumps(shown, sort_keys=True, separators=(",", ":")).encode())


def as_compared(prompt: Prompt) -> Prompt:
    """The prompt without what may differ between two requests that are the same."""
    return prompt.model_copy(update={"messages": tuple(_steady(message) for message in prompt.messages)})


def _steady(message: Message) -> Message:
    results = tuple(result.model_copy(update={"text": _without_volatile(result.text)}) for result in message.results)
    # What a call's problem was is ours; the model is told in the call's result.
    calls = tuple(call.model_copy(update={"problem": ""}) for call in message.calls)
    text = _EARLIER.sub(_steady_try, message.text) if message.role == "user" else message.text
    return Message(role=message.role, text=text, calls=calls, results=results)


def _steady_try(found: re.Match[str]) -> str:
    tag, attributes, text = found.groups()
    return f"<{tag}{_NUMBER.sub('', attributes)}>\n{_without_volatile(text)}\n</{tag}>"


def _without_volatile(text: str) -> str:
    for pattern, instead in _VOLATILE:
        text = pattern.sub(instead, text)
    return text
