"""What every `Trees` promises."""

import asyncio
from pathlib import Path

import pytest

from orchestrator.ports import Trees
from tests.contracts.worlds import FILES, World


@pytest.fixture
def trees(world: World) -> Trees:
    if world.trees is None:
        pytest.skip("this world has no trees")
    return world.trees


def files_in(tree: Path) -> dict[str, bytes]:
    return {str(place.relative_to(tree)): place.read_bytes() for place in tree.rglob("*") if place.is_file()}


async def test_a_leased_tree_holds_the_commit_and_nothing_else(world: World, trees: Trees):
    async with trees.lease(world.base, ()) as tree:
        assert files_in(tree) == FILES


async def test_nothing_of_one_lease_is_seen_by_the_next(world: World, trees: Trees):
    patch = (await world.propose("s", {"README.md": b"new\n", "app/main.py": None, "x/y": b"z\n"})).patch
    for _ in range(3):
        async with trees.lease(patch.commit, ()) as tree:
            (tree / "README.md").write_text("tampered")
            (tree / "left").mkdir()
            (tree / "left" / "over").touch()
        async with trees.lease(world.base, ()) as tree:
            assert files_in(tree) == FILES
            assert not (tree / "x").exists()


async def test_protected_files_are_the_bases_and_no_other_file_matches(world: World, trees: Trees):
    files = {"tests/test_main.py": b"weakened\n", "tests/conftest.py": b"planted\n", "README.md": b"new\n"}
    patch = (await world.propose("s", files)).patch
    async with trees.lease(patch.commit, ("tests/**",)) as tree:
        assert files_in(tree) == {**FILES, "README.md": b"new\n"}
    patch = (await world.propose("s", {"tests/test_main.py": None, "tests": b"a file now\n"})).patch
    async with trees.lease(patch.commit, ("tests/**",)) as tree:
        assert files_in(tree) == FILES


async def test_two_leases_are_two_folders(world: World, trees: Trees):
    async with trees.lease(world.base, ()) as one, trees.lease(world.base, ()) as two:
        (one / "README.md").write_text("mine")
        assert (two / "README.md").read_bytes() == FILES["README.md"]


async def test_a_cancelled_lease_gives_its_tree_back(world: World, trees: Trees):
    async def hold() -> None:
        async with trees.lease(world.base, ()):
            await asyncio.Event().wait()

    for _ in range(4):
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            tasks = [group.create_task(hold()) for _ in range(3)]
            await asyncio.sleep(0.01)
            for task in tasks:
                task.cancel()
    async with asyncio.timeout(10), trees.lease(world.base, ()) as one, trees.lease(world.base, ()) as two:
        assert files_in(one) == files_in(two) == FILES
