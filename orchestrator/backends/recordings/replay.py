"""A chat model that answers from a recording and asks nobody.

A request is found by its digest. Several answers to one request are given in the order in which they came, so that a request
that was turned away and repeated is turned away and repeated again. After the last one it is given again: whoever asks more
often than the recorded run did has no other answer coming, and the last is where that run had got to. The order begins anew
with each process.

Usage is as recorded, and marked as simulated: nobody is paid now.

A prompt shows the repository as it is by then. Where subtasks see each other's files, what they see depends on what had been
merged, and a request can be new only because a sibling was slower this time. One agent keeps the order, in both runs.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from orchestrator.backends.recordings.differences import comparable, differences, likeness
from orchestrator.backends.recordings.exchanges import RecordedExchange, request_digest
from orchestrator.backends.recordings.folder import SHOWN, Recording
from orchestrator.core.chat import Completion, Prompt, estimate_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Digest, SubtaskId
from orchestrator.ports import Clock, Meter

_STEP_S = 0.25
# A subtask with more exchanges than this is compared with the last of them only.
_MAX_COMPARED = 100
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class NewRequest:
    """A request that is not in the recording, and who asked."""

    digest: Digest
    subtask: SubtaskId
    attempt: int


class ReplayModel:
    """A `ChatModel` from a recording. `new` lists the requests that were not in it, in the order in which they came.

    `time_scale` multiplies the recorded times: 1 is as long as it took, 0 answers at once.
    """

    def __init__(self, recording: Recording, clock: Clock, time_scale: float = 0.0) -> None:
        self._recording = recording
        self._clock = clock
        self._time_scale = time_scale
        self._given: Counter[Digest] = Counter()
        self._name = f"replay of {recording.first().model}"
        self.new: list[NewRequest] = []

    @property
    def name(self) -> str:
        """The recorded model's name, as that of a replay."""
        return self._name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Answer as recorded. Raises the recorded `BackendError`, one of kind `not_recorded`, or `SpecError` for a damaged file."""
        digest = request_digest(prompt)
        count = self._recording.answers_to(digest)
        if count == 0:
            self.new.append(NewRequest(digest, prompt.draw.subtask, prompt.draw.attempt))
            raise BackendError(self._missed(digest, prompt), kind="not_recorded")
        exchange = self._recording.answer(digest, min(self._given[digest], count - 1))
        self._given[digest] += 1
        await self._play(exchange, meter)
        if exchange.error is not None:
            raise exchange.error.again()
        return _replayed(exchange)

    async def _play(self, exchange: RecordedExchange, meter: Meter) -> None:
        """Let the time pass that it took, and the meter move with the output."""
        tokens = 0 if exchange.completion is None else _tokens(exchange.completion)
        duration_s = exchange.duration_s * self._time_scale
        steps = ceil(duration_s / _STEP_S)
        before = meter.output_tokens
        for step in range(1, steps + 1):
            await self._clock.sleep(duration_s / steps)
            meter.output_tokens = before + tokens * step // steps
        meter.output_tokens = before + tokens

    def _missed(self, digest: Digest, prompt: Prompt) -> str:
        recording, draw = self._recording, prompt.draw
        told = (
            f"the request {digest[:SHOWN]} of subtask {draw.subtask!r}, attempt {draw.attempt}, is not among the "
            f"{len(recording):,} recorded in {recording.folder}"
        )
        return f"{told}; {self._nearest(prompt)}. Replay what was recorded, as it was then, or record it anew."

    def _nearest(self, prompt: Prompt) -> str:
        names = self._recording.of_subtask(prompt.draw.subtask)
        if not names:
            return f"of this subtask nothing is recorded, only of {_listed(self._recording.subtasks())}"
        exchanges = [(name, self._recording.read(name)) for name in names[-_MAX_COMPARED:]]
        now = comparable(prompt, self._recording.redactor)
        name, closest = max(exchanges, key=lambda each: likeness(each[1].prompt, now))
        found = differences(closest.prompt, now)
        # What is not written cannot be compared.
        what = "; ".join(found) or "only what was redacted in it"
        return f"the closest of this subtask is {name} (attempt {closest.prompt.draw.attempt}); differing is {what}"


def _replayed(exchange: RecordedExchange) -> Completion:
    completion = exchange.completion
    if completion is None:
        raise TypeError("an exchange without an error has a completion")
    return completion.model_copy(update={"usage": completion.usage.model_copy(update={"is_simulated": True})})


def _tokens(completion: Completion) -> int:
    known = completion.usage.output_tokens
    return estimate_tokens(completion.text) if known is None else known


def _listed(names: Sequence[SubtaskId]) -> str:
    rest = f" and {len(names) - _MAX_NAMED:,} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(repr(str(name)) for name in names[:_MAX_NAMED]) + rest
