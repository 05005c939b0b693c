"""The house rules that no linter knows."""

import ast
import re
import sys
from pathlib import Path

import pytest

from docs.generate import BEGIN, with_diagram
from orchestrator.catalog import schema_text
from orchestrator.core.errors import OrchestratorError

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "orchestrator").rglob("*.py"))


def test_no_room_is_much_over_three_hundred_lines():
    crowded = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES}
    assert {path: lines for path, lines in crowded.items() if lines > 400} == {}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_the_diagram_in_the_docs_is_the_table_in_the_code():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert BEGIN in page
    assert page == with_diagram(page), "run `make docs`"


def test_the_schema_in_the_docs_is_the_one_in_the_code():
    assert (ROOT / "docs" / "task.schema.json").read_text() == schema_text(), "run `make docs`"


def subclasses(kind):
    for child in kind.__subclasses__():
        yield child
        yield from subclasses(child)


def test_every_error_has_an_exit_code_that_the_readme_explains():
    table = set(map(int, re.findall(r"^\| (\d+) \|", (ROOT / "README.md").read_text(), re.MULTILINE)))
    codes = {kind.exit_code for kind in subclasses(OrchestratorError) if kind.__module__.startswith("orchestrator.")}
    assert codes <= table
    assert {0, 1, 2, 3, 4, 130} == table


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda page: page.name
)
def test_every_link_in_the_docs_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_nothing_is_imported_that_the_project_does_not_declare():
    declared = {  # pydantic_core is a part of pydantic; httpx2 is what the SDKs speak
        "anthropic",
        "asyncio_throttle",
        "genai_prices",
        "jinja2",
        "numpy",
        "openai",
        "pydantic",
        "yaml",
        "rich",
        "scipy",
        "structlog",
        "tenacity",
        "typer",
        "wcmatch",
    }
    used = set()
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                used.add(node.module.split(".")[0])
    assert used - set(sys.stdlib_module_names) - {"orchestrator"} <= declared | {"httpx2", "pydantic_core", "pytest"}
