"""Backends of somebody's own: what they are made of, how a mistake in one is told, and the page that explains them."""

import ast
import asyncio
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.backends.custom import CustomSource, is_custom, load_custom
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.catalog import load_config, parse_config
from orchestrator.core.errors import SpecError
from orchestrator.ports import Meter
from orchestrator.testing import ChatModelContract, ScriptedModel
from tests.fakes_backends import FakeClock, MemoryWorkspace, generation_of, prompt_for

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "custom-backends.md").read_text()
MODEL = """
class Model:
    name = "mine"
    def __init__(self, settings, clock):
        self.settings, self.clock = settings, clock
    async def complete(self, prompt, meter):
        return None
"""
BACKEND = MODEL.replace("complete(self, prompt, meter)", "generate(self, prompt, workspace, meter)")
SETTINGS = """
from pydantic import BaseModel, Field
class Model:
    class Settings(BaseModel):
        model: str = Field(description="The model's name.")
        tries: int = 3
    name = "mine"
    def __init__(self, settings, clock):
        self.settings = settings
    async def complete(self, prompt, meter):
        return None
"""


@pytest.fixture(autouse=True)
def _fresh_imports(monkeypatch, tmp_path):
    """Every test imports anew, and leaves Python's tables as they were."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        # What was written for the test; a folder without __init__.py has no file, but a path.
        spec = sys.modules[name].__spec__
        places = [] if spec is None else [spec.origin, *(spec.submodule_search_locations or ())]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]
    importlib.invalidate_caches()


@pytest.fixture
def load(tmp_path):
    """Write a module and a configuration that names its class, and load it; `config` is the text of the configuration."""

    def loading(code=MODEL, dotted="mine:Model", settings="", module="mine.py"):
        if code is not None:
            path = tmp_path / module
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code)
        config = tmp_path / "own.yaml"
        config.write_text(f"# my own\nbackend: {dotted}\n{settings}")
        return load_custom(source_of(config, tmp_path), FakeClock())

    return loading


def source_of(path, *folders):
    config = load_config(path)

    def problem(text):
        return SpecError([f"{config.path}:{config.line_of('backend')}: {text}"])

    return CustomSource(config.backend, folders, lambda model: parse_config(config, model), problem)


def mistake(load, *args, **fields):
    with pytest.raises(SpecError) as caught:
        load(*args, **fields)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "told"), [("a:B", True), ("a.b:C", True), ("stub", False), ("openai-compatible", False)]
)
def test_a_class_is_told_from_a_built_in_type_by_its_colon(name, told):
    assert is_custom(name) is told


def test_with_complete_it_is_a_chat_model_and_gets_its_clock(load):
    made = load()
    assert (made.name, made.backend, made.is_simulated) == ("mine", None, False)
    assert isinstance(made.model.clock, FakeClock)
    assert made.model.settings is None


def test_with_generate_it_is_a_backend_and_with_both_it_plans_too(load):
    code = f"from orchestrator.core.prompt import Manner\n{BACKEND}    manner = Manner()\n    is_simulated = True\n"
    made = load(code)
    assert (made.model, made.is_simulated) == (None, True)
    assert made.backend.name == "mine"
    sys.modules.pop("mine")
    both = load(f"{code}    async def complete(self, prompt, meter):\n        return None\n")
    assert both.model is both.backend


def test_a_module_in_a_package_may_import_its_siblings_also_when_it_works(load, tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "near.py").write_text("x = 'near'\n")
    (tmp_path / "late.py").write_text("y = 'late'\n")
    code = MODEL.replace('"mine"', "x") + "        import late\n"
    made = load(f"from pack.near import x\n{code}", "pack.deep.own:Model", module="pack/deep/own.py")
    assert made.name == "near"
    assert importlib.import_module("late").y == "late"


def test_settings_are_validated_by_the_class_itself(load):
    made = load(SETTINGS, settings="model: m\n")
    assert (made.model.settings.model, made.model.settings.tries) == ("m", 3)
    assert type(made.model).Settings.__name__ == type(made.model.settings).__name__
    assert isinstance(made.model.settings, type(made.model).Settings)


def test_mistakes_in_settings_are_told_together_with_their_lines(load, tmp_path):
    told = mistake(load, SETTINGS, settings="modle: m\ntries: many\n").splitlines()
    config = tmp_path / "own.yaml"
    assert told == [
        f"{config}:2: `model` is missing; add it: the model's name",
        f"{config}:3: unknown key `modle`; did you mean `model`?",
        f"{config}:4: `tries` must be a whole number, not the text 'many'; write it without quotes and units",
    ]


def test_a_class_without_settings_takes_none(load, tmp_path):
    assert mistake(load, settings="speed: 3\n") == f"{tmp_path / 'own.yaml'}:3: unknown key `speed`; there is none"


def test_settings_that_say_what_becomes_of_unknown_keys_are_heard(load):
    code = SETTINGS.replace("        model: str", '        model_config = {"extra": "allow"}\n        model: str')
    assert load(code, settings="model: m\nother: 1\n").model.settings.other == 1


TOP = "raise RuntimeError('no luck')\n"
INIT = MODEL.replace("self.settings, self.clock = settings, clock", "raise OSError(13, 'no key')")


@pytest.mark.parametrize(
    ("code", "dotted", "told"),
    [
        (MODEL, "'mine.py:'", "is not the name of a class; write `package.module:Class`"),
        (MODEL, "./mine.py:Model", "is not the name of a class"),
        (MODEL, '"mine:Model()"', "is not the name of a class"),
        (None, "nowhere:Model", "there is no module `nowhere`; looked in {folder}, and among"),
        (MODEL, "mine.deeper:Model", "there is no module `mine.deeper`"),
        ("import nothing_of_that_name\n", "mine:Model", "mine.py\", line 1, in <module>\n    import nothing_of_that_name"),
        (TOP, "mine:Model", "RuntimeError: no luck"),
        ("import sys; sys.exit('bye')", "mine:Model", "SystemExit: bye"),
        ("def broken(:\n", "mine:Model", "SyntaxError: "),
        ("\0", "mine:Model", "cannot be imported (see"),
        (MODEL, "mine:Modle", "there is no class `Modle` in {folder}/mine.py; did you mean `Model`?"),
        ("x = 1\n", "mine:Model", "there is no class `Model` in {folder}/mine.py; there is none"),
        ("Model = 5\n", "mine:Model", "is no class but int; name the class"),
        ("def Model(settings, clock): ...\n", "mine:Model", "is no class but function; name the class"),
        (INIT, "mine:Model", "no key"),
        (INIT, "mine:Model", "PermissionError"),
        (MODEL.replace("settings, clock):", "clock):"), "mine:Model", "does not take that: too many positional"),
        (MODEL.replace("settings, clock):", "settings, clock, key):"), "mine:Model", "missing a required argument: 'key'"),
        (MODEL.replace("complete", "answer"), "mine:Model", "has neither `async def complete(self, prompt, meter)`"),
        (MODEL.replace("async def", "def"), "mine:Model", "must be a coroutine function; write `async def complete"),
        (MODEL.replace("return None", "yield None"), "mine:Model", "must be a coroutine function"),
        (MODEL.replace("prompt, meter", "prompt"), "mine:Model", "must be `async def complete(self, prompt, meter)`: too many"),
        (BACKEND, "mine:Model", "`Model.manner` must be an `orchestrator.core.prompt.Manner`"),
        (MODEL.replace('"mine"', '" "'), "mine:Model", 'has no name for the reports; write `name = "…"`'),
        (MODEL.replace('name = "mine"', "@property\n    def name(self): return 1 / 0"), "mine:Model", "ZeroDivisionError"),
        (MODEL + "    Settings = dict\n", "mine:Model", "must be a pydantic model"),
        (MODEL + "    from pydantic import RootModel\n    Settings = RootModel[int]\n", "mine:Model", "`Model.Settings` failed"),
        ("from abc import *\n" + MODEL.replace("Model:", "Model(ABC):") + "    @abstractmethod\n    def x(self): ...\n", "mine:Model", "abstract"),
        (MODEL.replace("self.settings, self.clock = settings, clock", "from orchestrator.core.errors import SpecError; raise SpecError(['x: y'])"), "mine:Model", "failed: x: y"),
    ],
)  # fmt: skip
def test_every_mistake_is_told_at_its_line_with_what_to_do(load, tmp_path, code, dotted, told):
    text = mistake(load, code, dotted)
    assert text.startswith(f"{tmp_path / 'own.yaml'}:2: ")
    assert told.format(folder=tmp_path) in text
    assert len(text.splitlines()) <= 5


def test_a_validator_that_breaks_is_told_as_such(load):
    code = SETTINGS.replace(
        '    name = "mine"',
        '        def model_post_init(self, context): raise LookupError("odd")\n    name = "mine"',
    )
    assert "`Model.Settings` failed (see docs/custom-backends.md):\n" in mistake(load, code, settings="model: m\n")


def test_a_name_that_means_another_module_is_refused_before_that_runs(load, tmp_path):
    told = mistake(load, MODEL, "antigravity:Model", module="antigravity.py")
    assert f"the name `antigravity` is taken by {Path(ast.__file__).parent / 'antigravity.py'}" in told
    assert str(tmp_path / "antigravity.py") in told
    assert "antigravity" not in sys.modules
    assert "the name `json` is taken" in mistake(load, MODEL, "json:Model", module="json.py")
    assert "the name `sys` is taken" in mistake(load, MODEL, "sys:Model", module="sys.py")


def test_two_modules_of_one_name_in_two_folders_are_not_mixed_up(load, tmp_path):
    load()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.py").write_text(MODEL)
    (tmp_path / "other" / "own.yaml").write_text("backend: mine:Model\n")
    with pytest.raises(SpecError, match="the name `mine` is taken by"):
        load_custom(source_of(tmp_path / "other" / "own.yaml", tmp_path / "other"), FakeClock())


def test_nothing_of_the_programs_is_hidden_by_what_lies_in_the_folders(load, tmp_path):
    for name in ("yaml.py", "colorsys.py"):
        (tmp_path / name).write_text("raise RuntimeError('the wrong one')\n")
    load()
    assert "lib" in importlib.import_module("colorsys").__file__
    assert sys.path[-1] == str(tmp_path)


# --- the page


def shown_files():
    """The files that the page shows, by name."""
    return dict(re.findall(r"^`([\w.]+)`:\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


@pytest.fixture
def page(tmp_path):
    """A folder with the files of the page in it."""
    files = shown_files()
    assert sorted(files) == ["command_model.py", "header.py", "header.yaml", "mine.yaml", "test_mine.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return tmp_path


async def test_the_chat_model_of_the_page_makes_a_change(page, monkeypatch):
    monkeypatch.chdir(page)
    (page / "answer.txt").write_text("f.py\n<<<<<<< SEARCH\nx = 1\n=======\nx = 2\n>>>>>>> REPLACE\n")
    made = load_custom(source_of(page / "mine.yaml", page), FakeClock())
    generation, workspace = await generation_of(EditingBackend(made.model, FakeClock()), {"f.py": b"x = 1\n"})
    assert generation.failure is None
    assert workspace.files == {"f.py": b"x = 2\n"}
    assert made.name == "cat"


async def test_the_backend_of_the_page_makes_a_change_and_then_none(page):
    made = load_custom(source_of(page / "header.yaml", page), FakeClock())
    workspace = MemoryWorkspace({"f.py": b"x = 1\n", "other.md": b""})
    prompt = prompt_for(writable=["*.py"])
    assert (await made.backend.generate(prompt, workspace, Meter())).failure is None
    assert workspace.files == {"f.py": b"# Copyright the authors.\nx = 1\n", "other.md": b""}
    assert (await made.backend.generate(prompt, workspace, Meter())).failure.reason == "no_change"


def test_the_test_of_the_page_passes(page):
    shown = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
    assert "python -m pytest test_mine.py" in shown
    # In a process of its own, without the plugins and settings of this project.
    argv = [sys.executable, "-m", "pytest", "test_mine.py", "-q", "-W", "error", "-p", "no:asyncio", "-p", "no:cacheprovider"]  # fmt: skip
    ran = subprocess.run(argv, cwd=page, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.search(r"^15 passed, 1 skipped in", ran.stdout, re.MULTILINE), ran.stdout


def test_the_examples_of_the_page_are_short():
    for name, text in shown_files().items():
        code = [line for line in text.splitlines() if line.strip()]
        assert len(code) <= 33, name


# --- what is shipped for tests


def test_a_model_that_breaks_its_promises_fails_with_words_that_say_how(tmp_path):
    (tmp_path / "test_broken.py").write_text(
        "from orchestrator.testing import ChatModelContract, ScriptedModel\n"
        "from orchestrator.core.chat import Completion\n"
        "from orchestrator.core.values import Usage\n"
        "class TestBroken(ChatModelContract):\n"
        "    def make(self):\n"
        "        return ScriptedModel(*[Completion(text='x', stop_reason='end_turn', usage=Usage(requests=1))] * 2)\n"
        "class TestNothing(ChatModelContract):\n"
        "    pass\n"
    )
    argv = [sys.executable, "-m", "pytest", "test_broken.py", "-q", "-p", "no:asyncio", "-p", "no:cacheprovider"]
    ran = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 1
    assert "write None for what is not known" in ran.stdout
    assert "count the output in `meter.output_tokens`" in ran.stdout
    assert "where 0 = Usage(" in ran.stdout  # assertions are rewritten
    assert "def make(self): return MyModel" in ran.stdout


def test_what_can_be_closed_is_closed_after_each_test():
    closed = []

    class Closable(ScriptedModel):
        async def aclose(self):
            closed.append(self.prompts)

    class Suite(ChatModelContract):
        def make(self):
            return Closable("a", "b")

    Suite().test_it_answers_more_than_once()
    assert [len(prompts) for prompts in closed] == [2]


def test_a_promise_that_takes_for_ever_is_not_waited_for():
    async def never(prompt, meter):
        await asyncio.sleep(60)

    class Suite(ChatModelContract):
        limit_s = 0.05

        def make(self):
            return ScriptedModel(never)

    with pytest.raises(TimeoutError):
        Suite().test_it_answers_more_than_once()


def test_without_pytest_the_suites_say_what_is_missing():
    code = "import sys; sys.modules['pytest'] = None; import orchestrator.testing"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stderr.splitlines()[-1] == (
        "ImportError: orchestrator.testing is for tests with pytest, which is not installed; install it: `pip install pytest`"
    )


def test_nothing_of_the_program_imports_what_is_for_tests():
    for path in (ROOT / "orchestrator").rglob("*.py"):
        if "testing" not in path.relative_to(ROOT).parts:
            assert not re.search(r"orchestrator\.testing import|import orchestrator\.testing|^import pytest", path.read_text()), path  # fmt: skip
