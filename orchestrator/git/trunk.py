"""The branch of a run, `refs/heads/orchestrate/<run>` in the run's own repository.

`stack` makes commits that no ref points at; the gate judges their tree; `advance` then moves the branch to them by
compare-and-swap. Both may be repeated after a crash: the same stack on the same trunk has the same tree, and moving to
where the branch already is does nothing. Each commit says in its trailers which subtask it is, so the branch alone can
tell what it contains.
"""

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.errors import GitError
from orchestrator.core.values import CommitId, Conflict, FileChange, MergedPatch, RunId, SubtaskId
from orchestrator.git.fast_import import Draft, Put
from orchestrator.git.merging import Clash, Merge
from orchestrator.git.repository import Repository
from orchestrator.ports import Stack, Stacked

SUBTASK_TRAILER = "Orchestrate-Subtask"
_TITLE_CHARACTERS = 200
_TRAILER_CHARACTERS = 500
_TRAILER_NAME = re.compile(r"[^A-Za-z0-9-]+")


def trunk_ref(run: RunId) -> str:
    """The full name of a run's branch."""
    return f"refs/heads/orchestrate/{run}"


@dataclass(frozen=True, slots=True)
class GitTrunk:
    """The trunk of one run. `now` gives seconds since the epoch, for the dates of commits; no tree depends on it."""

    repository: Repository
    ref: str
    now: Callable[[], float]

    @classmethod
    def start(cls, repository: Repository, run: RunId, base: CommitId, now: Callable[[], float]) -> "GitTrunk":
        """Open the branch, at `base` where it does not exist yet. Raises `GitError` for a name that git refuses."""
        trunk = cls(repository, trunk_ref(run), now)
        if repository.ref(trunk.ref) is None:
            repository.move_ref(trunk.ref, base, None)
        return trunk

    async def head(self) -> CommitId:
        """Where the branch is now."""
        return await asyncio.to_thread(self._head)

    async def stack(self, patches: Sequence[Stacked], onto: CommitId) -> Stack:
        """Put each patch on `onto`, in order, one commit each, by three-way merge of each path.

        A patch that conflicts is left out and named. One whose change is in the trunk already gets a commit without
        changes: it is integrated, and the branch must say so.
        """
        return await asyncio.to_thread(self._stack, patches, onto)

    async def advance(self, old: CommitId, new: CommitId) -> None:
        """Move the branch by compare-and-swap. Raises `GitError` when it is at neither."""
        await asyncio.to_thread(self.repository.move_ref, self.ref, new, old)

    async def retained_lines(self, base: CommitId, head: CommitId) -> int:
        """Non-blank lines that stand in `head` and were not in `base`."""
        changes = (await asyncio.to_thread(self.repository.describe, [(base, head)]))[0]
        return _added(changes)

    async def merged_since(self, old: CommitId) -> Sequence[MergedPatch] | None:
        """What commits lie between `old` and the branch, oldest first; None when the branch does not descend from it."""
        return await asyncio.to_thread(self._merged_since, old)

    def _head(self) -> CommitId:
        head = self.repository.ref(self.ref)
        if head is None:
            raise GitError(f"the branch {self.ref!r} is gone from {str(self.repository.git_dir)!r}")
        return head

    def _stack(self, patches: Sequence[Stacked], onto: CommitId) -> Stack:
        merge = Merge.onto(self.repository, self.repository.entries(onto))
        fitting: list[Stacked] = []
        drafts: list[Draft] = []
        conflicts: list[Conflict] = []
        for stacked in patches:
            try:
                changes = merge.put(stacked.patch)
            except Clash as clash:
                conflicts.append(Conflict(subtask=stacked.subtask, feedback=str(clash)))
                continue
            fitting.append(stacked)
            drafts.append(self._draft(stacked, changes))
        commits = self.repository.write(onto, drafts)
        merged = self._merged(
            [(stacked.subtask, commit) for stacked, commit in zip(fitting, commits, strict=True)], onto
        )
        head = commits[-1] if commits else onto
        return Stack(head, self.repository.tree_of(head), tuple(merged), tuple(conflicts))

    def _draft(self, stacked: Stacked, changes: Mapping[str, Put | None]) -> Draft:
        trailers = {_TRAILER_NAME.sub("-", name).strip("-"): value for name, value in stacked.trailers.items()}
        trailers[SUBTASK_TRAILER] = stacked.subtask
        lines = [f"{name}: {_one_line(value, _TRAILER_CHARACTERS)}" for name, value in trailers.items() if name]
        title = _one_line(stacked.title, _TITLE_CHARACTERS) or stacked.subtask
        return Draft("\n".join([title, "", *lines, ""]), changes, at=int(self.now()))

    def _merged_since(self, old: CommitId) -> Sequence[MergedPatch] | None:
        head = self._head()
        if not self.repository.is_ancestor(old, head):
            return None
        commits = self.repository.log(old, head)
        return self._merged([(self._subtask_of(commit), commit) for commit in commits], old)

    def _merged(self, members: Sequence[tuple[SubtaskId, CommitId]], onto: CommitId) -> list[MergedPatch]:
        """What each of the stacked commits brought, in one process."""
        commits = [commit for _, commit in members]
        if not commits:
            return []
        described = self.repository.describe(list(zip([onto, *commits[:-1]], commits, strict=True)))
        return [
            MergedPatch(subtask=subtask, commit=commit, added_lines=_added(changes), deleted_lines=_deleted(changes))
            for (subtask, commit), changes in zip(members, described, strict=True)
        ]

    def _subtask_of(self, commit: CommitId) -> SubtaskId:
        trailers = self.repository.message(commit).rstrip("\n").rsplit("\n\n", 1)[-1]
        for line in trailers.split("\n"):
            if line.startswith(f"{SUBTASK_TRAILER}: "):
                return SubtaskId(line.split(": ", 1)[1])
        raise GitError(f"commit {commit} on {self.ref!r} was not made by this program: take it off, or start a new run")


def _added(changes: Sequence[FileChange]) -> int:
    return sum(change.added_lines for change in changes)


def _deleted(changes: Sequence[FileChange]) -> int:
    return sum(change.deleted_lines for change in changes)


def _one_line(text: str, limit: int) -> str:
    """Text as one printable line: no line break can start a trailer of its own."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(printable.split())[:limit]
