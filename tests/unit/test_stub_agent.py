"""The stub as an agent: what it calls, what it makes of the results, and how its mistakes come about."""

import asyncio
import difflib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.backends.stub.desk import page_of
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import ANSWER_ERRORS, StubProfile
from orchestrator.core.chat import Message, Tool, ToolResult, after
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.globs import matches, select
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, prompt_for

NAMES = ("list_files", "read_file", "search", "edit_file", "write_file", "delete_file", "run_checks")
CART = '"""Cart."""\n\n\ndef total(prices):\n    """Sum."""\n    result = 0\n    for price in prices:\n        result = result + price\n    return result\n'
RIGHT = CART.replace("result = result + price", "result += price")
FILES = {
    "src/cart.py": CART,
    "src/tax.py": "RATE = 19\n",
    "src/old.py": "x = 1\n",
    "tests/test_cart.py": "assert True\n",
}
WRITABLE = ["src/cart.py", "src/tax.py", "src/old.py", "src/new.py"]
UPDATE = """\
--- a/src/cart.py
+++ b/src/cart.py
@@ -5,5 +5,5 @@
     \"\"\"Sum.\"\"\"
     result = 0
     for price in prices:
-        result = result + price
+        result += price
     return result
"""
SECOND = "--- a/src/tax.py\n+++ b/src/tax.py\n@@ -1 +1 @@\n-RATE = 19\n+RATE = 20\n"
ADDED = "--- /dev/null\n+++ b/src/new.py\n@@ -0,0 +1,2 @@\n+def f():\n+    return 1\n"
DELETED = "--- a/src/old.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x = 1\n"


class Tools:
    """The tools over a dictionary of files. `page` lines are shown at once; `check` says whether the files are right."""

    def __init__(self, files, writable, check=lambda files: True, page=10_000):
        self.files, self.writable, self.check, self.page = dict(files), writable, check, page
        self.log = []

    def run(self, call):
        self.log.append((call.name, dict(call.arguments)))
        try:
            return ToolResult(call=call.id, text=getattr(self, call.name)(**call.arguments))
        except (KeyError, TypeError, PermissionError, EditError) as error:
            return ToolResult(call=call.id, text=f"failed: {error}", is_error=True)

    def list_files(self, glob="**"):
        return "\n".join([*select(sorted(self.files), (glob,)), "… and 7 more"])

    def read_file(self, path, first_line=1, last_line=None):
        lines = self.files[path].split("\n")[:-1]
        shown = lines[first_line - 1 : first_line - 1 + self.page]
        text = "\n".join(f"{number:>6}\t{line}" for number, line in enumerate(shown, start=first_line))
        next_line = first_line + len(shown)
        return (
            text + (f"\n[of {len(lines)}; first_line={next_line}]" if next_line <= len(lines) else "")
            or "(the file is empty)"
        )

    def edit_file(self, path, search, replace):
        self._allow(path)
        changed = apply_edits([Edit(path, search, replace)], {path: self.files[path].encode()})
        self.files[path] = changed[path].decode()
        return f"edited {path}"

    def write_file(self, path, content):
        self._allow(path)
        self.files[path] = content
        return f"wrote {path}"

    def delete_file(self, path):
        self._allow(path)
        del self.files[path]
        return f"deleted {path}"

    def run_checks(self):
        return "passed" if self.check(self.files) else "E  assert 1 == 2"

    def _allow(self, path):
        if not matches(path, self.writable):
            raise PermissionError(path)


class Session:
    """Converses to the end; keeps every answer."""

    def __init__(
        self, solution=UPDATE, files=None, writable=WRITABLE, *, tools=NAMES, prompt=None, profile=None, **fields
    ):
        self.tools = Tools(FILES if files is None else files, writable, **fields)
        self.model = StubModel(StubProfile(time_scale=0, **(profile or {})), FakeClock(), lambda _: solution)
        offered = tuple(Tool(name=name, description=name, parameters={}) for name in tools)
        self.prompt = prompt_for({}, writable=writable, tools=offered, **(prompt or {}))
        self.answers = []

    def turn(self):
        answer = asyncio.run(self.model.complete(self.prompt, Meter()))
        self.answers.append(answer)
        results = tuple(map(self.tools.run, answer.calls))
        text = "Go on in smaller steps." if answer.stop_reason == "max_tokens" else ""
        self.prompt = after(self.prompt, (answer.turn, Message(role="user", text=text, results=results)))
        return answer

    def play(self, most=12):
        while len(self.answers) < most and self.turn().stop_reason in {"tool_use", "max_tokens"}:
            pass
        return self

    @property
    def names(self):
        return [[call.name for call in answer.calls] for answer in self.answers]

    @property
    def changed(self):
        paths = {*FILES, *self.tools.files}
        return {
            path: self.tools.files.get(path) for path in sorted(paths) if self.tools.files.get(path) != FILES.get(path)
        }


