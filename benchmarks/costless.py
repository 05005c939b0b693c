"""A world that costs nothing: every port answered by a counter. What is left is what the program itself costs."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.values import CommitId, FileChange, MergedPatch, Patch, TreeId, Verdict
from orchestrator.ports import Judgement, Stack, Stacked

PASSED = Judgement(Verdict(passed=True, reason="passed", sandbox="none"))
PATHS = ("README.md", "src/main.py")


@dataclass(slots=True)
class CostlessWorkspace:
    base: CommitId
    written: dict[str, bytes | None] = field(default_factory=dict)

    async def paths(self) -> Sequence[str]:
        return PATHS

    async def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        return {path: b"" for path in paths if path in PATHS}

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        self.written.update(files)

    async def patch(self) -> Patch:
        changes = tuple(
            FileChange(path=path, old_mode=None, new_mode="100644", old_blob=None, new_blob="b", added_lines=1)
            for path in self.written
        )
        return Patch(base=self.base, commit=CommitId("c"), tree=TreeId("t"), changes=changes)


class CostlessWorkspaces:
    @asynccontextmanager
    async def open(self, at: CommitId) -> AsyncIterator[CostlessWorkspace]:
        yield CostlessWorkspace(at)


class CostlessTrees:
    @asynccontextmanager
    async def lease(self, commit: CommitId, protected: Sequence[str]) -> AsyncIterator[Path]:  # noqa: ARG002 - there is no tree
        yield Path("/")


class CostlessGate:
    async def judge(self, tree: Path, checks: Sequence[object]) -> Judgement:  # noqa: ARG002 - everything passes
        return PASSED


@dataclass(slots=True)
class CostlessTrunk:
    at: int = 0

    async def head(self) -> CommitId:
        return CommitId(str(self.at))

    async def stack(self, patches: Sequence[Stacked], onto: CommitId) -> Stack:
        merged = tuple(
            MergedPatch(subtask=each.subtask, commit=CommitId("m"), added_lines=1, deleted_lines=0) for each in patches
        )
        return Stack(CommitId(str(int(onto) + len(patches))), TreeId("t"), merged, ())

    async def advance(self, old: CommitId, new: CommitId) -> None:  # noqa: ARG002 - nobody else moves it
        self.at = int(new)

    async def retained_lines(self, base: CommitId, head: CommitId) -> int:
        return int(head) - int(base)

    async def merged_since(self, old: CommitId) -> None:  # noqa: ARG002 - nothing is resumed
        return None
