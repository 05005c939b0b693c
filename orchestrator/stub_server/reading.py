"""From a request's JSON to turns and tools: what all dialects need to read a body, and to refuse one.

A body is somebody else's: whatever is not what the format allows is an `UnreadableRequest`, never a crash. Formats that
list calls and results one by one are gathered into turns here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.chat import Message, Tool, ToolCall, ToolResult
from orchestrator.stub_server.dialect import UnreadableRequest, mapping_of


def mappings_of(value: object) -> list[Mapping[str, object]]:
    """The objects of a list; what is none of them is empty, and what is no list has none."""
    return [mapping_of(each) for each in value] if isinstance(value, list) else []


def listed(value: object, name: str) -> list[Mapping[str, object]]:
    """The objects of a list that must not be empty. Raises `UnreadableRequest`."""
    if not isinstance(value, list) or not value:
        raise UnreadableRequest(f"{name}: at least one turn is expected")
    return mappings_of(value)


def text_of(content: object) -> str:
    """The text of a message's content: a string, or a list of parts with a text. Raises `UnreadableRequest`."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise UnreadableRequest("content: a text or a list of parts is expected")
    texts = (part.get("text") for part in content if isinstance(part, Mapping))
    return "\n".join(text for text in texts if isinstance(text, str))


def limit_of(value: object, name: str) -> int | None:
    """A limit on tokens. Raises `UnreadableRequest` for what is no positive number."""
    if value is None:
        return None
    if not isinstance(value, int) or value <= 0:
        raise UnreadableRequest(f"{name}: a positive number is expected")
    return value


def tools_of(value: object, read: Callable[[Mapping[str, object]], tuple[object, object, object]]) -> tuple[Tool, ...]:
    """The tools; `read` finds the name, description and parameters of one. Raises `UnreadableRequest` for one without a name."""
    tools = []
    for each in mappings_of(value):
        name, description, parameters = read(each)
        if not isinstance(name, str) or not name:
            raise UnreadableRequest("tools: a name is expected")
        says = description if isinstance(description, str) else ""
        tools.append(Tool(name=name, description=says, parameters=mapping_of(parameters)))
    return tuple(tools)


def call_of(identity: object, name: object, arguments: object) -> ToolCall:
    """A call; its arguments are an object or the JSON of one. Raises `UnreadableRequest` for one without id or name."""
    if not isinstance(identity, str) or not isinstance(name, str) or not identity or not name:
        raise UnreadableRequest("a call needs an id and a name")
    if isinstance(arguments, Mapping):
        return ToolCall(id=identity, name=name, arguments=arguments)
    try:
        read: object = json.loads(arguments) if isinstance(arguments, str) else None
    except (ValueError, RecursionError):
        read = None
    if isinstance(read, Mapping):
        return ToolCall(id=identity, name=name, arguments=read)
    return ToolCall(id=identity, name=name, problem="the arguments are no JSON object")


@dataclass(slots=True)
class Gathering:
    """Turns, gathered from items in their order. `opening` is a system's text that stands apart."""

    opening: str = ""
    messages: list[Message] = field(default_factory=list)
    _system: list[str] = field(default_factory=list)

    @property
    def system(self) -> str:
        """The system's text: what stands apart and what stands among the turns."""
        return "\n\n".join(text for text in (self.opening, *self._system) if text)

    def say(self, role: object, text: str, *, calls: Sequence[ToolCall] = ()) -> None:
        """A turn; the user's words after results belong to the same turn."""
        if role in ("system", "developer"):
            self._system.append(text)
        elif role == "assistant":
            self.messages.append(Message(role="assistant", text=text, calls=tuple(calls)))
        elif self._is_open("user") and self.messages[-1].results and not self.messages[-1].text:
            self._change({"text": text})
        else:
            self.messages.append(Message(role="user", text=text))

    def go_on(self, role: object, text: str) -> None:
        """A turn, or words of the model that belong to the turn before, if that is the model's."""
        if role != "assistant" or not self._is_open("assistant"):
            self.say(role, text)
            return
        before = self.messages[-1].text
        self._change({"text": f"{before}\n{text}" if before else text})

    def call(self, call: ToolCall) -> None:
        """A call, in the model's turn."""
        if not self._is_open("assistant"):
            self.say("assistant", "")
        self._change({"calls": (*self.messages[-1].calls, call)})

    def result(self, result: ToolResult) -> None:
        """A result, in the user's turn."""
        if not self._is_open("user") or self.messages[-1].text:
            self.messages.append(Message(role="user"))
        self._change({"results": (*self.messages[-1].results, result)})

    def turns(self, name: str) -> tuple[Message, ...]:
        """All turns. Raises `UnreadableRequest` if there is none."""
        if not self.messages:
            raise UnreadableRequest(f"{name}: at least one turn of the user is expected")
        return tuple(self.messages)

    def _is_open(self, role: str) -> bool:
        return bool(self.messages) and self.messages[-1].role == role

    def _change(self, fields: Mapping[str, object]) -> None:
        self.messages[-1] = self.messages[-1].model_copy(update=fields)
