"""Check a module's document against the code it explains.

    python tools/check_doc.py docs/money.md --module money
    python tools/check_doc.py docs/overview.md --links docs/money.md docs/cart.md
    python tools/check_doc.py                 references and links of every document

In backticks, the document may refer to

    `storefront.money.Money.allocate`   a module, a class, a function, a method
    `src/storefront/money.py`           a file of the project

and every such reference has to exist. With ``--module`` each public class and function
of the module has to be mentioned, as has each public method by its name; with
``--links`` each document has to be linked to, and links have to lead somewhere.
"""

import argparse
import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "storefront"
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#{1,3}) \S.*$", re.MULTILINE)
SENTENCE = re.compile(r"[^.!?]+[.!?](?=\s|$)")


def names_in(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            found.update({t.id: node for t in node.targets if isinstance(t, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found


def attributes(node: ast.ClassDef) -> set[str]:
    """Methods, class attributes, and what methods assign to ``self``."""
    found = set(names_in(node.body))
    for inner in ast.walk(node):
        if isinstance(inner, ast.Attribute) and isinstance(inner.ctx, ast.Store):
            if isinstance(inner.value, ast.Name) and inner.value.id == "self":
                found.add(inner.attr)
    return found


def module(name: str) -> dict[str, ast.stmt] | None:
    path = PACKAGE / f"{name}.py"
    return names_in(ast.parse(path.read_text("utf-8")).body) if path.is_file() else None


def resolves(reference: str) -> bool:
    _, *parts = reference.split(".")
    if not parts:
        return True
    names = module(parts[0])
    if names is None or len(parts) == 1:
        return names is not None
    node = names.get(parts[1])
    if node is None or len(parts) == 2:
        return node is not None
    return len(parts) == 3 and isinstance(node, ast.ClassDef) and parts[2] in attributes(node)


def unresolved(text: str) -> list[str]:
    problems = []
    for code in CODE.findall(text):
        reference = code.removesuffix("()")
        if re.fullmatch(r"storefront(\.\w+)*", reference) and not resolves(reference):
            problems.append(f"`{code}` does not exist")
        elif re.fullmatch(r"[\w./-]+\.(py|md|toml)", code) and not (ROOT / code).is_file():
            problems.append(f"`{code}` is no file of the project")
    return problems


def not_mentioned(text: str, name: str) -> list[str]:
    names = module(name)
    if names is None:
        return [f"there is no module {name}"]
    mentioned = {code.removesuffix("()") for code in CODE.findall(text)}
    problems = []
    if f"src/storefront/{name}.py" not in mentioned:
        problems.append(f"`src/storefront/{name}.py` is not mentioned")
    for symbol, node in names.items():
        if symbol.startswith("_") or not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        full = f"storefront.{name}.{symbol}"
        if full not in mentioned:
            problems.append(f"`{full}` is not mentioned")
        if isinstance(node, ast.ClassDef):
            for method, inner in names_in(node.body).items():
                if method.startswith("_") or not isinstance(inner, ast.FunctionDef):
                    continue
                if not {method, f"{symbol}.{method}", f"{full}.{method}"} & mentioned:
                    problems.append(f"`{symbol}.{method}` is not mentioned")
    return problems


def prose_problems(text: str, words: int) -> list[str]:
    problems = []
    prose = FENCE.sub("", text)
    headings = HEADING.findall(prose)
    if not text.startswith("# ") or headings.count("#") != 1:
        problems.append("the document has to start with its one and only title")
    if headings.count("##") < 2:
        problems.append("the document needs at least two sections")
    body = HEADING.sub("", prose)
    count = len(re.findall(r"[A-Za-z]{2,}", CODE.sub("", body)))
    if count < words:
        problems.append(f"{count} words outside code, at least {words} are needed")
    sentences = [" ".join(s.split()) for s in SENTENCE.findall(body)]
    repeated = {s for s in sentences if len(s) > 20 and sentences.count(s) > 1}
    problems += [f"says twice: {sentence}" for sentence in sorted(repeated)]
    return problems


def link_problems(text: str, document: Path, wanted: list[str]) -> list[str]:
    problems = []
    targets = set()
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        target = (document.parent / link.split("#")[0]).resolve()
        targets.add(target)
        if not target.is_file():
            problems.append(f"the link {link} leads nowhere")
    for name in wanted:
        if (ROOT / name).resolve() not in targets:
            problems.append(f"no link to {name}")
    return problems


def check(name: str, module_name: str | None, links: list[str], words: int) -> list[str]:
    document = ROOT / name
    if not document.is_file():
        return [f"{name} does not exist"]
    text = document.read_text("utf-8")
    problems = prose_problems(text, words) + unresolved(text)
    if module_name:
        problems += not_mentioned(text, module_name)
    problems += link_problems(text, document, links)
    return [f"{name}: {problem}" for problem in problems]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("document", nargs="?", help="default: every document there is")
    parser.add_argument("--module")
    parser.add_argument("--links", nargs="*", default=[])
    parser.add_argument("--words", type=int, default=150)
    options = parser.parse_args()
    names = [options.document] if options.document else []
    if not names:
        names = [p.relative_to(ROOT).as_posix() for p in sorted(ROOT.glob("docs/*.md"))]
    problems = []
    for name in names:
        problems += check(name, options.module, options.links, options.words)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
