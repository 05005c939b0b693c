"""What a model's calls come to: what they find and change, what is refused, and in which words."""

import asyncio
import json
import re
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.backends.sessions import search_worker, searching
from orchestrator.backends.sessions import toolbox as performing
from orchestrator.backends.sessions.file_texts import edited
from orchestrator.backends.sessions.searching import Searcher
from orchestrator.backends.sessions.tool_calls import BadCallError, EditFile
from orchestrator.backends.sessions.tool_settings import ToolSettings
from orchestrator.backends.sessions.toolbox import Toolbox
from orchestrator.core.chat import ToolCall
from orchestrator.core.edits.lines import Document
from orchestrator.core.paths import UnsafePath
from orchestrator.core.values import Verdict
from tests.fakes_backends import MemoryWorkspace

FILES = {
    "src/a.py": b"def f(x):\n    return x + 1\n",
    "src/b.py": b"from a import f\n\n\nprint(f(1))\n",
    "docs/read me.md": b"# f\n",
    "logo.png": b"\x89PNG\0\0",
    "latin.txt": "f\u00fcr f(".encode("latin-1"),
    "empty.txt": b"",
}
EVERYTHING = ("**",)


def toolbox(files=FILES, writable=EVERYTHING, verdict=None, search_s=10.0, **settings):
    workspace = MemoryWorkspace(files, **({} if verdict is None else {"verdict": verdict}))
    searcher = Searcher(asyncio.Semaphore(2), search_s)
    return Toolbox(workspace, writable, ToolSettings(**settings), searcher), workspace


async def call(tools, name, **arguments):
    return await tools.run(ToolCall(id="1", name=name, arguments=arguments))


async def text_of(tools, name, **arguments):
    result = await call(tools, name, **arguments)
    assert not result.is_error, result.text
    return result.text


async def error_of(tools, name, **arguments):
    result = await call(tools, name, **arguments)
    assert result.is_error, result.text
    return result.text


def lines_shown(text):
    return [line.split("\t", 1)[1] for line in text.split("\n") if re.match(r" *\d+\t", line)]


# --- what a model is told of the tools


def test_every_tool_is_described_by_a_closed_schema_of_plain_types():
    tools, _ = toolbox()
    assert [tool.name for tool in tools.tools] == [
        "list_files",
        "read_file",
        "search",
        "edit_file",
        "write_file",
        "delete_file",
        "run_checks",
    ]
    for tool in tools.tools:
        schema = json.loads(json.dumps(tool.parameters))
        assert tool.description
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) <= set(schema["properties"])
        for argument in schema["properties"].values():
            assert argument["type"] in {"string", "integer"}
            assert argument["description"]


def test_the_parameters_are_the_ones_that_agents_are_written_against():
    required = {tool.name: tool.parameters["required"] for tool in toolbox()[0].tools}
    known = {tool.name: list(tool.parameters["properties"]) for tool in toolbox()[0].tools}
    assert required["read_file"] == ["path"]
    assert known["read_file"] == ["path", "first_line", "last_line"]
    assert (required["search"], known["search"]) == (["pattern"], ["pattern", "glob"])
    assert known["edit_file"] == required["edit_file"] == ["path", "search", "replace"]
    assert known["write_file"] == required["write_file"] == ["path", "content"]
    assert (known["list_files"], required["list_files"]) == (["glob"], [])


