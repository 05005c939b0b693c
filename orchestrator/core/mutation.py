"""Small wrong changes to Python code that still parse: what a gate should notice.

A mutant changes one place: a comparison is turned around, `+` becomes `-`, `and` becomes `or`, a `not` is dropped, a
number grows by one, `True` becomes `False`, a returned value becomes None (the operators of DeMillo, Lipton & Sayward,
1978, as mutation testers use them). Text is replaced in place, so that all else keeps its format.

The stub takes its wrong answers from here; the share of mutants that a gate refuses is its mutation score.
"""

import ast
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise

_COMPARISONS: dict[type[ast.cmpop], tuple[str, str]] = {
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Lt: ("<", ">="),
    ast.LtE: ("<=", ">"),
    ast.Gt: (">", "<="),
    ast.GtE: (">=", "<"),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}
_ARITHMETIC: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "//"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One wrong version of a source: the line that was changed, from 1, what was done, and the whole new text."""

    line: int
    description: str
    source: str


@dataclass(frozen=True, slots=True, order=True)
class Site:
    """One possible mutation: the bytes `start` to `stop` of the source's UTF-8 become `text`."""

    start: int
    stop: int
    line: int
    description: str
    text: str

    def mutant(self, source: str) -> Mutant | None:
        """Change the source here; None where the result would be the same program or does not parse."""
        encoded = source.encode()
        changed = (encoded[: self.start] + self.text.encode() + encoded[self.stop :]).decode()
        try:
            ast.parse(changed)
        except (SyntaxError, ValueError):
            return None
        return Mutant(self.line, self.description, changed)


def sites(source: str, lines: Collection[int]) -> list[Site]:
    """Every place on the given lines (from 1) that can be mutated, in order; none for a source that does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    found = _Finder(source).visit_all(tree)
    return sorted(site for site in set(found) if site.line in lines)


def mutants(source: str, lines: Collection[int]) -> list[Mutant]:
    """Every mutant of the given lines (from 1) that parses, in the order of the text."""
    made = (site.mutant(source) for site in sites(source, lines))
    return [mutant for mutant in made if mutant is not None]


class _Finder:
    """Finds sites; holds where each line begins, as `ast` counts columns in UTF-8 bytes."""

    def __init__(self, source: str) -> None:
        self._source = source.encode()
        starts = [0]
        # The lines as the parser counts them: a form feed or U+2028 ends none.
        starts.extend(found.end() for found in re.finditer(rb"\r\n|\n|\r", self._source))
        self._starts = starts

    def visit_all(self, node: ast.AST) -> Iterator[Site]:
        """Yield the sites of a node and of all that is in it, but for annotations, which do nothing at run time."""
        yield from self._sites(node)
        for name, value in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list"} or isinstance(value, ast.JoinedStr):
                continue
            for child in value if isinstance(value, list) else [value]:
                # Python 3.11 gives no true positions inside of f-strings.
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    yield from self.visit_all(child)

    def _sites(self, node: ast.AST) -> Iterator[Site]:
        match node:
            case ast.Compare() | ast.BinOp() | ast.BoolOp():
                yield from self._operators(node)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                yield Site(self._start(node), self._start(operand), node.lineno, "dropped `not`", "")
            case ast.Constant(value=bool() | int()):
                yield from self._constant(node)
            case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
                yield Site(self._start(value), self._end(value), node.lineno, "returned None", "None")

    def _operators(self, node: ast.Compare | ast.BinOp | ast.BoolOp) -> Iterator[Site]:
        match node:
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                for (before, after), operator in zip(pairwise([left, *comparators]), ops, strict=True):
                    yield from self._between(before, after, *_COMPARISONS[type(operator)])
            case ast.BinOp(left=left, op=arithmetic, right=right):
                # `"…" % value` is formatting; turned into a division it could only raise.
                if type(arithmetic) in _ARITHMETIC and not (isinstance(arithmetic, ast.Mod) and _is_text(left)):
                    yield from self._between(left, right, *_ARITHMETIC[type(arithmetic)])
            case ast.BoolOp(op=connective, values=values):
                words = ("and", "or") if isinstance(connective, ast.And) else ("or", "and")
                for before, after in pairwise(values):
                    yield from self._between(before, after, *words)

    def _constant(self, node: ast.Constant) -> Iterator[Site]:
        start, stop = self._start(node), self._end(node)
        if isinstance(node.value, bool):
            yield Site(start, stop, node.lineno, f"{node.value} became {not node.value}", str(not node.value))
        elif isinstance(node.value, int):
            yield Site(start, stop, node.lineno, f"{node.value} became {node.value + 1}", str(node.value + 1))

    def _between(self, left: ast.expr, right: ast.expr, old: str, new: str) -> Iterator[Site]:
        start, stop = self._end(left), self._start(right)
        gap = self._source[start:stop]
        words = rb"\s+".join(re.escape(word) for word in old.encode().split())
        found = re.search(rb"\b" + words + rb"\b" if old[0].isalpha() else words, gap)
        if found is None or b"#" in gap[: found.start()]:
            return
        line = left.end_lineno or left.lineno
        line += gap[: found.start()].count(b"\n")
        yield Site(start + found.start(), start + found.end(), line, f"`{old}` became `{new}`", new)

    def _start(self, node: ast.expr | ast.stmt) -> int:
        return self._starts[node.lineno - 1] + node.col_offset

    def _end(self, node: ast.expr) -> int:
        return self._starts[(node.end_lineno or node.lineno) - 1] + (node.end_col_offset or 0)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))
