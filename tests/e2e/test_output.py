"""What reaches a terminal or a pipe: nothing that steers it, nothing broken by its width, no complaint when it closes."""

import asyncio
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from orchestrator.core.events import RunFinished, SplitFailed, SplitStarted
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.journal.store import RunStore
from tests.e2e.conftest import COMMAND
from tests.simulation import run_started

HOSTILE = "\x1b]52;c;aGVsbG8=\x07\x1b[2J"


@pytest.fixture
def ran(project):
    alpha = project.repo / "app" / "alpha.py"
    alpha.write_text(alpha.read_text().replace("\n\n\ndef value", f"\n\n# odd {HOSTILE}words\ndef value"))
    project.git("commit", "--quiet", "-am", "Say something odd")
    done = project.run("run", "task.yaml", "-b", "instant", "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr
    return project


def on_terminal(project, *arguments, columns=100):
    """What a terminal of that width gets to see."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    env = {**project.env(TERM="xterm-256color"), "COLUMNS": str(columns)}
    process = subprocess.Popen([COMMAND, *arguments], cwd=project.root, env=env, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while chunk := _read(ours):
        shown += chunk
    os.close(ours)
    assert process.wait(60) == 0, shown
    return shown.decode()


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # Linux says so when the other end has closed
        return b""


def into_closed_pipe(project, *arguments, is_all_closed=False):
    """Run with a reader that has gone away before the first word."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=project.root,
        env=project.env(),
        stdout=writer,
        stderr=writer if is_all_closed else subprocess.PIPE,
        timeout=60,
    )
    os.close(writer)
    return done


def test_a_file_cannot_steer_the_terminal_that_shows_the_diff(ran):
    for arguments in (["diff"], ["show", "last", "alpha"], ["show"], ["runs"], ["diff", "--stat"]):
        shown = on_terminal(ran, *arguments)
        assert "\x1b]" not in shown
        assert "\x1b[2J" not in shown
    assert "odd words" in on_terminal(ran, "diff")
    assert HOSTILE in ran.run("diff").stdout


def test_what_a_model_proposed_as_a_plan_cannot_steer_the_terminal(ran):
    folder = RunStore(ran.root / "store").create("odd")
    run = run_started().model_copy(update={"run": folder.run})
    with SqliteJournal(folder.journal) as journal:
        told = (
            run,
            SplitStarted(),
            SplitFailed(detail=f"no [red]such{HOSTILE} file"),
            RunFinished(reason="split_failed"),
        )
        asyncio.run(journal.append([(float(at), event) for at, event in enumerate(told)], {}))
    folder.repository.mkdir(exist_ok=True)
    (folder.repository / "HEAD").write_text("ref: refs/heads/main\n")
    shown = on_terminal(ran, "show", "--store", "store")
    assert "no [red]such file" in shown
    assert "\x1b]" not in shown
    assert "\x1b[2J" not in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["show", "--json"],
        ["show", "last", "alpha"],
        ["runs"],
        ["runs", "--json"],
        ["diff"],
        ["plan", "task.yaml", "-b", "instant"],
        ["--help"],
        ["--version"],
    ],
)
def test_a_reader_that_goes_away_gets_no_complaint_and_changes_no_exit_code(ran, arguments):
    done = into_closed_pipe(ran, *arguments)
    assert done.stderr == b""
    assert done.returncode == 0


@pytest.mark.parametrize(("arguments", "code"), [(["show", "nobody"], 3), (["rum"], 2), (["run", "missing.yaml"], 2)])
def test_a_reader_that_goes_away_does_not_change_how_an_error_ends(project, arguments, code):
    assert into_closed_pipe(project, *arguments, is_all_closed=True).returncode == code


def test_lines_after_the_reader_went_away_go_nowhere_and_the_writer_is_told():
    program = (
        "import sys\n"
        "from orchestrator.cli import console\n"
        "sys.stdin.readline()\n"
        "told = [console.line('one'), console.raw('two'), console.line('three')]\n"
        "console.out().print('four')\n"
        "console.err().print(told)\n"
        "sys.exit(7)\n"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()
        process.stdin.write("go\n")
        process.stdin.close()
        assert process.stderr.read() == "[False, False, False]\n"
    assert process.returncode == 7


def test_lines_that_are_read_are_said_to_be():
    program = "from orchestrator.cli import console\nassert console.line('one\x1b[2J')\nassert console.raw('two')\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\ntwo", "")


@pytest.mark.parametrize("option", ["--max-cost", "--max-time"])
@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
@pytest.mark.parametrize("command", [["run", "task.yaml"], ["resume"]])
def test_a_limit_of_nothing_is_refused_in_plain_words(project, option, value, command):
    done = project.run(*command, f"{option}={value}")
    assert done.returncode == 2
    assert option in done.stderr
    assert "above 0" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_grace_at_all_is_a_grace(project):
    assert project.run("run", "task.yaml", "-b", "instant", "--grace", "0", "--quiet").returncode == 0