# --- calls that are wrong


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("rm", {}, "There is no tool 'rm'. The tools are: list_files, "),
        ("read_file", {}, "path: Field required"),
        ("read_file", {"path": None}, "path: Field required"),
        ("read_file", {"path": 7}, "path: Input should be a valid string"),
        ("read_file", {"path": "src/a.py", "first_line": "1"}, "first_line: Input should be a valid integer"),
        ("read_file", {"path": "src/a.py", "first_line": True}, "first_line: Input should be a valid integer"),
        ("read_file", {"path": "src/a.py", "first_line": 0}, "first_line: Input should be greater than or equal to 1"),
        ("read_file", {"path": "src/a.py", "encoding": "utf-8"}, "encoding: Extra inputs are not permitted"),
        ("read_file", {"path": {"name": "src/a.py"}}, "path: Input should be a valid string"),
        ("write_file", {"path": "new.py", "content": "\ud83d"}, "half of a surrogate pair"),
        ("edit_file", {"path": "src/a.py", "search": "x"}, "replace: Field required"),
        ("run_checks", {"all": True}, "Extra inputs are not permitted"),
    ],
)
async def test_a_bad_call_is_a_result_that_says_what_was_wrong_and_what_is_expected(name, arguments, told):
    tools, workspace = toolbox()
    text = await error_of(tools, name, **arguments)
    assert told in text
    assert name == "rm" or f"Expected: {name}(" in text
    assert workspace.writes == 0


async def test_a_call_that_was_no_json_says_so():
    tools, _ = toolbox()
    result = await tools.run(ToolCall(id="7", name="read_file", problem="no JSON object: Expecting value"))
    assert (result.call, result.is_error) == ("7", True)
    assert "no JSON object: Expecting value. Expected: read_file(path: string, first_line: integer" in result.text


async def test_what_may_be_left_out_may_be_null_and_a_whole_number_may_have_a_point():
    tools, _ = toolbox()
    assert lines_shown(await text_of(tools, "read_file", path="src/a.py", first_line=2.0, last_line=None)) == [
        "    return x + 1"
    ]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)


@settings(deadline=None)  # a call may start a process, which takes what the machine has to spare
@given(
    st.sampled_from(["list_files", "read_file", "edit_file", "write_file", "delete_file", "search", "x\udc00"]),
    st.dictionaries(st.sampled_from(["path", "glob", "search", "replace", "content", "first_line", "z"]), _ANY),
)
def test_no_call_whatever_it_holds_ends_in_anything_but_a_result(name, arguments):
    tools, _ = toolbox()
    result = asyncio.run(tools.run(ToolCall(id="1", name=name, arguments=arguments)))
    result.text.encode()


# --- looking


async def test_files_are_listed_by_glob_and_bounded():
    tools, _ = toolbox({f"f{number:04}.py": b"" for number in range(600)} | {"z/a.py": b""})
    listed = (await text_of(tools, "list_files")).split("\n")
    assert listed[:2] == ["f0000.py", "f0001.py"]
    assert len(listed) == 501
    assert listed[-1] == "… and 101 more; narrow the glob"
    assert await text_of(tools, "list_files", glob="z/") == "z/a.py"


@pytest.mark.parametrize(
    ("glob", "told"),
    [
        ("*.rs", "No file matches '*.rs'."),
        ("src", "It is a folder: write 'src/'"),
        ("./src/**", "`.`"),
        ("../**", "`..`"),
        ("/etc/*", "absolute"),
        ("", "empty"),
        ("*a*a*a*a*a*a*a*a*a*b", "wildcards"),
    ],
)
async def test_a_glob_that_means_nothing_is_explained(glob, told):
    tools, _ = toolbox()
    assert told in await error_of(tools, "list_files", glob=glob)


async def test_a_file_is_shown_with_numbers_and_nothing_else():
    tools, _ = toolbox()
    assert await text_of(tools, "read_file", path="src/a.py") == "     1\tdef f(x):\n     2\t    return x + 1"
    assert await text_of(tools, "read_file", path="empty.txt") == "(the file is empty)"
    assert (
        await text_of(tools, "read_file", path="src/b.py", first_line=3, last_line=90)
        == "     3\t\n     4\tprint(f(1))"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": "src/c.py"}, "There is no file 'src/c.py'."),
        ({"path": "lib/a.py"}, "Did you mean src/a.py?"),
        ({"path": "src"}, "It is a folder: call list_files with 'src/'."),
        ({"path": "../etc/passwd"}, "must not contain"),
        ({"path": "/etc/passwd"}, "must be relative"),
        ({"path": "logo.png"}, "no UTF-8 text"),
        ({"path": "latin.txt"}, "no UTF-8 text"),
        ({"path": "src/a.py", "first_line": 3}, "ends with line 2"),
        ({"path": "src/a.py", "first_line": 2, "last_line": 1}, "`last_line` is before"),
        ({"path": "empty.txt", "first_line": 2}, "ends with line 0"),
    ],
)
async def test_what_cannot_be_read_is_explained(arguments, told):
    tools, _ = toolbox()
    assert told in await error_of(tools, "read_file", **arguments)


