"""How git is started: with an environment of our own, a time limit, and its own words in every error.

Nothing of the user's git configuration, environment or terminal reaches a command, so nothing that lies in wait there
(hooks, filters, pagers, credential prompts, `GIT_*` variables) can run or change a result.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.core.errors import EnvironmentFault, GitError

OLDEST_GIT = (2, 34)
_HERMETIC = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
}
_QUIET = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_EDITOR": "true",
    "GIT_PAGER": "cat",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "LC_ALL": "C",
    "GIT_AUTHOR_NAME": "orchestrate",
    "GIT_AUTHOR_EMAIL": "orchestrate@localhost",
    "GIT_COMMITTER_NAME": "orchestrate",
    "GIT_COMMITTER_EMAIL": "orchestrate@localhost",
}
# What a command may need of the caller's environment: to find programs, and to reach a remote.
_PASSED_ON = frozenset(
    {
        *("PATH", "TMPDIR", "LD_LIBRARY_PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR"),
        *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    }
)
_IDENTITY = frozenset(name for name in _QUIET if name.startswith(("GIT_AUTHOR", "GIT_COMMITTER")))
_SHOWN_BYTES = 2_000


def hermetic_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for the run's own repository: what is needed of `env`, and none of the user's configuration."""
    return {name: value for name, value in env.items() if name in _PASSED_ON} | _HERMETIC | _QUIET


def personal_environment(env: Mapping[str, str]) -> dict[str, str]:
    """The environment for merging into the user's checkout, on request: their identity and file settings hold there."""
    kept = {name: value for name, value in env.items() if name in {*_PASSED_ON, "HOME", "XDG_CONFIG_HOME"}}
    return kept | {name: value for name, value in _QUIET.items() if name not in _IDENTITY}


_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command came to: its exit code and its bytes."""

    code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True, slots=True)
class Git:
    """Starts git with one environment. `timeout_s` bounds each command; the whole process group is killed at its end."""

    env: Mapping[str, str] = field(repr=False)
    timeout_s: float = 120.0

    def run(self, arguments: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> bytes:
        """Run a command that must succeed and return its output. Raises `GitError` with git's words."""
        answer = self.ask(arguments, stdin=stdin, timeout_s=timeout_s)
        if answer.code != 0:
            raise refusal(arguments, answer)
        return answer.stdout

    def ask(self, arguments: Sequence[str], *, stdin: bytes = b"", timeout_s: float | None = None) -> Answer:
        """Run a command whose exit code is an answer. Raises `GitError` only at the time limit."""
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        with self.start(arguments) as process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=limit_s)
            except subprocess.TimeoutExpired:
                kill_group(process)
                message = f"{_shown(arguments)} did not end within {limit_s:g} s and was stopped"
                raise GitError(message) from None
            except BaseException:
                kill_group(process)
                raise
        _log.debug("git ended", extra={"argv": list(arguments), "exit_code": process.returncode})
        return Answer(process.returncode, stdout, stderr)

    def start(self, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command with pipes on all three streams, as the leader of its own session."""
        try:
            return subprocess.Popen(
                ["git", *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(self.env),
                start_new_session=True,
            )
        except FileNotFoundError:
            wanted = ".".join(map(str, OLDEST_GIT))
            raise EnvironmentFault(f"git was not found on the PATH: install git {wanted} or newer") from None

    def version(self) -> tuple[int, int]:
        """The version of git, major and minor. Raises `EnvironmentFault` when it is too old."""
        words = self.run(["version"]).decode().split()
        major, minor = (int(part) for part in words[2].split(".")[:2])
        if (major, minor) < OLDEST_GIT:
            wanted = ".".join(map(str, OLDEST_GIT))
            raise EnvironmentFault(f"git {major}.{minor} is too old: install git {wanted} or newer")
        return major, minor


def refusal(arguments: Sequence[str], answer: Answer) -> GitError:
    """The error for a command that ended badly."""
    words = answer.stderr[-_SHOWN_BYTES:].decode(errors="replace").strip() or "it said nothing"
    return GitError(f"{_shown(arguments)} ended with code {answer.code}: {words}")


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that `start` made, and its children."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _shown(arguments: Sequence[str]) -> str:
    return "git " + " ".join(argument if argument.isprintable() else repr(argument) for argument in arguments[:12])
