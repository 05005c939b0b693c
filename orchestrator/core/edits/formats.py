"""The ways to write an edit, by name: a setting of each model, since models differ in which they write best.

    search_replace   blocks that quote old lines and state new ones   `core.edits.blocks`
    whole_file       every file that changes, whole                   `core.edits.whole`
    patch            hunks without line numbers                       `core.edits.patch`

A format says what the model is told, reads a reply into edits, and writes edits as a reply. Whichever it is, the edits are
put onto files in one way (`core.edits.apply`), and the same change written in each of them gives the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import EDIT_FORMAT, Edit, parse_reply, render_edits
from orchestrator.core.edits.diff import edits_between
from orchestrator.core.edits.lines import Document
from orchestrator.core.edits.locate import BLOCK_TERMS, Terms
from orchestrator.core.edits.patch import PATCH_FORMAT, parse_patch, render_patch
from orchestrator.core.edits.whole import WHOLE_FILE_FORMAT, parse_whole, render_whole

EditFormat = Literal["search_replace", "whole_file", "patch"]
DEFAULT_FORMAT: EditFormat = "search_replace"

_Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class FormatRules:
    """One format. `instructions` is what the model is told; `terms` are the words of the feedback when an edit does not fit.

    `parse` reads a reply, or raises `EditError` (`malformed_reply`). `render` writes edits as one, whatever format they
    come from; it needs the files as they are where the format states more of them than the edit does, and raises
    `EditError` (`edit_does_not_apply`) where they are not there or the edit does not fit. `again` is what a correction asks
    for; `shorter` says how an answer that was cut off could have been shorter.
    """

    instructions: str
    parse: Callable[[str], tuple[Edit, ...]]
    render: Callable[[Sequence[Edit], _Files], str]
    terms: Terms
    again: str
    shorter: str


def format_of(text: str) -> EditFormat | None:
    """Which format a system text asks for, by the instructions that it holds; None where it holds none."""
    return next((name for name, rules in FORMATS.items() if rules.instructions.strip() in text), None)


def whole_edits(edits: Sequence[Edit], files: _Files) -> tuple[Edit, ...]:
    """The same change as whole files and deletions, each path once. Raises `EditError` where it does not apply."""
    if all(edit.is_whole or edit.is_deletion for edit in edits) and len({edit.path for edit in edits}) == len(edits):
        return tuple(edits)
    after: dict[str, bytes | None] = {}
    was_there: dict[str, bool] = {}
    for edit in edits:
        for path in edit.paths:
            was_there.setdefault(path, path in files or edit.is_deletion)
        if edit.is_deletion:
            after[edit.path] = None
        elif edit.is_creation or edit.is_whole:
            after[edit.path] = edit.replace.encode()
        else:
            current = {path: after.get(path, files.get(path)) for path in edit.paths}
            known = {path: content for path, content in current.items() if content is not None}
            after |= {**current, **apply_edits([edit], known)}
    return tuple(
        Edit(path, is_deletion=True) if content is None else Edit(path, replace=_text(content), is_whole=True)
        for path, content in after.items()
        if content is not None or was_there[path]
    )


def _render_blocks(edits: Sequence[Edit], files: _Files) -> str:
    return render_edits(_restated(edits, files, _is_block))


def _render_whole(edits: Sequence[Edit], files: _Files) -> str:
    return render_whole(whole_edits(edits, files))


def _render_patch(edits: Sequence[Edit], files: _Files) -> str:
    return render_patch(_restated(edits, files, lambda edit: not edit.is_whole))


def _is_block(edit: Edit) -> bool:
    return not (edit.is_whole or edit.after or edit.is_at_end or edit.new_path)


def _restated(edits: Sequence[Edit], files: _Files, is_native: Callable[[Edit], bool]) -> list[Edit]:
    """The edits, those that the format does not know put as blocks between the text before and the text after."""
    if all(map(is_native, edits)):
        return list(edits)
    current: dict[str, bytes] = dict(files)
    restated: list[Edit] = []
    for edit in edits:
        after = apply_edits([edit], current)
        if is_native(edit):
            restated.append(edit)
        else:
            for path, content in after.items():
                restated.extend(_between(path, current.get(path), content))
        current = {path: content for path, content in {**current, **after}.items() if content is not None}
    return restated


def _between(path: str, old: bytes | None, new: bytes | None) -> tuple[Edit, ...]:
    return edits_between(path, None if old is None else _text(old), None if new is None else _text(new))


def _text(content: bytes) -> str:
    """A file's lines, whatever its dress."""
    return "".join(f"{body}\n" for body in Document.of(content).bodies)


FORMATS: Mapping[EditFormat, FormatRules] = MappingProxyType(
    {
        "search_replace": FormatRules(
            instructions=EDIT_FORMAT,
            parse=parse_reply,
            render=_render_blocks,
            terms=BLOCK_TERMS,
            again="all of its blocks",
            shorter="short SEARCH texts, no explanation",
        ),
        "whole_file": FormatRules(
            instructions=WHOLE_FILE_FORMAT,
            parse=parse_whole,
            render=_render_whole,
            terms=Terms(edit="file"),
            again="all of its files, each whole",
            shorter="only the files that change, no explanation",
        ),
        "patch": FormatRules(
            instructions=PATCH_FORMAT,
            parse=parse_patch,
            render=_render_patch,
            terms=Terms(
                edit="hunk",
                old="the text that the hunk quotes",
                new="the text that it puts there",
                create="write `*** Add File:` to create it",
                quote="The hunk quotes no line of the file, so its place is not known: show lines that stay around the "
                "new ones. To replace a whole file, delete it before you add it.",
                deeper="What the hunk quotes is indented deeper than the file, and what it puts there is not.",
                narrow="Show more of the lines around it, or write after `@@` a line that stands above the place.",
                leave_out="leave this hunk out",
            ),
            again="the whole patch",
            shorter="few lines around each change, no explanation",
        ),
    }
)