_LINES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=30), min_size=1, max_size=80
)


@given(_LINES)
def test_the_parts_of_a_file_without_their_numbers_are_the_file(lines):
    content = "\n".join(lines)

    async def read():
        tools, _ = toolbox({"f": content.encode()}, max_result_chars=1_000)
        shown, first = [], 1
        while True:
            text = await text_of(tools, "read_file", path="f", first_line=first)
            assert len(text) <= 1_000
            *numbered, note = text.split("\n")
            more = re.search(r"call read_file with first_line=(\d+) to read on\]$", note)
            shown += [line[7:] for line in (numbered if more else [*numbered, note])]
            if more is None:
                return "\n".join(shown)
            first = int(more[1])

    if content:
        assert asyncio.run(read()) == content.removesuffix("\n")


async def test_a_line_that_is_too_long_is_cut_and_the_next_can_be_read():
    tools, _ = toolbox({"f": b"x" * 5_000 + b"\nnext\n"}, max_result_chars=1_000)
    text = await text_of(tools, "read_file", path="f")
    assert len(text) <= 1_000
    assert "more characters; call read_file with first_line=2 to read on]" in text
    assert await text_of(tools, "read_file", path="f", first_line=2) == "     2\tnext"


# --- searching


@pytest.mark.parametrize("pattern", ["return x", r"retur\w x"])
async def test_a_text_and_an_expression_are_found_by_path_and_line(pattern):
    tools, _ = toolbox()
    text = await text_of(tools, "search", pattern=pattern)
    assert text.split("\n")[0] == "src/a.py:2:     return x + 1"
    assert "bytes: 2)" in text


async def test_a_search_keeps_to_its_glob():
    tools, _ = toolbox()
    assert await text_of(tools, "search", pattern="f", glob="docs/**") == "docs/read me.md:1: # f"


async def test_the_end_of_a_line_is_its_end_whatever_ends_it():
    tools, _ = toolbox({"dos.txt": b"one two\r\ntwo one\r\n"})
    assert await text_of(tools, "search", pattern="two$") == "dos.txt:1: one two"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(", "no regular expression of Python's: missing )"),
        ("a{2,1}", "no regular expression"),
        ("[z-a]", "no regular expression"),
        ("(" * 900, "no regular expression"),
        ("a{99999999999999999999}", "no regular expression"),
        ("", "`pattern` is empty"),
        ("x" * 2_000, "longer than"),
        ("a\nb", "line break"),
    ],
)
async def test_a_pattern_that_is_none_is_explained(pattern, told):
    tools, _ = toolbox()
    assert told in await error_of(tools, "search", pattern=pattern)


async def test_a_search_that_would_never_end_is_ended():
    tools, _ = toolbox({"f": b"a" * 5_000 + b"b\n"}, search_s=0.5)
    began = time.monotonic()
    assert "did not end within 0.5 s" in await error_of(tools, "search", pattern="(a+)+$")
    assert time.monotonic() - began < 5


def searching_processes():
    """This process's children that search, where the system tells (Linux)."""
    listed = [place.read_text().split() for place in Path("/proc/self/task").glob("*/children")]
    commands = [Path("/proc", pid, "cmdline") for pids in listed for pid in pids]
    return [command for command in commands if command.exists() and b"search_worker" in command.read_bytes()]


async def test_a_cancelled_search_leaves_no_process_behind():
    tools, _ = toolbox({"f": b"a" * 5_000 + b"b\n"}, search_s=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.4):
            await call(tools, "search", pattern="(a+)+$")
    assert len(asyncio.all_tasks()) == 1
    assert searching_processes() == []


