"""How a result comes to the user: a branch in their repository, and on request their checkout or their folder.

`publish` is the one time that a run writes to the user's repository: objects, then one ref by compare-and-swap, with
none of their hooks and without touching a checkout. `apply_to_checkout` merges a published commit into the branch that
is checked out; `apply_to_folder` brings it to a plain folder. Both do the whole of it or nothing, and say what stands
in the way and what to do by hand.
"""

import os
import stat
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import EnvironmentFault
from orchestrator.core.paths import unsafe_reason
from orchestrator.core.values import CommitId, FileChange
from orchestrator.git.command import Git, hermetic_environment, personal_environment, refusal
from orchestrator.git.intake import common_git_dir, link_leads_out, user_git_dir
from orchestrator.git.repository import Repository

_LINK_MODE, _EXECUTABLE_MODE = "120000", "100755"
_QUIETLY = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "commit.gpgSign=false"),
    *("-c", "gc.auto=0", "-c", "maintenance.auto=false", "-c", "submodule.recurse=false"),
    *("-c", "merge.verifySignatures=false", "-c", "rerere.enabled=false", "-c", "safe.directory=*"),
)
_SHOWN_PATHS = 20


@dataclass(frozen=True, slots=True)
class Move:
    """A ref (by its full name) that is to point at `new`: `old` is where it must be before (None: it must not exist).

    `base` is the commit that the repository is known to have, and that `new` was built on.
    """

    ref: str
    new: CommitId
    old: CommitId | None
    base: CommitId


def publish(repository: Repository, path: Path, move: Move, env: Mapping[str, str]) -> None:
    """Bring the run's commits into the repository that `path` lies in, and move the ref. Again, it does nothing.

    Raises `EnvironmentFault` when the branch is checked out somewhere, `GitError` when it is elsewhere than expected.
    """
    git = Git(hermetic_environment(env))
    place = [*_QUIETLY, "--git-dir", str(common_git_dir(git, user_git_dir(path, git)))]
    if git.ask([*place, "rev-parse", "--verify", "--quiet", move.ref]).stdout.decode().strip() == move.new:
        return
    worktrees = git.run([*place, "worktree", "list", "--porcelain"]).decode(errors="replace").splitlines()
    if f"branch {move.ref}" in worktrees:
        raise EnvironmentFault(f"{move.ref!r} is checked out: switch that checkout to another branch, then try again")
    if git.ask([*place, "cat-file", "-e", move.new]).code != 0:
        # `--local` leaves out what is borrowed from them in the first place.
        options = ("--revs", "--local", "--stdout", "--quiet", "--delta-base-offset")
        pack = repository.run("pack-objects", *options, stdin=f"{move.new}\n^{move.base}\n".encode())
        git.run([*place, "index-pack", "--stdin", "--strict"], stdin=pack)
    git.run([*place, "update-ref", move.ref, move.new, move.old or "0" * len(move.new)])


def published(path: Path, ref: str, env: Mapping[str, str]) -> CommitId | None:
    """Where a ref of the repository that `path` lies in is; None when it has no such ref."""
    git = Git(hermetic_environment(env))
    answer = git.ask([*_QUIETLY, "--git-dir", str(user_git_dir(path, git)), "rev-parse", "--verify", "--quiet", ref])
    return CommitId(answer.stdout.decode().strip()) if answer.code == 0 else None


def is_clean(path: Path, env: Mapping[str, str]) -> bool:
    """Whether a checkout has no changes to tracked files and no merge or rebase under way."""
    git = Git(personal_environment(env))
    return not _changed(git, path) and not _under_way(git, path)


def apply_to_checkout(path: Path, commit: CommitId, env: Mapping[str, str]) -> CommitId:
    """Merge a published commit into the branch that is checked out at `path`; returns where the branch is then.

    A branch that did not move is fast-forwarded. The user's own identity, line endings and filters hold, as in a `git
    merge` by hand; hooks do not run. Raises `EnvironmentFault`, with everything as it was, on a checkout that is not
    clean, on a detached HEAD, and on a conflict.
    """
    git = Git(personal_environment(env))
    place = [*_QUIETLY, "-C", str(path)]
    by_hand = f"run `git merge {commit}` by hand"
    if git.ask([*place, "symbolic-ref", "--quiet", "HEAD"]).code != 0:
        raise EnvironmentFault(f"{str(path)!r} is on no branch: run `git switch <branch>`, or {by_hand}")
    if changed := _changed(git, path):
        raise EnvironmentFault(f"{str(path)!r} has changes: commit or stash them first: {_named(changed)}")
    if _under_way(git, path):
        raise EnvironmentFault(f"{str(path)!r} is in the middle of a merge or rebase: finish it first")
    arguments = [*place, "merge", "--no-edit", "--no-stat", "--no-autostash", "--quiet", commit]
    answer = git.ask(arguments)
    if answer.code != 0:
        is_conflict = git.ask([*place, "rev-parse", "--verify", "--quiet", "MERGE_HEAD"]).code == 0
        if not is_conflict:
            raise refusal(arguments, answer)
        conflicted = _lines(git.run([*place, "diff", "--name-only", "--diff-filter=U", "-z"]))
        git.run([*place, "merge", "--abort"])
        raise EnvironmentFault(f"the result conflicts with your branch in {_named(conflicted)}: {by_hand}")
    return CommitId(git.run([*place, "rev-parse", "HEAD"]).decode().strip())


