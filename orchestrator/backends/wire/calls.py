"""Tool calls as they come in a stream, how they go back, and what of a turn its provider wants back unread.

A call's arguments come as pieces of JSON text. What they turn out to be is known at the end (`settled`): a `ToolCall`, one
with a `problem` where they are no JSON object, or none where the limit on the reply's length cut the call off. What a
provider wants back unread is sealed with its name, so that no other takes it for its own.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from orchestrator.backends.wire.streams import mended
from orchestrator.core.chat import Message, Prompt, ToolCall, ToolResult

# What all providers take as the id of a call and as a tool's name.
_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_-]")
_MAX_NAME_CHARS = 64
# Deeper than any tool's arguments, and less than what our own serialisers follow.
_MAX_DEPTH = 64


@dataclass(slots=True)
class CallDraft:
    """A call as it comes. `is_cut` is set where the provider says so; `extra` is what it keeps with the call for itself.

    `call` is what came of it, once it is settled; it stays None for a call that was cut off.
    """

    id: str = ""
    name: str = ""
    pieces: list[str] = field(default_factory=list)
    is_cut: bool = False
    extra: dict[str, object] = field(default_factory=dict)
    call: ToolCall | None = None

    @property
    def arguments(self) -> str:
        """The text of the arguments, as far as it came."""
        return mended("".join(self.pieces))


def settled(drafts: Sequence[CallDraft], prompt: Prompt, *, is_cut: bool) -> tuple[ToolCall, ...]:
    """Make calls of the drafts, and note them there.

    In a reply that `is_cut`, a call that is not whole is left out: it is no call, and most providers take no half one back.
    A missing id, or one that came twice, is made up from the prompt, so that it is the same when the prompt is asked again
    and no other in the conversation.
    """
    taken: set[str] = set()
    for number, draft in enumerate(drafts):
        is_last = number == len(drafts) - 1
        if is_cut and (draft.is_cut or (is_last and not _is_whole(draft))):
            continue
        identity = draft.id if draft.id and draft.id not in taken else _made_up_id(prompt, number)
        taken.add(identity)
        arguments, problem = read_arguments(draft.arguments)
        if not draft.name:
            problem = "the call names no tool"
        draft.call = ToolCall(id=identity, name=draft.name, arguments=arguments, problem=problem)
    return tuple(draft.call for draft in drafts if draft.call is not None)


def read_arguments(text: str) -> tuple[dict[str, object], str]:
    """Read a call's arguments; without any text there are none. What is wrong with them comes second, and then they are empty."""
    if not text.strip():
        return {}, ""
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(value, dict):
            return {}, f"the arguments are no JSON object but a {type(value).__name__}"
        if _is_deep(value, _MAX_DEPTH):
            return {}, "the arguments are nested too deeply"
        # Half a surrogate pair is allowed in JSON, but no file and no request can hold it.
        json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return {}, f"the arguments are no JSON: {error.msg} at character {error.pos} of {len(text)}"
    except UnicodeEncodeError:
        return {}, "the arguments hold half a character"
    except (ValueError, RecursionError) as error:
        return {}, f"the arguments are no usable JSON: {str(error)[:100]}"
    return value, ""


def written_arguments(call: ToolCall) -> str:
    """A call's arguments as JSON text."""
    return json.dumps(dict(call.arguments), ensure_ascii=False)


def wire_id(identity: str) -> str:
    """An id of a call as every provider takes it; one that came from elsewhere may be spelled in another way."""
    if _ID.fullmatch(identity):
        return identity
    return f"call_{sha256(identity.encode('utf-8', 'backslashreplace')).hexdigest()[:24]}"


def wire_name(name: str) -> str:
    """A tool's name as every provider takes it: models call tools that there are not, by names that there cannot be."""
    return _NOT_IN_NAMES.sub("_", name)[:_MAX_NAME_CHARS] or "unnamed"


def marked_text(result: ToolResult) -> str:
    """A result's text for a provider that has no field for an error: the words have to say it."""
    is_said = result.text.lower().startswith("error")
    return f"Error: {result.text}" if result.is_error and not is_said else result.text


def sealed(provider: str, content: object) -> str:
    """What goes into `Message.opaque`: JSON that only the provider named will read."""
    return mended(json.dumps({"provider": provider, "content": content}, separators=(",", ":"), ensure_ascii=False))


def unsealed(provider: str, turn: Message) -> object:
    """What that provider sealed with a turn; None for nothing, for another's, and for what cannot be read."""
    try:
        value = json.loads(turn.opaque) if turn.opaque else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, Mapping) or value.get("provider") != provider:
        return None
    return value.get("content")


def is_of(turn: Message, ids: Iterable[object]) -> bool:
    """Whether sealed content still is a turn's: the calls in it, by `wire_id`, are the turn's calls."""
    return list(ids) == [wire_id(call.id) for call in turn.calls]


def _is_whole(draft: CallDraft) -> bool:
    return bool(draft.arguments.strip()) and not read_arguments(draft.arguments)[1]


def _made_up_id(prompt: Prompt, number: int) -> str:
    return f"call_{sha256(prompt.text.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}_{number}"


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON value")


def _is_deep(value: object, left: int) -> bool:
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return left == 0 or any(_is_deep(child, left - 1) for child in children if isinstance(child, Mapping | list))
