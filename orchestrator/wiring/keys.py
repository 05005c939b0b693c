"""The key of a model API: asked of a command, or read from the environment, when a backend is built. Never kept anywhere.

A key is a `SecretStr` from here to the SDK. It is in no message, log or journal, and no other child process gets it: gates
and git have environments of their own. The command is named in messages by its first word alone, since people put secrets
into arguments too.
"""

import os
import selectors
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pydantic import SecretStr

from orchestrator.backends.wire.api_settings import AnyApiSettings
from orchestrator.core.errors import EnvironmentFault
from orchestrator.git.command import kill_group
from orchestrator.views.text import one_line

COMMAND_LIMIT_S = 30.0
_POLL_S = 0.05
_MAX_BYTES = 65_536
_SHOWN_CHARS = 500
_SECRET_CHARS = 8  # no key is shorter, and most words of an error are


def find_key(
    settings: AnyApiSettings, env: Mapping[str, str], source: Path | str = "the configuration"
) -> SecretStr | None:
    """Return the key, or None where none is asked for. `source` is the configuration's file, for what the errors advise.

    Where a command is configured, it alone counts: its failure never falls back to the variable, which may be the key of
    another account. Raises `EnvironmentFault` that says what to do.
    """
    if settings.api_key_command:
        return SecretStr(_printed(settings.api_key_command, env, source))
    if settings.api_key_env is None:
        return None
    problem = missing_key(settings, env)
    if problem:
        raise EnvironmentFault(f"no key for {settings.model!r}: {problem}; {key_advice(settings, source)}")
    return SecretStr(env[settings.api_key_env].strip())


def missing_key(settings: AnyApiSettings, env: Mapping[str, str]) -> str:
    """Say what is missing, as far as that can be known without running the key's command; empty when nothing is."""
    if settings.api_key_command:
        program = settings.api_key_command[0]
        is_there = shutil.which(program, path=env.get("PATH", os.defpath)) is not None
        return "" if is_there else f"the key's command {program!r} is not on the PATH"
    if settings.api_key_env is None or env.get(settings.api_key_env, "").strip():
        return ""
    how = "is empty" if settings.api_key_env in env else "is not set"
    return f"${settings.api_key_env} {how}"


def key_advice(settings: AnyApiSettings, source: Path | str) -> str:
    """Say what to do about a missing key."""
    if settings.api_key_command:
        return f"correct `api_key_command` in {source}"
    variable = settings.api_key_env or "SOME_API_KEY"
    return f"export {variable}=…, or write `api_key_command: [a-command, that, prints, it]` in {source}"


@dataclass(frozen=True, slots=True)
class _Ended:
    """How a command ended, and what it wrote; `code` is None when it was stopped for its time."""

    code: int | None
    stdout: bytes
    stderr: bytes


def _printed(command: Sequence[str], env: Mapping[str, str], source: Path | str) -> str:
    name = f"the key's command {command[0]!r}"
    advice = f"try it by hand, and correct `api_key_command` in {source}"
    ended = _run(command, env)
    if isinstance(ended, OSError):
        raise EnvironmentFault(f"{name} cannot be started: {ended.strerror}; {advice}")
    if ended.code is None:
        raise EnvironmentFault(f"{name} did not end within {COMMAND_LIMIT_S:g} s and was stopped; {advice}")
    if ended.code != 0:
        raise EnvironmentFault(f"{name} ended with code {ended.code}{_said(ended)}; {advice}")
    key = ended.stdout.split(b"\n", 1)[0].decode("utf-8", "replace").strip()
    if not key:
        raise EnvironmentFault(f"{name} printed no key in its first line{_said(ended)}; {advice}")
    return key


def _said(ended: _Ended) -> str:
    """What it wrote on standard error, without anything that it also printed: that may be the key."""
    words = ended.stderr.decode("utf-8", "replace")
    for word in ended.stdout.decode("utf-8", "replace").split():
        words = words.replace(word, "…") if len(word) >= _SECRET_CHARS else words
    shown = one_line(words)[-_SHOWN_CHARS:]
    return f" and said: {shown}" if shown else ""


def _run(command: Sequence[str], env: Mapping[str, str]) -> _Ended | OSError:
    """Run a command to its end. What it leaves running in the background may keep its pipes, and is not waited for."""
    try:
        process = subprocess.Popen(
            command,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
        return error if isinstance(error, OSError) else OSError(0, str(error))
    with process:
        try:
            stdout, stderr = _listen(process, time.monotonic() + COMMAND_LIMIT_S)
        except BaseException:
            kill_group(process)
            raise
        code = process.poll()
        if code is None:
            kill_group(process)
    return _Ended(code, stdout, stderr)


def _listen(process: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes]:
    """Read both streams until the command has ended or its time is up; of much, keep the beginning."""
    kept: dict[IO[bytes], bytearray] = {}
    with selectors.DefaultSelector() as waiting:
        for stream in (process.stdout, process.stderr):
            assert stream is not None  # noqa: S101 — both are pipes
            kept[stream] = bytearray()
            waiting.register(stream, selectors.EVENT_READ, kept[stream])
        is_quiet = False
        while time.monotonic() < until:
            if (is_quiet or not waiting.get_map()) and process.poll() is not None:
                break
            ready = waiting.select(_POLL_S)
            for key, _ in ready:
                chunk = os.read(key.fd, _MAX_BYTES)
                if chunk:
                    key.data.extend(chunk[: max(0, _MAX_BYTES - len(key.data))])
                else:
                    waiting.unregister(key.fileobj)
            is_quiet = not ready
    stdout, stderr = (bytes(text) for text in kept.values())
    return stdout, stderr
