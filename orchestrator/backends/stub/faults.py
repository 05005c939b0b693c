"""How the stub goes wrong: which mistake an answer makes, if any, and the answer that makes it.

A spoiled answer is a plausible reply, not a marked one: nothing downstream can tell it from an honest attempt but by
looking at it, which is what the parser, the policy and the gate are there for. The mistakes in a change: `mistakes`. How
they are written: `replies`.
"""

from collections.abc import Sequence
from typing import assert_never

from orchestrator.backends.stub.mistakes import broken, cheating, wrong
from orchestrator.backends.stub.profile import ANSWER_ERRORS, API_FAULTS, AnswerError, ApiFault, StubProfile
from orchestrator.backends.stub.replies import REFUSAL, Reply, cut, edits_reply, malformed_reply, misplaced_reply
from orchestrator.core.chat import Prompt, estimate_tokens
from orchestrator.core.draws import Key, fraction
from orchestrator.core.edits.blocks import Edit
from orchestrator.core.prompt import carries_feedback


def error_for(profile: StubProfile, prompt: Prompt, key: Key) -> AnswerError | None:
    """Draw whether this answer goes wrong, and how."""
    # What a conflict tells is no help, and whether one happens depends on who else was at work: it must not change the draw.
    is_repair = carries_feedback(prompt) and (prompt.draw.draw > 1 or len(prompt.messages) > 1)
    factor = profile.repair if is_repair else 1.0
    if profile.context_decay:
        factor *= 1 + profile.context_decay * estimate_tokens(prompt.text) / 10_000
    shares = [(kind, profile.share_of(kind) * factor) for kind in ANSWER_ERRORS]
    total = sum(share for _, share in shares)
    point = fraction((*key, "error")) * max(1.0, total)
    for kind, share in shares:
        point -= share
        if point < 0:
            return kind
    return None


def fault_for(profile: StubProfile, key: Key) -> ApiFault | None:
    """Draw whether the request itself fails, and how."""
    point = fraction((*key, "fault"))
    for kind in API_FAULTS:
        point -= profile.share_of(kind)
        if point < 0:
            return kind
    return None


def spoiled(kind: AnswerError, introduction: str, edits: Sequence[Edit], prompt: Prompt, key: Key) -> Reply:
    """The reply that makes this mistake in place of the right edits."""
    match kind:
        case "refusal":
            return Reply(REFUSAL, "refusal")
        case "truncated":
            return cut(edits_reply(introduction, edits, prompt).text, key)
        case "malformed_block":
            return malformed_reply(edits_reply(introduction, edits, prompt), prompt, key)
        case "misplaced_edit":
            return misplaced_reply(introduction, edits, prompt, key)
        case "broken_syntax":
            return edits_reply(introduction, broken(edits, prompt, key), prompt)
        case "wrong_edit":
            return edits_reply(introduction, wrong(edits, prompt, key), prompt)
        case "protected_edit":
            return edits_reply(introduction, cheating(edits, prompt, key), prompt)
        case _:
            assert_never(kind)


def spoiled_plan(kind: AnswerError, text: str, key: Key) -> Reply:
    """The same for an answer in JSON, where only some of the mistakes make sense."""
    if kind == "refusal":
        return Reply(REFUSAL, "refusal")
    if kind == "truncated":
        return cut(text, key)
    return Reply(text.rstrip().removesuffix("}") if kind == "malformed_block" else text)
