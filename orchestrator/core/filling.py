"""Fills in the strings of one subtask, and checks its globs against the files of the repository."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core import globs
from orchestrator.core.chat import estimate_tokens
from orchestrator.core.items import Problems, Where
from orchestrator.core.spec import CommandSpec, TaskSpec
from orchestrator.core.templates import Scope, TemplateFault, arguments, render
from orchestrator.core.values import Check

Placed = tuple[Where, str]


@dataclass(slots=True)
class Listing:
    """The files of the repository at the base, and their sizes in bytes where known."""

    paths: Sequence[str]
    sizes: Mapping[str, int]
    _matched: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, paths: Iterable[str], sizes: Mapping[str, int] | None = None) -> "Listing":
        """Make one from paths in any order."""
        return cls(sorted(paths), sizes or {})

    def matching(self, pattern: str) -> list[str]:
        """Return the files that a glob means."""
        if pattern not in self._matched:
            self._matched[pattern] = globs.select_sorted(self.paths, pattern)
        return self._matched[pattern]

    def is_folder(self, path: str) -> bool:
        """Whether there are files below this path."""
        start = bisect_left(self.paths, f"{path}/")
        return start < len(self.paths) and self.paths[start].startswith(f"{path}/")

    def weight(self, writable: Sequence[str], instruction: str) -> float:
        """Estimate the work, in tokens: the instruction, and the files that may change."""
        files = {path for pattern in writable for path in self.matching(pattern)}
        return float(estimate_tokens(instruction) + sum(-(-self.sizes.get(path, 0) // 4) for path in files))


def commands_of(spec: TaskSpec, own: tuple[Where, object]) -> tuple[Where, tuple[CommandSpec, ...]]:
    """Return the checks that judge a subtask: its own gate's, else the task's; and where they stand."""
    where, gate = own
    if gate is None:
        return ("gate", "checks"), spec.gate.checks
    checks: tuple[CommandSpec, ...] = getattr(gate, "checks", ())
    return (*where, "checks"), checks


@dataclass(slots=True)
class Filler:
    """Fills in the strings of one subtask and notes what goes wrong, so that one mistake does not hide the next."""

    variables: Scope
    label: str
    problems: Problems
    failed: bool = False

    def _note(self, where: Where, fault: TemplateFault) -> None:
        self.failed = True
        self.problems.add(where, fault.message, self.label, fault.line)

    def text(self, where: Where, template: object, *, as_glob: bool = False) -> str | None:
        """Fill in one template."""
        try:
            return render(str(template), self.variables, as_glob=as_glob)
        except TemplateFault as fault:
            self._note(where, fault)
            return None

    def texts(self, where: Where, templates: object, *, as_glob: bool = False) -> list[Placed]:
        """Fill in a list of templates; empty results are left out."""
        given = templates if isinstance(templates, tuple) else ()
        filled = [
            ((*where, place), self.text((*where, place), one, as_glob=as_glob)) for place, one in enumerate(given)
        ]
        return [(place, text.strip()) for place, text in filled if text is not None and text.strip()]

    def checks(self, where: Where, commands: Sequence[CommandSpec]) -> tuple[Check, ...]:
        """Fill in the commands of a gate."""
        made: list[Check] = []
        for place, command in enumerate(commands):
            try:
                argv = arguments(command.run, self.variables)
            except TemplateFault as fault:
                self._note((*where, place, "run"), fault)
                continue
            env = {key: self.text((*where, place, "env", key), value) for key, value in command.env.items()}
            kept = {key: value for key, value in env.items() if value is not None}
            made.append(Check(name=command.name, argv=argv, timeout_s=command.timeout_s, env=kept))
        return tuple(made)


def check_globs(patterns: Sequence[Placed], listing: Listing, label: str, problems: Problems) -> None:
    """Report globs that lead out of the repository, that cannot be read, or that name a folder as if it were a file."""
    for where, pattern in patterns:
        fault = globs.problem_in(pattern)
        if fault is not None:
            problems.add(where, f"{pattern!r} {fault}", label)
        elif globs.is_literal(pattern) and listing.is_folder(pattern):
            problems.add(where, f"{pattern!r} is a folder; write `{pattern}/` for everything below it", label)


def check_protected(writable: Sequence[Placed], protected: Sequence[str], label: str, problems: Problems) -> None:
    """Report single files that are writable and protected at once: every change to them would be refused."""
    for where, pattern in writable:
        if globs.is_literal(pattern) and globs.matches(pattern, protected):
            message = f"{pattern!r} is writable, and protected by gate.protected; take it out of one of the two"
            problems.add(where, message, label)
