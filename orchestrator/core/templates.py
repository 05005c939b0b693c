"""Jinja2, the strict and sandboxed part of it: how the strings of a task file become the strings of a subtask.

A template sees `item` (what the subtask is about) and `task` (name, description), and nothing else. An undefined
variable is an error, never an empty text; so is a null, a list, or any value without an obvious spelling. The same
template and values always give the same text: nothing random, no clock, no memory address.

A command line is split into arguments *before* its templates are filled in, so that no value can add an argument; a
value cannot turn an argument into an option either (`arguments`). Only people's text is ever a template. What a
model wrote is at most a value.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError, TemplateSyntaxError, Undefined, UndefinedError, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.core import globs

ROOTS = ("item", "task")
# What a template of a sane file can raise while it is filled in: all of it is the template's fault.
_FAULTS = (TemplateError, ArithmeticError, TypeError, ValueError, LookupError, AttributeError, RecursionError)
_MAX_TEXT = 1_000_000


class TemplateFault(Exception):
    """A template that cannot be read or filled in; `line` is the line within the template, from 1."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.line = line


class PathText(str):
    """Text taken from a path: where a glob is asked for, it means itself, brackets and stars included."""

    __slots__ = ()


class Variables:
    """The fields of `item` or `task`. Only subscripts, so that a column called `items` or `values` is just a column."""

    __slots__ = ("_fields", "_name")

    def __init__(self, name: str, fields: Mapping[str, object]) -> None:
        self._name = name
        self._fields = fields

    def __getitem__(self, field: str) -> object:
        return self._fields[field]

    def __contains__(self, field: object) -> bool:
        return field in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __str__(self) -> str:
        raise TypeError(f"`{self._name}` is a group of variables; write one of them: {_listing(self._name, self)}")


Scope = Mapping[str, Variables]


def scope(item: Mapping[str, object], task: Mapping[str, object]) -> Scope:
    """Return the variables of one subtask's templates."""
    return {"item": Variables("item", item), "task": Variables("task", task)}


def task_fields(name: str, description: str) -> dict[str, object]:
    """Return what `task` has."""
    return {"name": name, "description": description}


def _listing(name: str, fields: Variables) -> str:
    return ", ".join(f"{name}.{field}" for field in fields) or "there is none"


def _spelled(value: object) -> object:
    """Let through what has one obvious spelling."""
    if isinstance(value, str | int | float | Undefined | Variables):
        return value
    if value is None:
        raise ValueError("the value is null; write `{{ … or '' }}`, or give it a value")
    raise ValueError(
        f"the value is a {type(value).__name__}, which has no spelling; use `| join(', ')`, `| tojson` or one of its parts"
    )


def _literally(value: object) -> object:
    return globs.escape(value) if isinstance(value, PathText) else _spelled(value)


class _Strict(StrictUndefined):
    """Says what there is instead of what there is not."""

    @property
    def _undefined_message(self) -> str:
        owner = self._undefined_obj
        if isinstance(owner, Variables):
            return f"{owner._name} has no `{self._undefined_name}`; it has {_listing(owner._name, owner)}"
        return f"{super()._undefined_message}; a template sees `item` and `task`"


def _environment(finalize: Callable[[object], object]) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=_Strict, keep_trailing_newline=True, autoescape=False, finalize=finalize, cache_size=0
    )
    for name in set(environment.globals) - {"range", "dict", "namespace"}:
        del environment.globals[name]
    del environment.filters["random"]
    return environment


_TEXT = _environment(_spelled)
_GLOB = _environment(_literally)


@lru_cache(maxsize=4_096)
def _template(text: str, *, as_glob: bool) -> Template:
    return (_GLOB if as_glob else _TEXT).from_string(text)


def render(text: str, variables: Scope, *, as_glob: bool = False) -> str:
    """Fill in one template. Raises `TemplateFault`.

    With `as_glob`, values that are `PathText` are escaped.
    """
    if "{" not in text:
        return text
    try:
        filled = _template(text, as_glob=as_glob).render(variables)
        filled.encode()
    except TemplateSyntaxError as error:
        raise TemplateFault(_syntax(error), error.lineno) from error
    except UndefinedError as error:
        raise TemplateFault(str(error)) from error
    except _FAULTS as error:
        raise TemplateFault(f"the template cannot be filled in: {error}") from error
    if "\0" in filled or len(filled) > _MAX_TEXT:
        raise TemplateFault(f"the filled-in text has a NUL character or more than {_MAX_TEXT} characters")
    return filled


