"""The command starts quickly: what few commands need is imported when they run."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
LATE = (
    "anthropic",
    "openai",
    "httpx2",
    "genai_prices",
    "scipy",
    "numpy",
    "orchestrator.stub_server",
    "orchestrator.backends.batches.driver",
    "orchestrator.wiring.doctor",
)


def loaded_by(statement):
    """The modules that a fresh interpreter has after a statement."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_command_loads_neither_sdks_nor_what_one_command_alone_needs():
    loaded = loaded_by("import orchestrator.cli.app")
    assert "orchestrator.cli.serving" in loaded
    assert [name for name in LATE if name in loaded] == []


def test_what_is_imported_late_is_there_when_it_is_wanted():
    wanted = ", ".join(LATE)
    assert set(LATE) <= loaded_by(f"import {wanted}")
