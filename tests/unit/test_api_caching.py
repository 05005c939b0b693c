"""What is marked for the provider's cache, and which requests say that they share a prefix."""

import pytest

from orchestrator.core.chat import Message, Tool, ToolCall, ToolResult, after
from tests.fakes_backends import prompt_for
from tests.unit.test_api_replies import CHAT_USAGE, Exchange, ask, chunk, claude, response, said, stream

MARK = {"type": "ephemeral"}
TOOL = Tool(name="read", description="Reads.", parameters={"type": "object"})
TURNS = tuple(
    turn
    for number in range(5)
    for turn in (
        Message(role="assistant", calls=(ToolCall(id=f"call_{number}", name="read"),)),
        Message(role="user", results=(ToolResult(call=f"call_{number}", text=f"result {number}"),)),
    )
)
EMPTY = {
    "messages": claude(),
    "responses": stream(response(output=[said("x")])),
    "chat": stream(chunk(finish="stop"), CHAT_USAGE),
}


async def sent_by(api, prompt, **settings):
    exchange = Exchange(EMPTY[api])
    await ask(api, exchange, prompt, **settings)
    return exchange.sent


def marks(sent):
    """Where a request is marked: the tools, the system's text, and the numbers of turns with the place in them."""
    places = [("tools", index) for index, tool in enumerate(sent.get("tools", ())) if "cache_control" in tool]
    places += [("system", index) for index, block in enumerate(sent.get("system", ())) if "cache_control" in block]
    for number, turn in enumerate(sent["messages"]):
        if isinstance(turn["content"], list):
            places += [
                (number, index - len(turn["content"]))
                for index, block in enumerate(turn["content"])
                if block.get("cache_control") == MARK
            ]
    return places


async def test_one_request_alone_is_marked_at_the_end_of_what_siblings_share():
    assert marks(await sent_by("messages", prompt_for())) == [("system", 0)]


async def test_with_tools_the_first_turn_is_marked_for_the_next_request():
    assert marks(await sent_by("messages", prompt_for(tools=(TOOL,)))) == [("system", 0), (0, -1)]


@pytest.mark.parametrize("turns", [2, 4, 10])
async def test_a_conversation_is_marked_at_its_end_and_where_the_request_before_ended(turns):
    sent = await sent_by("messages", after(prompt_for(tools=(TOOL,)), TURNS[:turns]))
    assert marks(sent) == [("system", 0), (turns - 2, -1), (turns, -1)]


async def test_without_a_systems_text_the_tools_end_what_is_shared():
    prompt = prompt_for(tools=(TOOL, TOOL)).model_copy(update={"system": ""})
    sent = await sent_by("messages", after(prompt, TURNS))
    assert marks(sent) == [("tools", 1), (8, -1), (10, -1)]
    assert "system" not in sent


async def test_a_blank_systems_text_is_not_sent_where_it_would_be_refused():
    assert "system" not in await sent_by("messages", prompt_for().model_copy(update={"system": " \n"}))


async def test_an_empty_turn_at_the_end_moves_the_mark_to_one_that_can_bear_it():
    turns = (Message(role="assistant", text="x"), Message(role="user", text="a"), Message(role="user", text=""))
    assert marks(await sent_by("messages", after(prompt_for(), turns))) == [("system", 0), (0, -1), (2, -1)]


async def test_results_of_nothing_but_blanks_can_be_marked():
    blank = Message(role="user", results=(ToolResult(call="call_0", text=" \n"),))
    sent = await sent_by("messages", after(prompt_for(tools=(TOOL,)), [TURNS[0], blank]))
    (block,) = sent["messages"][2]["content"]
    assert block == {"type": "tool_result", "tool_use_id": "call_0", "cache_control": MARK}


async def key_of(api, prompt, **settings):
    return (await sent_by(api, prompt, **settings)).get("prompt_cache_key")


async def test_the_key_of_the_cache_is_that_of_system_and_tools():
    plain = prompt_for(text="one")
    keys = {
        "plain": await key_of("responses", plain),
        "sibling": await key_of("responses", prompt_for(text="two", subtask="other")),
        "later": await key_of("responses", after(plain, TURNS)),
        "tools": await key_of("responses", prompt_for(tools=(TOOL,))),
        "system": await key_of("responses", plain.model_copy(update={"system": "other"})),
    }
    assert keys["plain"] == keys["sibling"] == keys["later"]
    assert len(set(keys.values())) == 3
    assert all(len(key) <= 64 for key in keys.values())


@pytest.mark.parametrize(
    ("base_url", "asked", "is_sent"),
    [
        ("http://127.0.0.1:9/v1", None, False),
        ("https://api.openai.com/v1", None, True),
        ("https://api.openai.com.example/v1", None, False),
        ("http://127.0.0.1:9/v1", True, True),
        ("https://api.openai.com/v1", False, False),
    ],
)
async def test_a_compatible_server_is_sent_the_key_only_if_it_is_openais_or_asked_for(base_url, asked, is_sent):
    sent = await sent_by("chat", prompt_for(), base_url=base_url, is_cache_key_sent=asked)
    assert ("prompt_cache_key" in sent) is is_sent
