"""Trees that untrusted code has run in: the next lease sees nothing of it, and a switch stays cheap."""

import asyncio
import contextlib
import os
import socket
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.core.errors import EnvironmentFault, GateError
from orchestrator.core.values import Check, CommitId, GateSettings
from orchestrator.engine.clock import SystemClock
from orchestrator.gate.pipeline import CommandGate
from orchestrator.git.fast_import import Draft, Put
from orchestrator.git.intake import init_from_folder
from orchestrator.git.repository import Repository
from orchestrator.git.trees import TreePool
from tests.integration.git_fixtures import ENV, put

FILES = {"a.txt": "aaaa\n", "src/b.py": "b = 1\n", "src/deep/c.py": "c = 1\n", "tests/t.py": "assert 1\n"}


@pytest.fixture
def repo(tmp_path):
    put(tmp_path / "plain", FILES)
    (tmp_path / "plain" / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "plain" / "run.sh").chmod(0o755)
    (tmp_path / "plain" / "link").symlink_to("src/b.py")
    repository, base = init_from_folder(tmp_path / "run.git", tmp_path / "plain", (), ENV)
    yield repository, base
    repository.close()


@pytest.fixture
def pool(repo, tmp_path) -> TreePool:
    return TreePool(*repo, tmp_path / "trees", size=1)


def shape(tree: Path) -> dict[str, tuple[int, str | bytes]]:
    """Everything in a tree: modes, and contents or link targets."""
    found: dict[str, tuple[int, str | bytes]] = {}
    for place in sorted(tree.rglob("*")):
        mode = place.lstat().st_mode
        content = str(place.readlink()) if place.is_symlink() else place.read_bytes() if place.is_file() else ""
        found[str(place.relative_to(tree))] = (mode, content)
    return found