async def test_a_search_process_sees_nothing_of_the_environment(monkeypatch, tmp_path):
    program = tmp_path / "search_worker.py"
    program.write_text("import json, os, sys; sys.stdin.read(); print(json.dumps({'lines': list(os.environ)}))")
    monkeypatch.setattr(search_worker, "__file__", str(program))
    monkeypatch.setenv("SOME_API_KEY", "secret")
    seen = await text_of(toolbox({"f": b""})[0], "search", pattern="f.x")
    # An interpreter without a locale may give itself one.
    assert seen in {"LC_CTYPE", "No line matches (files searched: 1)."}


@pytest.mark.parametrize("pattern", ["def f", "def .", "absent"])
async def test_no_more_texts_are_held_than_there_are_searches_at_once(pattern):
    class Counting(MemoryWorkspace):
        held = most = 0

        async def read(self, paths):
            self.held += 1
            self.most = max(self.most, self.held)
            await asyncio.sleep(0)
            return await super().read(paths)

    workspace = Counting(FILES)
    tools = Toolbox(workspace, EVERYTHING, ToolSettings(), Searcher(asyncio.Semaphore(2), 10.0))

    async def search():
        await call(tools, "search", pattern=pattern)
        workspace.held -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(9):
            tasks.create_task(search())
    assert (workspace.most, workspace.held) == (2, 0)


@pytest.mark.parametrize(
    ("module", "name", "made"),
    [
        (performing, "text_in", ("read_file", {"path": "src/a.py"})),
        (performing, "numbered", ("read_file", {"path": "src/a.py"})),
        (performing, "select", ("list_files", {})),
        (performing, "text_in", ("search", {"pattern": "f"})),
        (searching, "matching_lines", ("search", {"pattern": "f"})),
        (searching, "_question", ("search", {"pattern": "f."})),
        (performing, "edited", ("edit_file", {"path": "src/a.py", "search": "def f(x):\n", "replace": "def g(x):\n"})),
        (performing, "written", ("write_file", {"path": "src/a.py", "content": "new"})),
    ],
)
async def test_what_takes_long_with_the_size_of_a_file_does_not_hold_up_the_loop(monkeypatch, module, name, made):
    threads, inner = [], getattr(module, name)

    def noting(*arguments):
        threads.append(threading.current_thread())
        return inner(*arguments)

    monkeypatch.setattr(module, name, noting)
    await text_of(toolbox()[0], made[0], **made[1])
    assert threads
    assert threading.main_thread() not in threads


async def test_a_question_to_the_search_process_is_json_whatever_the_texts_hold():
    texts = [('a"b\udcff.py', 'say "x"\n\u2028\0'), ("empty", "")]
    asked = json.loads(searching._question("x.", texts, 2.0))
    assert (asked["pattern"], asked["time_s"], asked["bounds"]["matches"]) == ("x.", 2.0, 200)
    assert [tuple(pair) for pair in asked["texts"]] == texts
    assert json.loads(searching._question("x.", [], 2.0))["texts"] == []


async def test_matches_are_bounded_in_one_file_in_all_and_in_width():
    files = {f"{name}.txt": b"match\n" * 300 for name in "abcdef"} | {"0.txt": b"-" * 900 + b"match" + b"-" * 900}
    tools, _ = toolbox(files)
    lines = (await text_of(tools, "search", pattern="match")).split("\n")
    assert len(lines[0]) < 300
    assert "match" in lines[0]
    assert lines.count("a.txt: … more lines match in this file") == 1
    assert lines[-1] == "… more lines match; only the first 200 are shown"


async def test_a_result_is_never_longer_than_the_settings_say():
    files = {f"{number:03}{'x' * 200}.txt": b"match " + b"-" * 400 + b"\n" for number in range(100)}
    tools, _ = toolbox(files, max_result_chars=2_000)
    for name, arguments in [
        ("search", {"pattern": "match"}),
        ("list_files", {}),
        ("list_files", {"glob": "y" * 9_000}),
    ]:
        assert len((await call(tools, name, **arguments)).text) <= 2_000


# --- changing


