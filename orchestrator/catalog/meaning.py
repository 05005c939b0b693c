"""What a task file of the right shape can still get wrong: templates, variables, globs, skills, files that are not there.

Everything works on the document as read, not on the validated value, so that a mistake of shape in one place does not
hide a mistake of meaning in another.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from orchestrator.catalog.datasets import Row, columns
from orchestrator.catalog.files import Document, Problem
from orchestrator.core import globs
from orchestrator.core.items import FILE_FIELDS, Where
from orchestrator.core.needs import hint
from orchestrator.core.spec import SubtaskTemplate
from orchestrator.core.templates import ROOTS, TemplateFault, task_fields, variables_of, words

PLANNED_FIELDS = ("id", "title")
_TASK_FIELDS = tuple(task_fields("", ""))
_GLOB_LISTS: tuple[Where, ...] = (
    ("split", "foreach", "glob"),
    ("split", "foreach", "exclude"),
    ("split", "plan", "context"),
    ("repo", "exclude"),
    ("gate", "protected"),
)


def meaning_problems(
    document: Document, rows: Sequence[Row] | None, skills: Collection[str] | None
) -> Iterator[Problem]:
    """Yield the problems of a document whose value is a mapping; `rows` is None where the data set cannot be read."""
    yield from _place_problems(document)
    yield from _glob_problems(document)
    yield from _plan_problems(document)
    for where, known in _layers(document, rows):
        yield from _layer_problems(document, where, known)
        if skills is not None:
            yield from _skill_problems(document, (*where, "skills"), skills)
    anywhere = _known_fields(document, rows)
    yield from _command_problems(document, ("gate", "checks"), anywhere)
    yield from _command_problems(document, ("gate", "setup"), ())
    yield from _command_problems(document, ("integration_gate", "checks"), ())


def _strings(document: Document, where: Where) -> Iterator[tuple[Where, str]]:
    """Yield the texts at a place: one, or those of a list."""
    value = document.at(where)
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, list):
        yield from (((*where, place), text) for place, text in enumerate(value) if isinstance(text, str))


def _keys(document: Document, where: Where) -> list[str]:
    value = document.at(where)
    return list(value) if isinstance(value, dict) else []


def _place_problems(document: Document) -> Iterator[Problem]:
    """Check that the folders that the file names are there, and that nothing can be taken for an option of git."""
    for where, noun in (
        (("repo", "path"), "a checkout or a folder of code"),
        (("reference",), "a folder of solutions"),
    ):
        named = document.at(where)
        if isinstance(named, str) and not _is_folder(document.path.parent / named):
            yield Problem(where, f"there is no folder {named!r} beside the task file; name {noun}")
    for where in (("repo", "url"), ("repo", "ref")):
        text = document.at(where)
        if isinstance(text, str) and (text.startswith("-") or "::" in text or not text.strip()):
            yield Problem(where, f"{text!r} is not something that git may be given; write a plain URL or commit")
    if "listed" in _keys(document, ("split",)):
        yield Problem(("split", "listed"), "unknown key `listed`; did you mean `list`?")


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):  # a name that no file can have
        return False


def _glob_problems(document: Document) -> Iterator[Problem]:
    places = [*_GLOB_LISTS]
    for where in _subtask_places(document):
        places += [(*where, "writable"), (*where, "context")]
    for place in places:
        for where, pattern in _strings(document, place):
            fault = globs.problem_in(pattern)
            if fault is not None and "{" not in pattern.replace("{,", ""):
                yield Problem(where, f"the glob {pattern!r} {fault}")


def _plan_problems(document: Document) -> Iterator[Problem]:
    """With a plan, ids and files are the model's to propose: what the file says of them would be ignored."""
    if "plan" not in _keys(document, ("split",)):
        return
    for name in _keys(document, ("subtask",)):
        if name in ("id", "title", "writable", "needs"):
            yield Problem(("subtask", name), f"with `plan`, the model gives `{name}`; take it out here")
    if _keys(document, ("overrides",)):
        yield Problem(("overrides",), "with `plan`, ids are not known beforehand; take `overrides` out")


