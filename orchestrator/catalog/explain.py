"""Validates a document against a pydantic model, and says in plain words what does not fit.

`validate` is what task files and configurations share: unknown keys come with "did you mean", missing keys with what
they are for, wrong types with what was found instead. Nobody is shown a word of pydantic.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.catalog.files import Document, Problem
from orchestrator.core.items import Where, spelled
from orchestrator.core.needs import hint

ModelT = TypeVar("ModelT", bound=BaseModel)

_NOUNS = {
    "string": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "tuple": "a list",
    "list": "a list",
    "set": "a list",
    "frozen_set": "a list",
    "mapping": "a mapping (`key: value` lines)",
    "dict": "a mapping (`key: value` lines)",
    "model": "a mapping (`key: value` lines)",
    "none": "null",
}
_KINDS = {
    "int_type": "int",
    "int_from_float": "int",
    "int_parsing": "int",
    "int_parsing_size": "int",
    "model_type": "model",
    "model_attributes_type": "model",
    "dataclass_type": "model",
    "none_required": "none",
}
_BOUNDS = {
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "too_long": "a list of at most {max_length} entries",
    "string_too_long": "at most {max_length} characters long",
}
_PATTERNS = {
    r"^[a-z0-9][a-z0-9_-]*$": "lower-case letters, digits, `-` and `_`, beginning with a letter or digit",
}


def validate(document: Document, model: type[ModelT]) -> tuple[ModelT | None, list[Problem]]:
    """Return the model's value, or None and every problem. Types are not guessed: `"3"` is no number."""
    if document.value is None:
        return None, [Problem((), f"the file is empty; {_beginning(model)}")]
    if not isinstance(document.value, dict):
        return None, [Problem((), f"the file must be a mapping (`key: value` lines), not {described(document.value)}")]
    try:
        # JSON, because strict validation of Python values would want tuples where YAML has lists.
        return model.model_validate_json(json.dumps(document.value), strict=True), []
    except ValidationError as error:
        return None, list(_explained(document, model, error.errors(include_url=False)))


def _beginning(model: type[BaseModel]) -> str:
    required = [f"`{_key(name, model)}`" for name, info in model.model_fields.items() if info.is_required()]
    return f"it needs at least {', '.join(required)}" if required else "write `key: value` lines"


def _key(name: str, model: type[BaseModel]) -> str:
    return model.model_fields[name].alias or name


def described(value: object) -> str:
    """Say what a value is, as people call it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return f"`{str(value).lower()}`"
        case int() | float():
            return f"the number {value}"
        case str():
            shown = value if len(value) <= 40 else f"{value[:37]}…"
            return f"the text {shown!r}"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _explained(document: Document, model: type[BaseModel], errors: Sequence[ErrorDetails]) -> Iterator[Problem]:
    """Turn errors into problems; the alternatives of a union become one problem."""
    wanted: dict[Where, list[str]] = {}
    located = [(_where(document, error), error) for error in errors]
    places = [where for where, _ in located]
    for where, error in located:
        noun = _noun(error["type"])
        if noun is None:
            yield Problem(where, _message(document, model, where, error))
        elif not any(len(other) > len(where) and other[: len(where)] == where for other in places):
            wanted.setdefault(where, []).append(noun)
    for where, nouns in wanted.items():
        *most, last = dict.fromkeys(nouns)
        expected = f"{', '.join(most)} or {last}" if most else last
        yield Problem(
            where,
            f"`{spelled(where)}` must be {expected}, not {described(document.at(where))}{_quoting(document, where, nouns)}",
        )


def _quoting(document: Document, where: Where, nouns: Sequence[str]) -> str:
    value = document.at(where)
    if nouns == ["text"] and isinstance(value, bool | int | float):
        return f'; put it in quotes: "{str(value).lower() if isinstance(value, bool) else value}"'
    if "a list" in nouns and isinstance(value, str):
        return f"; write [{json.dumps(value, ensure_ascii=False)}]"
    if isinstance(value, str) and any(noun in nouns for noun in ("a whole number", "a number", "true or false")):
        return "; write it without quotes and units"
    return ""


def _where(document: Document, error: ErrorDetails) -> Where:
    """Return the place of an error in the document: pydantic's path without the names of union members."""
    where: Where = ()
    loc = error["loc"]
    for place, step in enumerate(loc):
        value = document.at(where)
        is_there = (isinstance(value, dict) and step in value) or (
            isinstance(value, list) and isinstance(step, int) and step < len(value)
        )
        if is_there or (error["type"] == "missing" and place == len(loc) - 1):
            where = (*where, step)
    return where