def is_right(files):
    return files["src/cart.py"] == RIGHT


def erring(kind, **fields):
    profile = {kind: 1.0, **fields.pop("profile", {})}
    return Session(profile=profile, check=is_right, **fields).play()


def test_a_session_reads_changes_checks_and_ends_with_a_sentence():
    session = Session(UPDATE + SECOND, check=is_right).play()
    assert session.names == [["read_file"] * 2, ["edit_file"] * 2, ["run_checks"], []]
    assert [answer.stop_reason for answer in session.answers] == ["tool_use"] * 3 + ["end_turn"]
    assert session.answers[-1].text.endswith("done.")
    assert session.changed == {"src/cart.py": RIGHT, "src/tax.py": "RATE = 20\n"}


def test_files_are_written_and_deleted():
    session = Session(ADDED + DELETED).play()
    assert session.names[:2] == [["read_file"] * 2, ["write_file", "delete_file"]]
    assert session.changed == {"src/new.py": "def f():\n    return 1\n", "src/old.py": None}


def test_a_file_that_is_moved_is_deleted_and_written():
    diff = "diff --git a/src/old.py b/src/new.py\nsimilarity index 100%\nrename from src/old.py\nrename to src/new.py\n"
    assert Session(diff).play().changed == {"src/new.py": "x = 1\n", "src/old.py": None}


def test_it_works_on_the_files_as_they_are_now():
    files = {**FILES, "src/cart.py": "import math\n" + CART}
    assert Session(files=files).play().tools.files["src/cart.py"] == "import math\n" + RIGHT


def test_what_it_was_not_shown_it_does_not_know():
    session = Session(files={**FILES, "src/cart.py": "nothing = 1\n"}).play()
    assert session.changed == {"src/cart.py": "nothing = 1\n"}
    assert session.names == [["read_file"], ["edit_file"], []]


def test_a_long_file_is_read_on_to_its_end():
    body = "".join(f"line_{number} = {number}\n" for number in range(95))
    session = Session(files={**FILES, "src/cart.py": body + CART}, page=20).play()
    reads = [arguments.get("first_line") for name, arguments in session.tools.log if name == "read_file"]
    assert reads == [None, 21, 41, 61, 81, 101]
    assert session.tools.files["src/cart.py"] == body + RIGHT


@pytest.mark.parametrize(
    ("result", "text", "next_line"),
    [
        ("     1\ta\n     2\t\n     3\t[x", "a\n\n[x\n", None),
        ("     1\ta\n[lines 1 to 1 of 9; call read_file with first_line=2 to read on]", "a\n", 2),
        ("     7\tab\tc\n[line 7 is cut: 9 more characters]", "ab\tc\n", None),
        ("     7\ta\n[first_line=7]", "a\n", None),
        ("(the file is empty)", "", None),
    ],
)
def test_a_page_is_its_lines_and_where_it_goes_on(result, text, next_line):
    page = page_of(result)
    assert (page.text, page.next_line) == (text, next_line)


def test_what_shows_no_lines_is_no_page():
    assert page_of("[result of read_file a.py left out to keep the context small]") is None


def test_without_a_reference_it_reads_what_the_prompt_names_and_what_it_finds():
    text = (
        "# Subtask: Tidy\n\nFiles to begin with (nothing is shown yet):\n- src/cart.py\n- README.md\n- and 3 more\n\nx"
    )
    session = Session(None, writable=["src/*"], prompt={"text": text}).play()
    assert session.names[0] == ["read_file", "list_files"]
    assert session.tools.log[:2] == [("read_file", {"path": "src/cart.py"}), ("list_files", {"glob": "src/*"})]
    assert session.names[1] == ["read_file"] * 2
    assert set(session.changed) == {"src/cart.py", "src/tax.py", "src/old.py"}


def test_without_a_reference_and_without_a_file_it_writes_a_new_one():
    assert set(Session(None, files={}, writable=["docs/*.md"]).play().tools.files) == {"docs/one.md"}


def test_what_is_there_and_no_text_is_not_written_anew():
    class Binary(Tools):
        def read_file(self, path, first_line=1, last_line=None):
            raise TypeError("no text")

    session = Session(
        None,
        files={"src/logo.png": "?"},
        writable=["src/logo.png"],
        prompt={"text": "Files to begin with:\n- src/logo.png"},
    )
    session.tools.__class__ = Binary
    assert session.play().tools.files == {"src/logo.png": "?"}


def test_files_that_the_prompt_shows_are_not_read():
    session = Session(prompt={})
    session.prompt = prompt_for(FILES, tools=session.prompt.tools)
    assert session.play().names == [["edit_file"], ["run_checks"], []]


