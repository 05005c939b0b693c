"""Stacking patches: where they do not meet, their order does not matter."""

import asyncio
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contracts.worlds import LONG, World, git_world

PATHS = ("README.md", "app/main.py", "new/a", "new/b", "b.txt", "tests/test_main.py", "tests/deep/x")


@pytest.fixture(scope="module")
def world():
    with tempfile.TemporaryDirectory() as folder:
        made = git_world(Path(folder))
        yield made
        made.close()


async def trees_of(world: World, changes: list[dict[str, bytes | None]], order: list[int]) -> set[tuple[str, int]]:
    """The trees, and the numbers of conflicts, of a stack in the order given and in another one."""
    assert world.trunk is not None
    patches = [await world.propose(f"s{number}", files) for number, files in enumerate(changes)]
    stacks = [await world.trunk.stack(members, world.base) for members in (patches, [patches[n] for n in order])]
    return {(stack.tree, len(stack.conflicts)) for stack in stacks}


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_disjoint_patches_give_the_same_tree_in_any_order(world, data):
    content = st.one_of(st.none(), st.binary(max_size=12))
    changes = [
        {path: data.draw(content)} for path in data.draw(st.lists(st.sampled_from(PATHS), unique=True, max_size=5))
    ]
    order = data.draw(st.permutations(range(len(changes))))
    assert {conflicts for _, conflicts in asyncio.run(trees_of(world, changes, order))} == {0}
    assert len(asyncio.run(trees_of(world, changes, order))) == 1


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_edits_of_one_file_that_are_far_apart_commute(world, data):
    lines = data.draw(st.lists(st.sampled_from(range(0, 60, 6)), unique=True, min_size=2, max_size=4))
    texts = st.text(alphabet="xyz<>=|\n ", max_size=8)
    changes = [{"app/long.py": LONG.replace(f"line {line}\n", data.draw(texts) + "\n").encode()} for line in lines]
    order = data.draw(st.permutations(range(len(changes))))
    outcome = asyncio.run(trees_of(world, changes, order))
    assert len(outcome) == 1
    assert outcome.pop()[1] == 0
