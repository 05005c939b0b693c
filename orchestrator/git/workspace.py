"""Private copies of the code that cost nothing: files are read from blobs, writes stay in memory until they are a commit.

A chat model needs no checkout to propose a change. Opening a workspace starts no process; reading goes through the one
reader of the repository; `patch` is one `git fast-import` and one `git diff-tree`.
"""

import asyncio
import unicodedata
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestrator.core.paths import UnsafePath, collisions, unsafe_reason
from orchestrator.core.values import CommitId, Patch
from orchestrator.git.fast_import import Draft, Put
from orchestrator.git.repository import Listing, Repository

_NEW_FILE_MODE = "100644"
# The date is fixed, so the same change on the same base is the same commit, whoever proposes it and when.
_MESSAGE = "A proposed change\n"


@dataclass(slots=True)
class BlobWorkspace:
    """A commit and what was written over it."""

    repository: Repository
    base: CommitId
    _written: dict[str, bytes | None] = field(default_factory=dict)

    async def paths(self) -> Sequence[str]:
        """Every regular file, sorted; symbolic links and submodules are left out."""
        found = set(await asyncio.to_thread(self.repository.paths, self.base))
        found -= {path for path, content in self._written.items() if content is None}
        return sorted(found | {path for path, content in self._written.items() if content is not None})

    async def read(self, paths: Iterable[str]) -> Mapping[str, bytes]:
        """The content of those of the paths that exist, as last written."""
        wanted = list(paths)
        untouched = [path for path in wanted if path not in self._written]
        found = await asyncio.to_thread(self.repository.read, self.base, untouched) if untouched else {}
        written = {path: content for path in wanted if (content := self._written.get(path)) is not None}
        return {**found, **written}

    async def write(self, files: Mapping[str, bytes | None]) -> None:
        """Put whole files, all of them or none; None removes one, and removing what is not there does nothing.

        Raises `UnsafePath` and changes nothing when a path must not be written.
        """
        await asyncio.to_thread(self._refuse_unsafe, files)
        self._written.update(files)

    async def patch(self) -> Patch:
        """Commit what was written (durable before this returns) and state the change against `base`.

        Where nothing changed, the patch has no changes and its commit is `base`.
        """
        return await asyncio.to_thread(self._commit)

    def _refuse_unsafe(self, files: Mapping[str, bytes | None]) -> None:
        refuse_unsafe(self.repository.entries(self.base), self._written, files)

    def _commit(self) -> Patch:
        entries = self.repository.entries(self.base)
        before = self.repository.read(self.base, self._written)
        changes: dict[str, Put | None] = {}
        for path, content in self._written.items():
            if content != before.get(path):
                mode = entries[path].mode if path in entries else _NEW_FILE_MODE
                changes[path] = None if content is None else Put(mode, content)
        if not changes:
            return self.repository.describe_patch(self.base, self.base)
        commit = self.repository.write(self.base, [Draft(_MESSAGE, changes)])[0]
        return self.repository.describe_patch(self.base, commit)


@dataclass(frozen=True, slots=True)
class BlobWorkspaces:
    """Opens workspaces over one repository. There is nothing to remove afterwards."""

    repository: Repository

    @asynccontextmanager
    async def open(self, at: CommitId) -> AsyncIterator[BlobWorkspace]:
        """Open a copy at a commit."""
        yield BlobWorkspace(self.repository, at)


def refuse_unsafe(entries: Listing, written: Mapping[str, bytes | None], files: Mapping[str, bytes | None]) -> None:
    """Raise `UnsafePath` unless all of `files` may be written over `entries` as changed by `written`."""
    for path in files:
        reason = unsafe_reason(path)
        if reason is not None:
            raise UnsafePath(f"{path!r} {reason}")
        if path in entries and not entries[path].is_regular:
            raise UnsafePath(f"{path!r} is a symbolic link or a submodule: change the file that it stands for")
    overlay = {**written, **files}
    new = {path for path, content in overlay.items() if content is not None and path not in entries}
    removed = {path for path, content in overlay.items() if content is None and path in entries}
    if not new or _stand_apart(entries, new, removed):
        return
    after = [path for path in entries if overlay.get(path, b"") is not None] + sorted(new)
    _refuse_clash(set(after))
    # What met before the change is the repository's own business.
    for one, other in sorted(set(collisions(after)) - set(collisions(entries))):
        raise UnsafePath(f"{other!r} differs from {one!r} only in case or spelling: choose another name")


def _stand_apart(entries: Listing, new: set[str], removed: set[str]) -> bool:
    """Whether no name on the way to a changed path is spelled in two ways, and no file is a folder: then nothing can clash.

    Almost every change is of this kind. To see it takes a few searches through all names as one text, which is as fast
    as memory; the thorough rules take a step of Python for every folder of every path.
    """
    changed = new | removed
    folders = {path[:at] for path in changed for at in range(len(path)) if path[at] == "/"}
    if not folders.isdisjoint(new) or any(folder in entries for folder in folders):
        return False
    prefixes = folders | changed
    spelled = "".join([f"\0{path}\0" for path in entries])
    folded = _folded(spelled)
    if len({_folded(prefix) for prefix in prefixes}) < len(prefixes) or any(f"\0{path}/" in spelled for path in new):
        return False
    return all(
        spelled.count(f"\0{prefix}{end}") == folded.count(f"\0{_folded(prefix)}{end}")
        for prefix in prefixes
        for end in "/\0"
    )


def _folded(names: str) -> str:
    """Names as `collisions` compares them; a NUL between two of them stays one, and no path holds one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", names).casefold())


def _refuse_clash(after: set[str]) -> None:
    """A path is a file or a folder, not both."""
    folders = {path[:at] for path in after for at in range(len(path)) if path[at] == "/"}
    for path in sorted(after & folders):
        raise UnsafePath(f"{path!r} cannot be a file and a folder at once")