def test_tools_that_are_not_offered_are_not_called():
    names = ("read_file", "edit_file", "write_file", "delete_file")
    assert Session(tools=names, writable=["**"]).play().names == [["read_file"], ["edit_file"], []]


@pytest.mark.parametrize("kind", ["wrong_edit", "broken_syntax"])
def test_a_mistake_is_corrected_after_the_checks_or_handed_in(kind):
    fixed = erring(kind, profile={"repair": 0.0})
    assert fixed.names == [["read_file"], ["edit_file"], ["run_checks"], ["edit_file"], ["run_checks"], []]
    assert fixed.changed == {"src/cart.py": RIGHT}
    stuck = erring(kind, profile={"repair": 1.0})
    assert stuck.names == [["read_file"], ["edit_file"], ["run_checks"], []]
    assert stuck.changed["src/cart.py"] not in {RIGHT, CART}


def test_a_mistake_in_a_new_file_is_corrected():
    session = Session(
        ADDED,
        profile={"wrong_edit": 1.0, "repair": 0.0},
        check=lambda files: files["src/new.py"].endswith("return 1\n"),
    )
    assert session.play().changed == {"src/new.py": "def f():\n    return 1\n"}


def test_a_mistake_that_the_checks_let_pass_is_handed_in():
    session = Session(profile={"wrong_edit": 1.0, "repair": 0.0}).play()
    assert session.names == [["read_file"], ["edit_file"], ["run_checks"], []]
    assert session.changed["src/cart.py"] != RIGHT


def test_a_mistake_without_checks_is_handed_in():
    assert erring("wrong_edit", profile={"repair": 0.0}, tools=NAMES[:-1]).names == [["read_file"], ["edit_file"], []]


def test_how_often_a_mistake_stays_is_the_profiles_repair():
    def stays(subtask):
        return not is_right(erring("wrong_edit", profile={"repair": 0.3}, prompt={"subtask": subtask}).tools.files)

    assert 10 <= sum(stays(f"s{number}") for number in range(60)) <= 27


@pytest.mark.parametrize("solution", [UPDATE, UPDATE + SECOND, ADDED, DELETED, ADDED + DELETED])
@pytest.mark.parametrize("kind", ["misplaced_edit", "malformed_block"])
def test_a_call_that_comes_back_as_an_error_is_made_right(kind, solution):
    session = erring(kind, solution=solution)
    assert session.changed == Session(solution).play().changed
    slips = [result for result in session.prompt.messages[4].results if result.is_error]
    assert len(slips) == len(session.names[2]) == 1


def test_an_error_that_only_the_text_tells_is_one_too():
    session = Session(ADDED)
    session.turn()
    told = session.prompt.messages[-1].results[0]
    result = told.model_copy(update={"is_error": False, "text": f"Error: {told.text}"})
    session.prompt = session.prompt.model_copy(
        update={"messages": (*session.prompt.messages[:-1], Message(role="user", results=(result,)))}
    )
    assert session.play().changed == {"src/new.py": "def f():\n    return 1\n"}


def test_an_answer_that_was_cut_off_is_given_again():
    session = erring("truncated")
    assert [answer.stop_reason for answer in session.answers] == [
        "tool_use",
        "max_tokens",
        "tool_use",
        "tool_use",
        "end_turn",
    ]
    assert session.answers[1].calls == ()
    assert session.answers[1].text
    assert session.changed == {"src/cart.py": RIGHT}


def test_an_answer_that_would_be_too_long_comes_in_parts():
    big = "".join(f"+x{number} = {number}\n" for number in range(100))
    solution = "".join(f"--- /dev/null\n+++ b/src/{name}.py\n@@ -0,0 +1,100 @@\n{big}" for name in "abcde")
    session = Session(solution, writable=["src/*"], prompt={"max_output_tokens": 1_200}).play()
    assert [len(calls) for calls in session.names] == [6, 3, 2, 1, 0]
    assert set(session.changed) == {f"src/{name}.py" for name in "abcde"}
    assert all(answer.usage.output_tokens <= 1_200 for answer in session.answers)


def test_a_call_that_can_never_fit_is_cut_off_and_said_again():
    big = "".join(f"+x{number} = {number}\n" for number in range(500))
    session = Session(f"--- /dev/null\n+++ b/src/new.py\n@@ -0,0 +1,500 @@\n{big}", prompt={"max_output_tokens": 200})
    session.play(most=4)
    assert [answer.stop_reason for answer in session.answers] == ["tool_use"] + ["max_tokens"] * 3
    assert session.changed == {}


def test_a_refusal_ends_the_session_at_once():
    (answer,) = erring("refusal").answers
    assert (answer.stop_reason, answer.calls) == ("refusal", ())


