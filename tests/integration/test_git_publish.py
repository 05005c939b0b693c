"""How a result comes to the user: whole or not at all, and nothing of theirs is lost."""

from pathlib import Path

import pytest

from orchestrator.core.errors import EnvironmentFault, GitError
from orchestrator.core.values import CommitId
from orchestrator.git.fast_import import Draft, Put
from orchestrator.git.intake import init_from_checkout, init_from_folder
from orchestrator.git.publish import Move, apply_to_checkout, apply_to_folder, is_clean, publish
from orchestrator.git.repository import Repository
from tests.integration.git_fixtures import ENV, git, make_checkout, put, user_env

FILES = {"a.txt": "a\nb\nc\n", "src/b.py": "b = 1\n", "old/only.txt": "x\n"}
RESULT = {"a.txt": b"a\nb\nC\n", "src/new.py": b"n = 1\n", "old/only.txt": None}
REF = "refs/heads/orchestrate/r"


class Finished:
    """A run over a user's checkout that came to `RESULT`."""

    def __init__(self, folder: Path) -> None:
        self.user = folder / "user"
        make_checkout(self.user, FILES)
        self.repository, self.base = init_from_checkout(folder / "run.git", self.user, "HEAD", ENV)
        self.head = written(self.repository, self.base, RESULT)
        self.env = user_env(folder / "home")
        git(self.user, "config", "user.name", "user")
        git(self.user, "config", "user.email", "user@example.org")

    def publish(self, old: CommitId | None = None, new: CommitId | None = None) -> None:
        publish(self.repository, self.user, Move(REF, new or self.head, old, self.base), self.env)


def written(repository: Repository, onto: CommitId, files: dict[str, bytes | None]) -> CommitId:
    puts = {path: None if content is None else Put("100644", content) for path, content in files.items()}
    return repository.write(onto, [Draft("result\n", puts)])[0]


@pytest.fixture
def run(tmp_path):
    made = Finished(tmp_path)
    yield made
    made.repository.close()


def content_of(folder: Path) -> dict[str, bytes]:
    places = (place for place in folder.rglob("*") if ".git" not in place.parts and place.is_file())
    return {str(place.relative_to(folder)): place.read_bytes() for place in places}


def expected(**changed: bytes) -> dict[str, bytes]:
    merged = {**{path: text.encode() for path, text in FILES.items()}, **RESULT, **changed}
    return {path: content for path, content in merged.items() if content is not None}


def test_the_users_repository_stands_alone_with_the_branch_afterwards(run, tmp_path):
    before = content_of(run.user)
    run.publish()
    run.publish()
    (tmp_path / "run.git").rename(tmp_path / "gone")
    assert git(run.user, "rev-parse", REF) == run.head
    git(run.user, "fsck", "--strict")
    assert git(run.user, "status", "--porcelain") == ""
    assert content_of(run.user) == before


def test_a_branch_moves_on_by_compare_and_swap(run):
    run.publish()
    later = written(run.repository, run.head, {"z": b"z\n"})
    with pytest.raises(GitError):
        run.publish(old=run.base, new=later)
    run.publish(old=run.head, new=later)
    assert git(run.user, "rev-parse", REF) == later


def test_a_branch_that_is_checked_out_is_not_moved_under_the_user(run, tmp_path):
    run.publish()
    git(run.user, "worktree", "add", "-q", str(tmp_path / "wt"), "orchestrate/r")
    with pytest.raises(EnvironmentFault, match="is checked out"):
        run.publish(old=run.head, new=written(run.repository, run.head, {"z": b"z\n"}))
    assert git(run.user, "rev-parse", REF) == run.head


