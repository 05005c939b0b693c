"""Three-way merge of patches by path, in memory: no checkout, no index.

Where the trunk still has what a patch started from, the patch's blob is taken as it is and no file is opened. Only a
file that both sides changed is merged by content (`git merge-file`). A patch goes in as a whole or not at all.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import new as new_hash

from orchestrator.core.values import FileChange, Patch
from orchestrator.git.fast_import import Put
from orchestrator.git.repository import Entry, Listing, Repository

_FEEDBACK_LINES = 40
_SIDE_LINES = 10
_MARKERS = ("<<<<<<< ", "||||||| ", "=======", ">>>>>>> ")
_LINE_CHARACTERS = 200
_SNIFFED_BYTES = 8_000  # git takes a file for binary when these hold a NUL (xdiff-interface.c, buffer_is_binary)
_SHA1_DIGITS = 40


class Clash(Exception):
    """A patch does not fit; the message is what the next attempt is told."""


@dataclass(slots=True)
class Merge:
    """A tree that patches are put on, one after the other. Reads blobs of `repository`, writes nothing to it."""

    repository: Repository
    files: dict[str, Entry]
    _folders: Counter[str] = field(default_factory=Counter)
    _merged: dict[str, bytes] = field(default_factory=dict)

    @classmethod
    def onto(cls, repository: Repository, listing: Listing) -> "Merge":
        """Start from the content of a commit."""
        return cls(repository, dict(listing), Counter(folder for path in listing for folder in _folders_of(path)))

    def put(self, patch: Patch) -> dict[str, Put | None]:
        """Put a patch on the tree and return what its commit changes; raises `Clash` and leaves the tree as it was."""
        outcome, problems = self._outcome(patch)
        before = {path: self.files.get(path) for path in outcome}
        # Removals first: a folder may take the place of a file, and the other way round.
        for path in sorted(outcome, key=lambda path: outcome[path] is not None):
            self._set(path, outcome[path])
        problems += [problem for path, entry in outcome.items() if entry and (problem := self._blocked(path))]
        if problems:
            for path in sorted(before, key=lambda path: before[path] is not None):
                self._set(path, before[path])
            raise Clash(_bounded(problems))
        return {path: self._as_put(entry) for path, entry in outcome.items()}

    def _outcome(self, patch: Patch) -> tuple[dict[str, Entry | None], list[str]]:
        """What each path comes to hold, and what does not fit."""
        outcome: dict[str, Entry | None] = {}
        problems: list[str] = []
        for change in patch.changes:
            ours = self.files.get(change.path)
            try:
                merged = self._merge(change, ours)
            except Clash as clash:
                problems.append(str(clash))
                continue
            if merged != ours:
                outcome[change.path] = merged
        return outcome, problems

    def _merge(self, change: FileChange, ours: Entry | None) -> Entry | None:
        """The three-way rule for one path."""
        old, new = _entry(change.old_mode, change.old_blob), _entry(change.new_mode, change.new_blob)
        if ours in (new, old):
            return new
        if ours is None:
            raise Clash(f"{change.path}: the trunk has removed this file, and this change edits it")
        if new is None:
            raise Clash(f"{change.path}: the trunk has changed this file, and this change removes it")
        if old is None:
            raise Clash(f"{change.path}: the trunk has this file already, with other content")
        mode = _one_of(change.path, old.mode, ours.mode, new.mode)
        if ours.blob == old.blob or new.blob == ours.blob:
            return Entry(mode, new.blob)
        if new.blob == old.blob:
            return Entry(mode, ours.blob)
        return Entry(mode, self._merge_content(change.path, old, ours, new))

    def _merge_content(self, path: str, old: Entry, ours: Entry, new: Entry) -> str:
        base, mine, theirs = (self._content(entry) for entry in (old, ours, new))
        if not (old.is_regular and ours.is_regular and new.is_regular):
            raise Clash(f"{path}: the trunk and this change both changed this link or submodule")
        if any(b"\0" in content[:_SNIFFED_BYTES] for content in (base, mine, theirs)):
            raise Clash(f"{path}: the trunk and this change both changed this binary file")
        merged, is_clean = self.repository.merge_file(mine, base, theirs)
        if not is_clean:
            raise Clash(f"{path}: the trunk and this change both changed these lines\n{_hunks(merged)}")
        name = _blob_id(merged, len(new.blob))
        self._merged[name] = merged
        return name

    def _content(self, entry: Entry) -> bytes:
        if not entry.is_regular:
            return b""
        return self._merged[entry.blob] if entry.blob in self._merged else self.repository.read_objects([entry.blob])[0]

    def _as_put(self, entry: Entry | None) -> Put | None:
        return None if entry is None else Put(entry.mode, self._merged.get(entry.blob, entry.blob))

    def _set(self, path: str, entry: Entry | None) -> None:
        if (path in self.files) != (entry is not None):
            step = 1 if entry else -1
            for folder in _folders_of(path):
                self._folders[folder] += step
        if entry is None:
            self.files.pop(path, None)
        else:
            self.files[path] = entry

    def _blocked(self, path: str) -> str | None:
        """Why a file cannot stand at a path: something of the other kind does."""
        if self._folders[path] > 0:
            return f"{path}: the trunk has a folder of this name"
        blocking = next((folder for folder in _folders_of(path) if folder in self.files), None)
        return None if blocking is None else f"{path}: the trunk has a file {blocking!r} where this needs a folder"


def _entry(mode: str | None, blob: str | None) -> Entry | None:
    return None if mode is None or blob is None else Entry(mode, blob)


def _one_of(path: str, old: str, ours: str, new: str) -> str:
    """The mode after both sides had their say."""
    if ours in (old, new):
        return new
    if new == old:
        return ours
    raise Clash(f"{path}: the trunk made its mode {ours}, and this change makes it {new}")


def _folders_of(path: str) -> Iterator[str]:
    at = path.find("/")
    while at != -1:
        yield path[:at]
        at = path.find("/", at + 1)


def _blob_id(content: bytes, digits: int) -> str:
    """The name that git gives to a blob (its object format, not a matter of security)."""
    name = new_hash("sha1" if digits == _SHA1_DIGITS else "sha256", usedforsecurity=False)
    name.update(b"blob %d\0" % len(content) + content)
    return name.hexdigest()


def _hunks(merged: bytes) -> str:
    """The conflicting regions of a merged text, markers included; of each side the first lines."""
    shown: list[str] = []
    inside, length = False, 0
    for line in merged.decode(errors="replace").split("\n"):
        is_marker = line.startswith(_MARKERS)
        inside = inside or line.startswith(_MARKERS[0])
        length = 0 if is_marker else length + 1
        if inside and length <= _SIDE_LINES:
            shown.append(line if length < _SIDE_LINES else "…")
        inside = inside and not line.startswith(_MARKERS[-1])
    return "\n".join(shown)


def _bounded(problems: list[str]) -> str:
    lines = [line[:_LINE_CHARACTERS] for line in "\n".join(problems).split("\n")]
    left_out = len(lines) - _FEEDBACK_LINES
    return "\n".join([*lines[:_FEEDBACK_LINES], *([f"… {left_out} more lines"] if left_out > 0 else [])])