def test_a_write_to_a_test_is_refused_by_the_tool_and_the_session_goes_on():
    session = erring("protected_edit", prompt={"text": "run tests/test_cart.py"})
    assert ("write_file", "tests/test_cart.py") in [
        (name, arguments.get("path")) for name, arguments in session.tools.log
    ]
    assert session.changed == {"src/cart.py": RIGHT}
    assert session.names[-2:] == [["run_checks"], []]


def test_a_write_to_a_test_that_nobody_refuses_is_left_to_the_gate():
    session = erring("protected_edit", prompt={"text": "run tests/test_cart.py"}, writable=["**"])
    assert "assert True" in session.changed["tests/test_cart.py"]
    assert session.changed["src/cart.py"] == RIGHT


@pytest.mark.parametrize("kind", [None, *ANSWER_ERRORS])
@pytest.mark.parametrize("solution", [UPDATE + ADDED, None])
def test_equal_conversations_get_equal_answers_whoever_asks(kind, solution):
    def said(session):
        return [(answer.text, answer.calls, answer.stop_reason) for answer in session.answers]

    profile = {kind: 1.0} if kind else {}
    one = Session(solution, profile=profile, check=is_right).play()
    for number, answer in enumerate(one.answers):
        # Another model, which has seen nothing, goes on in the middle just the same.
        other = Session(solution, profile=profile, check=is_right)
        starts = [at for at, message in enumerate(one.prompt.messages) if message.role == "assistant"]
        other.prompt = one.prompt.model_copy(update={"messages": one.prompt.messages[: starts[number]]})
        again = other.turn()
        assert (again.text, again.calls, again.stop_reason) == (answer.text, answer.calls, answer.stop_reason)
    late = Session(solution, profile=profile, check=is_right, prompt={"attempt": 4}).play()
    assert said(late) == said(one)
    assert one.answers[-1].stop_reason in {"end_turn", "refusal"}


def test_ids_of_calls_are_unique_within_a_session():
    session = erring("misplaced_edit", solution=UPDATE + SECOND + ADDED)
    ids = [call.id for answer in session.answers for call in answer.calls]
    assert len(set(ids)) == len(ids)


TEXTS = st.lists(
    st.sampled_from(["a", "", "  b", "\tc", "     1\td", "[e", "f\x0c", "Error: g", "(the file is empty)"]),
    min_size=1,
    max_size=9,
)


@given(TEXTS, TEXTS, st.integers(1, 4), st.sampled_from([None, *ANSWER_ERRORS[:5]]))
@settings(max_examples=60, deadline=None)
def test_whatever_the_texts_are_the_change_is_made(old, new, page, kind):
    diff = "\n".join(difflib.unified_diff(old, new, "a/f", "b/f", lineterm=""))
    files, wanted = ({"f": "".join(f"{line}\n" for line in text)} for text in (old, new))
    assume(diff)
    profile = {"repair": 0.0} | ({kind: 1.0} if kind else {})
    session = Session(
        diff, files=files, writable=["f"], page=page, profile=profile, check=lambda files: files == wanted
    )
    assert session.play(most=40).tools.files == wanted


def without_results(prompt, upto):
    messages = list(prompt.messages)
    for at in range(upto):
        results = tuple(result.model_copy(update={"text": "[left out]"}) for result in messages[at].results)
        messages[at] = messages[at].model_copy(update={"results": results})
    return prompt.model_copy(update={"messages": tuple(messages)})


def test_where_results_were_left_out_it_checks_what_it_did_and_ends():
    session = Session(check=is_right)
    session.turn()
    session.turn()
    session.prompt = without_results(session.prompt, 3)
    assert session.play().names == [["read_file"], ["edit_file"], ["run_checks"], []]


def test_where_everything_was_left_out_it_ends_and_changes_nothing():
    session = Session(check=is_right)
    session.turn()
    session.prompt = without_results(session.prompt, 3)
    assert session.play().names == [["read_file"], []]


def test_a_conversation_of_somebody_else_is_ended():
    session = Session()
    turns = (Message(role="assistant", text="I think."), Message(role="user", text="Go on."))
    session.prompt = after(session.prompt, turns)
    assert session.turn().stop_reason in {"tool_use", "end_turn"}


def test_tokens_count_the_calls_and_latency_is_that_of_each_turn():
    clock = FakeClock()
    session = Session()
    session.model = StubModel(
        StubProfile(ttft_s=1, ttft_sigma=0, tokens_per_s=10, tokens_per_s_sigma=0), clock, lambda _: UPDATE
    )
    session.play()
    tokens = [answer.usage.output_tokens for answer in session.answers]
    assert all(count > 8 for count in tokens[:-1])
    assert clock.now() - 1_000 == pytest.approx(len(tokens) + sum(tokens) / 10)
