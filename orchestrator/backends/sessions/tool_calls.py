"""The tools as a model sees them, and its calls as values: each tool is one class, from which its JSON Schema follows.

    ToolCall (whatever the model wrote) → read_call → ReadFile(path="a.py", first_line=1, last_line=None)

A call that is wrong in any way is a `BadCallError`, whose text tells the model what was wrong and what is expected. The docstrings
and descriptions in this file are written for the model. `sessions.toolbox` performs what is read here.
"""

import inspect
import re
from collections.abc import Collection, Mapping

from pydantic import ConfigDict, Field, ValidationError

from orchestrator.core.chat import Tool, ToolCall
from orchestrator.core.values import Value

_MAX_NAMED_CHARS = 80
_MAX_PROBLEM_CHARS = 600
_HALF = re.compile("[\ud800-\udfff]")
_GLOB = "Which files: `*` and `?` match within a folder, `**` across folders, `dir/` is everything below `dir`."
_PATH = "The file's path, relative to the root of the repository."


class BadCallError(Exception):
    """A call that does nothing; the text says why, for the model."""


class _Arguments(Value):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ListFiles(_Arguments):
    """List the paths of the repository's files, one a line."""

    glob: str = Field(default="**", description=_GLOB)


class ReadFile(_Arguments):
    """Read a text file, whole or a range of its lines. Each line comes as its number, a tab, and its exact text.

    A long file comes in parts; a note at the end then says how to read on.
    """

    path: str = Field(description=_PATH)
    first_line: int = Field(default=1, ge=1, description="The first line to show, from 1.")
    last_line: int | None = Field(default=None, ge=1, description="The last line to show; left out: to the end.")


class Search(_Arguments):
    """Find the lines that match a regular expression, as `path:line: text`. Each line is searched by itself."""

    pattern: str = Field(
        description="A regular expression in Python's syntax. It is case-sensitive; begin it with (?i) if not."
    )
    glob: str = Field(default="**", description=_GLOB)


class EditFile(_Arguments):
    """Replace lines of a file. The change is in effect at once, and later calls see it.

    To insert, quote the line beside the place in `search`, and repeat it in `replace` together with the new lines.
    """

    path: str = Field(description=_PATH)
    search: str = Field(
        description="The lines to replace: whole lines with their indentation, exactly as in the file, without line numbers. "
        "They must occur only once in the file; add lines before or after until they do. Keep it short."
    )
    replace: str = Field(description="The lines that take their place; empty to remove them.")


class WriteFile(_Arguments):
    """Create a file, or replace an existing one as a whole. For a change in a long file use edit_file."""

    path: str = Field(description=_PATH)
    content: str = Field(description="Everything that the file is to hold.")


class DeleteFile(_Arguments):
    """Remove a file."""

    path: str = Field(description=_PATH)


class RunChecks(_Arguments):
    """Run the project's checks on the repository as you have changed it: `passed`, or what failed.

    It takes a while, and only a few runs are allowed: complete the change first.
    """


Request = ListFiles | ReadFile | Search | EditFile | WriteFile | DeleteFile | RunChecks

_REQUESTS: Mapping[str, type[Request]] = {
    "list_files": ListFiles,
    "read_file": ReadFile,
    "search": Search,
    "edit_file": EditFile,
    "write_file": WriteFile,
    "delete_file": DeleteFile,
    "run_checks": RunChecks,
}
CHECKS = "run_checks"
READS = frozenset({"list_files", "read_file", "search"})
WRITES = frozenset({"edit_file", "write_file", "delete_file"})


def tools(*, with_checks: bool) -> tuple[Tool, ...]:
    """Describe the tools for the model, always in the same order."""
    return tuple(
        Tool(name=name, description=inspect.cleandoc(request.__doc__ or ""), parameters=_schema(request))
        for name, request in _REQUESTS.items()
        if with_checks or name != CHECKS
    )


def read_call(call: ToolCall, offered: Collection[str]) -> Request:
    """Read a call of one of the offered tools. Raises `BadCallError` for anything else."""
    if call.name not in offered:
        raise BadCallError(f"There is no tool {call.name[:_MAX_NAMED_CHARS]!r}. The tools are: {', '.join(offered)}.")
    if call.problem:
        raise _bad(call.name, call.problem)
    if any(isinstance(value, str) and _HALF.search(value) for value in call.arguments.values()):
        raise _bad(call.name, "the arguments hold half of a surrogate pair, which is no character")
    # What a model leaves out it may also send as null, and a whole number as 3.0.
    given = {name: _whole(value) for name, value in call.arguments.items() if value is not None}
    try:
        return _REQUESTS[call.name].model_validate(given)
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors(include_url=False))
        raise _bad(call.name, "; ".join(problems)) from None


def headline(call: ToolCall) -> str:
    """Say in some words what a call is about: its name and its path, pattern or glob."""
    about = next(
        (value for name in ("path", "pattern", "glob") if isinstance(value := call.arguments.get(name), str)), ""
    )
    told = f"{call.name} {about}".strip()
    shown = "".join(letter if letter.isprintable() else "?" for letter in told[: _MAX_NAMED_CHARS + 1])
    return shown if len(shown) <= _MAX_NAMED_CHARS else f"{shown[: _MAX_NAMED_CHARS - 1]}…"


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _bad(name: str, problem: str) -> BadCallError:
    return BadCallError(f"The call was not run. {problem[:_MAX_PROBLEM_CHARS]}. Expected: {_signature(name)}")


def _signature(name: str) -> str:
    request = _REQUESTS[name]
    told = [
        f"{argument}: {schema['type']}" + ("" if request.model_fields[argument].is_required() else " (may be left out)")
        for argument, schema in _properties(request).items()
    ]
    return f"{name}({', '.join(told)}), as a JSON object"


def _schema(request: type[Request]) -> dict[str, object]:
    """The JSON Schema of a request's arguments, in the plain words that every provider knows."""
    return {
        "type": "object",
        "properties": _properties(request),
        "required": [name for name, field in request.model_fields.items() if field.is_required()],
        "additionalProperties": False,
    }


def _properties(request: type[Request]) -> dict[str, dict[str, object]]:
    return {name: _plain(schema) for name, schema in request.model_json_schema().get("properties", {}).items()}


def _plain(schema: Mapping[str, object]) -> dict[str, object]:
    """Without titles, and without null as a value: an argument that may be null may be left out."""
    plain = {key: value for key, value in schema.items() if key not in {"title", "anyOf"}}
    choices = schema.get("anyOf")
    if isinstance(choices, list):
        plain = {**choices[0], "description": plain["description"]}
    return plain
