"""A workspace that can be judged before it is handed in: what a session calls to see what the gate would say.

It runs the subtask's own checks over a checked-out tree, as the gate does, and is bounded by slots of its own, so that no
rehearsal takes the place of a gate. What it says decides nothing: the patch is judged anew, on the trunk of that moment.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.core.policy import refusal
from orchestrator.core.values import CommitId, Patch, Subtask, Verdict
from orchestrator.ports import Gate, Trees, Workspace

_UNCHANGED = "Nothing is changed yet, so there is nothing to judge."


@dataclass(frozen=True, slots=True)
class Stage:
    """What all rehearsals of a run share."""

    trees: Trees
    gate: Gate
    protected: Sequence[str]
    slots: asyncio.Semaphore


@dataclass(frozen=True, slots=True)
class RehearsedWorkspace:
    """A `CheckedWorkspace` around a workspace."""

    inner: Workspace
    subtask: Subtask
    stage: Stage

    @property
    def base(self) -> CommitId:
        """The commit that it was opened at."""
        return self.inner.base

    async def paths(self) -> Sequence[str]:
        """Every file; see `ports.Workspace`."""
        return await self.inner.paths()

    async def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The content of files; see `ports.Workspace`."""
        return await self.inner.read(paths)

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        """Put whole files; see `ports.Workspace`."""
        await self.inner.write(files)

    async def patch(self) -> Patch:
        """State the change; see `ports.Workspace`."""
        return await self.inner.patch()

    async def check(self) -> Verdict:
        """Judge what is written so far; see `ports.CheckedWorkspace`."""
        patch = await self.inner.patch()
        if not patch.changes:
            return Verdict(passed=False, reason="check_failed", feedback=_UNCHANGED)
        stage = self.stage
        refused = refusal(patch, self.subtask.writable, stage.protected)
        if refused is not None:
            return refused
        async with stage.slots, stage.trees.lease(patch.commit, stage.protected) as tree:
            return (await stage.gate.judge(tree, self.subtask.checks)).verdict
