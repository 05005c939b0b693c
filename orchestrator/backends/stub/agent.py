"""The stub as an agent: which answer of its session comes next.

A session is a script (`agent_script`) that is played anew for each request, from its beginning, with the results that the
conversation holds: so the stub keeps no state, and equal conversations get equal answers. What the agent set out to do is
drawn once, by the attempt's draw and a purpose and never by the turn, and so stays the same to the end.

An answer that would be longer than allowed is given in parts. Where the conversation is not what the script would have made
of it (results left out to keep it short, turns of somebody else) the agent has lost its thread: it runs the checks if
anything was changed since they ran, and ends.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from orchestrator.backends.stub.agent_script import CHECKS, WRITES, AgentScript, LostThreadError, Script
from orchestrator.backends.stub.answers import title_of
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.backends.stub.replies import Reply
from orchestrator.core.chat import Prompt, ToolCall, ToolResult
from orchestrator.core.edits.diff import FileDiff

# The words around the calls, and what a provider puts around them.
_SHARE_FOR_CALLS = 0.9
_ERROR = "Error: "


def agent_reply(profile: StubProfile, prompt: Prompt, solution: Sequence[FileDiff] | None) -> Reply:
    """The next answer of a session: from the prompt, its conversation, and the reference, if there is one."""
    opening = prompt.model_copy(update={"messages": prompt.messages[:1]})
    try:
        reply = _next_reply(AgentScript.of(profile, opening, solution).play(), prompt)
    except StopIteration:
        reply = Reply(f"{title_of(prompt)}: done.")
    except LostThreadError:
        reply = _closing(prompt)
    turn = sum(message.role == "assistant" for message in prompt.messages)
    calls = tuple(call.model_copy(update={"id": f"call_{turn}_{at}"}) for at, call in enumerate(reply.calls))
    return Reply(reply.text, "tool_use" if calls else reply.stop_reason, calls)


def _next_reply(script: Script, prompt: Prompt) -> Reply:
    """Play the script through the conversation so far. Raises `StopIteration` at its end, or `LostThreadError`."""
    reply = next(script)
    given: list[ToolResult] = []
    for calls, results in _turns(prompt):
        portion = _portion(reply.calls[len(given) :], prompt.max_output_tokens)
        if portion and not calls:
            # It was cut off before its calls, and none was run: say it again.
            continue
        if [_about(call) for call in calls] != [_about(call) for call in portion] or len(results) < len(calls):
            raise LostThreadError
        given.extend(results[: len(calls)])
        if len(given) == len(reply.calls):
            reply, given = script.send(given), []
    return Reply(reply.text, reply.stop_reason, _portion(reply.calls[len(given) :], prompt.max_output_tokens))


def _turns(prompt: Prompt) -> Iterator[tuple[tuple[ToolCall, ...], tuple[ToolResult, ...]]]:
    """What each of the agent's answers called, and what came of it, in the same order."""
    messages = prompt.messages
    starts = [at for at, message in enumerate(messages) if message.role == "assistant"]
    for start, end in pairwise([*starts, len(messages)]):
        results = (result for each in messages[start + 1 : end] for result in each.results)
        yield messages[start].calls, tuple(_marked(result) for result in results)


def _marked(result: ToolResult) -> ToolResult:
    """The result as an error where only its text says so: some providers have no field for it."""
    is_error = result.is_error or result.text.startswith(_ERROR)
    return result.model_copy(update={"is_error": is_error})


def _portion(calls: tuple[ToolCall, ...], max_tokens: int) -> tuple[ToolCall, ...]:
    """As many calls as fit into one answer; one at the least."""
    count = len(calls)
    while count > 1 and Reply("", calls=calls[:count]).tokens > _SHARE_FOR_CALLS * max_tokens:
        count = -(-count // 2)
    return calls[:count]


def _about(call: ToolCall) -> tuple[str, object]:
    return call.name, call.arguments.get("path")


def _closing(prompt: Prompt) -> Reply:
    names = [call.name for calls, _ in _turns(prompt) for call in calls]
    done = [name for name in names if name in WRITES or name == CHECKS]
    if done and done[-1] != CHECKS and any(tool.name == CHECKS for tool in prompt.tools):
        return Reply("I run the checks.", calls=(ToolCall(id="", name=CHECKS),))
    return Reply(f"{title_of(prompt)}: done.")
