"""What a simulated agent makes of its tools: the calls that state an edit, and the files as its results let it know them.

    read_file's result ─► lines without their numbers ─► texts ─► the calls that succeeded, applied ─► texts

Nothing here is known otherwise: a file that was not read is not on the desk.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.chat import ToolCall, ToolResult
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.diff import edits_between

_LINE = re.compile(r" *(\d+)\t(.*)", re.DOTALL)
_READ_ON = re.compile(r"\[.*\bfirst_line=(\d+)")
_EMPTY = "(the file is empty)"


@dataclass(frozen=True, slots=True)
class Page:
    """What one result shows of a file; `next_line` is where it goes on, None at its end."""

    text: str
    next_line: int | None


@dataclass(slots=True)
class Desk:
    """Files by path, as far as they are known: as they were read, and as they are after the calls that succeeded."""

    read: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, text: str) -> None:
        """Lay a file on the desk, as it was read; how its lines end is the tools' affair."""
        self.read[path] = self.texts[path] = text.replace("\r\n", "\n")

    @property
    def has_changed(self) -> bool:
        """Whether any call changed anything."""
        return self.texts != self.read

    def note(self, calls: Sequence[ToolCall], results: Sequence[ToolResult]) -> None:
        """Do what the calls did that came back without an error."""
        for call, result in zip(calls, results, strict=True):
            if not result.is_error:
                self._do(call)

    def calls_towards(self, edits: Sequence[Edit]) -> list[tuple[str, Mapping[str, object]]]:
        """The calls that lead from the files as they are to what the edits make of those that were read; none if they do not fit."""
        try:
            wanted = _after(edits, self.read)
        except EditError:
            return []
        paths = sorted({*wanted, *self.read})
        return calls_for(
            [edit for path in paths for edit in edits_between(path, self.texts.get(path), wanted.get(path))]
        )

    def _do(self, call: ToolCall) -> None:
        path, content = str(call.arguments.get("path")), str(call.arguments.get("content", ""))
        if call.name == "delete_file":
            self.texts.pop(path, None)
        elif call.name == "write_file":
            self.texts[path] = content
        elif call.name == "edit_file":
            edit = Edit(path, str(call.arguments.get("search")), str(call.arguments.get("replace")))
            try:
                self.texts = _after([edit], self.texts)
            except EditError:
                # The tool found a place where this desk finds none: what the file is now is not known.
                self.texts.pop(path, None)


def calls_for(edits: Sequence[Edit]) -> list[tuple[str, Mapping[str, object]]]:
    """The calls, by tool and arguments, that do what the edits say; to delete a file and write it anew is one call."""
    calls: list[tuple[str, Mapping[str, object]]] = []
    for at, edit in enumerate(edits):
        if edit.is_deletion and any(each.path == edit.path and each.is_creation for each in edits[at + 1 :]):
            continue
        if edit.is_deletion:
            calls.append(("delete_file", {"path": edit.path}))
        elif edit.is_creation:
            calls.append(("write_file", {"path": edit.path, "content": edit.replace}))
        else:
            calls.append(("edit_file", {"path": edit.path, "search": edit.search, "replace": edit.replace}))
    return calls


def page_of(result: str) -> Page | None:
    """Read what `read_file` showed; None for a result that shows no lines."""
    lines = result.split("\n")
    if result.strip() == _EMPTY:
        return Page("", None)
    note = _READ_ON.match(lines[-1])
    numbered = [found for found in map(_LINE.fullmatch, lines) if found is not None]
    if not numbered:
        return None
    next_line = int(note[1]) if note else None
    if next_line is not None and next_line <= int(numbered[-1][1]):
        next_line = None
    return Page("".join(f"{found[2]}\n" for found in numbered), next_line)


def _after(edits: Sequence[Edit], texts: Mapping[str, str]) -> dict[str, str]:
    changed = apply_edits(edits, {path: text.encode() for path, text in texts.items()})
    after = dict(texts)
    for path, content in changed.items():
        if content is None:
            after.pop(path, None)
        else:
            after[path] = content.decode()
    return after