def _syntax(error: TemplateSyntaxError) -> str:
    return f"this is not valid Jinja2: {str(error.message).rstrip('.')}"


@lru_cache(maxsize=4_096)
def words(line: str) -> tuple[str, ...]:
    """Split a command line as a shell would, each `{{ … }}` in one piece. Raises `TemplateFault`."""
    if "\0" in line:
        raise TemplateFault("the command holds a NUL character; take it out")
    pieces: list[str] = []
    masked: list[str] = []
    try:
        for _, kind, text in _TEXT.lex(line):
            if kind == "data":
                masked.append(text)
                continue
            # No text of ours holds a NUL, and shlex takes it for a letter: it stands for a piece of template.
            masked.append(f"\0{len(pieces)}\0")
            pieces.append(text)
        parts = shlex.split("".join(masked))
    except TemplateSyntaxError as error:
        raise TemplateFault(_syntax(error), error.lineno) from error
    except ValueError as error:
        raise TemplateFault(f"the command line cannot be split: {error}; check its quotes") from error
    return tuple(_unmasked(part, pieces) for part in parts)


def _unmasked(part: str, pieces: list[str]) -> str:
    return "".join(pieces[int(text)] if place % 2 else text for place, text in enumerate(part.split("\0")))


def arguments(run: str | tuple[str, ...], variables: Scope) -> tuple[str, ...]:
    """Return the argument list of a command. Raises `TemplateFault`, also where a value would make an option."""
    templates = words(run) if isinstance(run, str) else run
    if not templates:
        raise TemplateFault("the command is empty; write a program and its arguments")
    filled = tuple(render(template, variables) for template in templates)
    for template, argument in zip(templates, filled, strict=True):
        if argument.startswith("-") and not template.startswith("-"):
            raise TemplateFault(
                f"the value makes {argument!r}, an option, of the argument `{template}`; "
                "write the option's beginning in the task file, as in `--name={{ … }}`, or a path as `./{{ … }}`"
            )
    if not filled[0]:
        raise TemplateFault("the name of the program is empty")
    return filled


def check_syntax(text: str) -> nodes.Template:
    """Parse a template. Raises `TemplateFault`."""
    try:
        return _TEXT.parse(text)
    except TemplateSyntaxError as error:
        raise TemplateFault(_syntax(error), error.lineno) from error
    except RecursionError as error:
        raise TemplateFault("the template is nested too deeply") from error


def variables_of(text: str) -> list[tuple[str, str, int]]:
    """Return (`root`, `field`, line) of the variables that a template needs; the field is "" for a bare root.

    What is read under `default(…)` or asked for by `is defined` is not needed. Raises `TemplateFault`.
    """
    if "{" not in text:
        return []
    tree = check_syntax(text)
    try:
        free = find_undeclared_variables(tree)
    except TemplateSyntaxError as error:
        raise TemplateFault(_syntax(error), error.lineno) from error
    except TemplateError as error:
        raise TemplateFault(f"this is not valid Jinja2: {error}") from error
    excused = {id(node) for optional in _optional(tree) for node in optional.find_all(nodes.Node)}
    excused |= {id(optional) for optional in _optional(tree)}
    used = [_field(node) for node in tree.find_all((nodes.Getattr, nodes.Getitem)) if id(node) not in excused]
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    needed = [field for field in used if field is not None and field[0] in free - own]
    known = {"range", "dict", "namespace", *ROOTS}
    bare = [
        (name.name, "", name.lineno)
        for name in tree.find_all(nodes.Name)
        if name.name in free and name.name not in known and id(name) not in excused
    ]
    return [*bare, *needed]


def _optional(tree: nodes.Template) -> Iterator[nodes.Node]:
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        if isinstance(node, nodes.Filter | nodes.Test) and node.name in {"default", "d", "defined", "undefined"}:
            inner: nodes.Node | None = node.node
            if inner is not None:
                yield inner


def _field(node: nodes.Node) -> tuple[str, str, int] | None:
    """Read `root.field` or `root["field"]` off a node."""
    match node:
        case nodes.Getattr(node=nodes.Name(name=root), attr=field):
            return (root, field, node.lineno)
        case nodes.Getitem(node=nodes.Name(name=root), arg=nodes.Const(value=str(field))):
            return (root, field, node.lineno)
        case _:
            return None