async def test_a_change_is_seen_by_later_calls():
    tools, workspace = toolbox()
    assert await text_of(
        tools, "edit_file", path="src/a.py", search="    return x + 1\n", replace="    return x + 2\n"
    ) == ("edited src/a.py")
    assert await text_of(tools, "write_file", path="src/new.py", content="new = 1") == "wrote src/new.py"
    assert await text_of(tools, "delete_file", path="src/b.py") == "deleted src/b.py"
    assert workspace.files["src/a.py"] == b"def f(x):\n    return x + 2\n"
    assert workspace.files["src/new.py"] == b"new = 1"
    assert await text_of(tools, "list_files", glob="src/") == "src/a.py\nsrc/new.py"
    assert tools.has_written


@pytest.mark.parametrize(
    ("search", "replace", "after"),
    [
        ("    return x + 1", "    return x + 2", b"def f(x):\n    return x + 2\n"),  # no line break at the end
        ("    return x + 1  \n", "    return x + 2\n", b"def f(x):\n    return x + 2\n"),  # space after it
        ("return x + 1\n", "y = x + 1\nreturn y\n", b"def f(x):\n    y = x + 1\n    return y\n"),  # indentation
        ("    return x \u2212 1\n", "", None),  # not even with its punctuation read as ASCII
        ("    return x + 1\r\n", "    return 1\r\n", b"def f(x):\n    return 1\n"),  # line breaks of another kind
        ("x + 1", "x + 2", b"def f(x):\n    return x + 2\n"),  # a piece of a line, there once
        ("f(x):\n    return", "g(x):\n    return", b"def g(x):\n    return x + 1\n"),  # across lines
        ("x", "y", None),  # there twice
        ("    return x + 1", "", b"def f(x):\n"),
    ],
)
async def test_an_edit_finds_its_place_strictly_then_leniently_and_never_between_two(search, replace, after):
    tools, workspace = toolbox()
    result = await call(tools, "edit_file", path="src/a.py", search=search, replace=replace)
    assert result.is_error == (after is None)
    assert workspace.files["src/a.py"] == (FILES["src/a.py"] if after is None else after)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"search": "    return x + 3\n", "replace": "y\n"}, "    2 |     return x + 1\nCopy"),
        ({"search": "", "replace": "y\n"}, "`search` is empty"),
        ({"search": "def f(x):\n", "replace": "def f(x):\n"}, "what stands there already"),
        ({"path": "src/c.py", "search": "x", "replace": "y"}, "There is no file 'src/c.py'"),
        ({"path": "logo.png", "search": "PNG", "replace": "y"}, "binary"),
    ],
)
async def test_an_edit_that_does_not_fit_says_why_and_changes_nothing(arguments, told):
    tools, workspace = toolbox()
    text = await error_of(tools, "edit_file", **({"path": "src/a.py"} | arguments))
    assert told in text
    assert "SEARCH" not in text
    assert workspace.writes == 0


_WORDS = st.lists(st.sampled_from(["a", "  a", "b", "", "b c", "\u2013"]), min_size=1, max_size=8)


@given(_WORDS, st.data(), _WORDS, st.booleans(), st.sampled_from(["\n", "\r\n"]))
def test_an_exact_quotation_that_is_there_once_is_replaced_and_no_other_byte(lines, data, fresh, ends, newline):
    start = data.draw(st.integers(0, len(lines) - 1))
    stop = data.draw(st.integers(start + 1, len(lines)))
    wanted = lines[start:stop]
    places = [at for at in range(len(lines)) if lines[at : at + len(wanted)] == wanted]
    content = newline.join(lines).encode() + newline.encode() * (ends or lines[-1] == "")
    request = EditFile(path="f", search="\n".join(wanted) + "\n", replace="\n".join(fresh) + "\n")
    try:
        after = edited(request, content)
    except BadCallError:
        assert len(places) > 1 or fresh == wanted
        return
    if len(places) == 1:
        document = Document.of(content)
        document.put(start, stop, fresh)
        assert after == document.content


