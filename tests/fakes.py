"""A world in memory: commits are dictionaries, trees are names, the gate is a function. It keeps what the ports promise."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

from orchestrator.core.errors import GitError
from orchestrator.core.values import (
    CommitId,
    Conflict,
    FileChange,
    MergedPatch,
    Patch,
    TreeId,
    Verdict,
)
from orchestrator.ports import Judgement, Stack, Stacked

Files = Mapping[str, bytes]


def blob_id(content: bytes) -> str:
    return sha1(content, usedforsecurity=False).hexdigest()


def lines_of(content: bytes | None) -> int:
    return 0 if content is None else sum(1 for line in content.splitlines() if line.strip())


@dataclass
class MemoryRepository:
    """Commits by id: what they hold, and which commit they stand on."""

    files: dict[CommitId, Files] = field(default_factory=dict)
    parents: dict[CommitId, CommitId | None] = field(default_factory=dict)
    subtasks: dict[CommitId, str] = field(default_factory=dict)
    made: int = 0

    def commit(self, files: Files, parent: CommitId | None, subtask: str = "") -> CommitId:
        self.made += 1
        name = CommitId(f"{self.made:040x}")
        self.files[name], self.parents[name], self.subtasks[name] = files, parent, subtask
        return name

    def tree_of(self, commit: CommitId) -> TreeId:
        digest = sha1(usedforsecurity=False)
        for path, content in sorted(self.files[commit].items()):
            digest.update(f"{path}\0{blob_id(content)}\n".encode())
        return TreeId(digest.hexdigest())

    def change(self, path: str, old: bytes | None, new: bytes | None) -> FileChange:
        return FileChange(
            path=path,
            old_mode=None if old is None else "100644",
            new_mode=None if new is None else "100644",
            old_blob=None if old is None else blob_id(old),
            new_blob=None if new is None else blob_id(new),
            added_lines=max(0, lines_of(new) - lines_of(old)),
            deleted_lines=max(0, lines_of(old) - lines_of(new)),
        )


class Layered(Mapping[str, bytes]):
    """Files over other files, so that a commit costs what it changes and not what there is."""

    def __init__(self, below: Files, changed: Mapping[str, bytes | None]):
        self._below, self._changed = below, dict(changed)
        if isinstance(below, Layered) and len(below._changed) < 4096:
            self._below, self._changed = below._below, {**below._changed, **changed}

    def __getitem__(self, path: str) -> bytes:
        if path in self._changed:
            content = self._changed[path]
            if content is None:
                raise KeyError(path)
            return content
        return self._below[path]

    def __iter__(self):
        gone = {path for path, content in self._changed.items() if content is None}
        new = [path for path, content in self._changed.items() if content is not None and path not in self._below]
        return iter([path for path in self._below if path not in gone] + new)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass
class MemoryWorkspace:
    repository: MemoryRepository
    base: CommitId
    written: dict[str, bytes | None] = field(default_factory=dict)

    async def paths(self) -> Sequence[str]:
        base = self.repository.files[self.base]
        kept = [path for path in base if self.written.get(path, b"") is not None]
        return sorted({*kept, *(path for path, content in self.written.items() if content is not None)})

    async def read(self, paths: Iterable[str]) -> Files:
        base = self.repository.files[self.base]
        found = {path: self.written[path] if path in self.written else base.get(path) for path in paths}
        return {path: content for path, content in found.items() if content is not None}

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        self.written.update(files)

    async def patch(self) -> Patch:
        base = self.repository.files[self.base]
        changed = {path: content for path, content in self.written.items() if base.get(path) != content}
        commit = self.repository.commit(Layered(base, changed), self.base) if changed else self.base
        changes = tuple(self.repository.change(path, base.get(path), changed[path]) for path in sorted(changed))
        return Patch(base=self.base, commit=commit, tree=TreeId(f"tree-of-{commit}"), changes=changes)


@dataclass
class MemoryWorkspaces:
    repository: MemoryRepository
    opened: int = 0

    @asynccontextmanager
    async def open(self, at: CommitId):
        self.opened += 1
        try:
            yield MemoryWorkspace(self.repository, at)
        finally:
            self.opened -= 1


@dataclass
class MemoryTrees:
    """A leased tree is a path that names its commit; `MemoryGate` knows what is there."""

    @asynccontextmanager
    async def lease(self, commit: CommitId, protected: Sequence[str]):
        yield Path("/") / commit


@dataclass
class MemoryGate:
    repository: MemoryRepository
    accepts: Callable[[Files], str | None] = lambda files: None
    judged: int = 0

    async def judge(self, tree: Path, checks) -> Judgement:
        self.judged += 1
        problem = self.accepts(self.repository.files[CommitId(tree.name)])
        if problem is None:
            return Judgement(Verdict(passed=True, reason="passed", sandbox="memory"))
        return Judgement(Verdict(passed=False, reason="check_failed", feedback=problem, sandbox="memory"))


@dataclass
class MemoryTrunk:
    """Merges by path: who changed a file that has changed since conflicts."""

    repository: MemoryRepository
    at: CommitId

    async def head(self) -> CommitId:
        return self.at

    async def stack(self, patches: Sequence[Stacked], onto: CommitId) -> Stack:
        head, merged, conflicts = onto, [], []
        for each in patches:
            files, theirs = self.repository.files[head], self.repository.files[each.patch.commit]
            clash = [
                change.path
                for change in each.patch.changes
                if change.old_blob != (blob_id(files[change.path]) if change.path in files else None)
            ]
            if clash:
                conflicts.append(Conflict(subtask=each.subtask, feedback=f"{clash[0]} has changed"))
                continue
            changed = {change.path: theirs.get(change.path) for change in each.patch.changes}
            head = self.repository.commit(Layered(files, changed), head, each.subtask)
            merged.append(
                MergedPatch(
                    subtask=each.subtask,
                    commit=head,
                    added_lines=each.patch.added_lines,
                    deleted_lines=each.patch.deleted_lines,
                )
            )
        return Stack(head, TreeId(f"tree-of-{head}"), tuple(merged), tuple(conflicts))

    async def advance(self, old: CommitId, new: CommitId) -> None:
        if self.at not in (old, new):
            raise GitError("the branch is elsewhere")
        self.at = new

    async def retained_lines(self, base: CommitId, head: CommitId) -> int:
        total = 0
        while head != base:
            parent = self.repository.parents[head]
            total += 1
            head = parent
        return total

    async def merged_since(self, old: CommitId) -> Sequence[MergedPatch] | None:
        found, head = [], self.at
        while head != old:
            if head is None:
                return None
            found.append(
                MergedPatch(subtask=self.repository.subtasks[head], commit=head, added_lines=0, deleted_lines=0)
            )
            head = self.repository.parents[head]
        return found[::-1]