def test_a_checkout_that_did_not_move_is_fast_forwarded(run):
    run.publish()
    (run.user / "untracked").write_text("mine")
    assert apply_to_checkout(run.user, run.head, run.env) == run.head
    assert git(run.user, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert content_of(run.user) == expected(untracked=b"mine")
    assert is_clean(run.user, run.env)


def test_a_checkout_that_moved_gets_a_merge_commit(run):
    put(run.user, {"src/b.py": "b = 2\n"})
    git(run.user, "commit", "-qam", "meanwhile")
    theirs = git(run.user, "rev-parse", "HEAD")
    run.publish()
    head = apply_to_checkout(run.user, run.head, run.env)
    assert git(run.user, "rev-list", "--parents", "-n1", head).split()[1:] == [theirs, run.head]
    assert content_of(run.user) == expected(**{"src/b.py": b"b = 2\n"})
    assert git(run.user, "log", "-1", "--format=%an") == "user"


@pytest.mark.parametrize("kind", ["changed", "staged", "conflict", "untracked in the way", "detached", "merging"])
def test_where_the_result_cannot_be_merged_everything_stays_as_it_was(run, kind):
    run.publish()
    if kind in {"changed", "staged"}:
        put(run.user, {"src/b.py": "mine\n"})
    if kind == "staged":
        git(run.user, "add", "-A")
    if kind in {"conflict", "merging"}:
        put(run.user, {"a.txt": "a\nb\nmine\n"})
        git(run.user, "commit", "-qam", "meanwhile")
    if kind == "untracked in the way":
        put(run.user, {"src/new.py": "mine\n"})
    if kind == "detached":
        git(run.user, "switch", "-q", "--detach")
    if kind == "merging":
        (run.user / ".git" / "MERGE_HEAD").write_text(f"{run.head}\n")
    before = content_of(run.user), git(run.user, "status", "--porcelain"), git(run.user, "rev-parse", "HEAD")
    with pytest.raises(EnvironmentFault):
        apply_to_checkout(run.user, run.head, run.env)
    after = content_of(run.user), git(run.user, "status", "--porcelain"), git(run.user, "rev-parse", "HEAD")
    assert after == before


def test_a_conflict_names_the_files_and_the_command(run):
    put(run.user, {"a.txt": "a\nb\nmine\n"})
    git(run.user, "commit", "-qam", "meanwhile")
    run.publish()
    with pytest.raises(EnvironmentFault, match=rf"'a\.txt': run `git merge {run.head}` by hand"):
        apply_to_checkout(run.user, run.head, run.env)


def test_the_users_hooks_do_not_run(run):
    for hook in ("reference-transaction", "post-merge", "pre-merge-commit", "post-checkout", "commit-msg"):
        place = run.user / ".git" / "hooks" / hook
        place.parent.mkdir(exist_ok=True)
        place.write_text(f"#!/bin/sh\ntouch {run.user}/ran\nexit 1\n")
        place.chmod(0o755)
    run.publish()
    apply_to_checkout(run.user, run.head, run.env)
    assert not (run.user / "ran").exists()


# --- plain folders ---


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "plain", FILES)
    repository, base = init_from_folder(tmp_path / "folder.git", tmp_path / "plain", (), ENV)
    yield tmp_path / "plain", repository, base
    repository.close()


def test_a_folder_gets_the_whole_result_and_a_second_time_nothing(folder):
    place, repository, base = folder
    put(place, {"mine.txt": "mine", "src/b.py": "edited meanwhile, and not touched by the run\n"})
    head = written(repository, base, RESULT)
    assert apply_to_folder(repository, place, base, head) == ["a.txt", "old/only.txt", "src/new.py"]
    kept = {"mine.txt": b"mine", "src/b.py": b"edited meanwhile, and not touched by the run\n"}
    assert content_of(place) == expected(**kept)
    assert not (place / "old").exists()
    assert apply_to_folder(repository, place, base, head) == []


def test_a_folder_takes_modes_links_and_a_change_of_kind(folder):
    place, repository, base = folder
    puts = {
        "a.txt": None,
        "a.txt/inner": Put("100755", b"x\n"),
        "src/b.py": Put("120000", b"../old/only.txt"),
    }
    apply_to_folder(repository, place, base, repository.write(base, [Draft("x\n", puts)])[0])
    assert (place / "a.txt" / "inner").stat().st_mode & 0o777 == 0o755
    assert (place / "src" / "b.py").read_text() == "x\n"


@pytest.mark.parametrize(
    ("mine", "named"),
    [
        ({"a.txt": "mine\n"}, "a.txt"),
        ({"src/new.py": "mine\n"}, "src/new.py"),
        ({"old/only.txt": None}, None),
        ({"src/new.py/mine": "in the way\n"}, "src/new.py"),
    ],
)
def test_a_folder_that_changed_where_the_result_goes_is_left_alone(folder, mine, named):
    place, repository, base = folder
    for path, text in mine.items():
        if text is None:
            (place / path).unlink()
        else:
            put(place, {path: text})
    before = content_of(place)
    head = written(repository, base, RESULT)
    if named is None:  # it is gone already, as it shall be
        apply_to_folder(repository, place, base, head)
        return
    with pytest.raises(EnvironmentFault, match=named):
        apply_to_folder(repository, place, base, head)
    assert content_of(place) == before


@pytest.mark.parametrize("puts", [{"link": Put("120000", b"../../outside")}, {"src/x/../../../y": Put("100644", b"x")}])
def test_a_folder_is_never_written_through_or_out_of(folder, tmp_path, puts):
    place, repository, base = folder
    try:
        head = repository.write(base, [Draft("x\n", puts)])[0]
    except GitError:
        return  # git itself refuses such a path
    with pytest.raises(EnvironmentFault):
        apply_to_folder(repository, place, base, head)


def test_a_folder_behind_a_link_is_not_reached(folder, tmp_path):
    place, repository, base = folder
    (tmp_path / "elsewhere").mkdir()
    (place / "src" / "b.py").rename(tmp_path / "elsewhere" / "b.py")
    (place / "src").rmdir()
    (place / "src").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFault, match=r"src/new\.py"):
        apply_to_folder(repository, place, base, written(repository, base, RESULT))
    assert not (tmp_path / "elsewhere" / "new.py").exists()
