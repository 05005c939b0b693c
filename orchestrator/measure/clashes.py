"""Which subtasks get into each other's way, from journal entries alone.

*Clashes*: a patch did not fit because a sibling's had come in since it was begun. The journal names the subtask that has to be
redone, not the sibling; it is taken to be each one that came in meanwhile and touches a path of the patch. A pair that shares a
path and met without a conflict, with neither redone for the other, is known to get along. One that shares a path and never met
(as in a serial run, where each begins where the last one ended) is *untested*: nobody knows, and it is counted.

*Culprits*: a batch of one that failed its integration gate. A patch like that fails every batch that it is in.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.events import (
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    GateStarted,
    PatchJudged,
    PatchProposed,
    RunStarted,
)
from orchestrator.core.values import CommitId, SubtaskId, Verdict

Pair = frozenset[SubtaskId]
_CROWD = 300  # where more subtasks touch one path, its pairs are not looked at one by one


@dataclass(slots=True)
class Clashes:
    """Pairs that conflicted, and culprits by subtask and attempt, with what their batch's gate said.

    Counted only: `untested` pairs; `unexplained` conflicts, with no sibling that shares a path; `unblamed` batches, which
    failed without a culprit.
    """

    pairs: set[Pair] = field(default_factory=set)
    untested: int = 0
    culprits: dict[tuple[SubtaskId, int], Verdict] = field(default_factory=dict)
    unexplained: int = 0
    unblamed: int = 0

    def of(self, subtask: SubtaskId) -> frozenset[SubtaskId]:
        """Who clashes with a subtask."""
        return frozenset().union(*(pair for pair in self.pairs if subtask in pair)) - {subtask}


@dataclass(slots=True)
class _Reader:
    """Keeps the trunk, and what each subtask's patch touches and was begun on."""

    found: Clashes = field(default_factory=Clashes)
    lengths: dict[CommitId, int] = field(default_factory=dict)
    trunk: list[SubtaskId] = field(default_factory=list)
    bases: dict[SubtaskId, CommitId] = field(default_factory=dict)
    attempts: dict[SubtaskId, int] = field(default_factory=dict)
    paths: dict[SubtaskId, frozenset[str]] = field(default_factory=dict)
    gates: dict[SubtaskId, CommitId] = field(default_factory=dict)
    batch: BatchStarted | None = None
    met: set[Pair] = field(default_factory=set)
    failed: list[list[tuple[SubtaskId, int]]] = field(default_factory=list)

    def read(self, entry: Entry) -> None:
        match entry.event:
            case RunStarted(base=base):
                self.lengths[base] = 0
            case AttemptStarted() as event:
                self.bases[event.subtask], self.attempts[event.subtask] = event.base, event.attempt
            case PatchProposed() as event:
                self.paths[event.subtask] = frozenset(change.path for change in event.patch.changes)
            case GateStarted() as event:
                self.gates[event.subtask] = event.onto
            case PatchJudged() as event:
                self._judge(event.subtask, event.verdict)
            case BatchStarted() as event:
                self.batch = event
            case BatchMerged() | BatchRejected() as event:
                self._end_batch(event)
            case _:
                pass

    def _judge(self, subtask: SubtaskId, verdict: Verdict) -> None:
        siblings = self._since(subtask, self.gates[subtask])
        self._meet(subtask, siblings, is_conflict=verdict.reason == "conflict")

    def _end_batch(self, event: BatchMerged | BatchRejected) -> None:
        batch = self.batch
        if batch is None or batch.batch != event.batch:
            return
        conflicted = {conflict.subtask for conflict in event.conflicts}
        kept: list[SubtaskId] = []
        for member in batch.members:
            self._meet(member, [*self._since(member, batch.onto), *kept], is_conflict=member in conflicted)
            if member not in conflicted:
                kept.append(member)
        if isinstance(event, BatchMerged):
            self.trunk += kept
            self.lengths[event.head] = len(self.trunk)
        elif kept:
            self._fail(kept, event.verdict)
        self.batch = None

    def _fail(self, kept: Sequence[SubtaskId], verdict: Verdict) -> None:
        """A failed batch is halved until the culprit is found."""
        members = [(member, self.attempts[member]) for member in kept]
        self.failed.append(members)
        if len(members) == 1:
            self.found.culprits[members[0]] = verdict

    def _since(self, subtask: SubtaskId, onto: CommitId) -> list[SubtaskId]:
        """Who came into the trunk between the base of a subtask's patch and a commit."""
        before, now = self.lengths.get(self.bases[subtask], 0), self.lengths.get(onto, len(self.trunk))
        return self.trunk[before:now]

    def _meet(self, subtask: SubtaskId, siblings: Sequence[SubtaskId], *, is_conflict: bool) -> None:
        touched = self.paths.get(subtask, frozenset())
        pairs = {frozenset((subtask, other)) for other in siblings if touched & self.paths.get(other, frozenset())}
        if not is_conflict:
            self.met |= pairs
        elif pairs:
            self.found.pairs |= pairs - self.met or pairs
        else:
            self.found.unexplained += 1


def clashes_in(entries: Iterable[Entry]) -> Clashes:
    """Read a journal."""
    reader = _Reader()
    for entry in entries:
        reader.read(entry)
    found = reader.found
    found.unblamed = sum(found.culprits.keys().isdisjoint(members) for members in reader.failed)
    found.untested = _untested(reader.paths, reader.met | found.pairs)
    return found


def _untested(paths: Mapping[SubtaskId, frozenset[str]], tested: set[Pair]) -> int:
    """How many pairs touch a path in common and never met."""
    by_path: dict[str, list[SubtaskId]] = {}
    for subtask, touched in paths.items():
        for path in touched:
            by_path.setdefault(path, []).append(subtask)
    crowds = [sharing for sharing in by_path.values() if len(sharing) > _CROWD]
    pairs = {
        frozenset((one, other))
        for sharing in by_path.values()
        if len(sharing) <= _CROWD
        for place, one in enumerate(sharing)
        for other in sharing[place + 1 :]
    }
    return len(pairs - tested) + sum(len(crowd) * (len(crowd) - 1) // 2 for crowd in crowds)
