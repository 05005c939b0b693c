"""The gate: commands in order over a fresh tree; the first that fails ends it.

Nothing of the caller's environment reaches a command but `PATH` and the locale, so that no key does; each gets a home
and a temporary folder of its own, gone when it ends, and git looks for a repository in the tree and nowhere above it.

A command that fails, or is too slow, is a verdict about the patch; so is one that cannot start because of what the
patch, or a check before it, made of the tree: a script that is gone, not executable, or names no interpreter. Any other
command that cannot be started is a broken gate, and says what to do.

How a command is confined is one function (`Confine`): this version confines nothing and says so in every verdict
(`sandbox: none`).
"""

import asyncio
import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.errors import GateError
from orchestrator.core.values import Check, CheckResult, Digest, GateSettings, Verdict, digest_of
from orchestrator.files import discard
from orchestrator.gate.feedback import excerpt
from orchestrator.ports import Clock, Judgement
from orchestrator.process import Finished, run_command

Confine = Callable[[Sequence[str], Path], Sequence[str]]
"""Turns an argument list into one that runs confined to a tree."""

_OUT_OF_RESOURCES = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOSPC})


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
        for check in checks:
            started = self.clock.now()
            finished = await self._outcome(check, tree, is_first=not results)
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
                return Judgement(verdict.model_copy(update={"checks": tuple(results), "sandbox": self.sandbox}), bodies)
        return Judgement(Verdict(passed=True, reason="passed", checks=tuple(results), sandbox=self.sandbox), bodies)

    async def prepare(self, tree: Path) -> None:
        """Run the set-up commands in a tree on the base. Raises `GateError` with the output when one fails."""
        for check in self.settings.setup:
            try:
                finished = await self._run(check, tree)
            except OSError as error:
                raise self._broken(check, error) from error
            if finished.exit_code != 0:
                how = f"took more than {check.timeout_s:g} s" if finished.timed_out else f"exited {finished.exit_code}"
                raise GateError(f"gate.setup {check.name!r} {how}:\n{excerpt(finished.output)}")

    async def _outcome(self, check: Check, tree: Path, *, is_first: bool) -> Finished:
        """Run a check; one that cannot start through the tree's fault ends as a shell would have it, with 126 or 127."""
        try:
            return await self._run(check, tree)
        except OSError as error:
            command = self._resolve(check.argv)[0]
            if error.errno in _OUT_OF_RESOURCES:
                raise self._broken(check, error) from error
            if error.filename == command and _is_in_tree(command, tree):
                said = (
                    f"error: cannot start {command!r}: {error.strerror}; is it there, executable, with an interpreter?"
                )
            elif error.filename == str(tree) and not is_first:
                said = f"error: cannot start {command!r}: an earlier check removed the working tree: {error.strerror}"
            else:
                raise self._broken(check, error) from error
            return Finished(127 if error.errno == errno.ENOENT else 126, f"{said}\n".encode(), timed_out=False)

    async def _run(self, check: Check, tree: Path) -> Finished:
        """Run one command with a home of its own. Raises the OSError that kept it from starting."""
        scratch = self._scratch()
        try:
            return await run_command(
                self.confine(self._resolve(check.argv), tree),
                cwd=tree,
                env=self._environment(check, tree, scratch),
                timeout_s=check.timeout_s,
                max_output_bytes=self.settings.max_output_bytes,
            )
        finally:
            await asyncio.to_thread(discard, scratch)

    def _scratch(self) -> Path:
        try:
            scratch = Path(tempfile.mkdtemp(prefix="orchestrate-gate-"))
            for name in ("home", "tmp"):
                (scratch / name).mkdir()
        except OSError as error:
            raise GateError(f"cannot make a temporary folder for a check: {error}; make room, or set TMPDIR") from error
        return scratch

    def _broken(self, check: Check, error: OSError) -> GateError:
        hint = "install it, or name it in the task's gate by its path"
        return GateError(
            f"the gate's command {check.name!r} cannot start: {error.filename!r}: {error.strerror}; {hint}"
        )

    def _resolve(self, argv: Sequence[str]) -> Sequence[str]:
        if argv[0] == "python":
            return (self.settings.python or sys.executable, *argv[1:])
        found = shutil.which(argv[0], path=self.path) if "/" not in argv[0] else argv[0]
        return (found or argv[0], *argv[1:])

    def _environment(self, check: Check, tree: Path, scratch: Path) -> dict[str, str]:
        return {
            "PATH": self.path,
            **self.locale,
            "HOME": str(scratch / "home"),
            "TMPDIR": str(scratch / "tmp"),
            "GIT_CEILING_DIRECTORIES": str(tree.absolute().parent),
            "PYTHONDONTWRITEBYTECODE": "1",
            **self.settings.env,
            **check.env,
        }


def _is_in_tree(command: str, tree: Path) -> bool:
    """Whether a command is a file of the tree, by what its path says: the patch may have made links of it."""
    if "/" not in command:
        return False
    root = os.path.abspath(tree)  # noqa: PTH100 — resolving would follow the tree's own links
    return os.path.normpath(Path(root, command)).startswith(f"{root}/")


def _failed(check: Check, finished: Finished, tree: Path) -> Verdict:
    shown = excerpt(finished.output).replace(f"{tree}/", "").replace(str(tree), ".")
    if finished.timed_out:
        told = f"The check `{check.name}` did not end within {check.timeout_s:g} s and was killed."
        return Verdict(passed=False, reason="timeout", feedback=f"{told}\n{shown}".rstrip())
    told = f"The check `{check.name}` failed (exit {finished.exit_code}): {' '.join(check.argv)}"
    return Verdict(passed=False, reason="check_failed", feedback=f"{told}\n{shown}".rstrip())