async def test_an_edit_found_twice_names_the_lines():
    tools, _ = toolbox({"f": b"a\nb\na\n"})
    text = await error_of(tools, "edit_file", path="f", search="a\n", replace="c\n")
    assert text.startswith("Nothing was changed: `search` is found 2 times (at lines 1, 3).")


async def test_an_empty_file_can_be_filled_by_an_edit():
    tools, workspace = toolbox()
    await text_of(tools, "edit_file", path="empty.txt", search="", replace="x\n")
    assert workspace.files["empty.txt"] == b"x\n"


async def test_a_file_whose_lines_were_left_out_is_not_written():
    tools, workspace = toolbox()
    text = await error_of(
        tools, "write_file", path="src/b.py", content="import g\n# ... rest of the code unchanged ...\n"
    )
    assert "line 2" in text
    assert workspace.writes == 0


WRITES = [
    ("write_file", {"content": "x"}),
    ("edit_file", {"search": "x", "replace": "y"}),
    ("delete_file", {}),
]


@pytest.mark.parametrize(("name", "arguments"), WRITES)
@pytest.mark.parametrize("path", ["../x", "/x", ".git/hooks/pre-commit", "a//b", "a\\b", "", "a\nb"])
async def test_an_unsafe_path_is_refused_at_once(name, arguments, path):
    tools, workspace = toolbox()
    assert "must" in await error_of(tools, name, path=path, **arguments)
    assert (workspace.writes, tools.has_written) == (0, False)


@pytest.mark.parametrize(("name", "arguments"), WRITES)
async def test_what_is_not_writable_is_refused_at_once_and_what_is_writable_is_named(name, arguments):
    tools, workspace = toolbox(writable=("src/*.py", "notes/"))
    text = await error_of(tools, name, path="docs/read me.md", **arguments)
    assert text == "Nothing was changed: docs/read me.md is not writable. Writable are: src/*.py, notes/."
    assert workspace.writes == 0


async def test_what_the_workspace_refuses_is_told_and_no_crash():
    class Refusing(MemoryWorkspace):
        async def write(self, files):
            raise UnsafePath("'a' is a symbolic link or a submodule: change the file that it stands for")

    tools = Toolbox(Refusing({}), EVERYTHING, ToolSettings(), Searcher(asyncio.Semaphore(1), 1.0))
    text = await error_of(tools, "write_file", path="a", content="x")
    assert text == "Nothing was changed: 'a' is a symbolic link or a submodule: change the file that it stands for."
    assert not tools.has_written


async def test_removing_what_is_not_there_is_an_error():
    tools, _ = toolbox()
    assert "There is no file" in await error_of(tools, "delete_file", path="nothing.py")


# --- the checks


async def test_checks_say_passed_or_what_failed():
    def verdict(files):
        if files["src/a.py"] == FILES["src/a.py"]:
            return Verdict(passed=False, reason="check_failed", feedback="E  assert 2 == 3\n")
        return Verdict(passed=True, reason="passed")

    tools, _ = toolbox(verdict=verdict)
    assert (await text_of(tools, "run_checks")).startswith("E  assert 2 == 3\n\n(runs of the checks left: 4)")
    await text_of(tools, "write_file", path="src/a.py", content="")
    assert await text_of(tools, "run_checks") == "passed"


async def test_checks_run_only_so_often():
    tools, _ = toolbox(max_checks=1)
    await text_of(tools, "run_checks")
    assert "No run of the checks is left, of 1." in await error_of(tools, "run_checks")


async def test_long_feedback_is_cut():
    tools, _ = toolbox(
        verdict=lambda files: Verdict(passed=False, reason="timeout", feedback="x" * 9_000), max_result_chars=1_000
    )
    text = await text_of(tools, "run_checks")
    assert len(text) <= 1_000
    assert text.endswith("left: 4)")


async def test_without_checks_there_is_no_such_tool():
    tools, _ = toolbox(run_checks=False)
    assert "run_checks" not in [tool.name for tool in tools.tools]
    assert "There is no tool 'run_checks'" in await error_of(tools, "run_checks")
