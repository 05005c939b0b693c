"""Compare the public names and signatures of modules with tools/api.json.

    python tools/check_api.py                 every module
    python tools/check_api.py money tax       some of them
    python tools/check_api.py --write         record what there is

Reads the source and imports nothing. Annotations do not count: parameter
names, kinds and defaults do. A mutable default may become ``None`` or ``()``.
"""

import ast
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tools" / "api.json"
MUTABLE = {"[]", "{}", "set()", "list()", "dict()"}
INTERFACE = {"property", "classmethod", "staticmethod"}
SPECIAL = {"__init__", "__call__", "__contains__", "__enter__", "__exit__", "__iter__", "__len__"}


def parameters(node: ast.FunctionDef) -> list[list[str | None]]:
    args = node.args
    plain = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(plain) - len(args.defaults)) + [ast.unparse(d) for d in args.defaults]
    found: list[list[str | None]] = [[p.arg, d] for p, d in zip(plain, defaults, strict=True)]
    if args.posonlyargs:
        found.insert(len(args.posonlyargs), ["/", None])
    if args.vararg:
        found.append(["*" + args.vararg.arg, None])
    elif args.kwonlyargs:
        found.append(["*", None])
    for p, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append([p.arg, None if default is None else ast.unparse(default)])
    if args.kwarg:
        found.append(["**" + args.kwarg.arg, None])
    return found


def public(name: str) -> bool:
    return not name.startswith("_") or name in SPECIAL


def members(body: list[ast.stmt], prefix: str = "") -> dict[str, object]:
    """What a module or class offers: parameters of functions, ``None`` for everything else."""
    found: dict[str, object] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef) and public(node.name):
            kinds = [ast.unparse(d) for d in node.decorator_list if ast.unparse(d) in INTERFACE]
            found[prefix + node.name] = {"kind": kinds, "parameters": parameters(node)}
        elif isinstance(node, ast.ClassDef) and public(node.name):
            found[node.name] = None
            found.update(members(node.body, f"{node.name}."))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not prefix:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.update({t.id: None for t in targets if isinstance(t, ast.Name) and public(t.id)})
    return found


def same(before: object, now: object) -> bool:
    if not isinstance(before, dict) or not isinstance(now, dict):
        return before == now
    old, new = before["parameters"], now["parameters"]
    if before["kind"] != now["kind"] or [p[0] for p in old] != [p[0] for p in new]:
        return False
    return all(
        was == has or (was in MUTABLE and has in {"None", "()"})
        for (_, was), (_, has) in zip(old, new, strict=True)
    )


def show(name: str, value: object) -> str:
    if not isinstance(value, dict):
        return name
    return f"{name}({', '.join(p if d is None else f'{p}={d}' for p, d in value['parameters'])})"


def differences(module: str, before: dict[str, object], now: dict[str, object]) -> list[str]:
    found = [f"{module}: {show(name, before[name])} is gone" for name in before if name not in now]
    found += [f"{module}: {show(name, now[name])} is new" for name in now if name not in before]
    found += [
        f"{module}: {show(name, before[name])} became {show(name, now[name])}"
        for name in before
        if name in now and not same(before[name], now[name])
    ]
    return found


def main(arguments: list[str]) -> int:
    sources = {path.stem: path for path in sorted((ROOT / "src" / "storefront").glob("*.py"))}
    if arguments == ["--write"]:
        record = {m: members(ast.parse(p.read_text("utf-8")).body) for m, p in sources.items()}
        RECORD.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        return 0
    record = json.loads(RECORD.read_text("utf-8"))
    problems = []
    for module in arguments or sorted(record):
        if module not in sources or module not in record:
            problems.append(f"{module}: no such module")
            continue
        now = members(ast.parse(sources[module].read_text("utf-8")).body)
        problems += differences(module, record[module], json.loads(json.dumps(now)))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
