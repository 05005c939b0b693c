"""YAML with line numbers, and only the part of YAML that means the same to everybody.

`read_yaml` gives plain values (mappings, lists, text, numbers, true/false, null) and remembers the line of every key
and value, so that a mistake found later can be shown where it was written. Refused, each with what to write instead:

- anchors and aliases, tags, several documents, files over 1 MiB;
- a key that appears twice, or that is no text;
- `yes`, `no`, `on`, `off` without quotes: YAML 1.1 reads them as true and false, YAML 1.2 as text.

Numbers are those of YAML 1.2, so `010` and `12:30` stay text. Nothing but `SpecError` is raised for a file's content.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from orchestrator.core.errors import SpecError
from orchestrator.core.items import Where, spelled
from orchestrator.core.values import Digest, digest_of

MAX_BYTES = 1 << 20
_MAX_DEPTH = 60
_STR, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_AMBIGUOUS = re.compile(r"^(?:y|n|yes|no|on|off)$", re.IGNORECASE)
_TAB = "found character '\\t' that cannot start any token"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its path in the file, and what to say. `line` counts within the value, from 1."""

    where: Where
    message: str
    line: int = 1


@dataclass(slots=True)
class Document:
    """A file as values, with the line of every key and value.

    `problems` are the mistakes found so far; what lies at or below a place in `broken` is not worth a second look.
    """

    path: Path
    value: object
    digest: Digest
    problems: list[Problem] = field(default_factory=list)
    broken: set[Where] = field(default_factory=set)
    _lines: dict[Where, int] = field(default_factory=dict)
    _texts: dict[Where, int] = field(default_factory=dict)

    def line_of(self, where: Where) -> int:
        """Return the line, from 1, of a key or list entry; of the nearest thing around it where it is missing."""
        for length in range(len(where), -1, -1):
            if where[:length] in self._lines:
                return self._lines[where[:length]]
        return 1

    def with_value(self, value: object) -> "Document":
        """Return the same document with another value, whose parts stand where the same parts stood."""
        return replace(self, value=value)

    def at(self, where: Where) -> object:
        """Return the value at a path; None where there is none."""
        value = self.value
        for step in where:
            if isinstance(value, dict):
                value = value.get(step)
            elif isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value):
                value = value[step]
            else:
                return None
        return value

    def refuse(self, problems: Iterable[Problem], elsewhere: Sequence[str] = ()) -> None:
        """Raise `SpecError` with every problem, by line, each once; return when there is none.

        `elsewhere` are complete lines about other files.
        """
        worth = [problem for problem in problems if not self._is_broken(problem.where)]
        lines = sorted((self._line(problem), problem.message) for problem in [*self.problems, *worth])
        found = [*(f"{self.path}:{line}: {message}" for line, message in lines), *elsewhere]
        if found:
            raise SpecError(list(dict.fromkeys(found)))

    def _line(self, problem: Problem) -> int:
        if problem.where in self._texts:
            return self._texts[problem.where] + problem.line - 1
        return self.line_of(problem.where)

    def _is_broken(self, where: Where) -> bool:
        return any(where[:length] in self.broken for length in range(len(where) + 1))


def fail(path: Path, message: str, line: int = 1) -> SpecError:
    """Make the error of a file that has one problem as a whole."""
    return SpecError([f"{path}:{line}: {message}"])


def read_text(path: Path, limit: int = MAX_BYTES) -> str:
    """Read a UTF-8 file of at most `limit` bytes. Raises `SpecError`."""
    return decode(path, read_bytes(path, limit))


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file of at most `limit` bytes. Raises `SpecError`."""
    try:
        with path.open("rb") as stream:
            body = stream.read(limit + 1)
    except FileNotFoundError as error:
        raise fail(path, "there is no such file; check the path") from error
    except IsADirectoryError as error:
        raise fail(path, "this is a folder; name the file in it") from error
    except (OSError, ValueError) as error:
        raise fail(path, f"the file cannot be read: {error}") from error
    if len(body) > limit:
        raise fail(path, f"the file is larger than {limit:,} bytes; split it, or move data into a data set")
    return body


def decode(path: Path, body: bytes) -> str:
    """Return the text of a body. Raises `SpecError` for what is not UTF-8."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = body.count(b"\n", 0, error.start) + 1
        raise fail(path, "this is not UTF-8 text; save the file as UTF-8", line) from error


def read_yaml(path: Path) -> Document:
    """Read one YAML document from a file. Raises `SpecError` where it cannot be read at all."""
    return parse_yaml(path, read_bytes(path))


def parse_yaml(path: Path, body: bytes, first_line: int = 1) -> Document:
    """Read one YAML document from a body that begins on line `first_line` of the file. Raises `SpecError`."""
    text = decode(path, body)
    document = Document(path=path, value=None, digest=digest_of(body))
    try:
        root = _Composer(text).get_single_node()
        if root is not None:
            document.value = _Walk(document, first_line).value(root, ())
    except yaml.MarkedYAMLError as error:
        raise fail(path, _syntax(error), _line(error, text) + first_line - 1) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + first_line
        raise fail(
            path, f"the character U+{int(error.character):04X} is not allowed in YAML; take it out", line
        ) from error
    except RecursionError as error:
        raise fail(path, "this is nested too deeply to be a task") from error
    return document


