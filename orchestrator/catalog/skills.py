"""Skills in the open Agent Skills format: a folder with a `SKILL.md`, YAML front matter and then text.

---
name: refactor
description: When to use it, in a sentence or two.
---
What the agent is told.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from orchestrator.catalog.explain import validate
from orchestrator.catalog.files import Problem, decode, fail, parse_yaml, read_bytes
from orchestrator.core.errors import SpecError
from orchestrator.core.skills import Skill
from orchestrator.core.values import digest_of

FILE_NAME = "SKILL.md"
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?\n)??---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class FrontMatter(BaseModel):
    """What the head of a `SKILL.md` says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(max_length=64, description="The skill's name; the same as its folder's.")
    description: str = Field(max_length=1024, description="What the skill does and when to use it.")
    license: str | None = Field(default=None, description="The license's name, or the file that holds it.")
    compatibility: str | None = Field(default=None, max_length=500, description="What the skill needs to work.")
    metadata: Mapping[str, str] = Field(default={}, description="Anything else, as text.")
    allowed_tools: str | None = Field(default=None, alias="allowed-tools", description="Tools that it may use.")


def load_skills(directories: Iterable[Path]) -> dict[str, Skill]:
    """Return the skills of `<directory>/<name>/SKILL.md`, by name; an earlier directory wins over a later one.

    Directories that do not exist have no skills. Raises `SpecError` with the problems of all wrong files.
    """
    found: dict[str, Path] = {}
    for directory in directories:
        for file in sorted(directory.glob(f"*/{FILE_NAME}")):
            found.setdefault(file.parent.name, file)
    skills: dict[str, Skill] = {}
    problems: list[str] = []
    for name, file in sorted(found.items()):
        try:
            skills[name] = load_skill(file)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems)
    return skills


def load_skill(path: Path) -> Skill:
    """Read one `SKILL.md`. Raises `SpecError`."""
    body = read_bytes(path)
    text = decode(path, body)
    front = _FRONT.match(text)
    if front is None:
        raise fail(path, "the file must begin with `---`, then `name:` and `description:`, then `---`")
    document = parse_yaml(path, (front.group(1) or "").encode(), first_line=2)
    matter, problems = validate(document, FrontMatter)
    instructions = text[front.end() :].strip()
    if matter is not None:
        problems += _name_problems(matter, path.parent.name)
    if not instructions:
        problems.append(Problem(("name",), "there is nothing below the front matter; write what the agent is to do"))
    document.refuse(problems)
    if matter is None:
        raise fail(path, "the front matter cannot be read")
    return Skill(
        name=matter.name, description=matter.description.strip(), body=instructions + "\n", digest=digest_of(body)
    )


def _name_problems(matter: FrontMatter, folder: str) -> list[Problem]:
    problems = []
    if not _NAME.fullmatch(matter.name):
        message = f"`name` must be lower-case letters, digits and single hyphens between them, not {matter.name!r}"
        problems.append(Problem(("name",), message))
    elif matter.name != folder:
        problems.append(Problem(("name",), f"`name` is {matter.name!r}, the folder {folder!r}; rename one of the two"))
    if not matter.description.strip():
        problems.append(Problem(("description",), "`description` must not be empty; say when to use the skill"))
    return problems
