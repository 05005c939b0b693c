"""Do the tests of a module notice when the module is wrong?

    python tools/mutants.py money tests/test_money.py --seed 3 --count 16 --min-killed 16

The tests have to pass on the module as it is. Then `count` small mistakes are made in it,
one at a time and chosen by the seed, and at least `min-killed` of them have to make a test
fail. Mistakes that went unnoticed are printed with their line.

pytest is imported once; each mistake runs in a forked child that imports the changed
source instead of the file. The files on disk stay as they are.
"""

import argparse
import ast
import contextlib
import copy
import importlib.abc
import importlib.util
import os
import random
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 5  # a mistake that makes a loop endless

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
}


def changes(node: ast.AST) -> Iterator[ast.AST]:
    """Every wrong version of one node."""
    if isinstance(node, ast.Compare):
        for index, operator in enumerate(node.ops):
            wrong = copy.deepcopy(node)
            wrong.ops[index] = COMPARISONS[type(operator)]()
            yield wrong
    elif isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        if isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return  # percent formatting
        yield ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    elif isinstance(node, ast.BoolOp):
        swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.BoolOp(swapped, node.values)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        yield node.operand
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Return) and node.value is not None:
        if not isinstance(node.value, ast.Constant):
            yield ast.Return(ast.Constant(None))


class Replace(ast.NodeTransformer):
    def __init__(self, target: ast.AST, wrong: ast.AST) -> None:
        self.target = target
        self.wrong = wrong

    def visit(self, node: ast.AST) -> ast.AST:
        return self.wrong if node is self.target else self.generic_visit(node)


@dataclass
class Mistake:
    node: ast.AST
    wrong: ast.AST

    def __str__(self) -> str:
        line = getattr(self.node, "lineno", 0)
        return f"line {line}: {ast.unparse(self.node)}  ->  {ast.unparse(self.wrong)}"

    def source(self, tree: ast.Module) -> str:
        """The module with this mistake in it."""
        changed = copy.deepcopy(tree, {id(self.node): self.node})
        Replace(self.node, self.wrong).visit(changed)
        return ast.unparse(ast.fix_missing_locations(changed))


def mistakes(tree: ast.Module) -> list[Mistake]:
    # Defaults are part of the signature, which tools/check_api.py looks after.
    signatures = [n.args for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    defaults = {id(default) for args in signatures for default in args.defaults}
    nodes = [node for node in ast.walk(tree) if id(node) not in defaults]
    return [Mistake(node, wrong) for node in nodes for wrong in changes(node)]


class Loader(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports one module from a text instead of its file."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return importlib.util.spec_from_loader(fullname, self)

    def get_source(self, fullname: str) -> str:
        return self.source


def passes(tests: str, module: str, source: str, show: bool = False) -> bool:
    """Run the tests in a forked child against this source of the module."""
    child = os.fork()
    if child == 0:
        status = 70
        try:
            signal.alarm(LIMIT_S)
            sys.meta_path.insert(0, Loader(f"storefront.{module}", source))
            with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
                if not show:
                    os.dup2(nowhere.fileno(), 1)
                    os.dup2(nowhere.fileno(), 2)
                    stack.enter_context(contextlib.redirect_stdout(nowhere))
                status = int(pytest.main(["-x", "--tb=short" if show else "--tb=no", tests]))
                sys.stdout.flush()
        finally:
            os._exit(status)
    _, waited = os.waitpid(child, 0)
    return waited == 0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("module")
    parser.add_argument("tests")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--min-killed", type=int)
    options = parser.parse_args()
    wanted = options.count if options.min_killed is None else options.min_killed
    source = (ROOT / "src" / "storefront" / f"{options.module}.py").read_text("utf-8")
    if not (ROOT / options.tests).is_file():
        print(f"{options.tests} does not exist")
        return 1
    os.chdir(ROOT)
    if not passes(options.tests, options.module, source, show=True):
        print("the tests do not pass on the module as it is")
        return 1
    tree = ast.parse(source)
    found = mistakes(tree)
    chosen = random.Random(options.seed).sample(found, min(options.count, len(found)))
    alive = [m for m in chosen if passes(options.tests, options.module, m.source(tree))]
    killed = len(chosen) - len(alive)
    print(f"{killed} of {len(chosen)} mistakes noticed, at least {wanted} have to be")
    for mistake in alive:
        print(f"not noticed: src/storefront/{options.module}.py {mistake}")
    return 0 if killed >= wanted else 1


if __name__ == "__main__":
    sys.exit(main())