def _subtask_places(document: Document) -> list[Where]:
    listed = document.at(("split", "list"))
    entries: list[Where] = [("split", "list", place) for place in range(len(listed) if isinstance(listed, list) else 0)]
    overrides: list[Where] = [("overrides", key) for key in _keys(document, ("overrides",))]
    return [("subtask",), *entries, *overrides]


def _known_fields(document: Document, rows: Sequence[Row] | None) -> tuple[str, ...] | None:
    """Return what `item` may have in the template, from all sources; None where that cannot be known."""
    split = _keys(document, ("split",))
    if rows is None or not split:
        return None
    known = [*_keys(document, ("split", "matrix")), *columns(rows), "id"]
    if "foreach" in split:
        known += FILE_FIELDS
    if "plan" in split:
        known += PLANNED_FIELDS
    for place in _subtask_places(document):
        known += _keys(document, (*place, "vars"))
    return tuple(dict.fromkeys(known))


def _layers(document: Document, rows: Sequence[Row] | None) -> Iterator[tuple[Where, tuple[str, ...] | None]]:
    """Yield every place that has a subtask's fields, with the variables that its templates may use."""
    anywhere = _known_fields(document, rows)
    for where in _subtask_places(document):
        if where[0] == "split":
            yield where, (*_keys(document, (*where, "vars")), "id")
        else:
            yield where, anywhere


def _layer_problems(document: Document, where: Where, known: Sequence[str] | None) -> Iterator[Problem]:
    for name in _keys(document, where):
        if name in SubtaskTemplate.model_fields and name != "gate":
            for place, text in _strings(document, (*where, name)):
                yield from _template_problems(place, text, known)
    yield from _command_problems(document, (*where, "gate", "checks"), known)


def _command_problems(document: Document, where: Where, known: Sequence[str] | None) -> Iterator[Problem]:
    commands = document.at(where)
    for place in range(len(commands) if isinstance(commands, list) else 0):
        run: Where = (*where, place, "run")
        line = document.at(run)
        texts = [*_strings(document, run)]
        for key in _keys(document, (*where, place, "env")):
            texts += _strings(document, (*where, place, "env", key))
        found = [problem for at, text in texts for problem in _template_problems(at, text, known)]
        if isinstance(line, str) and not found:
            found = _word_problems(run, line)
        yield from found


def _word_problems(where: Where, line: str) -> list[Problem]:
    """Check that a command line can be split, and that no block of a template spans several arguments."""
    try:
        for word in words(line):
            variables_of(word)
    except TemplateFault as fault:
        return [Problem(where, f"{fault.message} (each argument is a template of its own)")]
    return [] if line.strip() else [Problem(where, "the command is empty; write a program and its arguments")]


def _template_problems(where: Where, text: str, known: Sequence[str] | None) -> Iterator[Problem]:
    try:
        used = variables_of(text)
    except TemplateFault as fault:
        yield Problem(where, fault.message, fault.line)
        return
    for root, name, line in used:
        fields = {"item": known, "task": _TASK_FIELDS}.get(root, ())
        if root not in ROOTS:
            fault_text = f"unknown variable `{root}`{hint(root, fields or ())}; a template sees `item` and `task`"
            yield Problem(where, fault_text.replace("; there is none", ""), line)
        elif root == "item" and known == ():
            yield Problem(where, f"`item.{name}` is not known here: this command judges no single subtask", line)
        elif fields is not None and name not in fields:
            yield Problem(where, f"unknown variable `{root}.{name}`{hint(name, fields, f'{root}.')}", line)


def _skill_problems(document: Document, where: Where, skills: Collection[str]) -> Iterator[Problem]:
    for place, name in _strings(document, where):
        if "{" not in name and name not in skills:
            yield Problem(place, f"there is no skill `{name}`{hint(name, sorted(skills))}")
