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

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from orchestrator import __version__
from orchestrator.cli import console, inspecting, results, running, starting
from orchestrator.core.errors import OrchestratorError, SpecError
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


for group in (starting, running, inspecting, results):
    group.add_to(app)


def main() -> None:
    """Run the command line; every expected error becomes a message on standard error and its exit code."""
    try:
        code: Any = app(standalone_mode=False)
    except OrchestratorError as error:
        _complain(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except KeyboardInterrupt:
        sys.exit(130)
    except SystemExit as ended:
        # The command-line library itself wrote (help, the version) to a pipe that is closed, and would end with 1.
        sys.exit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code)
    except Exception as error:
        if not hasattr(error, "show"):  # what click says about a wrong command line
            raise
        try:
            error.show()
        except BrokenPipeError:
            console.stop_writing(sys.stderr)
        sys.exit(getattr(error, "exit_code", 2))
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: OrchestratorError) -> None:
    terminal = console.err()
    if isinstance(error, SpecError):
        for problem in error.problems:
            terminal.print(Text(clean(problem)))
        return
    terminal.print(Text.assemble(("error: ", "bold red"), clean(str(error))))
