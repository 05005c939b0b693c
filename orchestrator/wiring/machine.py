"""What `doctor` says of the machine: Python, git, the user's identity, cores, room and locks where runs are kept, agent CLIs.

Everything is looked at, nothing is changed: a temporary folder that is removed at once is all that is written. No network.
"""

import asyncio
import fcntl
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator import __version__
from orchestrator.core.errors import EnvironmentFault
from orchestrator.core.values import Limits
from orchestrator.files import discard
from orchestrator.git.command import OLDEST_GIT, Git, hermetic_environment, personal_environment
from orchestrator.process import run_command
from orchestrator.views.doctor import Finding, State, Topic
from orchestrator.views.text import count, one_line
from orchestrator.wiring.surroundings import STORE_VARIABLE, Surroundings

AGENT_CLIS = ("claude", "codex", "opencode", "copilot")
# Below the first, a run ends soon; below the second, a few trees of a larger repository may be too many.
_LEAST_BYTES, _SCARCE_BYTES = 50 * 10**6, 10**9
_LEAST_FILES, _SCARCE_FILES = 1_000, 50_000
_GIT_LIMIT_S = 10.0
_VERSION_LIMIT_S = 10.0
_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "CREDENTIAL")
# What keeps these programs from looking for a newer version of themselves meanwhile.
_STAY_LOCAL = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "COPILOT_AUTO_UPDATE": "false",
    "COPILOT_OFFLINE": "true",
    "DISABLE_AUTOUPDATER": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
}


def machine_findings(surroundings: Surroundings, store: Path) -> list[Finding]:
    """Look at the machine; `store` is where runs are kept."""
    return [
        _machine("python", "ok", f"{platform.python_version()} at {sys.executable}, orchestrate {__version__}"),
        _git(surroundings.env),
        _identity(surroundings),
        _cores(),
        _store(store),
        _room("room for runs", _existing(store), "free some, or keep runs elsewhere with --store DIR"),
        _trees_room(),
        _machine(
            "sandbox",
            "warning",
            "none in this version: commands of a gate, and so the code that a model wrote, run as you",
            "with a real model, work in a container or on a machine that holds nothing of value",
        ),
    ]


async def cli_findings(surroundings: Surroundings) -> list[Finding]:
    """Look for the agent CLIs, all at once. None of them is needed."""
    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(_cli(name, surroundings)) for name in AGENT_CLIS]
    return [task.result() for task in asked]


def _machine(name: str, state: State, detail: str, advice: str = "") -> Finding:
    topic: Topic = "machine"
    return Finding(topic=topic, name=name, state=state, detail=detail, advice=advice, is_needed=True)


def _git(env: Mapping[str, str]) -> Finding:
    oldest = ".".join(map(str, OLDEST_GIT))
    advice = f"install git {oldest} or newer"
    git = Git(hermetic_environment(env), timeout_s=_GIT_LIMIT_S)
    try:
        git.version()
        said = one_line(git.run(["version"]).decode(errors="replace")).removeprefix("git version ")
    except EnvironmentFault as error:
        return _machine("git", "missing", str(error), advice)
    except (OSError, ValueError, IndexError) as error:
        return _machine("git", "missing", f"`git version` says nothing that can be read ({error})", advice)
    return _machine("git", "ok", f"{said}; {oldest} or newer is needed")


def _identity(surroundings: Surroundings) -> Finding:
    git = Git(personal_environment(surroundings.env), timeout_s=_GIT_LIMIT_S)
    ask = ["-C", str(surroundings.cwd), "config", "--get"]
    try:
        name, email = (
            one_line(git.ask([*ask, key]).stdout.decode(errors="replace")) for key in ("user.name", "user.email")
        )
    except (EnvironmentFault, OSError):
        name = email = ""
    if name and email:
        return _machine("git identity", "ok", f"{name} <{email}>")
    missing = "user.email" if name else "user.name" if email else "user.name and user.email"
    return _machine(
        "git identity",
        "warning",
        f"{missing} not set: `orchestrate apply` cannot merge into a branch that moved on",
        'git config --global user.name "…" && git config --global user.email …',
    )


