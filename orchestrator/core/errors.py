"""Every error that this program raises on purpose, and the exit code that each becomes.

    OrchestratorError                 1
    ├── SpecError                     2   a file that a person wrote is wrong: says file, line, what to write
    ├── EnvironmentFault              3   something outside is missing or broken: git, a key, a disk, a lock
    │   ├── GitError                  3   git refused; carries its arguments and its own words
    │   ├── GateError                 3   the gate itself could not run (never: the patch was bad, that is a Verdict)
    │   └── BackendError              3   a model backend failed; `kind` says how, `retryable` says what follows
    └── JournalError                  4   the log contradicts the transition table, or cannot be read: a bug or a damaged file

A class exists here only where somebody catches it differently. Exit code 130 (interrupted) is no error: the run
was asked to stop, and `orchestrate resume` goes on.
"""

from typing import Literal

from orchestrator.core.values import Allowance

BackendFault = Literal[
    "rate_limit",
    "overloaded",
    "transient",
    "stall",
    "malformed_response",
    "auth",
    "billing",
    "unknown_model",
    "invalid_request",
    "context_too_long",
    "budget",
    "not_recorded",
]
RETRYABLE_FAULTS: frozenset[BackendFault] = frozenset(
    {"rate_limit", "overloaded", "transient", "stall", "malformed_response"}
)


class OrchestratorError(Exception):
    """Base of the tree; `exit_code` is what the command line returns for it."""

    exit_code = 1


class SpecError(OrchestratorError):
    """One or more mistakes in a task, config, or skill file, all of them at once.

    `problems` are complete lines, each `file:line: what is wrong; what to write instead`.
    """

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class EnvironmentFault(OrchestratorError):
    """Something outside of this program is missing, locked or broken."""

    exit_code = 3


class GitError(EnvironmentFault):
    """git ended with a non-zero status where that was not an answer."""


class GateError(EnvironmentFault):
    """The gate could not judge: its set-up failed, a command does not exist, the tree could not be made."""


class BackendError(EnvironmentFault):
    """A model backend did not answer.

    `kind` is one of `BackendFault`; `retry_after_s` is what the provider asked for, in seconds, if it did. `needed` comes with
    `budget`: what the request would have had to reserve. `is_unsent` is set where nothing of the request can have reached anybody.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: BackendFault,
        retry_after_s: float | None = None,
        needed: Allowance | None = None,
        is_unsent: bool = False,
    ) -> None:
        super().__init__(message)
        self.kind: BackendFault = kind
        self.retry_after_s = retry_after_s
        self.needed = needed
        self.is_unsent = is_unsent

    @property
    def is_retryable(self) -> bool:
        """Whether asking again may help; the other kinds stop the run with what to do."""
        return self.kind in RETRYABLE_FAULTS


class JournalError(OrchestratorError):
    """An event that the transition table does not allow, or a journal that cannot be read."""

    exit_code = 4
