"""What each subtask is about: the items of `foreach`, `list`, `matrix` and `dataset`, and the ids made from them.

An item is the values that its templates see as `item`, a label for messages, and where in the task file it comes from.
Problems are collected, never raised one by one: a person who fixes a file wants to see all of them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from unicodedata import normalize

from orchestrator.core import globs
from orchestrator.core.errors import OrchestratorError
from orchestrator.core.spec import ForeachSpec, ListedSubtask, SplitSpec
from orchestrator.core.templates import PathText

Where = tuple[str | int, ...]
MAX_ID = 100
_NOT_IN_AN_ID = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class SplitProblem:
    """One mistake. `where` is its path in the task file; `line` counts within that value, from 1."""

    where: Where
    message: str
    line: int = 1

    def __str__(self) -> str:
        return f"{spelled(self.where)}: {self.message}" if self.where else self.message


class SplitError(OrchestratorError):
    """The task cannot be split as it stands; every problem at once. The catalog adds file and line."""

    exit_code = 2

    def __init__(self, problems: Sequence[SplitProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def spelled(where: Where) -> str:
    """Spell a path as people write it: `split.list[3].needs`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where)
    return text.removeprefix(".")


@dataclass(slots=True)
class Problems:
    """Collects mistakes. One that many items share is one mistake, with the first item named and the others counted."""

    _found: dict[SplitProblem, list[str]] = field(default_factory=dict)

    def add(self, where: Where, message: str, label: str = "", line: int = 1) -> None:
        """Note one mistake; `label` names the item that showed it."""
        self._found.setdefault(SplitProblem(where, message, line), []).append(label)

    def raise_any(self) -> None:
        """Raise `SplitError` with all of them, if there is one."""
        if self._found:
            raise SplitError([_with_labels(problem, labels) for problem, labels in self._found.items()])


def _with_labels(problem: SplitProblem, labels: Sequence[str]) -> SplitProblem:
    named = list(dict.fromkeys(label for label in labels if label))
    if not named:
        return problem
    others = f" and {len(named) - 1:,} more" if len(named) > 1 else ""
    return SplitProblem(problem.where, f"{problem.message} (for {named[0]}{others})", problem.line)


@dataclass(frozen=True, slots=True)
class Item:
    """What one subtask is about. `default_id` is the text that its id is made of when the template gives none."""

    where: Where
    label: str
    fields: Mapping[str, object]
    default_id: str
    listed: ListedSubtask | None = None


def normal_id(text: str) -> str:
    """Return the id that a text stands for: lower-case ASCII, fit for a git ref, a file name and a URL.

    `src/My File.py` becomes `src-my-file.py`; "" means that nothing usable is left.
    """
    plain = normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"\.{2,}", ".", _NOT_IN_AN_ID.sub("-", plain)).lstrip("._-").rstrip(".-")
    # git keeps `*.lock` for itself.
    return re.sub(r"\.lock$", "-lock", slug)


def items_of(
    split: SplitSpec, paths: Sequence[str], rows: Sequence[Mapping[str, object]], problems: Problems
) -> list[Item]:
    """Return the items in the order foreach, list, matrix, dataset."""
    items: list[Item] = []
    if split.foreach is not None:
        items += _files(split.foreach, paths, problems)
    for place, listed in enumerate(split.listed or ()):
        items.append(Item(("split", "list", place), repr(listed.id), listed.vars, listed.id, listed))
    if split.matrix is not None:
        items += _combinations(split.matrix, problems)
    if split.dataset is not None:
        items += [_row(number, row) for number, row in enumerate(rows, start=1)]
        if not rows:
            problems.add(("split", "dataset"), "the data set has no rows; write at least one")
    return items


def _files(foreach: ForeachSpec, paths: Sequence[str], problems: Problems) -> list[Item]:
    where: Where = ("split", "foreach")
    patterns = (foreach.glob,) if isinstance(foreach.glob, str) else foreach.glob
    faults = [
        (place, pattern, fault)
        for place, given in (("glob", patterns), ("exclude", foreach.exclude))
        for pattern in given
        if (fault := globs.problem_in(pattern)) is not None
    ]
    for place, pattern, fault in faults:
        problems.add((*where, place), f"the glob {pattern!r} {fault}")
    found = [] if faults else globs.select(paths, patterns, foreach.exclude)
    if not found and not faults:
        problems.add((*where, "glob"), _nothing(patterns, paths))
    return [Item(where, repr(path), file_fields(path), path) for path in found]


def _nothing(patterns: Sequence[str], paths: Sequence[str]) -> str:
    wanted = " or ".join(repr(pattern) for pattern in patterns) or "an empty list"
    matched = globs.select(paths, patterns)
    if matched:
        return f"{wanted} matches {len(matched)} files, and `exclude` takes all of them away; narrow `exclude`"
    example = f"; the repository holds for example {paths[len(paths) // 2]!r}" if paths else "; it is empty"
    return f"{wanted} matches none of the repository's {len(paths):,} files{example}"


def file_fields(path: str) -> dict[str, object]:
    """Return what `item` has of a file: path, name, stem, suffix (with its dot) and parent ("." at the root)."""
    parent, _, name = path.rpartition("/")
    dot = name.rfind(".")
    stem, suffix = (name[:dot], name[dot:]) if 0 < dot < len(name) - 1 else (name, "")
    parts = {"path": path, "name": name, "stem": stem, "suffix": suffix, "parent": parent or "."}
    return {key: PathText(text) for key, text in parts.items()}


FILE_FIELDS = tuple(file_fields("x"))


def _combinations(matrix: Mapping[str, Sequence[object]], problems: Problems) -> list[Item]:
    empty = [key for key, values in matrix.items() if not values]
    for key in empty:
        problems.add(("split", "matrix", key), f"`{key}` has no values; list at least one")
    if not matrix:
        problems.add(("split", "matrix"), "the matrix has no variables; write `name: [value, …]`")
    combinations = () if empty or not matrix else product(*matrix.values())
    return [
        Item(
            ("split", "matrix"),
            "-".join(str(value) for value in values),
            dict(zip(matrix, values, strict=True)),
            "-".join(str(value) for value in values),
        )
        for values in combinations
    ]


def _row(number: int, row: Mapping[str, object]) -> Item:
    given = row.get("id")
    default = str(given) if isinstance(given, str | int) and str(given).strip() else f"row-{number}"
    return Item(("split", "dataset"), f"row {number}", row, default)
