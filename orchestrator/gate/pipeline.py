"""The gate: commands in order over a fresh tree; the first that fails ends it.

Nothing of the caller's environment reaches a command but `PATH` and the locale, so that no key does; each gets a home
and a temporary folder of its own. A command that fails, or is too slow, is a verdict about the patch. A command that
cannot be started is a broken gate, and says what to do.

How a command is confined is one function (`Confine`): this version confines nothing and says so in every verdict
(`sandbox: none`).
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.errors import GateError
from orchestrator.core.values import Check, CheckResult, Digest, GateSettings, Verdict, digest_of
from orchestrator.gate.feedback import excerpt
from orchestrator.ports import Clock, Judgement
from orchestrator.process import Finished, run_command

Confine = Callable[[Sequence[str], Path], Sequence[str]]
"""Turns an argument list into one that runs confined to a tree."""


def unconfined(argv: Sequence[str], tree: Path) -> Sequence[str]:  # noqa: ARG001 — the seam's signature
    """Run a command as it is."""
    return argv


@dataclass(frozen=True, slots=True)
class CommandGate:
    """Judges trees by commands. `path` and `locale` are all that commands see of the caller's environment."""

    settings: GateSettings
    clock: Clock
    path: str
    locale: Mapping[str, str] = field(default_factory=dict)
    confine: Confine = unconfined
    sandbox: str = "none"

    async def judge(self, tree: Path, checks: Sequence[Check]) -> Judgement:
        """Run the checks in order; see `ports.Gate`."""
        results: list[CheckResult] = []
        bodies: dict[Digest, bytes] = {}
        with tempfile.TemporaryDirectory(prefix="orchestrate-gate-") as scratch:
            for check in checks:
                started = self.clock.now()
                finished = await self._run(check, tree, Path(scratch))
                output = digest_of(finished.output)
                bodies[output] = finished.output
                passed = finished.exit_code == 0
                results.append(
                    CheckResult(
                        name=check.name,
                        passed=passed,
                        exit_code=finished.exit_code,
                        timed_out=finished.timed_out,
                        duration_s=self.clock.now() - started,
                        output=output,
                    )
                )
                if not passed:
                    verdict = _failed(check, finished, tree)
                    return Judgement(
                        verdict.model_copy(update={"checks": tuple(results), "sandbox": self.sandbox}), bodies
                    )
        return Judgement(Verdict(passed=True, reason="passed", checks=tuple(results), sandbox=self.sandbox), bodies)

    async def prepare(self, tree: Path) -> None:
        """Run the set-up commands in a tree on the base. Raises `GateError` with the output when one fails."""
        with tempfile.TemporaryDirectory(prefix="orchestrate-setup-") as scratch:
            for check in self.settings.setup:
                finished = await self._run(check, tree, Path(scratch))
                if finished.exit_code != 0:
                    how = (
                        f"took more than {check.timeout_s:g} s"
                        if finished.timed_out
                        else f"exited {finished.exit_code}"
                    )
                    raise GateError(f"gate.setup {check.name!r} {how}:\n{excerpt(finished.output)}")

    async def _run(self, check: Check, tree: Path, scratch: Path) -> Finished:
        argv = self._resolve(check.argv)
        try:
            return await run_command(
                self.confine(argv, tree),
                cwd=tree,
                env=self._environment(check, scratch),
                timeout_s=check.timeout_s,
                max_output_bytes=self.settings.max_output_bytes,
            )
        except OSError as error:
            hint = "install it, or name it in the task's gate by its path"
            raise GateError(
                f"the gate's command {check.name!r} cannot start: {argv[0]!r}: {error.strerror}; {hint}"
            ) from error

    def _resolve(self, argv: Sequence[str]) -> Sequence[str]:
        if argv[0] == "python":
            return (self.settings.python or sys.executable, *argv[1:])
        found = shutil.which(argv[0], path=self.path) if "/" not in argv[0] else argv[0]
        return (found or argv[0], *argv[1:])

    def _environment(self, check: Check, scratch: Path) -> dict[str, str]:
        for name in ("home", "tmp"):
            (scratch / name).mkdir(exist_ok=True)
        return {
            "PATH": self.path,
            **self.locale,
            "HOME": str(scratch / "home"),
            "TMPDIR": str(scratch / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.settings.env,
            **check.env,
        }


def _failed(check: Check, finished: Finished, tree: Path) -> Verdict:
    shown = excerpt(finished.output).replace(f"{tree}/", "").replace(str(tree), ".")
    if finished.timed_out:
        told = f"The check `{check.name}` did not end within {check.timeout_s:g} s and was killed."
        return Verdict(passed=False, reason="timeout", feedback=f"{told}\n{shown}".rstrip())
    told = f"The check `{check.name}` failed (exit {finished.exit_code}): {' '.join(check.argv)}"
    return Verdict(passed=False, reason="check_failed", feedback=f"{told}\n{shown}".rstrip())
