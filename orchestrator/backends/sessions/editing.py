"""A chat model as a backend: one reply of edit blocks becomes a change in the workspace.

    prompt → reply → blocks → files → workspace, written all at once

What a reply may go wrong in is an outcome (`Failure`) with feedback for the next attempt: refused, cut off, malformed,
edits that do not fit, no change. With `corrections` the model is asked again within the same attempt, told exactly what
did not fit. Which paths a subtask may touch is not decided here: git states the patch afterwards, and the gate's policy
judges that.

Every request becomes an `Exchange`, its texts stored by digest (`sessions.record`). A failure that another try may cure
becomes one of the attempt; one that would hit every subtask (a key, a bill) is raised and stops the run.
"""

from collections.abc import Mapping
from typing import assert_never

from orchestrator.backends.sessions.record import Record, failure_for
from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.formats import DEFAULT_FORMAT, FORMATS, EditFormat, FormatRules
from orchestrator.core.errors import BackendError
from orchestrator.core.paths import UnsafePath, unsafe_reason
from orchestrator.core.prompt import Manner, correction, editing_manner
from orchestrator.core.values import Failure
from orchestrator.ports import ChatModel, CheckedWorkspace, Clock, Generation, Meter, Workspace

_MAX_QUOTED_CHARS = 300


class EditingBackend:
    """A `Backend` that asks `model` for edits in one format; without a `manner`, in the manner that asks for it.

    `corrections` is how often, within one attempt, a reply that cannot be applied is sent back with what is wrong.
    Cancelling `generate` leaves the workspace as it was, or with the whole change.
    """

    def __init__(
        self,
        model: ChatModel,
        clock: Clock,
        *,
        manner: Manner | None = None,
        edit_format: EditFormat = DEFAULT_FORMAT,
        corrections: int = 0,
    ) -> None:
        self._model = model
        self._clock = clock
        self._manner = editing_manner(edit_format) if manner is None else manner
        self._rules = FORMATS[edit_format]
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
        record = Record.begin(self._clock, meter)
        return record.generation(await self._work(prompt, workspace, record))

    async def _work(self, prompt: Prompt, workspace: Workspace, record: Record) -> Failure | None:
        for left in range(self._corrections, -1, -1):
            try:
                completion = await record.ask(self._model, prompt)
            except BackendError as error:
                return failure_for(error)
            failure = _early_end(completion, self._rules)
            if failure is not None:
                return failure
            try:
                with record.timed("edit"):
                    await _change(completion.text, workspace, self._rules)
            except EditError as error:
                if left == 0:
                    return error.failure
                prompt = correction(prompt, completion.text, error.feedback)
            else:
                break
        return None


async def _change(reply: str, workspace: Workspace, rules: FormatRules) -> None:
    edits = rules.parse(reply)
    _refuse_unsafe(edits, rules)
    files = await workspace.read(dict.fromkeys(path for edit in edits for path in edit.paths))
    changed = apply_edits(edits, files, rules.terms)
    if not changed:
        raise EditError(
            "no_change", "The edits leave every file as it was. Make the change that the instruction asks for."
        )
    try:
        await workspace.write(_in_order(changed))
    except UnsafePath as error:
        raise EditError("edit_does_not_apply", f"Nothing was applied: {error}.") from None


def _refuse_unsafe(edits: tuple[Edit, ...], rules: FormatRules) -> None:
    paths = ((number, path) for number, edit in enumerate(edits, start=1) for path in edit.paths)
    for number, path in paths:
        reason = unsafe_reason(path)
        if reason is not None:
            where = f"{rules.terms.edit.capitalize()} {number}"
            raise EditError("edit_does_not_apply", f"Nothing was applied. {where}: the path {path[:200]!r} {reason}.")


def _in_order(files: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    return {path: files[path] for path in sorted(files)}


def _early_end(completion: Completion, rules: FormatRules) -> Failure | None:
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
                feedback="The reply was cut off at the limit on its length; nothing was applied. Answer with less: "
                f"{rules.shorter}.",
            )
        case "tool_use":
            return Failure(
                reason="malformed_reply",
                feedback="The reply calls a tool, but there are none. Answer with edits.",
            )
        case _:
            assert_never(completion.stop_reason)