def tamper_unseen(tree: Path) -> None:
    """Same size, same inode, mtime put back."""
    for path in FILES:
        status = (tree / path).stat()
        with (tree / path).open("r+b") as file:
            file.write(b"X")
        os.utime(tree / path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_by_links(tree: Path) -> None:
    """Move folders away, unchanged, and leave links to them."""
    outside = tree.parent.parent / "outside"
    outside.mkdir(exist_ok=True)
    (tree / "src").rename(outside / "src")
    (tree / "src").symlink_to(outside / "src")
    (tree / "a.txt").unlink()
    (tree / "a.txt").symlink_to("/etc/passwd")


def plant_git(tree: Path) -> None:
    for place in (tree, tree / "src", tree / "src" / "deep"):
        (place / ".git" / "hooks").mkdir(parents=True)
        (place / ".git" / "config").write_text("[core]\n\tfsmonitor = touch ran\n")
    (tree / "nested" / ".git").mkdir(parents=True)
    (tree / ".gitignore").write_text("*\n")


def lock_out(tree: Path) -> None:
    (tree / "a.txt").chmod(0)
    (tree / "locked" / "inner").mkdir(parents=True)
    (tree / "locked" / "inner" / "x").touch()
    (tree / "locked" / "inner").chmod(0)
    (tree / "locked").chmod(0o500)
    (tree / "src" / "deep").chmod(0o555)
    (tree / "src").chmod(0)
    tree.chmod(0o500)


def special_files(tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    with socket.socket(socket.AF_UNIX) as bound:
        here = Path.cwd()
        os.chdir(tree)
        bound.bind("socket")
        os.chdir(here)
    os.link(tree / "a.txt", tree / "hard")
    (tree / os.fsdecode(b"bad\xff\nname")).touch()


def swap_kinds(tree: Path) -> None:
    (tree / "src" / "b.py").unlink()
    (tree / "src" / "b.py").mkdir()
    (tree / "src" / "b.py" / "x").touch()
    (tree / "src" / "deep").rename(tree / "src" / "elsewhere")
    (tree / "src" / "deep").touch()
    (tree / "tests").rename(tree / "other")
    (tree / "run.sh").chmod(0o644)


def swap_folders(tree: Path) -> None:
    (tree / "src").rename(tree / "swap")
    (tree / "tests").rename(tree / "src")
    (tree / "swap").rename(tree / "tests")


def go_deep(tree: Path) -> None:
    """Deeper than a path may be long, and than a recursion may go."""
    descriptor = os.open(tree, os.O_RDONLY)
    for _ in range(1_500):
        os.mkdir("d" * 10, dir_fd=descriptor)
        inner = os.open("d" * 10, os.O_RDONLY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = inner
    os.close(descriptor)


def remove_all(tree: Path) -> None:
    tree.rename(tree.parent / "gone")
    tree.symlink_to(tree.parent / "gone")


ATTACKS: tuple[Callable[[Path], None], ...] = (
    *(tamper_unseen, replace_by_links, plant_git, lock_out, special_files, swap_kinds, swap_folders, go_deep),
    remove_all,
)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
async def test_nothing_that_a_candidate_did_reaches_the_next_lease(repo, pool, attack):
    _, base = repo
    async with pool.lease(base, ()) as tree:
        clean = shape(tree)
        attack(tree)
    for _ in range(2):
        async with pool.lease(base, ()) as tree:
            assert shape(tree) == clean
            assert not tree.is_symlink()
    await pool.close()


async def test_a_switch_touches_only_what_differs(repo, pool):
    repository, base = repo
    other = commit(repository, base, {"a.txt": b"other\n"})
    async with pool.lease(base, ()) as tree:
        pass
    before = {path: (tree / path).stat().st_ino for path in FILES}
    async with pool.lease(other, ()) as tree:
        assert (tree / "a.txt").read_bytes() == b"other\n"
        after = {path: (tree / path).stat().st_ino for path in FILES}
    assert [path for path in FILES if path != "a.txt" and before[path] != after[path]] == []


def commit(repository: Repository, base: CommitId, files: dict[str, bytes | None], mode: str = "100644") -> CommitId:
    puts = {path: None if content is None else Put(mode, content) for path, content in files.items()}
    return repository.write(base, [Draft("x\n", puts)])[0]


@pytest.mark.parametrize(
    ("files", "mode"),
    [
        ({"tests/t.py": b"weak\n", "tests/conftest.py": b"x", "tests/sub/x": b"x"}, "100644"),
        ({"tests/t.py": None}, "100644"),
        ({"tests/t.py": None, "tests": b"src"}, "120000"),
        ({"tests/t.py": b"../src/b.py"}, "120000"),
        ({"tests/t.py": b"assert 1\n"}, "100755"),
        ({"setup.cfg/x": b"planted\n", "setup.cfg/y/z": b"planted\n"}, "100644"),
    ],
)
async def test_a_protected_file_cannot_be_changed_by_any_kind_of_commit(repo, tmp_path, files, mode):
    repository, first = repo
    base = commit(repository, first, {"setup.cfg": b"[x]\n"})
    if "setup.cfg/x" in files:
        files = {**files, "setup.cfg": None}
    pool = TreePool(repository, base, tmp_path / "trees", size=1)
    async with pool.lease(base, ()) as tree:
        clean = shape(tree)
    async with pool.lease(commit(repository, base, files, mode), ("tests/**", "setup.cfg")) as tree:
        assert shape(tree) == clean
    await pool.close()


# --- what set-up leaves ---


async def build(tree: Path) -> None:
    put(tree, {"build/out.o": "object", "build/deep/x": "x", "src/gen.py": "g = 1\n"})
    (tree / "build" / "out.o").chmod(0o755)
    (tree / "build" / "link").symlink_to("out.o")
    (tree / "build" / "empty").mkdir()
    os.utime(tree / "build" / "out.o", (1_000, 1_000))
    (tree / "a.txt").write_text("set-up must not change tracked files\n")


async def test_what_set_up_left_is_in_every_tree_and_cannot_be_poisoned(repo, tmp_path):
    repository, base = repo
    runs = []

    async def prepare(tree: Path) -> None:
        runs.append(tree)
        await build(tree)

    pool = TreePool(repository, base, tmp_path / "trees", size=2, prepare=prepare)
    async with pool.lease(base, ()) as one, pool.lease(base, ()) as two:
        clean = shape(one)
        assert shape(two) == clean
        assert clean["a.txt"][1] == b"aaaa\n"
        assert {"build/out.o", "build/deep/x", "build/link", "build/empty", "src/gen.py"} <= clean.keys()
        assert (one / "build" / "out.o").stat().st_mtime == 1_000
        status = (one / "build" / "out.o").stat()
        (one / "build" / "out.o").write_text("poison")
        os.utime(one / "build" / "out.o", ns=(status.st_atime_ns, status.st_mtime_ns))
        (two / "src" / "gen.py").unlink()
    for _ in range(2):
        async with pool.lease(base, ()) as one, pool.lease(base, ()) as two:
            assert shape(one) == shape(two) == clean
    assert len(runs) == 1
    await pool.close()
    assert not (tmp_path / "trees").exists()


async def test_a_commits_own_file_wins_over_what_set_up_left(repo, tmp_path):
    repository, base = repo
    pool = TreePool(repository, base, tmp_path / "trees", size=1, prepare=build)
    async with pool.lease(commit(repository, base, {"src/gen.py": b"mine\n", "build": b"a file\n"}), ()) as tree:
        assert (tree / "src" / "gen.py").read_bytes() == b"mine\n"
        assert (tree / "build").read_bytes() == b"a file\n"
    await pool.close()


async def test_what_was_derived_from_the_base_is_up_to_date_for_it_and_stale_for_a_change(repo, tmp_path):
    repository, base = repo
    changed = commit(repository, base, {"src/b.py": b"b = 2\n"})
    pool = TreePool(repository, base, tmp_path / "trees", size=1, prepare=build)
    async with pool.lease(changed, ()) as tree:
        derived = (tree / "src" / "gen.py").stat().st_mtime_ns
        assert (tree / "src" / "deep" / "c.py").stat().st_mtime_ns < derived
        assert (tree / "src" / "b.py").stat().st_mtime_ns >= derived
        newer = int((tree / "src" / "b.py").stat().st_mtime)
    async with pool.lease(base, ()) as tree:
        assert newer - int((tree / "src" / "b.py").stat().st_mtime) > 1, "byte code is matched by whole seconds"
    await pool.close()


async def test_set_up_that_fails_is_a_broken_gate_and_is_tried_again(repo, tmp_path):
    attempts = []

    async def prepare(tree: Path) -> None:
        attempts.append(tree)
        if len(attempts) == 1:
            raise OSError("no such command")

    pool = TreePool(*repo, tmp_path / "trees", size=1, prepare=prepare)
    with pytest.raises(GateError, match="set-up failed on the base commit: no such command"):
        async with pool.lease(repo[1], ()):
            pass
    async with pool.lease(repo[1], ()) as tree:
        assert (tree / "a.txt").exists()
    await pool.close()


# --- who gets a tree ---


async def test_trees_are_given_in_the_order_of_asking(repo, pool):
    order: list[int] = []

    async def ask(number: int) -> None:
        async with pool.lease(repo[1], ()):
            order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(ask(number))
    assert order == list(range(6))
    await pool.close()


async def test_a_lease_that_is_cancelled_while_its_tree_is_made_waits_for_the_work(repo, pool, monkeypatch):
    repository, base = repo
    reading, may_end = threading.Event(), threading.Event()
    read = repository.read_objects

    def slow(names):
        reading.set()
        may_end.wait(10)
        return read(names)

    async def ask() -> None:
        async with pool.lease(base, ()):
            pass

    monkeypatch.setattr(repository, "read_objects", slow)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(ask())
        await asyncio.to_thread(reading.wait, 10)
        task.cancel()
        await asyncio.sleep(0.01)
        assert not task.done(), "the thread still writes into the tree"
        may_end.set()
    assert task.cancelled()
    async with asyncio.timeout(10), pool.lease(base, ()) as tree:
        assert (tree / "a.txt").read_bytes() == b"aaaa\n"
    await pool.close()


async def test_what_a_killed_process_left_is_removed(repo, tmp_path):
    crashed = TreePool(*repo, tmp_path / "trees", size=1)
    async with crashed.lease(repo[1], ()) as tree:
        go_deep(tree)
        pool = TreePool(*repo, tmp_path / "trees", size=1)
        async with pool.lease(repo[1], ()) as other:
            assert not (other / ("d" * 10)).exists()
        await pool.close()
    assert not (tmp_path / "trees").exists()


async def test_a_folder_of_the_users_is_never_taken_for_the_pools(repo, tmp_path):
    put(tmp_path / "precious", {"thesis.tex": "x"})
    pool = TreePool(*repo, tmp_path / "precious", size=1)
    with pytest.raises(EnvironmentFault, match="holds files that are not the gate's"):
        async with pool.lease(repo[1], ()):
            pass
    await pool.close()
    assert (tmp_path / "precious" / "thesis.tex").exists()


# --- where the trees are ---


@pytest.mark.parametrize("place", ["/dev/shm", None], ids=["memory", "disk"])
async def test_the_trees_may_be_on_another_file_system_in_a_fresh_private_folder(repo, place):
    if place and not os.access(place, os.W_OK):
        pytest.skip(f"no {place} here")
    root = Path(tempfile.mkdtemp(dir=place))
    inode = root.stat().st_ino
    pool = TreePool(*repo, root, size=2, prepare=build)
    async with pool.lease(repo[1], ()) as one, pool.lease(repo[1], ()) as two:
        clean = shape(one)
        assert shape(two) == clean
        go_deep(one)
    async with pool.lease(repo[1], ()) as one:
        assert shape(one) == clean
        assert (root.stat().st_ino, stat.S_IMODE(root.stat().st_mode)) == (inode, 0o700), "it was never given away"
    await pool.close()
    assert not root.exists()


async def test_a_pool_that_never_leased_leaves_no_folder(repo, tmp_path):
    (tmp_path / "fresh").mkdir()
    await TreePool(*repo, tmp_path / "fresh", size=1).close()
    assert not (tmp_path / "fresh").exists()


async def test_closing_never_fails_over_what_still_writes_there(repo, tmp_path, caplog):
    pool = TreePool(*repo, tmp_path / "trees", size=1)
    async with pool.lease(repo[1], ()) as tree:
        pass
    stop = threading.Event()

    def write() -> None:
        place = os.open(tree, os.O_RDONLY)
        while not stop.is_set():
            with contextlib.suppress(OSError):
                os.close(os.open(f"late-{time.monotonic_ns()}", os.O_CREAT | os.O_WRONLY, dir_fd=place))
        os.close(place)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        await pool.close()
    finally:
        stop.set()
        writer.join()
    await TreePool(*repo, tmp_path / "trees", size=1).close()
    assert not (tmp_path / "trees").exists()


async def test_what_set_up_left_and_cannot_be_read_is_a_broken_gate(repo, tmp_path):
    async def prepare(tree: Path) -> None:
        go_deep(tree)

    pool = TreePool(*repo, tmp_path / "trees", size=1, prepare=prepare)
    with pytest.raises(GateError, match="cannot keep what the gate's set-up left"):
        async with pool.lease(repo[1], ()):
            pass
    await pool.close()


async def test_no_two_leases_ever_hold_one_tree(repo, tmp_path):
    pool = TreePool(*repo, tmp_path / "trees", size=2)
    held: set[Path] = set()

    async def use(number: int) -> None:
        async with pool.lease(repo[1], ()) as tree:
            assert tree not in held
            held.add(tree)
            await asyncio.sleep(0.001 * (number % 3))
            held.remove(tree)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(use(number)) for number in range(24)]
        await asyncio.sleep(0.01)
        for task in tasks[::4]:
            task.cancel()
    await pool.close()


@pytest.fixture
def tree_in_a_checkout(repo, tmp_path):
    user = tmp_path / "user"
    user.mkdir()
    for line in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run(
            ["git", "-c", "user.name=u", "-c", "user.email=u@localhost", *line], cwd=user, check=True, env=ENV
        )
    return user, repo[1], TreePool(*repo, user / "trees", size=1)


async def test_no_check_finds_the_repository_that_its_tree_happens_to_lie_in(tree_in_a_checkout):
    user, base, pool = tree_in_a_checkout
    gate = CommandGate(GateSettings(), SystemClock(), path=os.defpath)
    commit_all = "git add -A; git -c user.name=x -c user.email=x@x commit --allow-empty -m mine"

    def head() -> str:
        return (user / ".git" / "logs" / "HEAD").read_text()

    before = head()
    async with pool.lease(base, ()) as tree:
        for argv in (
            ("git", "rev-parse", "--show-toplevel"),
            ("sh", "-c", commit_all),
            ("sh", "-c", f"cd src; {commit_all}"),
        ):
            judged = await gate.judge(tree, [Check(name="git", argv=argv)])
            assert not judged.verdict.passed
            assert "not a git repository" in next(iter(judged.bodies.values())).decode()
    assert head() == before
    await pool.close()
