"""How code comes in, and what the run's own repository promises, on real git."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.core.errors import EnvironmentFault, GitError
from orchestrator.core.paths import UnsafePath
from orchestrator.git.fast_import import Draft, Put
from orchestrator.git.intake import (
    init_from_checkout,
    init_from_folder,
    init_from_url,
    is_checkout_root,
    open_bare,
)
from orchestrator.git.repository import Repository
from tests.integration.git_fixtures import ENV, git, make_checkout, put

FILES = {"a.txt": "one\ntwo\n", "src/b.py": "b = 1\n"}


@pytest.fixture
def opened():
    """Repositories that a test opens, closed at its end."""
    repositories: list[Repository] = []
    yield lambda pair: (repositories.append(pair[0]), pair)[1]
    for repository in repositories:
        repository.close()


@pytest.fixture
def repo(tmp_path, opened):
    put(tmp_path / "plain", FILES)
    return opened(init_from_folder(tmp_path / "run.git", tmp_path / "plain", (), ENV))


def state_of(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


# --- taking code in ---


@pytest.mark.parametrize("kind", ["top", "subfolder", "worktree", "bare", "shallow", "sha256", "packed"])
def test_every_kind_of_repository_is_read_and_left_as_it_was(tmp_path, opened, kind):
    user = tmp_path / "user"
    if kind == "sha256":
        user.mkdir()
        git(user, "init", "-q", "-b", "main", "--object-format=sha256")
        put(user, FILES)
        git(user, "add", "-A")
        git(user, "commit", "-q", "-m", "first")
    else:
        make_checkout(user, FILES)
    git(user, "commit", "-q", "--allow-empty", "-m", "second")
    place = {"subfolder": user / "src"}.get(kind, user)
    if kind == "worktree":
        place = tmp_path / "wörk tree"
        git(user, "worktree", "add", "-q", "--detach", str(place))
    elif kind in {"bare", "shallow"}:
        place = tmp_path / kind
        option = {"bare": "--bare", "shallow": "--depth=1"}[kind]
        git(tmp_path, "clone", "-q", option, user.as_uri(), str(place))
    elif kind == "packed":
        git(user, "gc", "-q")
    before = state_of(tmp_path)
    run = tmp_path / "run.git"
    repository, base = opened(init_from_checkout(run, place, "HEAD", ENV))
    assert base == git(place, "rev-parse", "HEAD")
    assert repository.read(base, repository.paths(base)) == {k: v.encode() for k, v in FILES.items()}
    commit = repository.write(base, [Draft("x\n", {"a.txt": Put("100644", b"one\nzwei\n")})])[0]
    assert repository.describe_patch(base, commit).added_lines == 1
    assert {p: s for p, s in state_of(tmp_path).items() if not p.startswith(str(run))} == before


def test_a_ref_of_any_kind_is_resolved(tmp_path, opened):
    first = make_checkout(tmp_path / "user", FILES)
    git(tmp_path / "user", "tag", "-a", "v1", "-m", "tagged")
    git(tmp_path / "user", "commit", "-q", "--allow-empty", "-m", "second")
    for number, ref in enumerate(("v1", "HEAD~1", "main^", first[:10])):
        assert opened(init_from_checkout(tmp_path / f"run{number}", tmp_path / "user", ref, ENV))[1] == first


def test_what_is_missing_is_said_with_what_to_do(tmp_path):
    make_checkout(tmp_path / "user", FILES)
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    (tmp_path / "plain").mkdir()
    for place, ref, words in (
        ("user", "nowhere", "has no commit 'nowhere'"),
        ("user", "--all", "has no commit '--all'"),
        ("empty", "HEAD", "has no commits yet"),
        ("plain", "HEAD", "is not in a git repository"),
        ("absent", "HEAD", "is not in a git repository"),
    ):
        with pytest.raises(EnvironmentFault, match=words):
            init_from_checkout(tmp_path / "run.git", tmp_path / place, ref, ENV)
    with pytest.raises(EnvironmentFault, match="git was not found"):
        is_checkout_root(tmp_path / "user", {"PATH": str(tmp_path)})


def test_only_the_top_of_a_checkout_is_a_checkout(tmp_path):
    make_checkout(tmp_path / "user", FILES)
    git(tmp_path, "clone", "-q", "--bare", str(tmp_path / "user"), str(tmp_path / "bare"))
    git(tmp_path / "user", "worktree", "add", "-q", "--detach", str(tmp_path / "wt"))
    (tmp_path / "link").symlink_to(tmp_path / "user")
    for place in ("user", "bare", "wt", "link"):
        assert is_checkout_root(tmp_path / place, ENV), place
    for place in ("user/src", "user/.git/refs", "absent", "."):
        assert not is_checkout_root(tmp_path / place, ENV), place


def test_a_plain_folder_inside_a_checkout_is_one_root_commit_that_follows_from_its_content(tmp_path, opened):
    make_checkout(tmp_path / "user", {"top": "x", ".gitignore": "*.py\n"})
    folder = tmp_path / "user" / "inner"
    put(folder, {**FILES, ".gitignore": "ignored/\n", "ignored/x": "x", "__pycache__/m.pyc": "x", "odd\nname": "x"})
    put(folder, {".venv/x": "x", "deep/node_modules/y": "y", "left/out.md": "z", "run.sh": "#!/bin/sh\n"})
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("src/b.py")
    one, base = opened(init_from_folder(tmp_path / "one.git", folder, ("left/**",), ENV))
    os.utime(folder / "a.txt", (1, 1))
    two, again = opened(init_from_folder(tmp_path / "two.git", folder, ("left/**",), ENV))
    assert base == again
    modes = {path: entry.mode for path, entry in one.entries(base).items()}
    regular = dict.fromkeys([".gitignore", *FILES, "odd\nname"], "100644")
    assert modes == {**regular, "run.sh": "100755", "link": "120000"}
    assert two.log(base, again) == []


@pytest.mark.parametrize("target", ["../outside", "/etc/passwd", "src/../../outside", "hop/outside"])
def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path, target):
    put(tmp_path / "plain", FILES)
    put(tmp_path, {"outside": "secret"})
    if target.startswith("hop"):
        (tmp_path / "plain" / "hop").symlink_to("..")
    (tmp_path / "plain" / "link").symlink_to(target)
    with pytest.raises(EnvironmentFault, match="leads out"):
        init_from_folder(tmp_path / "run.git", tmp_path / "plain", (), ENV)


def test_a_partial_clone_that_lacks_files_is_said_so(tmp_path):
    make_checkout(tmp_path / "user", FILES)
    git(tmp_path / "user", "config", "uploadpack.allowFilter", "true")
    url = (tmp_path / "user").as_uri()
    git(tmp_path, "clone", "-q", "--filter=blob:none", "--no-checkout", url, str(tmp_path / "partial"))
    with pytest.raises(EnvironmentFault, match="partial clone"):
        init_from_checkout(tmp_path / "run.git", tmp_path / "partial", "HEAD", ENV)


def test_a_url_is_cloned_and_its_branches_tags_and_commits_are_found(tmp_path, opened):
    first = make_checkout(tmp_path / "user", FILES)
    git(tmp_path / "user", "tag", "v1")
    git(tmp_path / "user", "switch", "-q", "-c", "side")
    git(tmp_path / "user", "commit", "-q", "--allow-empty", "-m", "second")
    url = (tmp_path / "user").as_uri()
    second = git(tmp_path / "user", "rev-parse", "HEAD")
    for number, (ref, commit) in enumerate({"HEAD": second, "main": first, "v1": first, first: first}.items()):
        repository, base = opened(init_from_url(tmp_path / f"run{number}", url, ref, ENV))
        assert base == commit
        assert repository.read(base, FILES)["a.txt"] == b"one\ntwo\n"
    with pytest.raises(EnvironmentFault, match="no branch, tag or commit 'gone'"):
        init_from_url(tmp_path / "gone", url, "gone", ENV)
    for number, bad in enumerate((f"ext::touch {tmp_path}/ran", "--upload-pack=touch ran", str(tmp_path / "no"))):
        with pytest.raises(GitError, match="cannot clone"):
            init_from_url(tmp_path / f"bad{number}", bad, "HEAD", ENV)
    assert not (tmp_path / "ran").exists()


# --- commits and patches ---

ODD_PATHS = (
    *("with space.txt", "ünïcödé/日本.txt", '"quoted"', "new\nline", "tab\there", "back\\slash", " lead", "trail "),
    *("-dash", "a => b", "diff --git a b", "x\x01y", "'", "{a,b}", "*?[x]", "\ttab", "d/" * 40 + "deep"),
)


def test_any_path_survives_commit_and_patch(repo):
    repository, base = repo
    content = {path: f"{number}\n\n".encode() for number, path in enumerate(ODD_PATHS)}
    commit = repository.write(base, [Draft("odd\n", {p: Put("100644", c) for p, c in content.items()})])[0]
    assert repository.read(commit, ODD_PATHS) == content
    patch = repository.describe_patch(base, commit)
    assert {change.path: change.added_lines for change in patch.changes} == dict.fromkeys(ODD_PATHS, 1)
    emptied = repository.write(commit, [Draft("gone\n", dict.fromkeys(ODD_PATHS))])[0]
    assert repository.tree_of(emptied) == repository.tree_of(base)


def test_a_changed_path_that_is_not_utf_8_is_named(repo):
    repository, base = repo
    commit = repository.write(base, [Draft("x\n", {"caf\udce9": Put("100644", b"x")})])[0]
    assert "caf\udce9" in repository.paths(commit)
    with pytest.raises(UnsafePath, match="not UTF-8"):
        repository.describe_patch(base, commit)


@pytest.mark.parametrize(
    ("old", "new", "added", "deleted"),
    [
        (b"a\nb\n", b"a\n\n \t\nb\nc", 1, 0),
        (b"a", b"a\n", 1, 1),
        (b"", b"\n\n", 0, 0),
        (b"-- x\n++ y\n", b"++ y\n-- x\n@@ -1 +1 @@\ndiff --git a/x b/x\n", 3, 1),
        (b"x\n", b"x\n:100644 100644 a b M\tx\n" + b"0" * 40 + b"\n", 2, 0),
        (b"\0binary\n", b"\0other\n\n\n", 0, 0),
        (b"a\r\nb\r\n", b"a\r\n\r\nc\r\n", 1, 1),
        (b"\xff\xfe\n", b"\xff\xfd\n", 1, 1),
        (b"\\ No newline\n", b"\\ No newline", 1, 1),
    ],
)
def test_non_blank_lines_are_counted_whatever_they_look_like(repo, old, new, added, deleted):
    repository, base = repo
    drafts = [Draft("x\n", {p: Put("100644", c) for p in ("f", "same")}) for c in (old, new)]
    before, after = repository.write(base, drafts)
    changes = repository.describe_patch(before, after).changes
    assert [(c.path, c.added_lines, c.deleted_lines) for c in changes] == [
        ("f", added, deleted),
        ("same", added, deleted),
    ]


def test_modes_links_and_kinds_are_stated(repo):
    repository, base = repo
    first = Draft("x\n", {"run": Put("100644", b"1\n"), "kind": Put("100644", b"1\n2\n")})
    second = Draft("y\n", {"run": Put("100755", b"1\n"), "kind": Put("120000", b"a.txt"), "l": Put("120000", b"x")})
    before, after = repository.write(base, [first, second])
    found = {
        c.path: (c.old_mode, c.new_mode, c.added_lines, c.deleted_lines)
        for c in repository.describe([(before, after)])[0]
    }
    assert found == {
        "run": ("100644", "100755", 0, 0),
        "kind": ("100644", "120000", 0, 2),
        "l": (None, "120000", 0, 0),
    }


def test_a_file_may_become_a_folder_and_back(repo):
    repository, base = repo
    one, two = repository.write(
        base,
        [
            Draft("x\n", {"a.txt/inner": Put("100644", b"x"), "a.txt": None}),
            Draft("y\n", {"a.txt": Put("100644", b"y"), "a.txt/inner": None}),
        ],
    )
    assert repository.paths(one) == ["a.txt/inner", "src/b.py"]
    assert repository.paths(two) == ["a.txt", "src/b.py"]


def test_no_ref_is_left_behind_and_sizes_are_known(repo):
    repository, base = repo
    commit = repository.write(base, [Draft("x\n", {"big": Put("100644", b"x" * 5_000)})])[0]
    assert repository.run("for-each-ref") == b""
    assert repository.sizes(commit) == {"a.txt": 8, "big": 5_000, "src/b.py": 6}
    assert repository.is_ancestor(base, commit)
    assert not repository.is_ancestor(commit, base)


def test_many_threads_write_and_read_at_once_and_nothing_is_lost(repo):
    repository, base = repo

    def work(number: int) -> tuple[str, bytes]:
        commit = repository.write(base, [Draft("x\n", {f"f{number}": Put("100644", b"%d" % number)})])[0]
        return commit, repository.read(commit, [f"f{number}"])[f"f{number}"]

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(work, range(32)))
    assert [content for _, content in results] == [b"%d" % number for number in range(32)]
    repository.run("fsck", "--strict", "--no-dangling", *(commit for commit, _ in results))


def test_a_reader_that_was_killed_is_started_again(repo):
    repository, base = repo
    for _ in range(3):
        assert repository.read(base, ["a.txt"]) == {"a.txt": b"one\ntwo\n"}
        process = repository._reader._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)


def test_a_missing_object_is_an_error_and_the_reader_goes_on(repo):
    repository, base = repo
    with pytest.raises(GitError, match="no object"):
        repository.read_objects(["0" * 40])
    assert repository.read(base, ["a.txt"]) == {"a.txt": b"one\ntwo\n"}


def test_a_run_that_goes_on_finds_its_repository(repo, tmp_path, opened):
    repository, base = repo
    again, _ = opened((open_bare(repository.git_dir, ENV), None))
    assert again.tree_of(base) == repository.tree_of(base)
    with pytest.raises(EnvironmentFault, match="is gone"):
        open_bare(tmp_path / "nothing", ENV)


def test_git_that_refuses_is_quoted(repo):
    repository, _ = repo
    with pytest.raises(GitError, match=r"rev-list.*ended with code 128.*nonsense"):
        repository.run("rev-list", "nonsense")
    with pytest.raises(GitError, match="did not end within"):
        repository.run("cat-file", "--batch-all-objects", "--batch-check", timeout_s=0.0)
