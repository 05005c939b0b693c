"""How code comes into a run: from a checkout, from a plain folder, or from a URL, into the run's own repository.

A checkout is borrowed from, not copied. A plain folder becomes one root commit whose id follows from its content alone,
so two runs over the same folder start from the same commit.
"""

import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from orchestrator.core.errors import EnvironmentFault, GitError
from orchestrator.core.globs import select
from orchestrator.core.values import CommitId
from orchestrator.git.command import Git, hermetic_environment
from orchestrator.git.fast_import import Draft, Put, quote_path
from orchestrator.git.repository import Repository

LEFT_OUT: Sequence[str] = (
    *("__pycache__/", "*.pyc", ".git", ".venv/", "node_modules/", ".mypy_cache/", ".pytest_cache/"),
    *(".ruff_cache/", ".orchestrate/"),
)
_CLONE_TIMEOUT_S = 1_800.0
_TRANSPORTS = ("file", "git", "http", "https", "ssh")
_ATTRIBUTES = "* !filter !diff !merge !export-ignore !export-subst !text !eol !working-tree-encoding !ident\n"
_CONFIG = """\
[core]
	hooksPath = /dev/null
	attributesFile = /dev/null
	excludesFile = /dev/null
	fsmonitor = false
	untrackedCache = false
	autocrlf = false
	safecrlf = false
	symlinks = true
	fileMode = true
	ignoreCase = false
	quotePath = true
	fsync = committed,loose-object,reference
[gc]
	auto = 0
	pruneExpire = never
[maintenance]
	auto = false
[fetch]
	recurseSubmodules = false
	writeCommitGraph = false
[protocol]
	allow = never
"""
_BEFORE_CORE_FSYNC = (2, 36)


def create_bare(git_dir: Path, env: Mapping[str, str], object_format: str = "sha1") -> Repository:
    """Make the run's repository at a path that does not exist yet. `env` is the caller's environment; little is used."""
    git = Git(hermetic_environment(env))
    version = git.version()
    git.run(["init", "--bare", "--quiet", "--template=", f"--object-format={object_format}", str(git_dir)])
    with (git_dir / "config").open("a") as config:
        config.write(_CONFIG)
        config.writelines(f'[protocol "{name}"]\n\tallow = always\n' for name in _TRANSPORTS)
        if version < _BEFORE_CORE_FSYNC:
            config.write("[core]\n\tfsyncObjectFiles = true\n")
    (git_dir / "info").mkdir(exist_ok=True)
    (git_dir / "info" / "attributes").write_text(_ATTRIBUTES)
    return Repository(git_dir, git)


def open_bare(git_dir: Path, env: Mapping[str, str]) -> Repository:
    """Open the repository of a run that goes on. Raises `EnvironmentFault` when it is gone."""
    if not (git_dir / "HEAD").is_file():
        raise EnvironmentFault(f"the run's repository is gone from {str(git_dir)!r}: start a new run")
    return Repository(git_dir, Git(hermetic_environment(env)))


def is_checkout_root(path: Path, env: Mapping[str, str]) -> bool:
    """Whether a path is the top of a git work tree, or a bare repository: a folder inside of one is a plain folder."""
    git = Git(hermetic_environment(env))
    if (path / ".git").exists():
        answer = git.ask(["-c", "safe.directory=*", "-C", str(path), "rev-parse", "--show-toplevel"])
        top = answer.stdout.decode("utf-8", "surrogateescape").removesuffix("\n")
        return answer.code == 0 and Path(top).resolve() == path.resolve()
    return (path / "HEAD").is_file() and git.ask(["--git-dir", str(path), "rev-parse"]).code == 0


def init_from_checkout(git_dir: Path, path: Path, ref: str, env: Mapping[str, str]) -> tuple[Repository, CommitId]:
    """Make a repository that borrows the objects of the one at `path` (anywhere inside of it), and resolve `ref` there.

    Raises `EnvironmentFault` for a path that is no repository and for a ref that it does not have.
    """
    git = Git(hermetic_environment(env))
    theirs = user_git_dir(path, git)
    base = _resolve_theirs(git, theirs, path, ref)
    common = common_git_dir(git, theirs)
    name = git.run(["--git-dir", str(theirs), "rev-parse", "--show-object-format"]).decode().strip()
    repository = create_bare(git_dir, env, name)
    alternates = git_dir / "objects" / "info" / "alternates"
    alternates.parent.mkdir(exist_ok=True)
    alternates.write_bytes(_alternate(common / "objects") + b"\n")
    if (common / "shallow").is_file():
        (git_dir / "shallow").write_bytes((common / "shallow").read_bytes())
    _check_complete(repository, base, path)
    return repository, base


def init_from_folder(
    git_dir: Path, folder: Path, exclude: Sequence[str], env: Mapping[str, str]
) -> tuple[Repository, CommitId]:
    """Make a repository with one root commit that holds a folder's files.

    `.gitignore` files inside the folder, `LEFT_OUT` and `exclude` (globs) say what stays out. The whole content is
    held in memory once. Raises `EnvironmentFault` for a link that leads out, and for a repository inside the folder.
    """
    if not folder.is_dir():
        raise EnvironmentFault(f"there is no folder {str(folder)!r}")
    repository = create_bare(git_dir, env)
    paths = select(_listed(repository, folder), ("**",), exclude)
    puts: dict[str, Put | None] = {path: _taken(folder, path) for path in sorted(paths)}
    base = repository.write(None, [Draft("The folder as it was taken in\n", puts)])[0]
    return repository, base


