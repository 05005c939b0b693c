"""A skill, as the prompt carries it."""

from pydantic import Field

from orchestrator.core.values import Digest, Value


class Skill(Value):
    """Instructions for a kind of work. `body` is the text below the front matter; `digest` names the whole `SKILL.md`."""

    name: str = Field(max_length=64)
    description: str = Field(max_length=1024)
    body: str
    digest: Digest
