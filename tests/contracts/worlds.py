"""What a conformance suite needs of an implementation, and the implementations that the suites run over.

A `World` is a small repository with `Workspaces`, a `Trunk` and `Trees` over it. A fake joins by adding its maker to
`WORLDS`; a port that it does not implement stays None, and the suite of that port skips it.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.values import CommitId, RunId, SubtaskId
from orchestrator.git.intake import init_from_folder
from orchestrator.git.trees import TreePool
from orchestrator.git.trunk import GitTrunk
from orchestrator.git.workspace import BlobWorkspaces
from orchestrator.ports import Stacked, Trees, Trunk, Workspaces

ENV = {"PATH": os.environ["PATH"]}  # noqa: TID251 - tests start git as a person does
LONG = "".join(f"line {number}\n" for number in range(60))
FILES: Mapping[str, bytes] = {
    "README.md": b"# Shop\n",
    "app/long.py": LONG.encode(),
    "app/main.py": b"print('hello')\n",
    "tests/test_main.py": b"def test_main():\n    assert True\n",
}


@dataclass(slots=True)
class World:
    """One implementation of the ports over a repository that holds `FILES` at `base`."""

    base: CommitId
    workspaces: Workspaces
    trunk: Trunk | None = None
    trees: Trees | None = None
    close: Callable[[], None] = lambda: None

    async def propose(self, subtask: str, files: Mapping[str, bytes | None], at: CommitId | None = None) -> Stacked:
        async with self.workspaces.open(at or self.base) as workspace:
            await workspace.write(files)
            return Stacked(SubtaskId(subtask), await workspace.patch(), f"Do {subtask}", {"Orchestrate-Run": "r"})

    async def content(self, commit: CommitId) -> dict[str, bytes]:
        async with self.workspaces.open(commit) as workspace:
            return dict(await workspace.read(await workspace.paths()))


def git_world(folder: Path) -> World:
    source = folder / "source"
    for path, content in FILES.items():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_bytes(content)
    repository, base = init_from_folder(folder / "repo.git", source, (), ENV)
    return World(
        base,
        BlobWorkspaces(repository),
        GitTrunk.start(repository, RunId("r"), base, lambda: 1_000_000_000.0),
        TreePool(repository, base, folder / "trees", size=2),
        repository.close,
    )


WORLDS: Mapping[str, Callable[[Path], World]] = {"git": git_world}
