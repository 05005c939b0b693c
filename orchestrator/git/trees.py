"""A few checked-out folders that gates take turns in: a switch costs what differs, not what a checkout costs.

A leased tree holds a commit's files, protected files as they are in the run's base, and what set-up left, with nothing
of any earlier lease and no git metadata. How a folder is brought there is in `checkout`; this module says what it must
hold and who gets it.
"""

import asyncio
import itertools
import logging
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from orchestrator.core.errors import EnvironmentFault, GateError, OrchestratorError
from orchestrator.core.globs import select
from orchestrator.core.values import CommitId
from orchestrator.files import discard
from orchestrator.git.checkout import SUBMODULE_MODE, Contents, Kept, TreeFolder, Wanted, folders_of
from orchestrator.git.repository import Entry, Listing, Repository
from orchestrator.git.threads import run_to_end

Prepare = Callable[[Path], Awaitable[None]]
_log = logging.getLogger(__name__)
_MARKER = ".orchestrate-trees"
# What a settled file's mtime lies before the pool's start: byte code is matched by whole seconds, so it must not be now.
_SETTLED_BEFORE_NS = 60 * 10**9
_STARTS = itertools.count()


class TreePool:
    """Leases up to `size` trees at once, in the order of asking. Use it from one event loop; `close` removes the trees.

    `root` is a folder that only the pool uses, on any file system and best outside of any checkout; it may be there and
    empty, and keeps its mode then. What a killed process left there is removed at the first lease.
    `prepare` is awaited once, before that lease, on a tree at `base`; the untracked files, links and folders that it
    leaves are put back into every tree. It must not rely on the tree's own absolute path.
    """

    def __init__(
        self, repository: Repository, base: CommitId, root: Path, *, size: int, prepare: Prepare | None = None
    ) -> None:
        self._repository = repository
        self._base = base
        self._root = root
        self._size = size
        self._prepare = prepare
        self._starting = asyncio.Lock()
        self._free: asyncio.Queue[TreeFolder] | None = None
        self._kept: dict[str, Wanted] = {}
        self._kept_folders: set[str] = set()
        self._settled_ns = 0

    @asynccontextmanager
    async def lease(self, commit: CommitId, protected: Sequence[str]) -> AsyncIterator[Path]:
        """Check a commit out, with protected files as they are in the base and no other file under those globs.

        Raises `GateError` when set-up fails or the tree cannot be made. On cancellation the tree goes back.
        """
        free = await self._started()
        tree = await free.get()
        try:
            await run_to_end(lambda: self._fill(tree, commit, protected))
            yield tree.path
        finally:
            free.put_nowait(tree)

    async def close(self) -> None:
        """Remove everything, as far as that can be done; what is left is logged. No lease may be open."""
        self._free = None
        await run_to_end(self._remove_root)

    async def _started(self) -> asyncio.Queue[TreeFolder]:
        async with self._starting:
            if self._free is None:
                trees = await run_to_end(self._make_folders)
                if self._prepare is not None:
                    await self._set_up(trees[0], self._prepare)
                self._free = asyncio.Queue()
                for tree in trees:
                    self._free.put_nowait(tree)
        return self._free

    async def _set_up(self, tree: TreeFolder, prepare: Prepare) -> None:
        await run_to_end(lambda: self._fill(tree, self._base, ()))
        try:
            await prepare(tree.path)
        except GateError:
            raise
        except (OrchestratorError, OSError) as error:
            raise GateError(f"the gate's set-up failed on the base commit: {error}") from error
        try:
            await run_to_end(lambda: self._snapshot(tree.path))
        except OSError as error:
            raise GateError(f"cannot keep what the gate's set-up left in {str(tree.path)!r}: {error}") from error

    def _make_folders(self) -> list[TreeFolder]:
        self._kept, self._kept_folders = {}, set()
        run = next(_STARTS)  # an old tree's name is never used again, so nobody who still has it shares the new one
        try:
            if not self._clear():
                raise EnvironmentFault(f"{str(self._root)!r} holds files that are not the gate's: give an empty folder")
            self._root.mkdir(parents=True, exist_ok=True)
            for folder in (self._scratch, self._root / "kept"):
                folder.mkdir()
            (self._root / _MARKER).touch()
            self._settled_ns = (self._root / _MARKER).stat().st_mtime_ns // 10**9 * 10**9 - _SETTLED_BEFORE_NS
        except OSError as error:
            raise EnvironmentFault(f"cannot make trees for the gate in {str(self._root)!r}: {error}") from error
        return [TreeFolder(self._root / f"tree-{run}-{n}", self._scratch, self._repository) for n in range(self._size)]

    @property
    def _scratch(self) -> Path:
        return self._root / "scratch"

    def _clear(self) -> bool:
        """Empty the root but for its marker; returns False for a folder that is not the pool's, and leaves it alone."""
        if not self._root.is_dir():
            return True
        found = [place for place in self._root.iterdir() if place.name != _MARKER]
        if found and not (self._root / _MARKER).exists():
            return False
        for place in found:
            discard(place)
        return True

    def _remove_root(self) -> None:
        try:
            if not self._clear():
                _log.warning("%s holds files that are not the gate's and is left alone", self._root)
            elif self._root.is_dir() and not any(place.name != _MARKER for place in self._root.iterdir()):
                # The marker goes last, so a removal that is cut off is repeated.
                (self._root / _MARKER).unlink(missing_ok=True)
                self._root.rmdir()
        except OSError as error:
            _log.warning("could not remove the gate's trees: %s", error)

    def _fill(self, tree: TreeFolder, commit: CommitId, protected: Sequence[str]) -> None:
        try:
            tree.fill(self._contents(commit, protected))
        except OSError as error:
            raise GateError(f"cannot make the tree {str(tree.path)!r}: {error}") from error

    def _contents(self, commit: CommitId, protected: Sequence[str]) -> Contents:
        base = self._repository.entries(self._base)
        tracked = guard(self._repository.entries(commit), base, protected)
        files: dict[str, Wanted] = {path: entry for path, entry in tracked.items() if entry.mode != SUBMODULE_MODE}
        folders = folders_of(tracked) | (tracked.keys() - files.keys())
        # Where the commit has a file of its own, it wins over what set-up left.
        for path, kept in self._kept.items():
            if path not in files and path not in folders and not blocked(path, tracked):
                files[path] = kept
        folders |= {folder for folder in self._kept_folders if folder not in files and not blocked(folder, tracked)}
        return Contents(files, folders, base, self._settled_ns)

    def _snapshot(self, tree: Path) -> None:
        """Keep what set-up left in a tree besides the base's files."""
        base = self._repository.entries(self._base)
        numbers = itertools.count()
        pending = [""]
        while pending:
            prefix = pending.pop()
            with os.scandir(tree / prefix) as entries:
                for entry in entries:
                    path = f"{prefix}{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        self._kept_folders.add(path)
                        pending.append(f"{path}/")
                    elif path not in base and (kept := self._keep(Path(entry.path), next(numbers))):
                        self._kept[path] = kept

    def _keep(self, place: Path, number: int) -> Kept | None:
        status = place.lstat()
        if stat.S_ISLNK(status.st_mode):
            return Kept("", 0, 0, os.readlink(place))  # noqa: PTH115 - a Path would be normalised
        if not stat.S_ISREG(status.st_mode):
            return None  # a socket or a pipe belongs to a process that is gone
        copy = self._root / "kept" / str(number)
        copy.write_bytes(place.read_bytes())
        return Kept(str(copy), stat.S_IMODE(status.st_mode), status.st_mtime_ns)


def guard(entries: Listing, base: Listing, protected: Sequence[str]) -> Mapping[str, Entry]:
    """The entries of a commit with those that a protected glob means taken from the base; these win every clash."""
    if not protected:
        return entries
    guarded = {path: base[path] for path in select(base, protected)}
    foreign = {path for path in select(entries, protected) if entries[path] != guarded.get(path)}
    folders = folders_of(guarded)
    free = {
        path: entry
        for path, entry in entries.items()
        if path not in foreign and path not in folders and not blocked(path, guarded)
    }
    return free | guarded


def blocked(path: str, entries: Mapping[str, object]) -> bool:
    """Whether a file stands where a path needs a folder."""
    at = path.rfind("/")
    while at != -1:
        if path[:at] in entries:
            return True
        at = path.rfind("/", 0, at)
    return False