def apply_to_folder(repository: Repository, folder: Path, base: CommitId, commit: CommitId) -> Sequence[str]:
    """Bring what `commit` changed to the folder that `base` was taken from; returns the paths written or removed.

    Every touched file must still be as it was taken in (or already be as it shall become). Raises `EnvironmentFault`
    naming those that are not, before anything is written; each file is then replaced in one step.
    """
    changes = repository.describe([(base, commit)])[0]
    contents = _Contents(repository, folder)
    pending = [change for change in changes if not contents.holds(change.path, change.new_mode, change.new_blob)]
    removed = {change.path for change in pending if change.new_blob is None}
    blocked = [
        change.path
        for change in pending
        if _leads_out(repository, folder, change)
        or not contents.holds(change.path, change.old_mode, change.old_blob)
        or (change.new_blob is not None and _is_occupied(folder, change.path, removed))
    ]
    if blocked:
        raise EnvironmentFault(
            f"files in {str(folder)!r} changed since the run began: {_named(blocked)}; "
            "put them back, or take the result from the run's own repository by hand"
        )
    # All new content is written before the first file is replaced. A removed file may stand where a folder is needed.
    with tempfile.TemporaryDirectory(dir=folder, prefix=".orchestrate-apply-") as staging:
        staged = {change.path: contents.stage(change, Path(staging, str(n))) for n, change in enumerate(pending)}
        for path in (path for path, place in staged.items() if place is None):
            _remove_file(folder, path)
        for path, place in staged.items():
            if place is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                place.replace(folder / path)
    return [change.path for change in pending]


@dataclass(frozen=True, slots=True)
class _Contents:
    """A folder's files against the blobs of a repository."""

    repository: Repository
    folder: Path

    def holds(self, path: str, mode: str | None, blob: str | None) -> bool:
        """Whether the folder has that blob with that mode at a path (None: nothing), and reaches it by no link."""
        place = self.folder / path
        if any(
            parent.is_symlink() for parent in place.parents if parent != self.folder and self.folder in parent.parents
        ):
            return False
        try:
            status = place.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return blob is None
        if blob is None or mode != _mode_of(status):
            # A folder stands there: its files are looked at one by one, and an empty one is nothing to git.
            return blob is None and stat.S_ISDIR(status.st_mode)
        content = os.fsencode(os.readlink(place)) if mode == _LINK_MODE else place.read_bytes()  # noqa: PTH115 — a Path would be normalised
        return content == self._blob(blob)

    def stage(self, change: FileChange, place: Path) -> Path | None:
        """Write a change's new content to `place`; None where it is a removal."""
        if change.new_blob is None:
            return None
        content = self._blob(change.new_blob)
        if change.new_mode == _LINK_MODE:
            place.symlink_to(os.fsdecode(content))
            return place
        place.write_bytes(content)
        place.chmod(0o755 if change.new_mode == _EXECUTABLE_MODE else 0o644)
        return place

    def _blob(self, name: str) -> bytes:
        return self.repository.read_objects([name])[0]


def _mode_of(status: os.stat_result) -> str | None:
    """The mode that git gives to what stands at a path, or None for what it does not keep."""
    if stat.S_ISLNK(status.st_mode):
        return _LINK_MODE
    if not stat.S_ISREG(status.st_mode):
        return None
    return _EXECUTABLE_MODE if status.st_mode & stat.S_IXUSR else "100644"


def _leads_out(repository: Repository, folder: Path, change: FileChange) -> bool:
    """Whether writing a change could reach what lies outside of the folder, or git's own."""
    if unsafe_reason(change.path) is not None or change.new_mode not in {None, "100644", _EXECUTABLE_MODE, _LINK_MODE}:
        return True
    if change.new_mode != _LINK_MODE or change.new_blob is None:
        return False
    return link_leads_out(folder, change.path, os.fsdecode(repository.read_objects([change.new_blob])[0]))


def _is_occupied(folder: Path, path: str, removed: set[str]) -> bool:
    """Whether something that the change does not remove stands where a file, or a folder for it, must come."""
    place = folder / path
    below = place.rglob("*") if place.is_dir() and not place.is_symlink() else ()
    above = (parent for parent in place.parents if folder in parent.parents and parent.is_file())
    return any(str(other.relative_to(folder)) not in removed for other in (*below, *above) if not other.is_dir())


def _remove_file(folder: Path, path: str) -> None:
    """Remove a file and the folders that it leaves empty."""
    place = folder / path
    place.unlink()
    for parent in place.parents:
        if parent == folder or any(parent.iterdir()):
            return
        parent.rmdir()


def _changed(git: Git, path: Path) -> list[str]:
    options = ("status", "--porcelain=v1", "-z", "--untracked-files=no", "--no-renames")
    return [line[3:] for line in _lines(git.run([*_QUIETLY, "-C", str(path), *options]))]


def _under_way(git: Git, path: Path) -> bool:
    found = git.run([*_QUIETLY, "-C", str(path), "rev-parse", "--absolute-git-dir"])
    git_dir = Path(found.decode("utf-8", "surrogateescape").removesuffix("\n"))
    traces = ("MERGE_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "BISECT_LOG", "rebase-merge", "rebase-apply")
    return any((git_dir / trace).exists() for trace in traces)


def _lines(output: bytes) -> list[str]:
    return [line.decode("utf-8", "surrogateescape") for line in output.split(b"\0") if line]


def _named(paths: Sequence[str]) -> str:
    more = f" and {len(paths) - _SHOWN_PATHS} more" if len(paths) > _SHOWN_PATHS else ""
    return ", ".join(map(repr, paths[:_SHOWN_PATHS])) + more
