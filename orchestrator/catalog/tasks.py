"""Task files: read, judged as a whole, and turned into subtasks.

`load_task` looks at everything that can be known without the repository's files: the shape, the templates and their
variables, the globs, the skills, the files and folders that are named. `expand_task` adds what needs them.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog.datasets import Row, read_rows
from orchestrator.catalog.explain import validate
from orchestrator.catalog.files import Document, Problem, fail, read_yaml
from orchestrator.catalog.meaning import meaning_problems
from orchestrator.core.errors import SpecError
from orchestrator.core.items import SplitError, Where
from orchestrator.core.needs import hint
from orchestrator.core.spec import TaskSpec
from orchestrator.core.split import expand
from orchestrator.core.values import Digest, Subtask, digest_of


@dataclass(frozen=True, slots=True)
class LoadedTask:
    """A task file that can be worked with.

    `repo_path` is the resolved folder of `repo.path` (None with `repo.url`), `reference` that of the reference solutions.
    `digest` covers the validated specification and the data set's rows, not the layout of the file.
    """

    spec: TaskSpec
    path: Path
    rows: tuple[Row, ...]
    repo_path: Path | None
    reference: Path | None
    digest: Digest
    document: Document
    skills: frozenset[str] | None = None

    @property
    def directory(self) -> Path:
        """The folder of the file, which its paths are relative to."""
        return self.path.parent

    def line_of(self, where: Where) -> int:
        """Return the line, from 1, where a part of the specification stands."""
        return self.document.line_of(where)

    def problems_of(self, error: SplitError) -> SpecError:
        """Return what is wrong with the split, with file and line."""
        try:
            self.document.refuse(Problem(found.where, found.message, found.line) for found in error.problems)
        except SpecError as placed:
            return placed
        return fail(self.path, str(error))


def load_task(path: Path, skills: Collection[str] | None = None) -> LoadedTask:
    """Read a task file. Raises `SpecError` with every problem that can be known without the repository's files.

    `skills` are the names that may be used; None does not check them.
    """
    document = read_yaml(path)
    document.value = _with_named_setup(document.value)
    spec, problems = validate(document, TaskSpec)
    rows: tuple[Row, ...] | None = ()
    elsewhere: list[str] = []
    dataset = document.at(("split", "dataset"))
    if isinstance(dataset, str):
        try:
            rows = _rows(path.parent / dataset)
        except _Missing:
            rows = None
            problems.append(Problem(("split", "dataset"), f"there is no file {dataset!r} beside the task file"))
        except SpecError as error:
            rows = None
            elsewhere += error.problems
    if isinstance(document.value, dict):
        problems += meaning_problems(document, rows, skills)
    document.refuse(problems, elsewhere)
    if spec is None or rows is None:
        raise fail(path, "the task cannot be read")
    return LoadedTask(
        spec=spec,
        path=path,
        rows=rows,
        repo_path=(path.parent / spec.repo.path).resolve() if spec.repo.path is not None else None,
        reference=(path.parent / spec.reference).resolve() if spec.reference is not None else None,
        digest=_digest(spec, rows),
        document=document,
        skills=frozenset(skills) if skills is not None else None,
    )


class _Missing(Exception):
    """The data set is not there."""


def _rows(path: Path) -> tuple[Row, ...]:
    try:
        is_there = path.is_file()
    except ValueError:  # a NUL character
        is_there = False
    if not is_there:
        raise _Missing
    return read_rows(path)


def _digest(spec: TaskSpec, rows: tuple[Row, ...]) -> Digest:
    # Without defaults: a setting that a later version adds is no change of the task.
    content = {"spec": spec.model_dump(mode="json", by_alias=True, exclude_defaults=True), "rows": rows}
    return digest_of(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())


def _with_named_setup(value: object) -> object:
    """Give commands of `gate.setup` that are bare lists or lines the long form."""
    if not isinstance(value, dict) or not isinstance(gate := value.get("gate"), dict):
        return value
    setup = gate.get("setup")
    if not isinstance(setup, list):
        return value
    named = [
        {"name": f"setup-{number}", "run": command} if isinstance(command, str | list) else command
        for number, command in enumerate(setup, start=1)
    ]
    return {**value, "gate": {**gate, "setup": named}}


def expand_task(
    loaded: LoadedTask, paths: Iterable[str], sizes: Mapping[str, int] | None = None
) -> tuple[Subtask, ...]:
    """Return the subtasks of a task, given the repository's files at the base. Raises `SpecError`."""
    try:
        subtasks = expand(loaded.spec, paths, loaded.rows, sizes)
    except SplitError as error:
        raise loaded.problems_of(error) from error
    if loaded.skills is not None:
        known = sorted(loaded.skills)
        loaded.document.refuse(
            Problem(("subtask", "skills"), f"there is no skill `{name}`{hint(name, known)} (for `{subtask.id}`)")
            for subtask in subtasks
            for name in subtask.skills
            if name not in loaded.skills
        )
    return subtasks