def _line(error: yaml.MarkedYAMLError, text: str) -> int:
    mark = error.problem_mark or error.context_mark
    return min(mark.line + 1 if mark is not None else 1, max(1, len(text.splitlines())))


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Say a YAML syntax error so that somebody who does not know the parser can act on it."""
    problem = str(error.problem or error)
    advice = {
        _TAB: "a tab; indent with spaces",
        "mapping values are not allowed here": "a `:` where none can be; put the text in quotes, or check the indentation",
        "could not find expected ':'": "a key without `:`; write `key: value`",
        "but found another document": "a second document; keep one to a file",
    }.get(problem)
    if advice is None and "expected <block end>" in problem:
        advice = "this line does not belong to what is above; check the indentation"
    if advice is None and problem.startswith("expected the node content"):
        advice = 'a value that begins with a special character; put it in quotes, as in `key: "{{ item.path }}"`'
    return f"not valid YAML: {advice or problem}"


class _Composer(yaml.SafeLoader):
    """Composes nodes; refuses references between them, and more depth than any task has."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  (PyYAML's own protocol)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        """Compose one node."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem=f"the alias `*{event.anchor}`; write the value out", problem_mark=mark)
        if getattr(event, "anchor", None) is not None:
            problem = f"the anchor `&{event.anchor}`; write the value out where it is needed"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag!r}; take it out", problem_mark=mark)
        if self._depth > _MAX_DEPTH:
            raise yaml.MarkedYAMLError(problem=f"more than {_MAX_DEPTH} levels", problem_mark=mark)
        self._depth += 1
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


_BOOLS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULLS = {"", "~", "null", "Null", "NULL"}
_INT = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$")
_FLOAT = re.compile(r"^[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$")


def plain_value(text: str) -> object:
    """Return what an unquoted scalar means (YAML 1.2's core schema, decimal numbers only)."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    # More digits are no number that anybody writes; Python refuses them.
    if len(text) < 40 and _INT.match(text):
        return int(text)
    if len(text) < 40 and _FLOAT.match(text) and isfinite(float(text)):
        return float(text)
    return text


class _Walk:
    """Turns nodes into values, noting lines and mistakes in the document."""

    def __init__(self, document: Document, first_line: int) -> None:
        self._document = document
        self._first = first_line

    def _note(self, where: Where, message: str) -> None:
        self._document.problems.append(Problem(where, message))
        self._document.broken.add(where)

    def value(self, node: Node, where: Where) -> object:
        """Return the value of a node."""
        self._document._lines.setdefault(where, node.start_mark.line + self._first)
        match node:
            case MappingNode():
                return self._mapping(node, where)
            case SequenceNode():
                return [self.value(child, (*where, place)) for place, child in enumerate(node.value)]
            case ScalarNode():
                return self._scalar(node, where)
            case _:
                return None

    def _mapping(self, node: MappingNode, where: Where) -> dict[str, object]:
        found: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + self._first
            key = self._key(key_node, where)
            if key in found:
                message = f"`{key}` is given twice, first on line {self._document.line_of((*where, key))}; keep one"
                # A place of its own, so that the second one's line is shown.
                place = (*where, f"{key} (again on line {line})")
                self._document._lines[place] = line
                self._document.problems.append(Problem(place, message))
                continue
            self._document._lines[(*where, key)] = line
            found[key] = self.value(value_node, (*where, key))
        return found

    def _key(self, node: Node, where: Where) -> str:
        """Return a key as text; one that is none is reported and replaced by its spelling."""
        text = str(node.value) if isinstance(node, ScalarNode) else "a collection"
        place = (*where, text)
        is_plain = isinstance(node, ScalarNode) and node.style is None
        if not isinstance(node, ScalarNode):
            problem = "a key must be text; write `name: value`, and quotes around a value that begins with `{{`"
        elif is_plain and _AMBIGUOUS.match(text):
            problem = f'the key `{text}` is true or false to some YAML readers; put it in quotes: `"{text}":`'
        elif is_plain and not isinstance(plain_value(text), str):
            problem = f'the key `{text}` is not text; put it in quotes: `"{text}":`'
        elif not _is_text(text):
            problem = "the key holds a character that is not text (NUL, or half of a pair); take it out"
        else:
            return text
        self._document._lines.setdefault(place, node.start_mark.line + self._first)
        self._note(place, problem)
        return text

    def _scalar(self, node: ScalarNode, where: Where) -> object:
        text = str(node.value)
        if not _is_text(text):
            self._note(
                where, f"`{spelled(where)}` holds a character that is not text (NUL, or half of a pair); take it out"
            )
            return ""
        if node.style in ("|", ">"):
            self._document._texts[where] = node.start_mark.line + self._first + 1
        elif node.start_mark.line + self._first != self._document._lines[where]:
            self._document._texts[where] = node.start_mark.line + self._first
        if node.style is not None:
            return text
        if _AMBIGUOUS.match(text) and len(text) > 1:
            self._note(where, f'`{text}` is true or false to some YAML readers; write `true`, `false`, or `"{text}"`')
        return plain_value(text)


def _is_text(text: str) -> bool:
    return not any(character == "\0" or 0xD800 <= ord(character) < 0xE000 for character in text)
