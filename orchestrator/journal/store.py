"""Where runs live: a folder for each, under `.orchestrate/runs`, that its process holds a lock on.

    .orchestrate/
      .gitignore            everything here is ignored
      runs/<run>/
        journal.sqlite      the only truth
        repo.git/           the run's private repository: every proposed patch, the trunk
        trees               names the temporary folder with the trees of the process that works at the run
        lock                held while a process works at the run; the system lets go of it, even after kill -9

Trees for gates are not here. Inside a checkout, a command of a gate that looks upwards would find the user's repository,
its ignore rules and its configuration; they are in a fresh temporary folder of each process.
"""

import contextlib
import fcntl
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import EnvironmentFault, JournalError
from orchestrator.core.values import RunId
from orchestrator.files import discard
from orchestrator.journal.sqlite import JournalReader

_TREES_PREFIX = "orchestrate-trees-"
_LOCK_TRIES = 5  # somebody who only looks whether the lock is free holds it for an instant
_LOCK_PAUSE_S = 0.05


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
    def written(self) -> float:
        """When the journal was last written, in seconds since the epoch; 0 when there is none."""
        files = (self.journal, self.journal.with_name(f"{self.journal.name}-wal"))
        return max((file.stat().st_mtime for file in files if file.exists()), default=0.0)

    @property
    def has_started(self) -> bool:
        """Whether there is anything to show or to resume."""
        if not self.journal.is_file():
            return False
        with contextlib.suppress(EnvironmentFault, JournalError), JournalReader(self.journal) as reader:
            return next(iter(reader.entries()), None) is not None
        return True  # something is there that cannot be read: whoever opens it says what

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process. Raises `EnvironmentFault` when another one works at it, or it was removed."""
        try:
            handle = (self.path / "lock").open("w")
        except FileNotFoundError as error:
            raise EnvironmentFault(f"run {self.run} has just been removed") from error
        with handle:
            for left in reversed(range(_LOCK_TRIES)):
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if left == 0:
                        held = "is being worked at by another process; wait for it, or stop it"
                        raise EnvironmentFault(f"run {self.run} {held}") from error
                    time.sleep(_LOCK_PAUSE_S)
            yield

    def is_locked(self) -> bool:
        """Whether a process works at the run at this moment."""
        try:
            with (self.path / "lock").open() as handle:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def fresh_trees(self) -> Path:
        """Make a temporary folder for trees, known to this run; the caller holds the lock and uses it up."""
        folder = Path(tempfile.mkdtemp(prefix=f"{_TREES_PREFIX}{self.run}-"))
        (self.path / "trees").write_text(f"{folder}\n")
        return folder

    def left_trees(self) -> Path | None:
        """The folder with trees that a killed process left behind, if there is one."""
        note = self.path / "trees"
        if not note.is_file():
            return None
        folder = Path(note.read_text().strip())
        is_ours = folder.name.startswith(f"{_TREES_PREFIX}{self.run}-")
        return folder if is_ours and folder.is_dir() and not folder.is_symlink() else None

    def drop_trees(self) -> None:
        """Remove the temporary folder with trees, this process's or one that a killed process left behind."""
        folder = self.left_trees()
        if folder is not None:
            discard(folder)
        (self.path / "trees").unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of all its files."""
        return size_of(self.path)

    def remove(self) -> int:
        """Delete everything of the run; return how many bytes that were. The caller holds the lock."""
        size = self.size()
        discard(self.path)
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
            return max(folders, key=lambda folder: folder.written)
        exact = [folder for folder in folders if folder.run == name]
        close = exact or [folder for folder in folders if name in folder.run]
        if len(close) == 1:
            return close[0]
        some = ", ".join(folder.run for folder in (close or folders)[-5:])
        problem = f"{name!r} names {len(close)} runs" if close else f"there is no run {name!r}"
        raise EnvironmentFault(f"{problem} in {self.root}; choose one of: {some}")


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; what goes away meanwhile is not counted."""
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += 0 if file.is_dir() and not file.is_symlink() else file.lstat().st_size
    return total
