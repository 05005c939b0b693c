"""What judges: the settings that all gates of a run share, and the checks of the integrated tree."""

from orchestrator.core import globs
from orchestrator.core.filling import Filler
from orchestrator.core.items import Problems
from orchestrator.core.spec import TaskSpec
from orchestrator.core.templates import scope, task_fields
from orchestrator.core.values import Check, GateSettings


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


def integration_checks(spec: TaskSpec) -> tuple[Check, ...]:
    """Return the checks of `integration_gate`; none without it: then the checks of what is integrated judge it.

    Raises `SplitError`.
    """
    if spec.integration_gate is None:
        return ()
    problems = Problems()
    filler = Filler(scope({}, task_fields(spec.name, spec.description)), "", problems)
    checks = filler.checks(("integration_gate", "checks"), spec.integration_gate.checks)
    problems.raise_any()
    return checks