def _noun(kind: str) -> str | None:
    """Return what an error of this type wanted; None when it is about something else than the type."""
    stem = _KINDS.get(kind) or (kind.removesuffix("_type") if kind.endswith("_type") else "")
    return _NOUNS.get(stem)


def _message(document: Document, model: type[BaseModel], where: Where, error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    name, value = spelled(where), document.at(where)
    match kind:
        case "extra_forbidden":
            return f"unknown key `{where[-1]}`{hint(str(where[-1]), known_keys(model, where[:-1]))}"
        case "missing":
            return f"`{where[-1]}` is missing{_inside(where)}{_purpose(model, where)}"
        case "value_error":
            return str(context.get("error", error["msg"]))
        case "literal_error" | "enum" | "union_tag_invalid":
            expected = str(context.get("expected") or context.get("expected_tags"))
            return f"`{name}` must be {expected}, not {described(value)}"
        case "string_pattern_mismatch":
            rule = _PATTERNS.get(str(context["pattern"]), f"as in the pattern {context['pattern']}")
            return f"`{name}` must be {rule}, not {value!r}"
        case "too_short" | "string_too_short":
            return f"`{name}` must not be empty; give it at least {context['min_length']}"
        case _ if kind in _BOUNDS:
            return f"`{name}` must be {_BOUNDS[kind].format(**context)}, not {described(value)}"
        case _:
            return f"`{name}`: {error['msg']}, not {described(value)}"


def _inside(where: Where) -> str:
    return f" in `{spelled(where[:-1])}`" if len(where) > 1 else ""


def _purpose(model: type[BaseModel], where: Where) -> str:
    """Say what a missing key is for, in the words of the model."""
    for owner in _models_at(model, where[:-1]):
        for name, info in owner.model_fields.items():
            if where[-1] in (name, info.alias) and info.description:
                return f"; add it: {info.description[0].lower()}{info.description[1:].rstrip('.')}"
    return "; add it"


def known_keys(model: type[BaseModel], where: Where) -> list[str]:
    """Return the keys that a model knows at a place of the document."""
    return [_key(name, owner) for owner in _models_at(model, where) for name in owner.model_fields]


def _models_at(model: type[BaseModel], where: Where) -> list[type[BaseModel]]:
    """Walk a model's annotations along a path of the document; return the models that may stand there."""
    places: list[object] = [model]
    for step in where:
        places = [below for place in places for below in _below(place, step)]
    return [place for place in places if isinstance(place, type) and issubclass(place, BaseModel)]


def _below(place: object, step: str | int) -> Iterator[object]:
    if isinstance(place, type) and issubclass(place, BaseModel):
        fields = [info for name, info in place.model_fields.items() if step == (info.alias or name)]
        for info in fields:
            yield from _alternatives(info.annotation)
        return
    origin, parts = get_origin(place), get_args(place)
    if origin is not None and parts:
        inner = parts[-1] if isinstance(origin, type) and issubclass(origin, Mapping) else parts[0]
        yield from _alternatives(inner)


def _alternatives(annotation: object) -> Iterator[object]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _alternatives(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            yield from _alternatives(part)
    else:
        yield annotation
