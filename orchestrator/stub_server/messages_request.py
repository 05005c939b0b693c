"""What comes to `POST /v1/messages`: content blocks, the rules that hold between them, and where a client marks the cache.

The rules are the API's own, in its own words: a call is answered in the very next turn, results come before text, no block
is empty, and there are four breakpoints at most.
"""

import json
from collections.abc import Iterator, Mapping

from orchestrator.core.chat import Message, Tool, ToolResult
from orchestrator.stub_server.caching import MAX_BREAKPOINTS, Block
from orchestrator.stub_server.dialect import Asked, UnreadableRequest, mapping_of, tool_text
from orchestrator.stub_server.reading import (
    Gathering,
    call_of,
    limit_of,
    listed,
    mappings_of,
    text_of,
    tools_of,
)

Fields = Mapping[str, object]
_THOUGHTS = ("thinking", "redacted_thinking")


def read_messages(body: Fields) -> Asked:
    """Read a request's body. Raises `UnreadableRequest`."""
    limit = limit_of(body.get("max_tokens"), "max_tokens")
    if limit is None:
        raise UnreadableRequest("max_tokens: Field required")
    gathered = Gathering(opening=text_of(body.get("system", "")))
    tools = tools_of(body.get("tools"), _tool)
    blocks = [*_tool_blocks(body, tools), *_system_blocks(body.get("system"))]
    for index, turn in enumerate(listed(body.get("messages"), "messages")):
        content = _content(turn.get("content", ""), f"messages.{index}")
        _gather(gathered, str(turn.get("role", "user")), content, f"messages.{index}")
        blocks += [_block(str(turn.get("role")), block) for block in content]
    messages = gathered.turns("messages")
    _check_answers(messages)
    _check_breakpoints(blocks)
    wanted = mapping_of(mapping_of(body.get("output_config")).get("format")) or mapping_of(body.get("output_format"))
    schema = wanted.get("schema")
    return Asked(
        model=str(body.get("model", "")),
        system=gathered.system,
        messages=messages,
        max_output_tokens=limit,
        response_schema=mapping_of(schema) if schema is not None else None,
        is_streamed=body.get("stream") is True,
        tools=tools,
        blocks=tuple(blocks),
    )


def _tool(tool: Fields) -> tuple[object, object, object]:
    return tool.get("name"), tool.get("description"), tool.get("input_schema")


def _tool_blocks(body: Fields, tools: tuple[Tool, ...]) -> Iterator[Block]:
    for tool, sent in zip(tools, mappings_of(body.get("tools")), strict=True):
        yield Block(tool_text(tool), _is_marked(sent))


def _system_blocks(system: object) -> Iterator[Block]:
    if isinstance(system, str):
        yield Block(system)
    for block in mappings_of(system):
        _check_text(block, "system")
        yield Block(str(block.get("text", "")), _is_marked(block))


def _content(content: object, where: str) -> list[Fields]:
    """A turn's content as blocks."""
    if not isinstance(content, str | list):
        raise UnreadableRequest(f"{where}.content: a text or a list of blocks is expected")
    blocks: list[Fields] = [{"type": "text", "text": content}] if isinstance(content, str) else mappings_of(content)
    for block in blocks:
        _check_text(block, where)
    return blocks


def _check_text(block: Fields, where: str) -> None:
    text = block.get("text")
    if block.get("type") == "text" and (not isinstance(text, str) or not text):
        raise UnreadableRequest(f"{where}: text content blocks must be non-empty")


def _gather(gathered: Gathering, role: str, content: list[Fields], where: str) -> None:
    if role == "assistant":
        if content and content[-1].get("type") in _THOUGHTS:
            raise UnreadableRequest(f"{where}: The final block in an assistant message cannot be `thinking`.")
        called = (block for block in content if block.get("type") == "tool_use")
        calls = [call_of(block.get("id"), block.get("name"), block.get("input")) for block in called]
        gathered.say(role, text_of(content), calls=calls)
        return
    kinds = [block.get("type") == "tool_result" for block in content]
    if kinds != sorted(kinds, reverse=True):
        raise UnreadableRequest(f"{where}: `tool_result` blocks must come before any other block")
    results = tuple(_result(block) for block in content if block.get("type") == "tool_result")
    said = text_of(content)
    if results:
        gathered.messages.append(Message(role="user", text=said, results=results))
    else:
        gathered.say(role, said)


def _result(block: Fields) -> ToolResult:
    text = text_of(block.get("content", ""))
    return ToolResult(call=str(block.get("tool_use_id", "")), text=text, is_error=block.get("is_error") is True)


def _check_answers(messages: tuple[Message, ...]) -> None:
    """Every call has its result in the next turn, and every result its call in the turn before."""
    for index, message in enumerate(messages):
        before = messages[index - 1] if index else None
        after = messages[index + 1] if index + 1 < len(messages) else None
        answered = {result.call for result in after.results} if after is not None else set()
        missing = [call.id for call in message.calls if call.id not in answered]
        if missing:
            raise UnreadableRequest(
                f"messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: "
                f"{', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` block in the next "
                "message."
            )
        called = {call.id for call in before.calls} if before is not None else set()
        for result in message.results:
            if result.call not in called:
                raise UnreadableRequest(
                    f"messages.{index}: unexpected `tool_use_id` found in `tool_result` blocks: {result.call}. Each "
                    "`tool_result` block must have a corresponding `tool_use` block in the previous message."
                )


def _check_breakpoints(blocks: list[Block]) -> None:
    marks = sum(block.is_breakpoint for block in blocks)
    if marks > MAX_BREAKPOINTS:
        raise UnreadableRequest(
            f"A maximum of {MAX_BREAKPOINTS} blocks with cache_control may be provided. Found {marks}."
        )


def _is_marked(block: Fields) -> bool:
    return mapping_of(block.get("cache_control")).get("type") == "ephemeral"


def _block(role: str, block: Fields) -> Block:
    """A block as the model reads it. Thoughts count for nothing here, as in the estimate of the whole."""
    match block.get("type"):
        case "tool_use":
            call = call_of(block.get("id"), block.get("name"), block.get("input"))
            text = Message(role="assistant", calls=(call,)).whole
        case "tool_result":
            text = Message(role="user", results=(_result(block),)).whole
        case _:
            text = str(block.get("text", ""))
    kept = {name: value for name, value in block.items() if name != "cache_control"}
    return Block(text, _is_marked(block), json.dumps([role, kept], sort_keys=True))
