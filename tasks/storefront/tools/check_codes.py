"""Every exception class in errors.py has its own ``code``: its name in snake case.

The codes are part of the HTTP API. Clients switch on them, so a code is a
literal that can be found with grep, not something computed from the name.
"""

import ast
import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "src" / "storefront" / "errors.py"


def own_code(node: ast.ClassDef) -> object:
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            targets = [ast.unparse(target) for target in statement.targets]
        elif isinstance(statement, ast.AnnAssign):
            targets = [ast.unparse(statement.target)]
        else:
            continue
        if targets == ["code"] and isinstance(statement.value, ast.Constant):
            return statement.value.value
    return None


def main() -> int:
    problems = []
    for node in ast.parse(SOURCE.read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        wanted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower()
        code = own_code(node)
        if code != wanted:
            problems.append(
                f"{SOURCE.name}:{node.lineno}: {node.name}.code is {code!r}, not {wanted!r}"
            )
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
