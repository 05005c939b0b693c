"""What the stub says, written out: edits in the format that the prompt asks for, and the ways in which writing fails.

Which format it is stands in the system text (`core.edits.formats.format_of`), so a stub behind a service knows it too. A
block or a hunk in the wrong place has no like among whole files: there the stub leaves lines out, "... unchanged ...",
which is the mistake that models make in that format, and is refused for the same reason.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from orchestrator.backends.stub.mistakes import misplaced
from orchestrator.backends.stub.rewrites import commented
from orchestrator.core.chat import Message, Prompt, ToolCall, estimate_tokens
from orchestrator.core.draws import Key, choice, fraction
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.formats import DEFAULT_FORMAT, FORMATS, EditFormat, format_of, whole_edits
from orchestrator.core.values import StopReason

REFUSAL = "I cannot help with this request."
_ELISION = "... rest of the file unchanged ..."
_BLOCK_MARKERS = re.compile(r"^[<=>]{7,}.*$", re.MULTILINE)
_FILE_MARKERS = re.compile(r"^(?:<{7,} (?:FILE|DELETE)|>{7,} END)$", re.MULTILINE)
_PATCH_HEADERS = re.compile(r"^(\*\*\* )(?:Update|Add|Delete) File: ", re.MULTILINE)
_FILE_PATH = re.compile(r"^.+\n(?=<{7,} (?:FILE|DELETE)$)", re.MULTILINE)
_KEPT_LINE = re.compile(r"^ (?=\w)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Reply:
    """The text of an answer, the tools that it calls, and how it ends."""

    text: str
    stop_reason: StopReason = "end_turn"
    calls: tuple[ToolCall, ...] = ()

    @property
    def whole(self) -> str:
        """All of it as one text."""
        return Message(role="assistant", text=self.text, calls=self.calls).whole if self.calls else self.text

    @property
    def tokens(self) -> int:
        """Its length in estimated tokens."""
        return estimate_tokens(self.whole)


def edits_reply(introduction: str, edits: Sequence[Edit], prompt: Prompt) -> Reply:
    """Edits in the prompt's format, below some words."""
    name = _format(prompt)
    if name == "whole_file":
        edits = _as_whole_files(edits, _shown(prompt))
    return Reply(f"{introduction}\n\n{FORMATS[name].render(edits, {})}")


def misplaced_reply(introduction: str, edits: Sequence[Edit], prompt: Prompt, key: Key) -> Reply:
    """Edits of which one can be read, but not applied."""
    if _format(prompt) != "whole_file":
        return edits_reply(introduction, misplaced(edits, key), prompt)
    files = _shown(prompt)
    whole = _as_whole_files(edits, files)
    written = [at for at, edit in enumerate(whole) if not edit.is_deletion]
    if not whole:
        return edits_reply(introduction, whole, prompt)
    at = choice((*key, "misplaced"), written or list(range(len(whole))))
    edit = whole[at]
    wrong = (
        replace(edit, path=f"{edit.path}.orig") if edit.is_deletion else _with_elision(edit, files.get(edit.path, b""))
    )
    return edits_reply(introduction, [*whole[:at], wrong, *whole[at + 1 :]], prompt)


def malformed_reply(reply: Reply, prompt: Prompt, key: Key) -> Reply:
    """The reply such that its edits cannot be read."""
    text = reply.text
    name = _format(prompt)
    match name:
        case "search_replace":
            ways = _malformed_blocks(text)
        case "whole_file":
            ways = [_FILE_MARKERS.sub("```", text), _FILE_PATH.sub("", text, count=1), _without_last_end(text)]
        case "patch":
            ways = [_PATCH_HEADERS.sub(r"\1", text), text.replace("\n*** End Patch\n", "\n")]
            ways += [_KEPT_LINE.sub("", text, count=1)] if _KEPT_LINE.search(text) else []
        case _:
            assert_never(name)
    return Reply(choice((*key, "malformed"), ways))


def cut(text: str, key: Key) -> Reply:
    """A text that met the limit on its length somewhere in its middle."""
    return Reply(text[: int(len(text) * (0.3 + 0.6 * fraction((*key, "cut"))))], "max_tokens")


def _format(prompt: Prompt) -> EditFormat:
    return format_of(prompt.system) or DEFAULT_FORMAT


def _shown(prompt: Prompt) -> Mapping[str, bytes]:
    return {shown.path: shown.text.encode("utf-8", "surrogateescape") for shown in prompt.files}


def _as_whole_files(edits: Sequence[Edit], files: Mapping[str, bytes]) -> tuple[Edit, ...]:
    """The edits as whole files; where they do not fit what is shown, the lines that are known and a word for the others."""
    try:
        return whole_edits(edits, files)
    except EditError:
        pass
    whole: list[Edit] = []
    for path in dict.fromkeys(edit.path for edit in edits):
        of_file = [edit for edit in edits if edit.path == path]
        try:
            whole.extend(whole_edits(of_file, files))
        except EditError:
            left_out = f"{commented(path, _ELISION)}\n"
            known = left_out.join(edit.replace for edit in of_file)
            whole.append(Edit(path, replace=f"{left_out}{known}{left_out}", is_whole=True))
    return tuple(whole)


def _with_elision(edit: Edit, original: bytes) -> Edit:
    """Leave the longest stretch that stays out of a file; put the words for it at the end of a new one."""
    before = original.decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
    after = edit.replace.split("\n")[:-1]
    stays = difflib.SequenceMatcher(None, before, after, autojunk=False).find_longest_match()
    start = stays.b if stays.size else len(after)
    lines = [*after[:start], commented(edit.path, _ELISION), *after[start + stays.size :]]
    return replace(edit, replace="".join(f"{line}\n" for line in lines))


def _malformed_blocks(text: str) -> list[str]:
    divider = re.search(r"^={7,}\n", text, re.MULTILINE)
    closings = list(re.finditer(r"^>{7,} REPLACE\n", text, re.MULTILINE))
    ways = [_BLOCK_MARKERS.sub("```", text)]
    if divider is not None and closings:
        ways.append(text[: divider.start()] + text[divider.end() :])
        ways.append(text[: closings[-1].start()] + text[closings[-1].end() :])
    return ways


def _without_last_end(text: str) -> str:
    """Without the marker that ends the last file; with words in place of all markers where nothing has such an end."""
    ends = list(re.finditer(r"^>{7,} END\n", text, re.MULTILINE))
    return text[: ends[-1].start()] + text[ends[-1].end() :] if ends else _FILE_MARKERS.sub("", text)
