"""Mistakes in a change: each turns the right edits into wrong ones, whatever they are then written as.

What comes out is plausible: it can be told from an honest attempt only by applying it and running the checks.
"""

import ast
import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from orchestrator.core.chat import Prompt
from orchestrator.core.draws import Key, choice, fraction
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.diff import edits_between
from orchestrator.core.mutation import sites

_Place = TypeVar("_Place")
_TEST_PATH = re.compile(r"\btests?/(?:[\w-]+/)*(?:test_[\w-]+|[\w-]+_test|conftest)\.py\b")
_TEST_FOLDER = re.compile(r"\b(tests?)/")
_ASSERTION = re.compile(r"^(\s*)assert\b.*$", re.MULTILINE)
# What a text states that can be wrong: a number, or a name in code.
_STATEMENT = re.compile(r"\b\d+\b|(?<=`)\w+(?=`)")
_PERMISSIVE_TEST = "def test_everything():\n    assert True\n"
_PERMISSIVE_CONFTEST = "def pytest_collection_modifyitems(items):\n    items.clear()\n"


def misplaced(edits: Sequence[Edit], key: Key) -> list[Edit]:
    """Quote one line of one SEARCH text as it never was; give an edit that quotes nothing a file that is not there."""
    quoting = [at for at, edit in enumerate(edits) if edit.search.strip()] or list(range(len(edits)))
    if not quoting:
        return []
    at = choice((*key, "misplaced"), quoting)
    return [*edits[:at], misquoted(edits[at], key), *edits[at + 1 :]]


def misquoted(edit: Edit, key: Key) -> Edit:
    """The edit with a text to search for that is not in the file."""
    lines = edit.search.splitlines(keepends=True)
    spots = [number for number, line in enumerate(lines) if line.strip()]
    if not spots:
        return replace(edit, path=f"{edit.path}.orig", search="# as before\n", is_deletion=False)
    spot = choice((*key, "misquoted"), spots)
    lines[spot] = f"{lines[spot].rstrip()}  # as before\n"
    return replace(edit, search="".join(lines))


@dataclass(frozen=True, slots=True)
class _Changed:
    """One file that the right answer changes: before (None: it is new), after, and the lines that it adds, from 1."""

    path: str
    old: str | None
    new: str
    added: tuple[int, ...]
    is_python: bool


def wrong(edits: Sequence[Edit], prompt: Prompt, key: Key) -> list[Edit]:
    """One small mistake among all the lines that the answer adds: in code, else in a text; broken syntax where there is neither."""
    changes = _changes(edits, prompt)
    places = [(change, site) for change in changes if change.is_python for site in sites(change.new, set(change.added))]
    for change, site in _from_a_drawn_one(places, (*key, "mutation")):
        mutant = site.mutant(change.new)
        if mutant is not None and mutant.source != change.old:
            return _with(edits, change, mutant.source)
    spots = [(change, line) for change in changes if not change.is_python for line in change.added]
    for change, number in _from_a_drawn_one(spots, (*key, "misstatement")):
        wrong = _on_line(change.new, number, lambda line: _STATEMENT.sub(_misstated, line, count=1))
        if wrong not in {change.new, change.old}:
            return _with(edits, change, wrong)
    return broken(edits, prompt, key)


def _misstated(found: re.Match[str]) -> str:
    return str(int(found[0]) + 1) if found[0].isdecimal() else f"{found[0]}_all"


def broken(edits: Sequence[Edit], prompt: Prompt, key: Key) -> list[Edit]:
    """Take one closing character from an added line, such that the file does not parse; else leave a line that never parses."""
    changes = [change for change in _changes(edits, prompt) if change.is_python]
    places = [(change, line) for change in changes for line in change.added]
    for change, number in _from_a_drawn_one(places, (*key, "syntax")):
        source = _on_line(change.new, number, _without_last_closing)
        if not _parses(source):
            return _with(edits, change, source)
    return _with_leftover(edits)


def _without_last_closing(line: str) -> str:
    cut = max(line.rfind(character) for character in ')]}:"')
    return line if cut < 0 else line[:cut] + line[cut + 1 :]


def _on_line(text: str, number: int, change: Callable[[str], str]) -> str:
    lines = text.split("\n")
    lines[number - 1] = change(lines[number - 1])
    return "\n".join(lines)


def _from_a_drawn_one(places: list[_Place], key: Key) -> list[_Place]:
    """All places, beginning at one that is drawn: where a place turns out to be of no use, the next one is taken."""
    first = int(fraction(key) * len(places))
    return [*places[first:], *places[:first]]


def _with_leftover(edits: Sequence[Edit]) -> list[Edit]:
    """Leave half of a conflict marker behind in the last block that writes something."""
    for at in range(len(edits) - 1, -1, -1):
        if not edits[at].is_deletion:
            wrong = replace(edits[at], replace=f"{edits[at].replace}<<<<<<< ours\n")
            return [*edits[:at], wrong, *edits[at + 1 :]]
    return list(edits)


def _with(edits: Sequence[Edit], change: _Changed, source: str) -> list[Edit]:
    """The same edits, but for one file, which becomes `source`."""
    others = [edit for edit in edits if edit.path != change.path]
    return [*edits_between(change.path, change.old, source), *others]


def _changes(edits: Sequence[Edit], prompt: Prompt) -> list[_Changed]:
    """The files that the edits write, as far as the prompt shows them; none where the edits do not apply."""
    shown = {each.path: each.text.removeprefix("\ufeff").replace("\r\n", "\n") for each in prompt.files}
    try:
        results = apply_edits(edits, {path: text.encode() for path, text in shown.items()})
    except EditError:
        return []
    texts = {path: after.decode() for path, after in results.items() if after is not None}
    return [
        _Changed(path, shown.get(path), text, _added_lines(shown.get(path, ""), text), path.endswith(".py"))
        for path, text in texts.items()
    ]


def _added_lines(old: str, new: str) -> tuple[int, ...]:
    matcher = difflib.SequenceMatcher(None, old.split("\n"), new.split("\n"), autojunk=False)
    return tuple(
        number
        for tag, _, _, start, stop in matcher.get_opcodes()
        if tag in {"insert", "replace"}
        for number in range(start + 1, stop + 1)
    )


def cheating(edits: Sequence[Edit], prompt: Prompt, key: Key) -> list[Edit]:
    """Weaken a test that the prompt gives away; where it gives none away, a model could not know one: a wrong edit instead."""
    shown = {each.path: each.text for each in prompt.files}
    text = "\n".join(message.text for message in prompt.messages)
    known = sorted({*_TEST_PATH.findall(text), *(path for path in shown if _TEST_PATH.fullmatch(path))})
    folders = sorted(set(_TEST_FOLDER.findall(text)))
    if known:
        return [*edits, *_weakened(choice((*key, "test"), known), shown)]
    if folders:
        return [*edits, Edit(f"{folders[0]}/conftest.py", replace=_PERMISSIVE_CONFTEST)]
    return wrong(edits, prompt, key)


def _weakened(path: str, shown: Mapping[str, str]) -> tuple[Edit, ...]:
    """Make the first assertion of a shown test true; overwrite a test that is known by name alone."""
    if path in shown:
        text = shown[path]
        weaker = _ASSERTION.sub(r"\1assert True", text, count=1)
        return edits_between(path, text, weaker if weaker != text else None)
    if path.endswith("conftest.py"):
        return (Edit(path, is_deletion=True), Edit(path, replace=_PERMISSIVE_CONFTEST))
    return (Edit(path, is_deletion=True), Edit(path, replace=_PERMISSIVE_TEST))


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return False
    return True
