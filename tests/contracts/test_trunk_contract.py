"""What every `Trunk` promises."""

import pytest

from orchestrator.core.errors import GitError
from orchestrator.ports import Trunk
from tests.contracts.worlds import FILES, LONG, World


@pytest.fixture
def trunk(world: World) -> Trunk:
    if world.trunk is None:
        pytest.skip("this world has no trunk")
    return world.trunk


def edited(line: int, text: str) -> bytes:
    return LONG.replace(f"line {line}\n", text).encode()


async def test_it_starts_at_the_base(world: World, trunk: Trunk):
    assert await trunk.head() == world.base


async def test_patches_are_stacked_in_order_and_no_ref_moves(world: World, trunk: Trunk):
    one = await world.propose("one", {"README.md": b"# Shop\nmore\n"})
    two = await world.propose("two", {"new.py": b"x = 1\n\ny = 2\n"})
    stack = await trunk.stack([one, two], world.base)
    assert [(m.subtask, m.added_lines, m.deleted_lines) for m in stack.merged] == [("one", 1, 0), ("two", 2, 0)]
    assert stack.head == stack.merged[-1].commit
    assert stack.conflicts == ()
    assert await world.content(stack.head) == {
        **FILES,
        "README.md": b"# Shop\nmore\n",
        "new.py": b"x = 1\n\ny = 2\n",
    }
    assert await trunk.head() == world.base


async def test_far_apart_edits_of_one_file_merge_and_commute(world: World, trunk: Trunk):
    one = await world.propose("one", {"app/long.py": edited(3, "three\n")})
    two = await world.propose("two", {"app/long.py": edited(50, "fifty\n")})
    stacks = [await trunk.stack(order, world.base) for order in ([one, two], [two, one])]
    assert stacks[0].tree == stacks[1].tree
    both = LONG.replace("line 3\n", "three\n").replace("line 50\n", "fifty\n").encode()
    assert (await world.content(stacks[0].head))["app/long.py"] == both


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        ({"app/long.py": edited(3, "a\n")}, {"app/long.py": edited(3, "b\n")}, "app/long.py"),
        ({"README.md": None}, {"README.md": b"edited\n"}, "README.md"),
        ({"README.md": b"edited\n"}, {"README.md": None}, "README.md"),
        ({"new": b"one\n"}, {"new": b"two\n"}, "new"),
        ({"new": b"a file\n"}, {"new/inner": b"in a folder\n"}, "new/inner"),
        ({"new/inner": b"in a folder\n"}, {"new": b"a file\n"}, "new"),
    ],
    ids=["same line", "removed and edited", "edited and removed", "added twice", "file first", "folder first"],
)
async def test_a_conflicting_patch_is_left_out_whole_and_named(world: World, trunk: Trunk, first, second, named):
    one = await world.propose("one", first)
    two = await world.propose("two", {**second, "also.py": b"x\n"})
    stack = await trunk.stack([one, two], world.base)
    assert [member.subtask for member in stack.merged] == ["one"]
    assert [conflict.subtask for conflict in stack.conflicts] == ["two"]
    assert named in stack.conflicts[0].feedback
    assert stack.tree == (await trunk.stack([one], world.base)).tree


async def test_when_everything_conflicts_the_stack_is_where_it_began(world: World, trunk: Trunk):
    one = await world.propose("one", {"README.md": b"one\n"})
    head = (await trunk.stack([one], world.base)).head
    two = await world.propose("two", {"README.md": b"two\n"})
    stack = await trunk.stack([two], head)
    assert (stack.head, stack.merged) == (head, ())
    assert stack.tree == (await trunk.stack([one], world.base)).tree


async def test_a_change_that_is_in_the_trunk_already_is_merged_with_no_lines(world: World, trunk: Trunk):
    one = await world.propose("one", {"README.md": b"# Shop\nmore\n", "app/main.py": None})
    two = await world.propose("two", {"README.md": b"# Shop\nmore\n", "app/main.py": None})
    stack = await trunk.stack([one, two], world.base)
    assert [(m.subtask, m.added_lines, m.deleted_lines) for m in stack.merged] == [("one", 1, 1), ("two", 0, 0)]
    assert stack.merged[0].commit != stack.merged[1].commit


async def test_advancing_is_compare_and_swap_and_idempotent(world: World, trunk: Trunk):
    stack = await trunk.stack([await world.propose("one", {"x": b"1\n"})], world.base)
    other = await trunk.stack([await world.propose("two", {"y": b"1\n"})], world.base)
    await trunk.advance(world.base, stack.head)
    await trunk.advance(world.base, stack.head)
    assert await trunk.head() == stack.head
    with pytest.raises(GitError):
        await trunk.advance(world.base, other.head)
    assert await trunk.head() == stack.head


async def test_the_branch_itself_says_what_was_merged(world: World, trunk: Trunk):
    first = await trunk.stack([await world.propose("one", {"x": b"1\n2\n"})], world.base)
    await trunk.advance(world.base, first.head)
    second = await trunk.stack([await world.propose("two", {"x": b"1\n"}, at=first.head)], first.head)
    await trunk.advance(first.head, second.head)
    assert await trunk.merged_since(world.base) == [*first.merged, *second.merged]
    assert await trunk.merged_since(first.head) == list(second.merged)
    assert await trunk.merged_since(second.head) == []


async def test_a_branch_that_does_not_descend_from_a_commit_says_none(world: World, trunk: Trunk):
    stack = await trunk.stack([await world.propose("one", {"x": b"1\n"})], world.base)
    assert await trunk.merged_since(stack.head) is None


async def test_retained_lines_are_those_that_stand_at_the_end(world: World, trunk: Trunk):
    first = await trunk.stack([await world.propose("one", {"x": b"1\n\n2\n3\n"})], world.base)
    second = await trunk.stack([await world.propose("two", {"x": b"1\n\n"}, at=first.head)], first.head)
    assert await trunk.retained_lines(world.base, first.head) == 3
    assert await trunk.retained_lines(world.base, second.head) == 1
    assert await trunk.retained_lines(world.base, world.base) == 0
