"""What every `Workspaces` promises."""

import pytest

from orchestrator.core.errors import OrchestratorError
from tests.contracts.worlds import FILES, World


async def test_a_fresh_workspace_shows_the_commit(world: World):
    async with world.workspaces.open(world.base) as workspace:
        assert workspace.base == world.base
        assert list(await workspace.paths()) == sorted(FILES)
        assert await workspace.read([*FILES, "missing"]) == FILES


async def test_what_is_written_is_read_back_and_seen_by_nobody_else(world: World):
    async with world.workspaces.open(world.base) as mine, world.workspaces.open(world.base) as other:
        await mine.write({"README.md": b"changed\n", "new/file.txt": b"new\n", "app/main.py": None})
        assert await mine.read(["README.md", "new/file.txt", "app/main.py"]) == {
            "README.md": b"changed\n",
            "new/file.txt": b"new\n",
        }
        assert list(await mine.paths()) == ["README.md", "app/long.py", "new/file.txt", "tests/test_main.py"]
        assert await other.read(FILES) == FILES


async def test_the_patch_states_modes_blobs_and_non_blank_lines(world: World):
    stacked = await world.propose("s", {"README.md": b"# Shop\n\n\nmore\n", "app/main.py": None, "n.txt": b"1\n\n2"})
    changes = {change.path: change for change in stacked.patch.changes}
    assert {path: (c.old_mode, c.new_mode, c.added_lines, c.deleted_lines) for path, c in changes.items()} == {
        "README.md": ("100644", "100644", 1, 0),
        "app/main.py": ("100644", None, 0, 1),
        "n.txt": (None, "100644", 2, 0),
    }
    assert changes["n.txt"].old_blob is None
    assert changes["app/main.py"].new_blob is None
    assert stacked.patch.base == world.base


async def test_the_patch_can_be_opened_again(world: World):
    stacked = await world.propose("s", {"README.md": b"changed\n", "app/main.py": None})
    content = await world.content(stacked.patch.commit)
    assert content == {**{k: v for k, v in FILES.items() if k != "app/main.py"}, "README.md": b"changed\n"}


@pytest.mark.parametrize(
    "files",
    [{}, {"README.md": FILES["README.md"]}, {"never/there": None}],
    ids=["nothing", "the same content", "removing what is not there"],
)
async def test_no_change_is_a_patch_without_changes_at_the_base(world: World, files):
    patch = (await world.propose("s", files)).patch
    assert patch.changes == ()
    assert patch.commit == world.base


async def test_writing_back_what_was_there_takes_the_change_back(world: World):
    async with world.workspaces.open(world.base) as workspace:
        await workspace.write({"README.md": b"changed\n", "x": b"new\n"})
        await workspace.write({"README.md": FILES["README.md"], "x": None})
        assert (await workspace.patch()).changes == ()


async def test_the_same_change_on_the_same_base_has_the_same_tree(world: World):
    one = await world.propose("a", {"README.md": b"changed\n"})
    two = await world.propose("b", {"README.md": b"changed\n"})
    assert one.patch.tree == two.patch.tree


@pytest.mark.parametrize(
    "path",
    ["../x", "/x", "a//b", "a/./b", "a\\b", "a\nb", ".git/config", "sub/.GIT/hooks/x", ".g\u200cit/x", "git~1/x", ""],
)
async def test_an_unsafe_path_is_refused_and_nothing_of_the_write_remains(world: World, path):
    async with world.workspaces.open(world.base) as workspace:
        with pytest.raises(OrchestratorError):
            await workspace.write({"README.md": b"changed\n", path: b"x"})
        assert (await workspace.patch()).changes == ()


@pytest.mark.parametrize("path", ["readme.md", "App/x.py", "README.md/x", "app"])
async def test_a_path_that_would_meet_another_one_is_refused(world: World, path):
    async with world.workspaces.open(world.base) as workspace:
        with pytest.raises(OrchestratorError):
            await workspace.write({path: b"x"})
