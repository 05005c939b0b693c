"""How long until a gate has its tree: `git worktree add` beside the pool's recycled folders, in the same run.

Also what a proposed commit costs without any tree, and a stack of sixteen patches. Everything happens in a temporary
folder that is removed. Figures are medians; only ratios within one run should be compared with another machine's.

    python -m benchmarks.trees --files 500 5000 --repeat 9
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.values import CommitId, Patch, RunId, SubtaskId
from orchestrator.git.intake import init_from_checkout
from orchestrator.git.repository import Repository
from orchestrator.git.trees import TreePool
from orchestrator.git.trunk import GitTrunk
from orchestrator.git.workspace import BlobWorkspaces
from orchestrator.ports import Stacked

EDITS = 5
ARTEFACTS = 200
STACKED = 16
PROTECTED = ("package_0/**",)
Environment = Mapping[str, str]


@dataclass(slots=True)
class Case:
    """One generated repository, and a run's repository that borrows from it."""

    place: Path
    checkout: Path
    repository: Repository
    base: CommitId
    env: Environment


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, nargs="+", default=[500, 5000], help="sizes of the repository, in files")
    parser.add_argument("--repeat", type=int, default=9, help="measurements a line, at least 7 for a stable median")
    parser.add_argument("--folder", type=Path, help="where to make the temporary folder (its file system is measured)")
    arguments = parser.parse_args()
    for count in arguments.files:
        with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="bench-trees-") as folder:
            show(count, asyncio.run(measure(Path(folder), count, arguments.repeat)))


async def measure(folder: Path, count: int, repeat: int) -> dict[str, float]:
    """Milliseconds by what was measured; the first line is the reference."""
    case = generate(folder, count)
    patches = [await propose(case, number) for number in range(max(repeat, STACKED))]
    figures = {
        "git worktree add --detach (reference)": median(worktrees(case, repeat)),
        "pool: first checkout": median(await first_checkouts(case, repeat)),
        f"pool: recycled, {EDITS} files differ": median(await recycled(case, patches, repeat, prepare=None)),
        f"pool: recycled, {ARTEFACTS} set-up files": median(await recycled(case, patches, repeat, prepare=set_up)),
        "commit without a tree, and its patch": median(
            [await timed(lambda n=n: propose(case, 100 + n)) for n in range(repeat)]
        ),
        f"stack of {STACKED} patches": median(await stacks(case, patches[:STACKED], repeat)),
    }
    case.repository.close()
    return figures


def generate(folder: Path, count: int) -> Case:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}  # noqa: TID251 - a script's own
    checkout = folder / "checkout"
    for number in range(count):
        place = checkout / path_of(number)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(f"value_{line} = {number * line}\n" for line in range(60)))
    (checkout / ".gitignore").write_text("*.artefact\n")
    identity = ("-c", "user.name=bench", "-c", "user.email=bench@localhost")
    for command in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-q", "-m", "generated")):
        git(checkout, env, *command)
    repository, base = init_from_checkout(folder / "run.git", checkout, "HEAD", env)
    return Case(folder, checkout, repository, base, env)


def path_of(number: int) -> str:
    return f"package_{number % 37}/part_{number % 11}/module_{number}.py"


def git(checkout: Path, env: Environment, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(checkout), *arguments], env=dict(env), check=True, capture_output=True)


async def propose(case: Case, number: int) -> Patch:
    """A patch that edits a few files, others for each number."""
    async with BlobWorkspaces(case.repository).open(case.base) as workspace:
        total = len(case.repository.paths(case.base)) - 1
        names = [path_of((number * EDITS + step) % total) for step in range(EDITS)]
        files = await workspace.read(names)
        await workspace.write({name: content + b"edited = %d\n" % number for name, content in files.items()})
        return await workspace.patch()


def worktrees(case: Case, repeat: int) -> list[float]:
    taken = []
    for number in range(repeat):
        place = case.place / f"worktree-{number}"
        started = time.perf_counter()
        git(case.checkout, case.env, "worktree", "add", "--detach", str(place), "HEAD")
        taken.append(time.perf_counter() - started)
        git(case.checkout, case.env, "worktree", "remove", "--force", str(place))
    return taken


async def first_checkouts(case: Case, repeat: int) -> list[float]:
    async def first(number: int) -> None:
        pool = TreePool(case.repository, case.base, case.place / f"pool-{number}", size=1)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(pool.lease(case.base, PROTECTED))
            started.append(time.perf_counter())
        await pool.close()

    taken: list[float] = []
    for number in range(repeat):
        started: list[float] = []
        before = time.perf_counter()
        await first(number)
        taken.append(started[0] - before)
    return taken


async def recycled(
    case: Case, patches: list[Patch], repeat: int, prepare: Callable[[Path], Awaitable[None]] | None
) -> list[float]:
    """A lease after another one, whose gate edited a file, left byte code and damaged a set-up file."""
    pool = TreePool(case.repository, case.base, case.place / "recycled", size=1, prepare=prepare)
    taken = []
    for patch in patches[: repeat + 1]:
        before = time.perf_counter()
        async with pool.lease(patch.commit, PROTECTED) as tree:
            taken.append(time.perf_counter() - before)
            (tree / path_of(0)).write_text("tampered\n")
            (tree / "__pycache__").mkdir()
            for number in range(20):
                (tree / "__pycache__" / f"{number}.pyc").write_bytes(b"\0" * 500)
            (tree / "build" / "0.artefact").unlink(missing_ok=True)
    await pool.close()
    return taken[1:]


async def set_up(tree: Path) -> None:
    (tree / "build").mkdir()
    for number in range(ARTEFACTS):
        (tree / "build" / f"{number}.artefact").write_bytes(b"x" * 2_000)


async def stacks(case: Case, patches: list[Patch], repeat: int) -> list[float]:
    trunk = GitTrunk.start(case.repository, RunId("bench"), case.base, time.time)  # noqa: TID251 - a script's own clock
    members = [Stacked(SubtaskId(f"s{n}"), patch, f"Edit {n}", {}) for n, patch in enumerate(patches)]
    return [await timed(lambda: trunk.stack(members, case.base)) for _ in range(repeat)]


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def median(seconds: list[float]) -> float:
    return 1_000 * statistics.median(seconds)


def show(count: int, figures: dict[str, float]) -> None:
    reference = next(iter(figures.values()))
    print(f"\n{count:,} files{'':<32} median ms   × reference")
    for name, took in figures.items():
        print(f"  {name:<42}{took:>9.1f}{took / reference:>12.3f}")


if __name__ == "__main__":
    main()
