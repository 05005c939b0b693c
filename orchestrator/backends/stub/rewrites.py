"""Harmless real changes to files, for subtasks that have no reference solution.

What the stub answers then is still a change that a gate can judge: missing docstrings from the names, `X | None` for
`Optional[X]`, or a line at the end of another kind of file. Every result of a Python rewrite parses.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from orchestrator.core.globs import is_literal, matches

_MAX_DOCSTRINGS = 6
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_HASH_COMMENTS = frozenset({".py", ".pyi", ".toml", ".yaml", ".yml", ".ini", ".cfg", ".sh", ".txt", ".rb", ".r"})
_SLASH_COMMENTS = frozenset({".js", ".ts", ".jsx", ".tsx", ".go", ".rs", ".c", ".h", ".cpp", ".java", ".kt", ".swift"})
_TAG_COMMENTS = frozenset({".html", ".xml", ".svg", ".vue"})

_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def rewritten(path: str, text: str, title: str) -> str:
    """Return the text with one kind of harmless change; always different from what it was."""
    if path.endswith((".py", ".pyi")):
        for change in (with_docstrings, with_modern_optionals):
            changed = change(path, text)
            if changed != text:
                return changed
    return with_closing_line(path, text, title)


def with_docstrings(path: str, text: str) -> str:
    """Add up to six missing docstrings, in the order of the file."""
    tree = _parsed(text)
    if tree is None:
        return text
    lines = text.split("\n")
    wanted = sorted(_missing_docstrings(tree, lines, path))[:_MAX_DOCSTRINGS]
    for at, docstring in reversed(wanted):
        lines[at:at] = docstring
    changed = "\n".join(lines)
    return changed if _parsed(changed) is not None else text


def with_modern_optionals(path: str, text: str) -> str:  # noqa: ARG001 (one signature for all rewrites)
    """Write `X | None` for `Optional[X]` in annotations, where they are not evaluated (PEP 563)."""
    tree = _parsed(text)
    if tree is None or "from __future__ import annotations" not in text:
        return text
    changed = text
    for annotation in _annotations(tree):
        old = ast.get_source_segment(text, annotation) or ""
        inner = re.fullmatch(r"Optional\[([\w.]+)\]", old)
        if inner is not None:
            changed = re.sub(rf"\bOptional\[{re.escape(inner[1])}\]", f"{inner[1]} | None", changed)
    return changed if _parsed(changed) is not None else text


def with_closing_line(path: str, text: str, title: str) -> str:
    """Add a line at the end, in the comment syntax of the file's kind; an empty one where there is none."""
    words = " ".join(title.split()).replace("-->", "->") or "Reviewed"
    line = commented(path, words)
    if line == words:
        line = f"\n{words}" if PurePosixPath(path).suffix.lower() in {".md", ".rst"} else ""
    return f"{text if not text or text.endswith(chr(10)) else text + chr(10)}{line}\n"


def commented(path: str, words: str) -> str:
    """The words as a comment in the syntax of the file's kind; as they are where none is known."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in _HASH_COMMENTS:
        return f"# {words}"
    if suffix in _SLASH_COMMENTS:
        return f"// {words}"
    return f"<!-- {words} -->" if suffix in _TAG_COMMENTS else words


def new_file(path: str, title: str) -> str:
    """The content of a file that did not exist: one line that says what it is for."""
    words = " ".join(title.split()) or "New file"
    if path.endswith((".py", ".pyi")):
        plain = words.replace("\\", "/").replace('"', "'")
        return f'"""{plain}{"" if plain.endswith(".") else "."}"""\n'
    if path.endswith(".md"):
        return f"# {words}\n"
    return with_closing_line(path, "", words)


def concrete_path(writable: Sequence[str], name: str) -> str | None:
    """A path that one of the globs means: a literal one first, else one made up from a glob with `name` in it."""
    literal = [pattern for pattern in writable if is_literal(pattern)]
    if literal:
        return literal[0]
    plain = re.sub(r"\W+", "_", name).strip("_").lower() or "notes"
    for pattern in writable:
        whole = f"{pattern}{plain}.md" if pattern.endswith("/") else pattern
        path = re.sub(r"\[[^]]*\]|\?", "x", re.sub(r"\*+", plain, re.sub(r"(^|/)\*\*/", r"\1", whole)))
        if matches(path, writable):
            return path
    return None


def words_of(name: str) -> str:
    """A name as words: `parse_HTTPHeader` becomes `parse http header`."""
    return " ".join(word.lower() for word in _WORD.findall(name))


def _missing_docstrings(tree: ast.Module, lines: Sequence[str], path: str) -> Iterator[tuple[int, list[str]]]:
    stem = PurePosixPath(path).stem
    if ast.get_docstring(tree, clean=False) is None and tree.body:
        words = words_of(stem if stem != "__init__" else PurePosixPath(path).parent.name) or "module"
        yield _first_line(tree.body[0]) - 1, [f'"""{words.capitalize()}."""', ""]
    for node in _outer_definitions(tree):
        at = _first_line(node.body[0]) - 1
        indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
        if ast.get_docstring(node, clean=False) is None and at + 1 > node.lineno and len(indent) > node.col_offset:
            words = words_of(node.name) or "unnamed"
            docstring = f'{indent}"""{words.capitalize()}."""'
            yield at, [docstring, ""] if isinstance(node, ast.ClassDef) else [docstring]


def _outer_definitions(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield node
            yield from (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _first_line(node: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)])


def _annotations(tree: ast.Module) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        found = getattr(node, "annotation", None) or getattr(node, "returns", None)
        if isinstance(found, ast.expr):
            yield found


def _parsed(text: str) -> ast.Module | None:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return None
