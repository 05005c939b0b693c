"""Where runs live: a folder for each, under `.orchestrate/runs`, that its process holds a lock on.

.orchestrate/
  .gitignore            everything here is ignored
  runs/<run>/
    journal.sqlite      the only truth
    repo.git/           the run's private repository: every proposed patch, the trunk
    trees/              checked-out trees for gates; made anew by each process
    lock                held while a process works at the run; the system lets go of it, even after kill -9
"""

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import EnvironmentFault
from orchestrator.core.values import RunId


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run's files."""

    path: Path

    @property
    def run(self) -> RunId:
        """The run's id."""
        return RunId(self.path.name)

    @property
    def journal(self) -> Path:
        """The journal's file."""
        return self.path / "journal.sqlite"

    @property
    def repository(self) -> Path:
        """The run's private git repository."""
        return self.path / "repo.git"

    @property
    def trees(self) -> Path:
        """Where gates check trees out."""
        return self.path / "trees"

    @property
    def has_started(self) -> bool:
        """Whether there is anything to show or to resume."""
        return self.journal.is_file()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises `EnvironmentFault` when another one works at it."""
        with (self.path / "lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise EnvironmentFault(
                    f"run {self.run} is being worked at by another process; wait for it, or stop it"
                ) from error
            yield

    def is_locked(self) -> bool:
        """Whether a process works at the run at this moment."""
        try:
            with self.locked():
                return False
        except EnvironmentFault:
            return True

    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.lstat().st_size for file in self.path.rglob("*") if not file.is_dir())

    def remove(self) -> int:
        """Delete everything of the run; return how many bytes that were."""
        size = self.size()
        shutil.rmtree(self.path)
        return size


@dataclass(frozen=True, slots=True)
class RunStore:
    """All runs of a place."""

    root: Path

    def create(self, name: str) -> RunFolder:
        """Make a folder for a new run; a name that is taken gets a number."""
        runs = self.root / "runs"
        try:
            runs.mkdir(parents=True, exist_ok=True)
            ignore = self.root / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
            for number in range(1, 1000):
                path = runs / (name if number == 1 else f"{name}-{number}")
                with contextlib.suppress(FileExistsError):
                    path.mkdir(mode=0o700)
                    return RunFolder(path)
        except OSError as error:
            raise EnvironmentFault(
                f"cannot keep runs in {self.root}: {error.strerror}; choose another place with --store"
            ) from error
        raise EnvironmentFault(f"a thousand runs are called {name!r}; remove old ones with `orchestrate gc`")

    def all(self) -> list[RunFolder]:
        """Every run that has started, oldest first."""
        runs = self.root / "runs"
        folders = [RunFolder(path) for path in sorted(runs.iterdir()) if path.is_dir()] if runs.is_dir() else []
        return [folder for folder in folders if folder.has_started]

    def find(self, name: str) -> RunFolder:
        """Find a run by its id, a part of it that only one has, or `last`. Raises `EnvironmentFault`."""
        folders = self.all()
        if not folders:
            raise EnvironmentFault(f"there are no runs in {self.root}; start one with `orchestrate run SPEC`")
        if name == "last":
            return max(folders, key=lambda folder: folder.journal.stat().st_mtime)
        exact = [folder for folder in folders if folder.run == name]
        close = exact or [folder for folder in folders if name in folder.run]
        if len(close) == 1:
            return close[0]
        some = ", ".join(folder.run for folder in (close or folders)[-5:])
        problem = f"{name!r} names {len(close)} runs" if close else f"there is no run {name!r}"
        raise EnvironmentFault(f"{problem} in {self.root}; choose one of: {some}")
