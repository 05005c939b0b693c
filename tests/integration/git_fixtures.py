"""A user's repository, made as a person makes it: with git, on the command line."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

PATH = os.environ["PATH"]  # noqa: TID251 - tests start git as a person does
ENV = {"PATH": PATH}


def user_env(home: Path) -> dict[str, str]:
    home.mkdir(exist_ok=True)
    return {"PATH": PATH, "HOME": str(home), "LC_ALL": "C"}


def git(place: Path, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    identity = ("-c", "user.name=user", "-c", "user.email=user@example.org")
    command = ["git", "-C", str(place), *identity, *arguments]
    clean = {"PATH": PATH, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(command, env=dict(env or clean), check=True, capture_output=True, text=True).stdout.strip()


def put(place: Path, files: Mapping[str, bytes | str]) -> None:
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content.encode() if isinstance(content, str) else content)


def make_checkout(place: Path, files: Mapping[str, bytes | str]) -> str:
    """A checkout with one commit on `main`; returns its id."""
    place.mkdir(parents=True)
    git(place, "init", "-q", "-b", "main")
    put(place, files)
    git(place, "add", "-A")
    git(place, "commit", "-q", "-m", "first")
    return git(place, "rev-parse", "HEAD")
