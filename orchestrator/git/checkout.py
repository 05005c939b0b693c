"""One folder that is made to hold exactly what is wanted, again and again, after untrusted code has run in it.

No git runs here and there is no index, no `.git` and no configuration in or around the folder: blobs go to files as they
are. `fill` walks the folder once. A file stays only if it is wanted with the content it was given and nothing touched
it since: inode, size, mtime, **ctime** and mode are compared to the nanosecond, and a program can set every one of them
except ctime. A file written in the very tick of the file system's clock in which the folder is handed out would prove
nothing by its ctime (git calls it racy), so a probe file tells the tick, and the hand-out waits for the next one. Everything
else is removed, whatever it is: files, links, sockets, folders of any depth and mode, a planted `.git`.
"""

import itertools
import os
import stat
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from orchestrator.files import listed, remove
from orchestrator.git.repository import Entry, Repository

FOLDER_MODE = 0o755
SUBMODULE_MODE = "160000"
_LINK_MODE, _EXECUTABLE_MODE = "120000", "100755"
_BLOBS_AT_ONCE = 256
_TICKS_WAITED, _TICK_S = 20, 0.001
_NUMBERS = itertools.count()


class Kept(NamedTuple):
    """A file of a snapshot, or a link (`target`): where its content lies, its permission bits and mtime."""

    source: str
    permissions: int
    mtime_ns: int
    target: str | None = None


Wanted = Entry | Kept


class _Signature(NamedTuple):
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    mode: int


class _Held(NamedTuple):
    wanted: Wanted
    signature: _Signature


@dataclass(slots=True)
class Contents:
    """What a folder is to hold: files and links by path, folders that must exist, and files with a settled mtime.

    A path of `settled` whose entry is the same there gets `settled_ns` as its mtime, in every tree: what set-up derived
    from it (byte code, object files) stays valid. All others get the time at which they are written, which is later, so
    no tool takes what was derived from another content for up to date.
    """

    files: dict[str, Wanted]
    folders: set[str]
    settled: Mapping[str, Entry] = field(default_factory=dict)
    settled_ns: int = 0


@dataclass(slots=True)
class TreeFolder:
    """A recycled folder. `scratch` is a folder beside it, on the same file system."""

    path: Path
    scratch: Path
    repository: Repository
    _held: dict[str, _Held] = field(default_factory=dict)

    def fill(self, contents: Contents) -> None:
        """Make the folder hold exactly `contents`. Raises OSError where that cannot be done even from scratch."""
        self.scratch.mkdir(exist_ok=True)
        try:
            self._fill(contents)
        except OSError:
            # Whatever was left behind, it does not reach the next one.
            self._held.clear()
            broken = self.path.rename(self.scratch / f"broken-{next(_NUMBERS)}")
            self._fill(contents)
            with suppress(OSError):
                remove(broken, self.scratch)

    def _fill(self, contents: Contents) -> None:
        if self.path.is_symlink() or not self.path.is_dir():
            self.path.unlink(missing_ok=True)
            self.path.mkdir()
        intact, folders = self._sweep(contents)
        self._held = {path: self._held[path] for path in intact}
        for folder in sorted(contents.folders - folders):
            place = self.path / folder
            place.mkdir()
            place.chmod(FOLDER_MODE)
        written = self._write([path for path in contents.files if path not in self._held], contents)
        handed_out_ns = self._clock_after(max((held.signature.ctime_ns for _, held in written), default=0))
        self._held.update({path: held for path, held in written if held.signature.ctime_ns < handed_out_ns})

    def _sweep(self, contents: Contents) -> tuple[list[str], set[str]]:
        """Remove what is not wanted or not as it was written; return the files and the folders that stay."""
        intact: list[str] = []
        folders: set[str] = set()
        self.path.chmod(FOLDER_MODE)
        pending = [""]
        while pending:
            prefix = pending.pop()
            for entry in listed(f"{self.path}/{prefix}"):
                path = f"{prefix}{entry.name}"
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and path in contents.folders:
                    if stat.S_IMODE(status.st_mode) != FOLDER_MODE:
                        Path(entry.path).chmod(FOLDER_MODE)
                    folders.add(path)
                    pending.append(f"{path}/")
                elif self._is_intact(path, contents, status):
                    intact.append(path)
                else:
                    remove(Path(entry.path), self.scratch)
        return intact, folders

    def _is_intact(self, path: str, contents: Contents, status: os.stat_result) -> bool:
        held = self._held.get(path)
        return held is not None and held.wanted == contents.files.get(path) and held.signature == _signature(status)

    def _write(self, paths: list[str], contents: Contents) -> list[tuple[str, _Held]]:
        tracked = [(path, wanted) for path in paths if isinstance(wanted := contents.files[path], Entry)]
        written: list[tuple[str, _Held]] = []
        for start in range(0, len(tracked), _BLOBS_AT_ONCE):
            some = tracked[start : start + _BLOBS_AT_ONCE]
            blobs = self.repository.read_objects([entry.blob for _, entry in some])
            for (path, entry), content in zip(some, blobs, strict=True):
                mtime_ns = contents.settled_ns if contents.settled.get(path) == entry else None
                written.append((path, _Held(entry, _put_entry(f"{self.path}/{path}", entry, content, mtime_ns))))
        written.extend(
            (path, _Held(wanted, _put_kept(f"{self.path}/{path}", wanted)))
            for path in paths
            if isinstance(wanted := contents.files[path], Kept)
        )
        return written

    def _clock_after(self, latest_ns: int) -> int:
        """The time by the clock that stamps files here, waiting for its next tick (1 to 10 ms) where that is near.

        A clock that ticks more slowly is not waited for: what was written in its tick is then written anew next time.
        """
        probe = self.scratch / "clock"
        for _ in range(_TICKS_WAITED):
            probe.touch()
            now_ns = probe.stat().st_ctime_ns
            if now_ns > latest_ns:
                break
            time.sleep(_TICK_S)
        return now_ns


def folders_of(paths: Iterable[str]) -> set[str]:
    """Every folder that the paths lie in."""
    found: set[str] = set()
    for path in paths:
        at = path.rfind("/")
        while at != -1 and path[:at] not in found:
            found.add(path[:at])
            at = path.rfind("/", 0, at)
    return found


def _put_entry(place: str, entry: Entry, content: bytes, mtime_ns: int | None) -> _Signature:
    if entry.mode == _LINK_MODE:
        return _put_link(place, os.fsdecode(content))
    return _put_file(place, content, 0o755 if entry.mode == _EXECUTABLE_MODE else 0o644, mtime_ns)


def _put_kept(place: str, kept: Kept) -> _Signature:
    if kept.target is not None:
        return _put_link(place, kept.target)
    return _put_file(place, Path(kept.source).read_bytes(), kept.permissions, kept.mtime_ns)


def _put_link(place: str, target: str) -> _Signature:
    link = Path(place)
    link.symlink_to(target)
    return _signature(link.lstat())


def _put_file(place: str, content: bytes, permissions: int, mtime_ns: int | None) -> _Signature:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(place, flags, permissions)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        status = os.fstat(descriptor)
        if stat.S_IMODE(status.st_mode) != permissions:
            os.fchmod(descriptor, permissions)
        if mtime_ns is not None:
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        return _signature(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def _signature(status: os.stat_result) -> _Signature:
    return _Signature(status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_mode)
