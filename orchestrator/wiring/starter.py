"""The task file that `orchestrate init` writes: small, commented, and fit to be run in the repository that it is in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.catalog import schema_text
from orchestrator.core.errors import EnvironmentFault
from orchestrator.wiring.surroundings import Surroundings

_SKIPPED = frozenset({"node_modules", "vendor", "build", "dist", "target", "site-packages", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Ecosystem:
    """How to recognise a project, which of its files are code, and how its tests are run."""

    name: str
    marks: Sequence[str]
    suffix: str
    tests: str
    protected: Sequence[str]


_ECOSYSTEMS = (
    Ecosystem(
        "Python",
        ("pyproject.toml", "setup.py", "setup.cfg"),
        ".py",
        "python -m pytest -q",
        ("tests/", "pyproject.toml"),
    ),
    Ecosystem("JavaScript", ("package.json",), ".js", "npm test", ("test/", "tests/", "package.json")),
    Ecosystem("Go", ("go.mod",), ".go", "go test ./...", ("**/*_test.go", "go.mod")),
    Ecosystem("Rust", ("Cargo.toml",), ".rs", "cargo test", ("tests/", "Cargo.toml")),
)


@dataclass(frozen=True, slots=True)
class Starter:
    """The file that was written, and what it was made for."""

    path: Path
    what: str


def write_starter(surroundings: Surroundings, spec: Path, *, replace: bool) -> Starter:
    """Write a starter file and the schema that editors check it by. Raises `EnvironmentFault` when it is there already."""
    path = surroundings.cwd / spec
    if path.exists() and not replace:
        raise EnvironmentFault(f"{spec} is there already; give another name, or --force to replace it")
    root = next(
        (each for each in (surroundings.cwd, *surroundings.cwd.parents) if (each / ".git").exists()), surroundings.cwd
    )
    found = next((each for each in _ECOSYSTEMS if any((root / mark).exists() for mark in each.marks)), _ECOSYSTEMS[0])
    folder = _code_folder(root, found.suffix)
    if folder is None:
        raise EnvironmentFault(
            f"{root} has no {found.suffix} files yet, so there is nothing to cut into subtasks; "
            "run this where the code is, or write a task by hand: tasks/ in orchestrate's own repository has three"
        )
    glob = f"{folder}**/*{found.suffix}"
    store = surroundings.store()
    try:
        store.root.mkdir(parents=True, exist_ok=True)
        (store.root / ".gitignore").write_text("*\n")
        (store.root / "task.schema.json").write_text(schema_text())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_text(spec, _Place(path, root, store.root), found, glob))
    except OSError as error:
        raise EnvironmentFault(f"cannot write {spec}: {error.strerror}") from error
    return Starter(spec, f"a {found.name} project, one subtask for each {glob}")


def _code_folder(root: Path, suffix: str) -> str | None:
    """The top-level folder with the most code below it, as a prefix for globs; tests are not code here. None without any."""
    counts: dict[str, int] = {}
    for file in root.rglob(f"*{suffix}"):
        parts = file.relative_to(root).parts
        is_code = not any(part.startswith((".", "test", "conftest")) or part in _SKIPPED for part in parts)
        if is_code and file.stat().st_size:
            folder = parts[0] if len(parts) > 1 else ""
            counts[folder] = counts.get(folder, 0) + 1
    if not counts:
        return None
    best = max(counts, key=lambda folder: (counts[folder], folder))
    return f"{best}/" if best else ""


def _relative(target: Path, start: Path) -> str:
    """A path from one folder to another, upwards where it must be."""
    shared = next(parent for parent in (start, *start.parents) if target.is_relative_to(parent))
    ups = len(start.relative_to(shared).parts)
    return "/".join([".."] * ups + list(target.relative_to(shared).parts)) or "."


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the file, the repository and the store are."""

    path: Path
    root: Path
    store: Path


def _text(spec: Path, place: _Place, found: Ecosystem, glob: str) -> str:
    path, root = place.path, place.root
    schema = _relative(place.store / "task.schema.json", path.parent)
    is_checkout = (root / ".git").exists()
    repo = _relative(root, path.parent)
    source = (
        f"  path: {repo}            # this checkout; it is only read, the result is a branch\n  ref: HEAD"
        if is_checkout
        else f"  path: {repo}            # this folder; it is only read, `orchestrate apply` brings the result here"
    )
    protected = ", ".join(f'"{each}"' for each in found.protected)
    return f"""\
# yaml-language-server: $schema={schema}
#
# A task for orchestrate: what to do, how to cut it into subtasks, and how each result is judged.
# Try it offline first, with the simulated backend:
#   orchestrate plan {spec}
#   orchestrate run {spec}
version: 1
name: {path.stem.lower().replace(" ", "-")}
description: Document every module.

repo:
{source}

# One subtask for each file. Others: `list` (written out), `matrix`, `dataset` (.jsonl, .csv), `plan` (a model proposes).
split:
  foreach:
    glob: "{glob}"
    exclude: ["**/test*", "**/conftest*", "**/__init__*"]

subtask:
  title: "Document {{{{ item.path }}}}"
  instruction: |
    Give every public function, class and method in {{{{ item.path }}}} that has none a short documentation comment in the
    style of this project. Say what it is for and what it promises. Change nothing else.
  writable: ["{{{{ item.path }}}}"]      # a change to any other file is refused
  context_tokens: 12000              # of the repository, the prompt shows at most about so much
  attempts: 3                        # each after the first gets the gate's feedback

# Every result is judged in a fresh tree: the trunk as it is, plus the change.
gate:
  checks:
    - name: tests
      run: {found.tests}
      timeout_s: 300
  protected: [{protected}]   # always as in the base; a change to them is refused

limits:
  agents: 4
  gate_slots: 2
"""
