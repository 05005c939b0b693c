"""The guard in `tests/conftest.py` holds every test to this machine, also one that swallows the error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import is_local

ROOT = Path(__file__).parents[2]
OFFENDERS = """
import contextlib, socket
import httpx2, pytest

def test_connects():
    with contextlib.suppress(OSError), socket.socket() as opened:
        opened.settimeout(0.1)
        opened.connect(("192.0.2.1", 80))

def test_looks_up():
    with contextlib.suppress(OSError):
        socket.getaddrinfo("example.invalid", 80)

def test_asks():
    with contextlib.suppress(httpx2.HTTPError):
        httpx2.get("http://example.invalid/")

def test_stays():
    with contextlib.suppress(OSError), socket.socket() as opened:
        opened.connect(("127.0.0.1", 9))
"""


def test_a_test_that_reaches_out_fails(tmp_path):
    (tmp_path / "test_offenders.py").write_text(OFFENDERS)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        tmp_path,
    ]
    done = subprocess.run(
        [*command, tmp_path / "test_offenders.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "3 errors" in done.stdout, done.stdout
    assert "192.0.2.1" in done.stdout


@pytest.mark.parametrize("address", [("127.0.0.1", 1), ("127.9.9.9", 1), ("::1", 1, 0, 0), ("localhost", 1), "/a/path"])
def test_loopback_and_paths_are_local(address):
    assert is_local(address)


@pytest.mark.parametrize(
    "address", [("192.0.2.1", 1), ("0.0.0.0", 1), ("10.0.0.1", 1), ("a.example", 1), ("fe80::1%1", 1), None]
)
def test_everything_else_is_not(address):
    assert not is_local(address)
