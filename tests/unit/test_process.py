"""A child process is bounded in time, output and offspring."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from orchestrator.process import run_command


async def run(tmp_path, *argv, timeout_s=20.0, **more):
    return await run_command(argv, cwd=tmp_path, env={"PATH": "/usr/bin:/bin"}, timeout_s=timeout_s, **more)


def is_running(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


async def gone(pid):
    for _ in range(200):
        if not is_running(pid):
            return True
        await asyncio.sleep(0.02)
    return False


async def test_the_exit_code_and_both_streams_come_back(tmp_path):
    finished = await run(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (finished.exit_code, finished.output, finished.timed_out) == (7, b"out\nerr\n", False)


async def test_a_command_that_is_too_slow_is_killed_with_all_that_it_started(tmp_path):
    started = time.monotonic()
    finished = await run(tmp_path, "sh", "-c", "sleep 60 & echo $!; wait", timeout_s=0.5)
    assert finished.timed_out
    assert finished.exit_code is None
    assert time.monotonic() - started < 10
    assert await gone(int(finished.output))


async def test_what_a_command_leaves_in_the_background_dies_with_it(tmp_path):
    finished = await run(tmp_path, "sh", "-c", "sleep 60 & echo $!")
    assert finished.exit_code == 0
    assert await gone(int(finished.output))


async def test_of_a_flood_of_output_the_beginning_and_the_end_are_kept(tmp_path):
    code = "print('first'); print('x' * 5_000_000); print('last')"
    finished = await run(tmp_path, sys.executable, "-c", code, max_output_bytes=2000)
    assert len(finished.output) < 2100
    assert finished.output.startswith(b"first")
    assert finished.output.endswith(b"last\n")
    assert b"bytes left out" in finished.output


async def test_a_cancelled_caller_leaves_no_process(tmp_path):
    running = asyncio.ensure_future(run(tmp_path, "sh", "-c", "echo $$ > pid; sleep 60"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await gone(int((tmp_path / "pid").read_text()))


async def test_nothing_of_our_environment_reaches_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    finished = await run(tmp_path, "env")
    assert b"sk-secret" not in finished.output


async def test_a_command_that_does_not_exist_says_so(tmp_path):
    with pytest.raises(FileNotFoundError):
        await run(tmp_path, "no-such-command-anywhere")
