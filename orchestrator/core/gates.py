"""What judges: the settings that all gates of a run share, and the checks of the integrated tree."""

from collections import Counter
from collections.abc import Sequence

from orchestrator.core import globs
from orchestrator.core.filling import Filler
from orchestrator.core.items import Problems
from orchestrator.core.spec import TaskSpec
from orchestrator.core.templates import scope, task_fields
from orchestrator.core.values import Check, GateSettings, Subtask


def gate_settings(spec: TaskSpec) -> GateSettings:
    """Return what all gates of the run share. Raises `SplitError`."""
    problems = Problems()
    filler = Filler(scope({}, task_fields(spec.name, spec.description)), "", problems)
    setup = filler.checks(("gate", "setup"), spec.gate.setup)
    for place, pattern in enumerate(spec.gate.protected):
        fault = globs.problem_in(pattern)
        if fault is not None:
            problems.add(("gate", "protected", place), f"{pattern!r} {fault}")
    problems.raise_any()
    return GateSettings(setup=setup, protected=spec.gate.protected, env=spec.gate.env, python=spec.gate.python)


def integration_checks(spec: TaskSpec, subtasks: Sequence[Subtask] = ()) -> tuple[Check, ...]:
    """Return what judges the integrated tree: `integration_gate`, or every different check of the subtasks.

    Checks that share a name and differ get the subtask's id added. Without `integration_gate` and subtasks there is
    none: whoever integrates then takes the checks of what is integrated. Raises `SplitError`.
    """
    if spec.integration_gate is None:
        return _united(subtasks)
    problems = Problems()
    filler = Filler(scope({}, task_fields(spec.name, spec.description)), "", problems)
    checks = filler.checks(("integration_gate", "checks"), spec.integration_gate.checks)
    problems.raise_any()
    return checks


def _united(subtasks: Sequence[Subtask]) -> tuple[Check, ...]:
    different: dict[tuple[object, ...], tuple[Check, str]] = {}
    for subtask in subtasks:
        for check in subtask.checks:
            key = (check.argv, tuple(sorted(check.env.items())))
            known = different.get(key)
            if known is None or known[0].timeout_s < check.timeout_s:
                different[key] = (check, known[1] if known else subtask.id)
    names = Counter(check.name for check, _ in different.values())
    return tuple(
        check.model_copy(update={"name": f"{check.name}:{subtask}"}) if names[check.name] > 1 else check
        for check, subtask in different.values()
    )
