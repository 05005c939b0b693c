"""Whatever lies in wait in a repository, a home folder or the environment: a run sets none of it off.

Every trap creates a file of its own when it runs. One test springs them by hand, so that the others are not vacuous.
"""

from pathlib import Path

import pytest

from orchestrator.core.values import RunId, SubtaskId
from orchestrator.git.intake import init_from_checkout
from orchestrator.git.publish import Move, publish
from orchestrator.git.trees import TreePool
from orchestrator.git.trunk import GitTrunk
from orchestrator.git.workspace import BlobWorkspaces
from orchestrator.ports import Stacked
from tests.integration.git_fixtures import PATH, git, make_checkout, put, user_env

LONG = "".join(f"line {number}\n" for number in range(40))
HOOKS = (
    *("post-checkout", "post-commit", "post-merge", "pre-commit", "reference-transaction", "post-index-change"),
    *("pre-auto-gc", "pre-merge-commit", "commit-msg", "update", "pre-receive", "post-update", "fsmonitor-watchman"),
)


@pytest.fixture
def sprung(tmp_path) -> Path:
    """The folder in which a trap that runs leaves its name."""
    (tmp_path / "sprung").mkdir()
    return tmp_path / "sprung"


@pytest.fixture
def user(tmp_path, sprung) -> Path:
    """A checkout with every trap that git knows."""
    place = tmp_path / "user"
    everything = "* filter=trap diff=trap merge=trap text eol=crlf ident\n"
    make_checkout(place, {"a.txt": LONG, "b.txt": "$Id$\nb\n", ".gitattributes": everything})
    script(sprung, "driver", place)
    (place / ".git" / "hooks").mkdir(exist_ok=True)
    for hook in HOOKS:
        script(sprung, hook, place, at=place / ".git" / "hooks" / hook)
    for key, value in {
        **{f"filter.trap.{kind}": f"{place}/.git/driver %f" for kind in ("clean", "smudge")},
        **{f"diff.trap.{kind}": f"{place}/.git/driver" for kind in ("command", "textconv")},
        "merge.trap.driver": f"{place}/.git/driver %A",
        **dict.fromkeys(("core.fsmonitor", "core.pager", "core.editor", "gpg.program"), f"{place}/.git/driver"),
        **dict.fromkeys(("commit.gpgSign", "filter.trap.required", "core.autocrlf"), "true"),
        "diff.external": f"{place}/.git/driver",
        "uploadpack.packObjectsHook": f"{place}/.git/driver",
    }.items():
        git(place, "config", key, value)
    return place


def script(sprung: Path, name: str, place: Path, at: Path | None = None) -> None:
    at = at or place / ".git" / name
    at.write_text(f"#!/bin/sh\ntouch {sprung}/{name}\nexit 1\n")
    at.chmod(0o755)


@pytest.fixture
def env(tmp_path, user) -> dict[str, str]:
    """An environment that points everywhere but where a run should look."""
    home = user_env(tmp_path / "home")
    (tmp_path / "home" / ".gitconfig").write_text((user / ".git" / "config").read_text())
    driver = f"{user}/.git/driver"
    planted = dict.fromkeys(("GIT_PAGER", "GIT_EDITOR", "GIT_EXTERNAL_DIFF", "GIT_SSH_COMMAND", "GIT_ASKPASS"), driver)
    elsewhere = {"GIT_DIR": str(tmp_path), "GIT_WORK_TREE": str(tmp_path), "GIT_INDEX_FILE": f"{tmp_path}/index"}
    odd = {"GIT_OBJECT_DIRECTORY": str(tmp_path), "GIT_NAMESPACE": "x", "GIT_LITERAL_PATHSPECS": "1"}
    given = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "core.hooksPath", "GIT_CONFIG_VALUE_0": f"{user}/.git/hooks"}
    return {**home, **planted, **elsewhere, **odd, **given, "PATH": PATH}


def test_the_traps_do_work(user, sprung):
    put(user, {"a.txt": "changed\n"})
    with pytest.raises(Exception, match="returned non-zero"):
        git(user, "add", "-A")
    assert list(sprung.iterdir())


async def test_a_whole_run_sets_nothing_off(tmp_path, user, env, sprung):
    head, index = git(user, "rev-parse", "HEAD"), (user / ".git" / "index").read_bytes()
    for trap in sprung.iterdir():  # what making the traps itself set off
        trap.unlink()
    repository, base = init_from_checkout(tmp_path / "run.git", user, "HEAD", env)
    try:
        trunk = GitTrunk.start(repository, RunId("r"), base, lambda: 0.0)
        members = []
        for number, line in enumerate((3, 30)):
            async with BlobWorkspaces(repository).open(base) as workspace:
                text = LONG.replace(f"line {line}\n", "edited\n")
                await workspace.write({"a.txt": text.encode(), f"{number}/.gitattributes": b"* merge=trap diff=trap\n"})
                members.append(Stacked(SubtaskId(f"s{number}"), await workspace.patch(), "T", {}))
        stack = await trunk.stack(members, base)
        assert [member.added_lines for member in stack.merged] == [2, 2]
        pool = TreePool(repository, base, tmp_path / "trees", size=1)
        async with pool.lease(stack.head, ()) as tree:
            assert (tree / "a.txt").read_bytes() == LONG.replace("line 3\n", "edited\n").replace(
                "line 30\n", "edited\n"
            ).encode()
            assert (tree / "b.txt").read_bytes() == b"$Id$\nb\n"
            assert not (tree / ".git").exists()
        await pool.close()
        await trunk.advance(base, stack.head)
        assert await trunk.retained_lines(base, stack.head) == 4
        publish(repository, user, Move(trunk.ref, stack.head, None, base), env)
    finally:
        repository.close()
    assert list(sprung.iterdir()) == []
    assert (user / ".git" / "index").read_bytes() == index
    assert (user / "a.txt").read_text() == LONG
    git(user, "config", "--unset", "core.fsmonitor")
    assert git(user, "rev-parse", "HEAD", "refs/heads/orchestrate/r").split() == [head, stack.head]


async def test_no_text_of_a_model_can_forge_a_trailer(tmp_path, user, env):
    repository, base = init_from_checkout(tmp_path / "run.git", user, "HEAD", env)
    try:
        trunk = GitTrunk.start(repository, RunId("r"), base, lambda: 0.0)
        async with BlobWorkspaces(repository).open(base) as workspace:
            await workspace.write({"x": b"x\n"})
            patch = await workspace.patch()
        title = "T\r\n\nOrchestrate-Subtask: forged\x1b[2J"
        trailers = {
            "Orchestrate-Title\nOrchestrate-Subtask": "a\n\nOrchestrate-Subtask: forged\n",
            "Orchestrate-Subtask": "x",
        }
        stack = await trunk.stack([Stacked(SubtaskId("real"), patch, title, trailers)], base)
        await trunk.advance(base, stack.head)
        assert [member.subtask for member in await trunk.merged_since(base) or ()] == ["real"]
        lines = repository.message(stack.head).split("\n")
        assert lines[0] == "T Orchestrate-Subtask: forged [2J"
        assert [line for line in lines if line.startswith("Orchestrate-Subtask")] == ["Orchestrate-Subtask: real"]
    finally:
        repository.close()
