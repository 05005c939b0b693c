"""The run's own repository: bare, private, and the only thing that the rest of this room talks to.

It borrows the objects of the user's repository (`objects/info/alternates`) and has a configuration of its own, so a
run reads the user's repository without ever writing to it, and nothing that lies in wait there (hooks, filters, merge
drivers, aliases) can run. Commits are written without a checkout and are on disk when a call returns.

Proposed commits have no refs. Nothing in this repository ever deletes an object (`gc.auto=0`, `gc.pruneExpire=never`);
the journal says which commits count, and a ref for each would only be a second, slower record of the same fact.

All methods are synchronous and may be called from several threads. All raise `GitError` when git refuses.
"""

import os
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from orchestrator.core.values import CommitId, FileChange, Patch, TreeId
from orchestrator.git.command import Answer, Git, refusal
from orchestrator.git.differences import DIFF_OPTIONS, parse_differences
from orchestrator.git.fast_import import Draft, render_stream
from orchestrator.git.reader import ObjectReader

T = TypeVar("T")

_LISTINGS_KEPT = 16  # a listing of 5,000 files takes about 1.5 MB
_CONFLICTS = range(1, 128)  # what `git merge-file` counts up to; above, it is an error


class Entry(NamedTuple):
    """What a tree holds at a path: its mode as git writes it, and the id of its blob."""

    mode: str
    blob: str

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, not a symbolic link or a submodule."""
        return self.mode.startswith("100")


Listing = Mapping[str, Entry]


class Repository:
    """Reads and writes one bare repository that `intake` has made. `close` ends the process that reads objects."""

    def __init__(self, git_dir: Path, git: Git) -> None:
        self.git_dir = git_dir
        self._git = git
        self._reader = ObjectReader(git, git_dir)
        self._listings: _Recent[Listing] = _Recent(_LISTINGS_KEPT)
        self._sizes: _Recent[Mapping[str, int]] = _Recent(_LISTINGS_KEPT)

    def close(self) -> None:
        """End the process that reads objects."""
        self._reader.close()

    def run(self, *arguments: str, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Run a git command here that must succeed; returns its output."""
        return self._git.run(["--git-dir", str(self.git_dir), *arguments], stdin=stdin, timeout_s=timeout_s)

    def ask(self, *arguments: str, stdin: bytes = b"") -> Answer:
        """Run a git command here whose exit code is an answer."""
        return self._git.ask(["--git-dir", str(self.git_dir), *arguments], stdin=stdin)

    def resolve(self, revision: str) -> CommitId | None:
        """The commit that a revision means, or None."""
        answer = self.ask("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return CommitId(answer.stdout.decode().strip()) if answer.code == 0 else None

    def entries(self, commit: CommitId) -> Listing:
        """Everything in a commit by path, links and submodules included. The latest few listings are kept."""
        return self._listings.get(commit, lambda: self._list(commit))

    def paths(self, commit: CommitId) -> Sequence[str]:
        """The paths of all regular files, sorted."""
        return sorted(path for path, entry in self.entries(commit).items() if entry.is_regular)

    def sizes(self, commit: CommitId) -> Mapping[str, int]:
        """The size in bytes of every regular file."""
        return self._sizes.get(commit, lambda: self._measure(commit))

    def read(self, commit: CommitId, paths: Iterable[str]) -> dict[str, bytes]:
        """The contents of those of the paths that are regular files in the commit."""
        entries = self.entries(commit)
        blobs = {path: entry.blob for path in paths if (entry := entries.get(path)) and entry.is_regular}
        return dict(zip(blobs, self.read_objects(blobs.values()), strict=True))

    def read_objects(self, names: Iterable[str]) -> list[bytes]:
        """The contents of objects, in the order asked."""
        return self._reader.read(names)

    def tree_of(self, commit: CommitId) -> TreeId:
        """The tree of a commit."""
        return TreeId(self._header(commit).split("\n", 1)[0].removeprefix("tree "))

    def message(self, commit: CommitId) -> str:
        """The whole message of a commit."""
        return self._reader.read([commit])[0].split(b"\n\n", 1)[1].decode(errors="replace")

    def is_ancestor(self, older: CommitId, newer: CommitId) -> bool:
        """Whether `newer` descends from `older` or is the same."""
        answer = self.ask("merge-base", "--is-ancestor", older, newer)
        if answer.code not in {0, 1}:
            raise refusal(["merge-base", "--is-ancestor", older, newer], answer)
        return answer.code == 0

    def log(self, old: CommitId, new: CommitId) -> list[CommitId]:
        """The commits of `new` that are not in `old`, along first parents, oldest first."""
        lines = self.run("rev-list", "--first-parent", "--reverse", f"{old}..{new}").decode().split()
        return [CommitId(line) for line in lines]

    def write(self, onto: CommitId | None, drafts: Sequence[Draft]) -> list[CommitId]:
        """Write commits, the first on `onto` (None: a root), each on the one before; durable when this returns."""
        if not drafts:
            return []
        stream = render_stream(onto, drafts)
        ids = self.run("fast-import", "--quiet", "--done", "--date-format=raw", stdin=stream).decode().split()
        self._persist()
        return [CommitId(line) for line in ids]

    def describe(self, pairs: Sequence[tuple[CommitId, CommitId]]) -> list[tuple[FileChange, ...]]:
        """The changes from the first to the second commit of each pair, as git states them, in one process."""
        questions = "".join(f"{new} {old}\n" for old, new in pairs)
        output = self.run("diff-tree", "--stdin", "--always", *DIFF_OPTIONS, stdin=questions.encode())
        return parse_differences(output)

    def describe_patch(self, base: CommitId, commit: CommitId) -> Patch:
        """The change from `base` to `commit`."""
        changes = self.describe([(base, commit)])[0] if base != commit else ()
        return Patch(base=base, commit=commit, tree=self.tree_of(commit), changes=changes)

    def merge_file(self, ours: bytes, base: bytes, theirs: bytes) -> tuple[bytes, bool]:
        """Merge three texts; returns the result and whether it is clean, else it holds conflict markers."""
        with tempfile.TemporaryDirectory(dir=self.git_dir, prefix="merge-") as folder:
            names = [Path(folder, name) for name in ("ours", "base", "theirs")]
            for name, content in zip(names, (ours, base, theirs), strict=True):
                name.write_bytes(content)
            labels = ["-L", "the trunk", "-L", "before both", "-L", "this change"]
            arguments = ["merge-file", "-p", "--diff3", *labels, *map(str, names)]
            answer = self.ask(*arguments)
        if answer.code != 0 and answer.code not in _CONFLICTS:
            raise refusal(arguments, answer)
        return answer.stdout, answer.code == 0

    def ref(self, name: str) -> CommitId | None:
        """The commit that a full ref name points at, or None."""
        return self.resolve(name)

    def move_ref(self, name: str, new: CommitId, old: CommitId | None) -> None:
        """Set a ref by compare-and-swap; `old` None means that it must not exist. Nothing to do is no error."""
        expected = old or "0" * len(new)
        arguments = ["update-ref", name, new, expected]
        answer = self.ask(*arguments)
        if answer.code != 0 and self.ref(name) != new:
            raise refusal(arguments, answer)
        _sync_folder((self.git_dir / name).parent)

    def _list(self, commit: CommitId) -> Listing:
        listing: dict[str, Entry] = {}
        for line in self.run("ls-tree", "-r", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            head, path = line.split(b"\t", 1)
            mode, _, blob = head.decode().split(" ")
            listing[path.decode("utf-8", "surrogateescape")] = Entry(mode, blob)
        return listing

    def _measure(self, commit: CommitId) -> Mapping[str, int]:
        sizes: dict[str, int] = {}
        for line in self.run("ls-tree", "-r", "-l", "-z", "--full-tree", commit).split(b"\0")[:-1]:
            head, path = line.split(b"\t", 1)
            mode, _, _, size = head.decode().split()
            if mode.startswith("100"):
                sizes[path.decode("utf-8", "surrogateescape")] = int(size)
        return sizes

    def _header(self, commit: CommitId) -> str:
        return self._reader.read([commit])[0].split(b"\n\n", 1)[0].decode(errors="replace")

    def _persist(self) -> None:
        # git syncs each object before it renames it into place, but not the rename. Journaling file systems (ext4, xfs,
        # btrfs) make every earlier rename durable with any later sync of a folder, so one is enough.
        _sync_folder(self.git_dir / "objects")


class _Recent(Generic[T]):
    """A small cache of what was computed last; two threads may compute the same value, which does no harm."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._values: OrderedDict[str, T] = OrderedDict()

    def get(self, key: str, compute: Callable[[], T]) -> T:
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        value = compute()
        with self._lock:
            self._values[key] = value
            if len(self._values) > self._size:
                self._values.popitem(last=False)
        return value


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
