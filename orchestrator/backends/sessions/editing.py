"""A chat model as a backend: one reply of edit blocks becomes a change in the workspace.

    prompt → reply → blocks → files → workspace, written all at once

What a reply may go wrong in is an outcome (`Failure`) with feedback for the next attempt: refused, cut off, malformed,
edits that do not fit, no change. With `corrections` the model is asked again within the same attempt, told exactly what
did not fit. Which paths a subtask may touch is not decided here: git states the patch afterwards, and the gate's policy
judges that.

Every request becomes an `Exchange`, its texts stored by digest. A failure that another try may cure
becomes `backend_unavailable`; one that would hit every subtask (a key, a bill) is raised and stops the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import assert_never

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.edits import Edit, EditError, parse_reply
from orchestrator.core.edits_apply import apply_edits
from orchestrator.core.errors import BackendError
from orchestrator.core.paths import unsafe_reason
from orchestrator.core.prompt import DEFAULT_MANNER, Manner, correction
from orchestrator.core.values import Digest, Exchange, Failure, Span, Usage, digest_of
from orchestrator.ports import ChatModel, CheckedWorkspace, Clock, Generation, Meter, Workspace

_MAX_QUOTED_CHARS = 300
# A request that is turned away costs nothing; one that breaks off may have been answered, and billed, in part.
_CUT_OFF = frozenset({"transient", "stall", "malformed_response"})


@dataclass(slots=True)
class _Record:
    """What an attempt has cost and said so far; `started` is on the clock, its spans count from there."""

    started: float
    usage: Usage = field(default_factory=Usage)
    exchanges: list[Exchange] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    bodies: dict[Digest, bytes] = field(default_factory=dict)

    def keep(self, text: str) -> Digest:
        body = text.encode("utf-8", "backslashreplace")
        digest = digest_of(body)
        self.bodies[digest] = body
        return digest

    def generation(self, failure: Failure | None) -> Generation:
        return Generation(self.usage, failure, tuple(self.exchanges), tuple(self.spans), self.bodies)


class EditingBackend:
    """A `Backend` that asks `model` for edit blocks.

    `corrections` is how often, within one attempt, a reply that cannot be applied is sent back with what is wrong.
    Cancelling `generate` leaves the workspace as it was, or with the whole change.
    """

    def __init__(
        self, model: ChatModel, clock: Clock, *, manner: Manner = DEFAULT_MANNER, corrections: int = 0
    ) -> None:
        self._model = model
        self._clock = clock
        self._manner = manner
        self._corrections = corrections

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model.name

    @property
    def manner(self) -> Manner:
        """Answer with edits; files are shown."""
        return self._manner

    async def generate(self, prompt: Prompt, workspace: CheckedWorkspace, meter: Meter) -> Generation:
        """Ask, apply, write. Raises `BackendError` only for what no other attempt could cure."""
        record = _Record(self._clock.now())
        for left in range(self._corrections, -1, -1):
            try:
                completion = await self._ask(prompt, meter, record)
            except BackendError as error:
                return record.generation(_unavailable(error))
            failure = _early_end(completion)
            if failure is not None:
                return record.generation(failure)
            started = self._clock.now()
            try:
                await _change(completion.text, workspace)
            except EditError as error:
                if left == 0:
                    return record.generation(error.failure)
                prompt = correction(prompt, completion.text, error.feedback)
            else:
                record.spans.append(self._span("edit", started, record))
                break
        return record.generation(None)

    async def _ask(self, prompt: Prompt, meter: Meter, record: _Record) -> Completion:
        """One request, recorded whether it is answered or not; what the model had to wait before it is no part of it."""
        asked = self._clock.now()
        waited = len(meter.waits)
        completion: Completion | None = None
        is_cut_off = False
        try:
            completion = await self._model.complete(prompt, meter)
        except BackendError as error:
            is_cut_off = error.kind in _CUT_OFF
            raise
        finally:
            # The texts of a failed request are kept too, but its cost is unknown to us and it is not counted in tokens.
            waits = meter.waits[waited:]
            started = max((wait.started_s + wait.duration_s for wait in waits), default=asked)
            nothing = Usage(requests=1, unknown_requests=int(is_cut_off))
            usage = nothing if completion is None else completion.usage
            record.usage += usage
            record.spans.extend(
                Span(name=wait.name, started_s=wait.started_s - record.started, duration_s=wait.duration_s)
                for wait in waits
            )
            record.exchanges.append(
                Exchange(
                    prompt=record.keep(prompt.text),
                    reply=None if completion is None else record.keep(completion.text),
                    stop_reason=None if completion is None else completion.stop_reason,
                    usage=usage,
                    started_s=started - record.started,
                    duration_s=max(0.0, self._clock.now() - started),
                )
            )
        return completion

    def _span(self, name: str, started: float, record: _Record) -> Span:
        return Span(name=name, started_s=started - record.started, duration_s=self._clock.now() - started)


async def _change(reply: str, workspace: Workspace) -> None:
    edits = parse_reply(reply)
    _refuse_unsafe(edits)
    files = await workspace.read(dict.fromkeys(edit.path for edit in edits))
    changed = apply_edits(edits, files)
    if not changed:
        raise EditError(
            "no_change", "The edits leave every file as it was. Make the change that the instruction asks for."
        )
    await workspace.write(_in_order(changed))


def _refuse_unsafe(edits: tuple[Edit, ...]) -> None:
    for number, edit in enumerate(edits, start=1):
        reason = unsafe_reason(edit.path)
        if reason is not None:
            raise EditError(
                "edit_does_not_apply", f"Nothing was applied. Block {number}: the path {edit.path[:200]!r} {reason}."
            )


def _in_order(files: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    return {path: files[path] for path in sorted(files)}


def _early_end(completion: Completion) -> Failure | None:
    """What a reply that did not come to its end means; None for one that did."""
    quoted = completion.text.strip()[:_MAX_QUOTED_CHARS]
    match completion.stop_reason:
        case "end_turn":
            return None
        case "refusal":
            return Failure(reason="refused", feedback=f"The model refused: {quoted!r}")
        case "max_tokens":
            return Failure(
                reason="truncated",
                feedback="The reply was cut off at the limit on its length; nothing was applied. Answer with less: short "
                "SEARCH texts, no explanation.",
            )
        case "tool_use":
            return Failure(
                reason="malformed_reply",
                feedback="The reply calls a tool, but there are none. Answer with edit blocks.",
            )
        case _:
            assert_never(completion.stop_reason)


def _unavailable(error: BackendError) -> Failure:
    """The failure that an error is for this attempt; raises it again where it concerns the whole run."""
    if error.kind == "context_too_long":
        return Failure(reason="context_too_long", feedback=f"The prompt is too long for the model: {error}")
    if error.is_retryable:
        return Failure(reason="backend_unavailable", feedback=str(error))
    raise error
