"""A small project with a task, and the real command run on it as a user would."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.core.events import PatchProposed
from orchestrator.core.fold import fold
from orchestrator.journal.sqlite import JournalReader

COMMAND = Path(sys.executable).with_name("orchestrate")
NAMES = ("alpha", "beta", "gamma", "delta")
MODULE = '''\
"""The {name} module."""


def value():
    return 0


def double(number):
    return number + number
'''
SOLUTION = """\
diff --git a/app/{name}.py b/app/{name}.py
--- a/app/{name}.py
+++ b/app/{name}.py
@@ -4,2 +4,2 @@
 def value():
-    return 0
+    return {number} + 1
"""
CHECK = '''\
"""Checks one module, or all that have changed from their first state: python -I check.py [NAME]."""
import pathlib, runpy, sys
wanted = {wanted}
for name in sys.argv[1:] or wanted:
    module = runpy.run_path(f"app/{{name}}.py")
    got = module["value"]()
    allowed = (wanted[name],) if sys.argv[1:] else (wanted[name], 0)
    assert got in allowed, f"{{name}}: value() gives {{got}}, not {{wanted[name]}}"
    assert module["double"](3) == 6
'''
TASK = """\
version: 1
name: values
repo: {{path: {repo}}}
split:
  foreach: {{glob: "app/*.py"}}
subtask:
  id: "{{{{ item.stem }}}}"
  instruction: Let value() in {{{{ item.path }}}} return what the check wants.
  writable: ["{{{{ item.path }}}}"]
  attempts: 4
reference: solutions
gate:
  checks:
    - {{name: value, run: "python -I check.py {{{{ item.stem }}}}", timeout_s: 30}}
  protected: ["check.py", "tests/"]
integration_gate:
  checks:
    - {{name: all, run: "python -I check.py", timeout_s: 30}}
limits: {{agents: 4, gate_slots: 2}}
"""


@dataclass
class Project:
    """A folder with a repository, a task and configurations of the stub; `run` calls the command there."""

    root: Path
    repo: Path

    def env(self, **more):
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_START") if name in os.environ}
        return {**kept, "TERM": "dumb", "COLUMNS": "160", **more}

    def run(self, *arguments, timeout=120, env=None, cwd=None):
        return subprocess.run(
            [COMMAND, *map(str, arguments)],
            cwd=cwd or self.root,
            env=env or self.env(),
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [COMMAND, *map(str, arguments)],
            cwd=self.root,
            env=self.env(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def profile(self, name, **settings):
        """Write a configuration of the stub; without latency unless told otherwise."""
        lines = [
            f"{key}: {value}" for key, value in {"backend": "stub", "name": name, "time_scale": 0, **settings}.items()
        ]
        (self.root / "configs").mkdir(exist_ok=True)
        (self.root / "configs" / f"{name}.yaml").write_text("\n".join(lines) + "\n")
        return name

    def git(self, *arguments, check=True):
        done = subprocess.run(["git", *arguments], cwd=self.repo, capture_output=True, text=True, check=check)
        return done.stdout.strip()

    def folders(self):
        return sorted((self.root / ".orchestrate" / "runs").iterdir())

    def entries(self, folder=None):
        with JournalReader((folder or self.folders()[-1]) / "journal.sqlite") as reader:
            return list(reader.entries())

    def state(self, folder=None):
        return fold(self.entries(folder))

    def summary(self, run="last"):
        return json.loads(self.run("show", run, "--json").stdout)

    def tree(self, run="last"):
        return self.summary(run)["tree"]

    def patches(self, folder=None):
        return [
            (e.event.subtask, e.event.patch.base) for e in self.entries(folder) if isinstance(e.event, PatchProposed)
        ]


def write_sources(folder):
    (folder / "app").mkdir(parents=True)
    (folder / "tests").mkdir()
    for name in NAMES:
        (folder / "app" / f"{name}.py").write_text(MODULE.format(name=name))
    wanted = {name: number + 2 for number, name in enumerate(NAMES)}
    (folder / "check.py").write_text(CHECK.format(wanted=wanted))
    (folder / "tests" / "test_nothing.py").write_text("def test_nothing():\n    assert True\n")


def write_task(root, repo="repo"):
    (root / "solutions").mkdir(exist_ok=True)
    for number, name in enumerate(NAMES, 1):
        (root / "solutions" / f"{name}.diff").write_text(SOLUTION.format(name=name, number=number))
    (root / "task.yaml").write_text(TASK.format(repo=repo))


@pytest.fixture
def project(tmp_path):
    """A git checkout with one commit, beside it the task."""
    repo = tmp_path / "repo"
    write_sources(repo)
    write_task(tmp_path)
    made = Project(tmp_path, repo)
    made.git("init", "--quiet", "--initial-branch=main")
    made.git("config", "user.name", "Somebody")
    made.git("config", "user.email", "somebody@localhost")
    made.git("add", ".")
    made.git("commit", "--quiet", "-m", "Begin")
    made.profile("instant")
    return made


@pytest.fixture
def folder_project(tmp_path):
    """The same in a plain folder, without git."""
    repo = tmp_path / "repo"
    write_sources(repo)
    write_task(tmp_path)
    made = Project(tmp_path, repo)
    made.profile("instant")
    return made


def dedent(text):
    return textwrap.dedent(text).lstrip("\n")
