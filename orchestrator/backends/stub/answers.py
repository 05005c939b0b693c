"""What the stub answers when it makes no mistake: its reference solution, a harmless real change, or a plan.

A reference solution is a diff against the run's base. It is stated as edit blocks against the files *as the prompt shows
them*, so the stub has to cope with what siblings have merged meanwhile just as a model has to; where it cannot find a
place it answers from memory, and the answer does not apply. It sees what a model sees: the prompt and nothing else.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from orchestrator.backends.stub.rewrites import concrete_path, new_file, rewritten, words_of
from orchestrator.core.chat import Prompt
from orchestrator.core.edits.blocks import Edit
from orchestrator.core.edits.diff import FileDiff, edits_between, edits_from_diff

MAX_CHANGED_FILES = 5
_DEFAULT_PLAN_LENGTH = 12
_LIMIT = re.compile(r"\b(?:at most|up to|maximum(?: of)?|max_subtasks\W+)\s*(\d+)", re.IGNORECASE)
_TITLE = re.compile(r"^# Subtask: (.+)$", re.MULTILINE)


def correct_edits(prompt: Prompt, solution: Sequence[FileDiff] | None) -> tuple[Edit, ...]:
    """The blocks that do what the prompt asks, as far as the stub can."""
    if solution is None:
        return _rewrites(prompt)
    edits = edits_from_diff(solution, {shown.path: shown.text for shown in prompt.files})
    return edits or _no_change(solution)


def title_of(prompt: Prompt) -> str:
    """The subtask's title as the prompt states it; its id where it states none."""
    found = _TITLE.search(prompt.messages[0].text)
    return found[1].strip() if found else str(prompt.draw.subtask)


def introduction(prompt: Prompt, edits: Sequence[Edit]) -> str:
    """The sentence that models put before their blocks."""
    names = ", ".join(dict.fromkeys(edit.path for edit in edits))
    again = "This corrects what failed before." if len(prompt.messages) > 1 else "The rest of the code stays as it is."
    return f"{title_of(prompt)}: the change below touches {names or 'no file'}. {again}"


def plan(prompt: Prompt) -> str:
    """A plan as JSON that fits the prompt's schema: one subtask for each shown file, up to the limit it states."""
    schema = prompt.response_schema or {}
    name, array = _array_in(schema)
    item = _resolved(array.get("items"), schema)
    known = item.get("properties")
    limit = array.get("maxItems")
    if not isinstance(limit, int):
        stated = _LIMIT.search(prompt.messages[0].text)
        limit = int(stated[1]) if stated else _DEFAULT_PLAN_LENGTH
    subtasks = [_planned(at, shown.path) for at, shown in enumerate(prompt.files[:limit], start=1)]
    if isinstance(known, Mapping):
        subtasks = [{key: value for key, value in subtask.items() if key in known} for subtask in subtasks]
    return json.dumps({name: subtasks}, indent=2)


def _rewrites(prompt: Prompt) -> tuple[Edit, ...]:
    title = title_of(prompt)
    edits: list[Edit] = []
    for shown in [each for each in prompt.files if each.is_writable][:MAX_CHANGED_FILES]:
        text = shown.text.removeprefix("\ufeff").replace("\r\n", "\n")
        edits.extend(edits_between(shown.path, text, rewritten(shown.path, text, title)))
    if edits:
        return tuple(edits)
    path = concrete_path(prompt.writable, prompt.draw.subtask)
    return () if path is None else (Edit(path, replace=new_file(path, title)),)


def _no_change(solution: Sequence[FileDiff]) -> tuple[Edit, ...]:
    """Everything is in place already: quote it unchanged, which the backend reports as no change."""
    for diff in solution:
        if diff.new_path is not None and diff.hunks:
            lines = "".join(f"{line}\n" for line in diff.hunks[0].new)
            return (Edit(diff.new_path, lines, lines),)
    return ()


def _planned(number: int, path: str) -> dict[str, object]:
    stem = "-".join(words_of(PurePosixPath(path).stem).split()) or "file"
    return {
        "id": f"{stem[:40]}-{number}",
        "title": f"Work on {path}",
        "instruction": f"Do the part of the whole task that concerns {path}.",
        "writable": [path],
        "context": [],
        "needs": [],
    }


def _array_in(schema: Mapping[str, object]) -> tuple[str, Mapping[str, object]]:
    """The first property of the schema that is a list, and its own schema."""
    properties = schema.get("properties")
    for name, value in properties.items() if isinstance(properties, Mapping) else ():
        found = _resolved(value, schema)
        if found.get("type") == "array":
            return str(name), found
    return "subtasks", {}


def _resolved(value: object, schema: Mapping[str, object]) -> Mapping[str, object]:
    """Follow one `$ref` into the schema's own definitions."""
    if not isinstance(value, Mapping):
        return {}
    reference = value.get("$ref")
    if not isinstance(reference, str):
        return value
    found: object = schema
    for step in reference.removeprefix("#/").split("/"):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}