def _cores() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slots = Limits().gate_slots
    detail = f"{cores} usable; {slots} gates run at once unless a task says otherwise"
    if cores < slots:
        return _machine("cores", "warning", f"{detail}: they would wait for each other", f"--gate-slots {cores}")
    advice = f"up to --gate-slots {cores} where a check uses one core" if cores > slots else ""
    return _machine("cores", "ok", detail, advice)


def _store(store: Path) -> Finding:
    """Make a folder where runs would be, lock a file in it as a run does, and see that nobody else could."""
    advice = f"choose another place with --store DIR or ${STORE_VARIABLE}"
    place = _existing(store)
    if not place.is_dir():
        return _machine("store", "missing", f"{store} cannot be used: {place} is no folder", advice)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".orchestrate-doctor-", dir=place))
        try:
            is_lockable = _locks(folder / "lock")
        finally:
            discard(folder)
    except OSError as error:
        return _machine("store", "missing", f"{store} cannot be used: {error.strerror}", advice)
    if not is_lockable:
        return _machine("store", "missing", f"{store} does not keep locks: two processes could work at one run", advice)
    return _machine("store", "ok", f"{store}, writable and lockable{'' if _is_there(store) else ' (not made yet)'}")


def _locks(path: Path) -> bool:
    with path.open("w") as first, path.open("w") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _trees_room() -> Finding:
    name, advice = "room for trees", "free some, or set TMPDIR to a folder with more room"
    try:
        return _room(name, Path(tempfile.gettempdir()), advice)
    except OSError as error:
        return _machine(
            name, "missing", f"there is no temporary folder that can be written to: {error.strerror}", advice
        )


def _room(name: str, folder: Path, advice: str) -> Finding:
    """Bytes and files that still fit; a file system that sets no limit to its files reports none."""
    try:
        found = os.statvfs(folder)
    except OSError as error:
        return _machine(name, "missing", f"{folder}: {error.strerror}", advice)
    free_bytes = found.f_bavail * found.f_frsize
    free_files = found.f_favail if found.f_files else None
    files = "any number of files" if free_files is None else f"{count(free_files)} files"
    detail = f"{free_bytes / 1e9:,.1f} GB and {files} free at {folder}"
    if free_bytes < _LEAST_BYTES or (free_files is not None and free_files < _LEAST_FILES):
        return _machine(name, "missing", detail, advice)
    if free_bytes < _SCARCE_BYTES or (free_files is not None and free_files < _SCARCE_FILES):
        return _machine(name, "warning", f"{detail}: little", advice)
    return _machine(name, "ok", detail)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest thing above it that is there."""
    return next((each for each in (folder, *folder.parents) if _is_there(each)), folder)


def _is_there(place: Path) -> bool:
    try:
        return place.exists()
    except OSError:  # below a folder that may not be entered
        return False


async def _cli(name: str, surroundings: Surroundings) -> Finding:
    place = shutil.which(name, path=surroundings.path)
    if place is None:
        return Finding(topic="cli", name=name, state="missing", detail="not on the PATH")
    state, said = await _version([place, "--version"], surroundings.env)
    return Finding(topic="cli", name=name, state=state, detail=f"{said} at {place}")


async def _version(command: Sequence[str], env: Mapping[str, str]) -> tuple[State, str]:
    """Ask a program for its version, with the environment that it knows, but for what looks like a credential."""
    seen = {name: value for name, value in env.items() if not any(word in name.upper() for word in _SECRET_WORDS)}
    try:
        ended = await run_command(command, cwd=Path("/"), env={**seen, **_STAY_LOCAL}, timeout_s=_VERSION_LIMIT_S)
    except OSError as error:
        return "warning", f"cannot be started ({error.strerror})"
    if ended.timed_out:
        return "warning", f"gives no version within {_VERSION_LIMIT_S:g} s"
    first = one_line(ended.output.decode(errors="replace").strip().partition("\n")[0])[:80]
    if ended.exit_code != 0:
        return "warning", f"`--version` ends with code {ended.exit_code}{f' ({first})' if first else ''}"
    return "ok", first or "version unknown"
