"""Check that the example tasks are what they claim to be.

    python tasks/check_references.py                    all three tasks
    python tasks/check_references.py refactor           one of them
    python tasks/check_references.py --mutants          is the refactor gate strict enough?
    python tasks/check_references.py --mutants money    the same for some subtasks

For every subtask: the gate refuses the base as it is, and accepts the base with the
reference solution (and those of its `needs`) applied. For every task: the integration
gate accepts the base and all references together, in whatever order they are applied.

With `--mutants`, every small mistake that can be made in a line that a reference adds
(a comparison flipped, a `not` forgotten, …) is made, and the gate has to notice.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

TASKS = Path(__file__).resolve().parent
JUNK = shutil.ignore_patterns("__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache")


@dataclass
class Check:
    name: str
    argv: list[str]
    timeout_s: float = 60


@dataclass
class Subtask:
    id: str
    writable: list[str]
    needs: list[str]
    checks: list[Check]
    diff: Path


@dataclass
class Task:
    name: str
    repo: Path
    subtasks: dict[str, Subtask]
    setup: list[Check]
    integration: list[Check]
    env: dict[str, str] = field(default_factory=dict)
    exclude: list[str] = field(default_factory=list)


def render(value: Any, item: dict[str, Any]) -> Any:
    if isinstance(value, str):
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        return environment.from_string(value).render(item=item)
    if isinstance(value, list):
        return [render(entry, item) for entry in value]
    if isinstance(value, dict):
        return {key: render(entry, item) for key, entry in value.items()}
    return value


def to_check(raw: Any) -> Check:
    entry = raw if isinstance(raw, dict) else {"name": "setup", "run": raw}
    run = entry["run"]
    argv = shlex.split(run) if isinstance(run, str) else [str(word) for word in run]
    if argv[0] == "python":
        argv[0] = sys.executable
    return Check(entry["name"], argv, entry.get("timeout_s", 60))


def matches(path: str, glob: str) -> bool:
    pattern = re.escape(glob).replace(r"\*\*/", "(?:.*/)?").replace(r"\*\*", ".*")
    return re.fullmatch(pattern.replace(r"\*", "[^/]*"), path) is not None


def items_of(split: dict[str, Any], repo: Path) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """(fields that override the template, the item's variables) for each subtask."""
    if "foreach" in split:
        spec = split["foreach"]
        for path in sorted(p.relative_to(repo) for p in repo.rglob("*") if p.is_file()):
            name = path.as_posix()
            if not matches(name, spec["glob"]):
                continue
            if any(matches(name, glob) for glob in spec.get("exclude", [])):
                continue
            yield {}, {"path": name, "stem": path.stem, "name": path.name}
    if "matrix" in split:
        keys = list(split["matrix"])
        for values in itertools.product(*(split["matrix"][key] for key in keys)):
            yield {}, dict(zip(keys, values, strict=True))
    for entry in split.get("list", []):
        fields = {key: value for key, value in entry.items() if key != "vars"}
        yield fields, dict(entry.get("vars", {}))


def load(name: str) -> Task:
    spec = yaml.safe_load((TASKS / f"{name}.yaml").read_text("utf-8"))
    repo = TASKS / spec["repo"]["path"]
    gate = spec["gate"]
    subtasks: dict[str, Subtask] = {}
    for fields, item in items_of(spec["split"], repo):
        merged = render({**spec["subtask"], **fields}, item)
        merged |= spec.get("overrides", {}).get(merged["id"], {})
        checks = render(merged.get("gate", gate)["checks"], item)
        subtasks[merged["id"]] = Subtask(
            merged["id"],
            merged["writable"],
            merged.get("needs", []),
            [to_check(check) for check in checks],
            TASKS / spec["reference"] / f"{merged['id']}.diff",
        )
    return Task(
        spec["name"],
        repo,
        subtasks,
        [to_check(command) for command in gate.get("setup", [])],
        [to_check(check) for check in spec["integration_gate"]["checks"]],
        gate.get("env", {}),
        spec["repo"].get("exclude", []),
    )


def run(check: Check, tree: Path, env: dict[str, str]) -> tuple[bool, str]:
    try:
        done = subprocess.run(
            check.argv,
            cwd=tree,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=check.timeout_s,
            text=True,
        )
    except subprocess.TimeoutExpired:
        return False, f"no end after {check.timeout_s} s"
    return done.returncode == 0, done.stdout


def gate(checks: list[Check], tree: Path, env: dict[str, str]) -> str | None:
    """The name and the output of the first check that fails."""
    for check in checks:
        passed, output = run(check, tree, env)
        if not passed:
            return f"{check.name}: {output.strip()[-2000:]}"
    return None


def git(tree: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=check", "-c", "user.email=check@localhost", *arguments]
    done = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    return done.stdout


def prepare(task: Task, scratch: Path) -> Path:
    base = scratch / f"{task.name}-base"
    shutil.copytree(task.repo, base, ignore=JUNK)
    for path in [p.relative_to(base) for p in base.rglob("*") if p.is_file()]:
        if any(matches(path.as_posix(), glob) for glob in task.exclude):
            (base / path).unlink()
    git(base, "init", "-q")
    git(base, "add", "-A")
    git(base, "commit", "-q", "-m", "base")
    failure = gate(task.setup, base, task.env)
    if failure:
        raise SystemExit(f"{task.name}: setup: {failure}")
    return base


def copy(base: Path, scratch: Path) -> Path:
    tree = Path(tempfile.mkdtemp(dir=scratch)) / "tree"
    shutil.copytree(base, tree, symlinks=True)
    for path in tree.rglob("*"):
        if path.is_file() and ".git" not in path.parts and ".mypy_cache" not in path.parts:
            os.utime(path)  # a fresh checkout has new times
    return tree


def with_needs(task: Task, name: str) -> list[str]:
    order: list[str] = []
    for need in [*task.subtasks[name].needs, name]:
        for entry in [need] if need == name else with_needs(task, need):
            if entry not in order:
                order.append(entry)
    return order


def full_order(task: Task, names: list[str]) -> list[str]:
    return list(dict.fromkeys(entry for name in names for entry in with_needs(task, name)))


def apply(task: Task, names: list[str], tree: Path) -> None:
    for name in names:
        git(tree, "apply", str(task.subtasks[name].diff))


def tree_text(tree: Path) -> dict[str, str]:
    listed = git(tree, "ls-files", "--cached", "--others", "--exclude-standard").split("\n")
    return {name: (tree / name).read_text("utf-8") for name in listed if name}


@dataclass
class Hunk:
    path: str
    before: str
    after: str
    added: list[int]


def hunks(diff: str) -> list[Hunk]:
    found: list[Hunk] = []
    path, line = "", 0
    for text in diff.split("\n"):
        if text.startswith("+++ b/"):
            path = text[6:]
        elif match := re.match(r"@@ -\d+(?:,\d+)? \+(\d+)", text):
            found.append(Hunk(path, "", "", []))
            line = int(match[1])
        elif found and text[:1] in (" ", "+", "-") and not text.startswith("--- "):
            hunk = found[-1]
            if text[0] != "+":
                hunk.before += text[1:] + "\n"
            if text[0] == "-":
                continue
            hunk.after += text[1:] + "\n"
            if text[0] == "+":
                hunk.added.append(line)
            line += 1
    return found


def check_diff(task: Task, subtask: Subtask) -> list[str]:
    problems = []
    for hunk in hunks(subtask.diff.read_text("utf-8")):
        if not any(matches(hunk.path, glob) for glob in subtask.writable):
            problems.append(f"{subtask.id}: touches {hunk.path}")
        source = task.repo / hunk.path
        if hunk.before and source.read_text("utf-8").count(hunk.before) != 1:
            problems.append(f"{subtask.id}: a hunk of {hunk.path} is not unique")
    return problems


def check_shared_files(task: Task) -> list[str]:
    """Search and replace of the hunks gives the same file in either order."""
    problems = []
    parsed = {name: hunks(s.diff.read_text("utf-8")) for name, s in task.subtasks.items()}
    names = sorted(parsed)
    for i, one in enumerate(names):
        for two in names[i + 1 :]:
            for path in {h.path for h in parsed[one]} & {h.path for h in parsed[two]}:
                results = []
                for order in ((one, two), (two, one)):
                    text = (task.repo / path).read_text("utf-8")
                    for hunk in (h for name in order for h in parsed[name] if h.path == path):
                        if text.count(hunk.before) != 1:
                            problems.append(f"{order}: a hunk does not apply to {path}")
                        text = text.replace(hunk.before, hunk.after)
                    results.append(text)
                if results[0] != results[1]:
                    problems.append(f"{one}, {two}: the order matters in {path}")
    return problems


def check_subtask(task: Task, subtask: Subtask, base: Path, scratch: Path) -> list[str]:
    problems = check_diff(task, subtask)
    tree = copy(base, scratch)
    order = with_needs(task, subtask.id)
    apply(task, order[:-1], tree)
    if gate(subtask.checks, tree, task.env) is None:
        problems.append(f"{subtask.id}: the gate accepts a change that does nothing")
    apply(task, order[-1:], tree)
    begin = os.times()
    failure = gate(subtask.checks, tree, task.env)
    end = os.times()
    if failure:
        problems.append(f"{subtask.id}: the gate refuses the reference: {failure}")
    cpu = end.children_user + end.children_system - begin.children_user - begin.children_system
    print(f"  {subtask.id:<16} {end.elapsed - begin.elapsed:5.2f} s  cpu {cpu:5.2f} s", flush=True)
    shutil.rmtree(tree.parent)
    return problems


def check_task(task: Task, scratch: Path) -> list[str]:
    print(f"{task.name}: {len(task.subtasks)} subtasks", flush=True)
    missing = [s.id for s in task.subtasks.values() if not s.diff.is_file()]
    if missing:
        return [f"{task.name}: no reference for {', '.join(missing)}"]
    base = prepare(task, scratch)
    problems = check_shared_files(task)
    failure = gate(task.integration, copy(base, scratch), task.env)
    if failure:
        problems.append(f"integration gate on the base: {failure}")
    for subtask in task.subtasks.values():
        problems += check_subtask(task, subtask, base, scratch)
    names = list(task.subtasks)
    results = []
    for order in (full_order(task, names), full_order(task, names[::-1])):
        tree = copy(base, scratch)
        apply(task, order, tree)
        results.append(tree_text(tree))
    if results[0] != results[1]:
        problems.append("the order in which the references are applied matters")
    begin = time.monotonic()
    failure = gate(task.integration, tree, task.env)
    if failure:
        problems.append(f"integration gate with all references: {failure}")
    print(f"  {'(integration)':<16} {time.monotonic() - begin:5.2f} s", flush=True)
    return [f"{task.name}: {problem}" for problem in problems]


# Mutants. Each is one replacement in the text, so that the layout of the file stays as it
# is and a lint rule about line lengths cannot notice by accident.

SWAPS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "is": "is not",
    "is not": "is",
    "in": "not in",
    "not in": "in",
    "+": "-",
    "-": "+",
    "*": "/",
    "/": "*",
    "//": "*",
    "%": "*",
    "and": "or",
    "or": "and",
    "+=": "-=",
    "-=": "+=",
    "*=": "/=",
}
OPERATOR = re.compile(r"(?<!\w)(is\s+not|not\s+in|is|in|and|or)(?!\w)|[<>=!]=|[+*/-]=|//|[<>+*/%-]")


@dataclass
class Mutant:
    line: int
    start: int
    end: int
    old: str
    new: str

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def mutants(source: bytes, lines: set[int]) -> list[Mutant]:
    tree = ast.parse(source)
    starts = [0]
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    found: dict[tuple[int, int, str], Mutant] = {}

    def begin(node: ast.expr | ast.stmt) -> int:
        return starts[node.lineno - 1] + node.col_offset

    def end(node: ast.expr | ast.stmt) -> int:
        return starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)

    def add(start: int, stop: int, new: str) -> None:
        line = source.count(b"\n", 0, start) + 1
        if line in lines:
            old = source[start:stop].decode()
            found[start, stop, new] = Mutant(line, start, stop, old, new)

    def operator(left: ast.expr, right: ast.expr | None, limit: int = 0) -> None:
        stop = begin(right) if right is not None else limit
        match = OPERATOR.search(source[end(left) : stop].decode())
        if match:
            old = re.sub(r"\s+", " ", match[0])
            if old in SWAPS:
                add(end(left) + match.start(), end(left) + match.end(), SWAPS[old])

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            for left, right in zip([node.left, *node.comparators], node.comparators, strict=False):
                operator(left, right)
        elif isinstance(node, ast.BoolOp):
            for left, right in zip(node.values, node.values[1:], strict=False):
                operator(left, right)
        elif isinstance(node, ast.BinOp):
            operator(node.left, node.right)
        elif isinstance(node, ast.AugAssign):
            operator(node.target, node.value)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            add(begin(node), begin(node.operand), "")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            add(begin(node), begin(node) + 1, "")
        elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
            add(begin(node), end(node), str(not node.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, int):
            if source[begin(node) : end(node)].isdigit():
                add(begin(node), end(node), str(node.value + 1))
        elif isinstance(node, ast.Return) and node.value is not None:
            add(begin(node.value), end(node.value), "None")
    valid = []
    for mutant in found.values():
        try:
            if ast.dump(ast.parse(mutant.apply(source))) != ast.dump(tree):
                valid.append(mutant)
        except SyntaxError:
            continue
    return sorted(valid, key=lambda mutant: (mutant.start, mutant.end))


def check_mutants(task: Task, subtask: Subtask, base: Path, scratch: Path) -> tuple[int, list[str]]:
    tree = copy(base, scratch)
    apply(task, with_needs(task, subtask.id), tree)
    total, survivors = 0, []
    added: dict[str, set[int]] = {}
    for hunk in hunks(subtask.diff.read_text("utf-8")):
        added.setdefault(hunk.path, set()).update(hunk.added)
    for path, lines in added.items():
        source = (tree / path).read_bytes()
        for mutant in mutants(source, lines):
            total += 1
            (tree / path).write_bytes(mutant.apply(source))
            if gate(subtask.checks, tree, task.env) is None:
                text = source.splitlines()[mutant.line - 1].decode().strip()
                change = f"{mutant.old!r} -> {mutant.new!r}"
                survivors.append(f"{path}:{mutant.line}: {change} in {text}")
        (tree / path).write_bytes(source)
    summary = f"  {subtask.id:<16} {total - len(survivors)}/{total}"
    print(summary, *survivors, sep="\n    ", flush=True)
    shutil.rmtree(tree.parent)
    return total, survivors


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", help="tasks, or subtasks of refactor with --mutants")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="references-") as folder:
        scratch = Path(folder)
        if not options.mutants:
            problems = []
            for name in options.names or ["refactor", "write_tests", "explain"]:
                problems += check_task(load(name), scratch)
            print(*problems or ["all references hold"], sep="\n")
            return 1 if problems else 0
        task = load("refactor")
        base = prepare(task, scratch)
        chosen = [task.subtasks[name] for name in options.names or task.subtasks]
        with ThreadPoolExecutor(options.jobs) as pool:
            results = list(pool.map(lambda s: check_mutants(task, s, base, scratch), chosen))
        survivors = sum(len(found) for _, found in results)
        total = sum(count for count, _ in results)
        print(f"{total - survivors} of {total} mutants are noticed")
        return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