def init_from_url(git_dir: Path, url: str, ref: str, env: Mapping[str, str]) -> tuple[Repository, CommitId]:
    """Make a repository with everything that a URL offers, and resolve `ref` (a branch, a tag, a commit, HEAD) there.

    Only what git speaks itself is allowed (https, ssh, git, file); no credential helper is asked.
    """
    repository = create_bare(git_dir, env)
    wanted = ("+HEAD:refs/remotes/origin/HEAD", "+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
    try:
        options = ("--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance")
        repository.run("fetch", *options, "--end-of-options", url, *wanted, timeout_s=_CLONE_TIMEOUT_S)
    except GitError as error:
        hint = "check the address; where a password is needed, clone it yourself and give `path`"
        raise GitError(f"cannot clone {url!r}: {error}; {hint}") from error
    for name in (f"refs/remotes/origin/{ref}", f"refs/tags/{ref}", ref):
        if commit := repository.resolve(name):
            return repository, commit
    raise EnvironmentFault(f"{url!r} has no branch, tag or commit {ref!r}: write one that it has into repo.ref")


def user_git_dir(path: Path, git: Git) -> Path:
    """The git directory of the checkout, worktree or bare repository that a path lies in."""
    answer = git.ask(["-c", "safe.directory=*", "-C", str(path), "rev-parse", "--absolute-git-dir"])
    if answer.code != 0:
        raise EnvironmentFault(f"{str(path)!r} is not in a git repository: run `git init` and commit, or give a folder")
    return Path(answer.stdout.decode("utf-8", "surrogateescape").removesuffix("\n"))


def common_git_dir(git: Git, git_dir: Path) -> Path:
    """The directory that all worktrees of a repository share."""
    found = git.run(["--git-dir", str(git_dir), "rev-parse", "--path-format=absolute", "--git-common-dir"])
    return Path(found.decode("utf-8", "surrogateescape").removesuffix("\n"))


def link_leads_out(folder: Path, path: str, target: str) -> bool:
    """Whether a symbolic link at `path` in `folder` would point out of the folder."""
    where = PurePosixPath(path).parent
    lexical = os.path.normpath(where / target)
    if target.startswith("/") or lexical == ".." or lexical.startswith("../"):
        return True
    return not (folder / where / target).resolve().is_relative_to(folder.resolve())


def _resolve_theirs(git: Git, git_dir: Path, path: Path, ref: str) -> CommitId:
    ask = ["--git-dir", str(git_dir), "rev-parse", "--verify", "--quiet", "--end-of-options"]
    answer = git.ask([*ask, f"{ref}^{{commit}}"])
    if answer.code == 0:
        return CommitId(answer.stdout.decode().strip())
    if git.ask(["--git-dir", str(git_dir), "rev-list", "-n", "1", "--all"]).stdout.strip():
        raise EnvironmentFault(f"{str(path)!r} has no commit {ref!r}: write a branch, tag or commit that it has")
    raise EnvironmentFault(f"{str(path)!r} has no commits yet: make the first one with `git commit`, then start again")


def _alternate(objects: Path) -> bytes:
    line = os.fsencode(objects)
    return quote_path(os.fsdecode(objects)) if b"\n" in line else line


def _check_complete(repository: Repository, base: CommitId, path: Path) -> None:
    """A partial clone fetches blobs when it first needs them, from a remote that the run does not know."""
    command = ("rev-list", "--objects", "--missing=print", "--no-walk", base)
    if any(line.startswith(b"?") for line in repository.run(*command).splitlines()):
        raise EnvironmentFault(
            f"{str(path)!r} is a partial clone that lacks files of {base}: run `git fetch --refetch`"
        )


def _listed(repository: Repository, folder: Path) -> list[str]:
    # Relative to the folder as work tree, whatever repository surrounds it; no index, so every file is an `other`.
    options = [option for pattern in LEFT_OUT for option in ("-x", pattern)]
    place = ("-c", "core.bare=false", "--work-tree", str(folder), "-C", str(folder))
    found = repository.run(*place, "ls-files", "-z", "--others", "--exclude-per-directory=.gitignore", *options)
    paths = [raw.decode("utf-8", "surrogateescape") for raw in found.split(b"\0")[:-1]]
    inner = [path for path in paths if path.endswith("/")]
    if inner:
        raise EnvironmentFault(
            f"{str(folder / inner[0])!r} is a git repository inside the folder: leave it out with repo.exclude, "
            "or take its .git away"
        )
    return paths


def _taken(folder: Path, path: str) -> Put:
    place = folder / path
    status = place.lstat()
    if stat.S_ISLNK(status.st_mode):
        target = os.readlink(place)  # noqa: PTH115 - a Path would be normalised, and the link another one
        if link_leads_out(folder, path, target):
            raise EnvironmentFault(f"the link {path!r} leads out of {str(folder)!r}: leave it out with repo.exclude")
        return Put("120000", os.fsencode(target))
    if not stat.S_ISREG(status.st_mode):
        raise EnvironmentFault(f"{path!r} is no regular file: leave it out with repo.exclude")
    return Put("100755" if status.st_mode & stat.S_IXUSR else "100644", place.read_bytes())
