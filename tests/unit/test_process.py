"""A child process is bounded in time, output and offspring."""

import asyncio
import sys
import time
from pathlib import Path

import pytest

from orchestrator import process
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


# --- what tries to get away ---

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        {how}
        os._exit(0)
    os._exit(0)
os.wait()
while not os.path.exists("pid") or not open("pid").read().endswith("."):
    time.sleep(0.01)
"""
SLEEP = "open('pid', 'w').write(f'{os.getpid()}.'); time.sleep(60)"
BARE = "os.execve('/bin/sh', ['sh', '-c', 'printf $$. > pid; exec sleep 60'], {})"


async def written_pid(tmp_path):
    for _ in range(500):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith("."):
            return int((tmp_path / "pid").read_text()[:-1])
        await asyncio.sleep(0.01)
    raise AssertionError("it never started")


@pytest.mark.skipif(sys.platform != "linux", reason="a subreaper")
@pytest.mark.parametrize("how", [SLEEP, BARE], ids=["daemon", "daemon-without-environment"])
async def test_a_daemon_that_holds_the_output_is_gone_and_is_no_timeout(tmp_path, how):
    started = time.monotonic()
    finished = await run(tmp_path, sys.executable, "-c", DAEMON.format(how=how) + "print('done'); sys.exit(3)")
    assert (finished.exit_code, finished.output, finished.timed_out) == (3, b"done\n", False)
    assert time.monotonic() - started < 5
    assert not is_running(await written_pid(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="a subreaper")
async def test_a_daemon_is_gone_after_a_timeout_and_after_a_cancellation(tmp_path):
    code = DAEMON.format(how=BARE) + "time.sleep(60)"
    assert (await run(tmp_path, sys.executable, "-c", code, timeout_s=1.5)).timed_out
    assert not is_running(await written_pid(tmp_path))
    (tmp_path / "pid").unlink()
    running = asyncio.ensure_future(run(tmp_path, sys.executable, "-c", code))
    pid = await written_pid(tmp_path)
    running.cancel()
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not is_running(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="a subreaper")
async def test_processes_that_fork_on_and_on_are_gone(tmp_path):
    script = "f() { (sleep 0.01; f) & }; f; f; echo started"
    finished = await run(tmp_path, "sh", "-c", f"{script}; echo $$ > pid")
    assert finished.output == b"started\n"
    before = set(Path("/proc").glob("[0-9]*"))
    await asyncio.sleep(0.1)
    mine = [place for place in set(Path("/proc").glob("[0-9]*")) - before if script.encode() in cmdline(place)]
    assert mine == []


def cmdline(place):
    try:
        return (place / "cmdline").read_bytes()
    except OSError:
        return b""


KILLED = """
import asyncio, pathlib, sys
from orchestrator.process import run_command
asyncio.run(run_command([sys.executable, "-c", sys.argv[1]], cwd=pathlib.Path.cwd(), env={}, timeout_s=60))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a subreaper")
async def test_when_this_program_is_killed_its_commands_and_their_daemons_die(tmp_path):
    code = DAEMON.format(how=BARE) + "open('leader', 'w').write(str(os.getpid())); time.sleep(60)"
    env = {"PYTHONPATH": str(Path(process.__file__).parents[1])}
    caller = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, code, cwd=tmp_path, env=env)
    pid = await written_pid(tmp_path)
    while not (tmp_path / "leader").exists() or not (tmp_path / "leader").read_text():
        await asyncio.sleep(0.01)
    leader = int((tmp_path / "leader").read_text())
    assert is_running(leader)
    caller.kill()
    await caller.wait()
    assert await gone(leader)
    assert await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
async def test_a_command_that_kills_its_supervisor_dies_fails_and_leaves_nothing(tmp_path):
    kill = "import signal; os.kill(os.getppid(), signal.SIGKILL); time.sleep(60)"
    finished = await run(tmp_path, sys.executable, "-c", DAEMON.format(how=SLEEP) + kill)
    assert (finished.exit_code, finished.timed_out) == (-9, False)
    assert await gone(await written_pid(tmp_path))


def descriptors():
    found = Path("/proc/self/fd")
    return sorted(place.name for place in found.iterdir()) if found.is_dir() else []


async def test_no_descriptor_is_left_open_however_a_command_ends(tmp_path):
    await run(tmp_path, "true")
    before = descriptors()
    await run(tmp_path, "true")
    await run(tmp_path, "sleep", "9", timeout_s=0.1)
    with pytest.raises(FileNotFoundError):
        await run(tmp_path, "no-such-command-anywhere")
    with pytest.raises(FileNotFoundError):
        await run(tmp_path / "no-such-folder", "true")
    assert descriptors() == before


async def test_a_command_that_ends_its_output_early_is_waited_for(tmp_path):
    finished = await run(tmp_path, "sh", "-c", "exec >&- 2>&-; sleep 0.2; exit 4")
    assert (finished.exit_code, finished.output) == (4, b"")


async def test_a_command_sees_its_environment_and_no_signal_ignored(tmp_path):
    finished = await run_command(["env"], cwd=tmp_path, env={"PATH": "/usr/bin:/bin", "A": "\udcff"}, timeout_s=20)
    names = {line.partition(b"=")[0] for line in finished.output.splitlines()}
    assert b"A=\xff" in finished.output.splitlines()
    assert names == {b"PATH", b"A", b"ORCHESTRATE_COMMAND"}
    assert (await run(tmp_path, "sh", "-c", "kill -PIPE $$")).exit_code == -13


async def test_the_error_of_a_command_that_cannot_start_names_it(tmp_path):
    (tmp_path / "plain").write_text("echo")
    with pytest.raises(PermissionError) as caught:
        await run(tmp_path, "./plain")
    assert caught.value.filename == "./plain"
    with pytest.raises(FileNotFoundError) as gone_folder:
        await run(tmp_path / "nowhere", "true")
    assert gone_folder.value.filename == str(tmp_path / "nowhere")
