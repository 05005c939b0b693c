"""Whether the commands of a gate are there at all: asked before anything is paid for, not when the first answer comes."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence

from orchestrator.core.values import Check, GateSettings

_FIND = "import importlib.util, sys; print(*[m for m in sys.argv[1:] if importlib.util.find_spec(m) is None])"
_TIMEOUT_S = 60.0


def missing_commands(
    checks: Iterable[Check], settings: GateSettings, path: str, repository: Sequence[str]
) -> list[str]:
    """Say what cannot be started, a line each: programs that are not on the path, modules that `python -m` would not find.

    What the repository itself may bring along (`./run.sh`, a module of its own) is not looked for. Blocks for as long as an
    interpreter takes to start.
    """
    argvs = [check.argv for check in (*settings.setup, *checks)]
    programs = dict.fromkeys(argv[0] for argv in argvs if "/" not in argv[0] and argv[0] != "python")
    problems = [
        f"the gate's command {program!r} is not on the PATH; install it, or name it by its path"
        for program in programs
        if shutil.which(program, path=path) is None
    ]
    modules = dict.fromkeys(
        argv[2].split(".")[0] for argv in argvs if argv[0] == "python" and len(argv) > 2 and argv[1] == "-m"
    )
    own = {part.removesuffix(".py") for name in repository for part in name.split("/")}
    return problems + _missing_modules([module for module in modules if module not in own], settings)


def _missing_modules(modules: Sequence[str], settings: GateSettings) -> list[str]:
    python = settings.python or sys.executable
    hint = "activate the project's virtual environment, or write its interpreter into gate.python"
    try:
        asked = subprocess.run(
            [python, "-I", "-c", _FIND, *modules], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return [f"the gate's `python` is {python}, which cannot be started: {error}; {hint}"]
    return [
        f"the gate's `python` is {python}, which has no module {module!r}; {hint}" for module in asked.stdout.split()
    ]
