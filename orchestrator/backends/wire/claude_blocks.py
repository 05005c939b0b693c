"""Content blocks of Anthropic's Messages API: from a prompt's turns to blocks, and from a stream to blocks and back.

A turn of the model is a list of blocks whose order counts. Thoughts among them carry a signature and must come back
unchanged with the results of the calls that follow them, so a turn that text and calls alone would not rebuild is sealed as
it came. The end of what a later request will send again is marked for the cache.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from anthropic.types import (
    AssistantMessageParam,
    CacheControlEphemeralParam,
    ContentBlockParam,
    MessageParam,
    TextBlockParam,
    ToolParam,
    UserMessageParam,
)

from orchestrator.backends.wire.calls import CallDraft, is_of, sealed, unsealed, wire_id, wire_name
from orchestrator.backends.wire.streams import count, fields, items, mended, text
from orchestrator.core.chat import Message, Prompt, ToolCall

PROVIDER = "anthropic"
_THOUGHTS = frozenset({"thinking", "redacted_thinking"})
_BREAKPOINT = CacheControlEphemeralParam(type="ephemeral")
# The end of this turn for the next request to read, and the end of the one before, which this request reads: looking
# back from a breakpoint, the API goes no further than 20 blocks.
_MARKED_TURNS = 2
Block = dict[str, object]


def system_of(prompt: Prompt) -> list[TextBlockParam]:
    """The system's text, which ends what siblings share; the tools come before it in a request and are covered by it."""
    if not prompt.system.strip():
        return []
    return [TextBlockParam(type="text", text=prompt.system, cache_control=_BREAKPOINT)]


def tools_of(prompt: Prompt, *, is_input_streamed: bool) -> list[ToolParam]:
    """The tools; the last one ends what siblings share where no system's text does."""
    tools = [
        ToolParam(name=tool.name, description=tool.description, input_schema=dict(tool.parameters))
        for tool in prompt.tools
    ]
    if is_input_streamed:
        for each in tools:
            each["eager_input_streaming"] = True
    if tools and not prompt.system.strip():
        tools[-1]["cache_control"] = _BREAKPOINT
    return tools


def messages_of(prompt: Prompt) -> list[MessageParam]:
    """The turns; one that holds nothing is left out, since the API takes no empty one.

    A conversation that goes on, or will because there are tools, is marked at its end.
    """
    turns = [(turn.role, _blocks_of(turn)) for turn in prompt.messages]
    if len(turns) > 1 or prompt.tools:
        asked = [blocks for role, blocks in turns if role == "user" and blocks]
        for blocks in asked[-_MARKED_TURNS:]:
            blocks[-1]["cache_control"] = _BREAKPOINT
    sent = [_message(role, blocks) for role, blocks in turns if blocks]
    return sent or [UserMessageParam(role="user", content=prompt.messages[-1].text)]


@dataclass(slots=True)
class Blocks:
    """The blocks of one answer, as they come."""

    drafts: dict[int, "_BlockDraft"] = field(default_factory=dict)

    @property
    def calls(self) -> list[CallDraft]:
        """The calls among them, in order, once all of them came."""
        return [call for draft in self.drafts.values() if (call := draft.whole_call()) is not None]

    def open(self, event: Mapping[str, object]) -> None:
        """Take in the start of a block."""
        start = {name: value for name, value in fields(event.get("content_block")).items() if value is not None}
        draft = _BlockDraft(start)
        if start.get("type") == "tool_use":
            draft.call = CallDraft(text(start.get("id")), text(start.get("name")))
        self.drafts[_index(event)] = draft

    def extend(self, event: Mapping[str, object]) -> None:
        """Take in a piece of a block; of one that was never begun only if it is a text."""
        delta, index = fields(event.get("delta")), _index(event)
        if index not in self.drafts and text(delta.get("text")):
            self.drafts[index] = _BlockDraft({"type": "text"})
        if index in self.drafts:
            self.drafts[index].extend(delta)

    def sealed(self, said: str, calls: Sequence[ToolCall]) -> str:
        """The blocks to send back, sealed; nothing where text and calls are all there is. The calls have to be settled."""
        blocks = [block for draft in self.drafts.values() if (block := draft.block()) is not None]
        while blocks and blocks[-1]["type"] in _THOUGHTS:
            # Thoughts that nothing follows were cut off, and no turn may end with them.
            blocks.pop()
        return "" if blocks == _plain(said, calls) else sealed(PROVIDER, blocks)


