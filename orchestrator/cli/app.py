"""The command `orchestrate`: its groups, its options that are common, its exit codes.

0    all subtasks were merged, or the command did what it was asked
1    some subtasks were abandoned, or a limit was reached before the end
2    a task, configuration or skill file is wrong, or the command line is
3    the environment is: git, a command, a lock, a folder
4    the journal contradicts itself: a bug or a damaged file
130  interrupted; `orchestrate resume` goes on

A reader that goes away early (`orchestrate show | head -1`) changes none of them: the rest of the output goes nowhere and
the command ends as it would have.
"""

import errno
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator import __version__
from orchestrator.cli import checking, console, inspecting, measuring, results, running, serving, starting, whatif
from orchestrator.core.errors import EnvironmentFault, OrchestratorError, SpecError
from orchestrator.views.text import clean
from orchestrator.wiring.logs import configure_logs

EPILOG = (
    "Exit codes: 0 all merged · 1 some abandoned, or a limit reached · 2 a file or the command line is wrong · "
    "3 the environment is · 4 the journal is damaged · 130 interrupted (`orchestrate resume` goes on)."
)

app = typer.Typer(
    name="orchestrate",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"orchestrate {__version__}")
        raise typer.Exit


@app.callback()
def orchestrate(
    version: Annotated[  # noqa: ARG001 — acted on by its callback
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, help="Log to standard error; -vv logs everything.", show_default=False
        ),
    ] = 0,
    log: Annotated[
        Path | None, typer.Option("--log", help="Log everything to a file, as JSON lines.", metavar="FILE")
    ] = None,
) -> None:
    """Split a task on a git repository, let subagents work on it in parallel, gate every result, integrate, and measure.

    Start with `orchestrate init` in your own repository, or `orchestrate run tasks/refactor.yaml` in this one.
    Nothing touches your checkout: results are on a branch until you `orchestrate apply` them.
    """
    configure_logs(verbose, log)


for group in (starting, checking, running, inspecting, measuring, whatif, results, serving):
    group.add_to(app)


def main() -> None:
    """Run the command line; every expected error becomes a message on standard error and its exit code."""
    console.speak_any_encoding()
    try:
        code: Any = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except SystemExit as ended:
        # The command-line library itself wrote (help, the version) to a pipe that is closed, and would end with 1.
        sys.exit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except Exception as error:  # noqa: BLE001 — what was not expected is raised again
        sys.exit(_explained(error))
    sys.exit(code if isinstance(code, int) else 0)


def _explained(error: Exception) -> int:
    """Say what was expected to go wrong, and return its exit code; raise again what was not: it is a bug."""
    if isinstance(error, OrchestratorError):
        _complain(error)
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        console.stop_writing(sys.stdout)
        return _explained(EnvironmentFault(f"cannot write: {error.strerror}"))
    if not hasattr(error, "show"):  # what click says about a wrong command line
        raise error
    try:
        error.show()
    except BrokenPipeError:
        console.stop_writing(sys.stderr)
    return int(getattr(error, "exit_code", 2))


def _complain(error: OrchestratorError) -> None:
    terminal = console.err()
    if isinstance(error, SpecError):
        for problem in error.problems:
            terminal.print(Text(clean(problem)))
        return
    terminal.print(Text.assemble(("error: ", "bold red"), clean(str(error))))
