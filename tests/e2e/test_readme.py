"""Every command that the README shows is run, in its order, in a copy of the repository."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import COMMAND

ROOT = Path(__file__).parents[2]


def commands():
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines() if line.startswith("$ ")]


@pytest.mark.slow
def test_every_command_of_the_readme_works(tmp_path):
    for name in ("tasks", "configs", "skills", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for git in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", *git], cwd=tmp_path, check=True)
    shown = [command.split() for command in commands()]
    assert [command for command in shown if command[0] == "make"] == [["make", "demo"], ["make", "test"]]
    ran = [command for command in shown if command[0] == "orchestrate"]
    assert len(ran) > 8
    for command in ran:
        # The simulated model answers at once here; `make demo` is where its latency is real.
        faster = ["--backend", "stub-instant"] if command[1] == "run" else []
        done = subprocess.run(
            [COMMAND, *command[1:], *faster], cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stdout or done.stderr