@dataclass(slots=True)
class _BlockDraft:
    start: Block
    said: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)
    call: CallDraft | None = None

    @property
    def kind(self) -> str:
        return text(self.start.get("type"))

    def extend(self, delta: Mapping[str, object]) -> None:
        if self.kind in {"text", "thinking"}:
            self.said.append(text(delta.get(self.kind)))
        self.signature.append(text(delta.get("signature")))
        if self.call is not None:
            self.call.pieces.append(text(delta.get("partial_json")))

    def whole_call(self) -> CallDraft | None:
        """The call that it is, if it is one. Some gateways send its input at once, with the start."""
        given = fields(self.start.get("input"))
        if self.call is not None and given and not self.call.arguments:
            self.call.pieces.append(json.dumps(given))
        return self.call

    def block(self) -> Block | None:
        """The block as it goes back; None for one that cannot: without a kind or a text, or a call that was cut off."""
        if self.call is not None:
            return self._called(self.call)
        said = mended(text(self.start.get(self.kind)) + "".join(self.said))
        match self.kind:
            case "":
                return None
            case "text":
                return {**self.start, "text": said} if said.strip() else None
            case "thinking":
                signature = text(self.start.get("signature")) + "".join(self.signature)
                return {**self.start, "thinking": said, "signature": signature}
            case _:
                return self.start

    def _called(self, draft: CallDraft) -> Block | None:
        call = draft.call
        if call is None:
            return None
        # An input must be an object; this is the provider's own advice for one that is none.
        arguments = {"INVALID_JSON": draft.arguments} if call.problem else dict(call.arguments)
        return {**self.start, "id": wire_id(call.id), "name": wire_name(call.name), "input": arguments}


def _index(event: Mapping[str, object]) -> int:
    index = count(event.get("index"))
    return -1 if index is None else index


def _blocks_of(turn: Message) -> list[Block]:
    """A turn's blocks: results before text, as the API demands."""
    if turn.role == "assistant":
        return _kept(turn) or _plain(turn.text, turn.calls)
    blocks: list[Block] = []
    for result in turn.results:
        block: Block = {"type": "tool_result", "tool_use_id": wire_id(result.call)}
        if result.text.strip():
            block["content"] = result.text
        if result.is_error:
            block["is_error"] = True
        blocks.append(block)
    return blocks + _plain(turn.text, ())


def _kept(turn: Message) -> list[Block]:
    """The blocks as they came, where this API sealed them and they still are this turn's."""
    blocks = [dict(fields(block)) for block in items(unsealed(PROVIDER, turn))]
    return blocks if is_of(turn, (block.get("id") for block in blocks if block.get("type") == "tool_use")) else []


def _plain(said: str, calls: Sequence[ToolCall]) -> list[Block]:
    blocks: list[Block] = [{"type": "text", "text": said}] if said.strip() else []
    for call in calls:
        name, arguments = wire_name(call.name), dict(call.arguments)
        blocks.append({"type": "tool_use", "id": wire_id(call.id), "name": name, "input": arguments})
    return blocks


def _message(role: Literal["user", "assistant"], blocks: list[Block]) -> MessageParam:
    if role == "user":
        return UserMessageParam(role=role, content=_content(blocks))
    return AssistantMessageParam(role=role, content=_content(blocks))


def _content(blocks: list[Block]) -> str | list[ContentBlockParam]:
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return text(blocks[0]["text"])
    return cast(list[ContentBlockParam], blocks)
