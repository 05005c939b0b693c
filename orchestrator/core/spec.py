"""What a task file asks for, as values. `catalog` reads the YAML; `core.split` turns it into subtasks.

The field descriptions are the reference documentation: the JSON Schema that editors use is generated from them.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from orchestrator.core.values import Limits, Value

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=64)]
Scalar = str | int | float | bool


class CommandSpec(Value):
    """One command of a gate."""

    name: Name = Field(description="How the check is called in verdicts and reports.")
    run: str | tuple[str, ...] = Field(
        description="An argument list, or a line that is split like one; there is no shell. "
        "The first word `python` means gate.python.",
        min_length=1,
    )
    timeout_s: float = Field(default=120.0, gt=0, description="Time limit in seconds; the process group is killed.")
    env: Mapping[str, str] = Field(default={}, description="Extra environment for this command.")


class GateSpec(Value):
    """How a result is judged."""

    setup: tuple[CommandSpec, ...] = Field(
        default=(),
        description="Commands run once on the base in a pooled tree. The untracked files they leave are put back for every gate.",
    )
    checks: tuple[CommandSpec, ...] = Field(
        default=(), description="The commands that judge a subtask, in order; the first that fails ends it."
    )
    protected: tuple[str, ...] = Field(
        default=(),
        description="Globs that always hold the base's content in a judged tree; a change to them is refused.",
    )
    env: Mapping[str, str] = Field(
        default={}, description="The only environment, beside PATH and locale, that gates see."
    )
    python: str | None = Field(
        default=None,
        description="The interpreter that `python` means in commands; default: the one that runs orchestrate.",
    )


class ChecksSpec(Value):
    """Checks alone: for one subtask, or for the integrated tree."""

    checks: tuple[CommandSpec, ...] = Field(min_length=1, description="The commands, in order.")


class RepoSpec(Value):
    """Where the code is. It is only ever read; results go to a branch."""

    path: str | None = Field(
        default=None,
        description="A git checkout, or a plain folder that is taken in as a fresh repository; relative to the task file.",
    )
    url: str | None = Field(default=None, description="A git URL to clone, instead of `path`.")
    ref: str = Field(default="HEAD", description="The commit to start from (git only).")
    exclude: tuple[str, ...] = Field(default=(), description="Globs that are not taken in (plain folders only).")

    @model_validator(mode="after")
    def _one_source(self) -> "RepoSpec":
        if (self.path is None) == (self.url is None):
            raise ValueError("give either `path` (a checkout or a folder) or `url` (a git URL)")
        return self


class ForeachSpec(Value):
    """One subtask for every file that matches. Gives item.path, .name, .stem, .suffix and .parent."""

    glob: str | tuple[str, ...] = Field(description="Which files of the repository at the base commit.")
    exclude: tuple[str, ...] = Field(default=(), description="Which of them not.")


class SubtaskFields(Value):
    """The fields of a subtask that may be overridden; all strings are Jinja2 templates with strict variables."""

    title: str | None = Field(default=None, description="One line for people.")
    instruction: str | None = Field(default=None, description="What the agent is asked to do.")
    context: tuple[str, ...] | None = Field(
        default=None, description="Globs of files to show, besides the writable ones."
    )
    context_tokens: int | None = Field(default=None, gt=0, description="Bound on the shown files, in estimated tokens.")
    writable: tuple[str, ...] | None = Field(default=None, description="Globs of what the change may touch.")
    skills: tuple[str, ...] | None = Field(default=None, description="Names of skills whose text the prompt carries.")
    needs: tuple[str, ...] | None = Field(default=None, description="Ids of subtasks that must be integrated first.")
    attempts: int | None = Field(default=None, ge=1, description="Tries that count; conflicts with siblings do not.")
    gate: ChecksSpec | None = Field(default=None, description="Checks in place of gate.checks.")


class SubtaskTemplate(SubtaskFields):
    """The template that every subtask is made from."""

    id: str | None = Field(default=None, description="A unique id; default: from the item.")


class ListedSubtask(SubtaskFields):
    """An explicit subtask: what differs from the template, and variables for it (`item.<name>`)."""

    id: str = Field(description="A unique id.")
    vars: Mapping[str, Scalar] = Field(default={}, description="Variables for the templates, as item.<name>.")


class PlanSpec(Value):
    """Let a model propose the subtasks; what it proposes is validated."""

    instruction: str = Field(description="What the whole task is.")
    max_subtasks: int = Field(default=12, ge=1, le=1000, description="At most so many subtasks.")
    context: tuple[str, ...] = Field(default=("**",), description="Globs of the files that the planner is shown.")
    context_tokens: int = Field(default=24_000, gt=0, description="Bound on what it is shown, in estimated tokens.")


class SplitSpec(Value):
    """How the task becomes subtasks: one or more of the keys, concatenated; `plan` stands alone."""

    model_config = ConfigDict(populate_by_name=True)

    foreach: ForeachSpec | None = Field(default=None, description="One subtask for each file of a glob.")
    listed: tuple[ListedSubtask, ...] | None = Field(default=None, alias="list", description="Explicit subtasks.")
    matrix: Mapping[str, tuple[Scalar, ...]] | None = Field(
        default=None, description="One subtask for each combination."
    )
    dataset: str | None = Field(
        default=None, description="A .jsonl or .csv file, relative to the task file: one subtask for each row."
    )
    plan: PlanSpec | None = Field(default=None, description="A model proposes the subtasks.")

    @model_validator(mode="after")
    def _some_source(self) -> "SplitSpec":
        given = [name for name in ("foreach", "listed", "matrix", "dataset", "plan") if getattr(self, name) is not None]
        if not given:
            raise ValueError("give at least one of foreach, list, matrix, dataset, plan")
        if self.plan is not None and len(given) > 1:
            raise ValueError("`plan` stands alone: take the other keys out, or the plan")
        return self


class TaskSpec(Value):
    """A task file."""

    version: Literal[1] = Field(description="The version of this format.")
    name: Name = Field(description="The task's name, for branches and reports.")
    description: str = Field(default="", description="What the task is, for people.")
    repo: RepoSpec = Field(description="The code to work on.")
    split: SplitSpec = Field(description="How the task becomes subtasks.")
    subtask: SubtaskTemplate = Field(default=SubtaskTemplate(), description="The template of every subtask.")
    overrides: Mapping[str, SubtaskFields] = Field(default={}, description="By subtask id: the fields that differ.")
    reference: str | None = Field(
        default=None,
        description="A folder of reference solutions (<id>.diff), relative to the task file; the stub answers from it.",
    )
    gate: GateSpec = Field(description="How each result is judged.")
    integration_gate: ChecksSpec | None = Field(
        default=None, description="How the integrated tree is judged; default: every check of the merged subtasks."
    )
    limits: Limits = Field(default=Limits(), description="How much at once, and how much at all.")
