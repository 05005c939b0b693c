"""The stub in each edit format: the same change, and the same mistakes, as that format lets them be made."""

import ast
import asyncio

import pytest

from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import EditError
from orchestrator.core.edits.formats import FORMATS
from orchestrator.core.prompt import editing_manner, system_text
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, ScriptedModel, generation_of, prompt_for

NAMES = sorted(FORMATS)
OTHERS = [name for name in NAMES if name != "search_replace"]
BEFORE = '"""Cart."""\n\n\ndef total(prices):\n    """Sum."""\n    result = 0\n    for price in prices:\n        result = result + price\n    return result\n'
AFTER = BEFORE.replace("result = result + price", "if price > 0 and not None:\n            result += price")
UPDATE = """\
--- a/cart.py
+++ b/cart.py
@@ -5,5 +5,6 @@ def total(prices):
     \"\"\"Sum.\"\"\"
     result = 0
     for price in prices:
-        result = result + price
+        if price > 0 and not None:
+            result += price
     return result
"""
ADDED = "--- /dev/null\n+++ b/new.py\n@@ -0,0 +1,2 @@\n+def f():\n+    return 1\n"
DELETED = "--- a/old.md\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n"
MOVED = "diff --git a/old.md b/docs/new.md\nrename from old.md\nrename to docs/new.md\n"
FILES = {"cart.py": BEFORE, "old.md": "bye\n"}
CONTENT = {path: text.encode() for path, text in FILES.items()}


def stub(solution, **fields):
    return StubModel(StubProfile(time_scale=0, **fields), FakeClock(), lambda _: solution)


def asked(name, files=FILES, **fields):
    prompt = prompt_for(files, **fields)
    return prompt.model_copy(update={"system": system_text([], editing_manner(name))})


def reply_of(name, solution=UPDATE, files=FILES, *, prompt=None, **fields):
    return asyncio.run(stub(solution, **fields).complete(asked(name, files, **(prompt or {})), Meter()))


def after_of(name, completion, content=CONTENT):
    rules = FORMATS[name]
    return apply_edits(rules.parse(completion.text), content, rules.terms)


def outcome_of(name, completion, content=CONTENT):
    with pytest.raises(EditError) as caught:
        after_of(name, completion, content)
    return caught.value.reason


@pytest.mark.parametrize("solution", [UPDATE, UPDATE + ADDED, DELETED, ADDED + DELETED, MOVED, None])
@pytest.mark.parametrize("name", OTHERS)
def test_it_answers_the_same_change_in_every_format(name, solution):
    expected = after_of("search_replace", reply_of("search_replace", solution))
    completion = reply_of(name, solution)
    assert after_of(name, completion) == expected
    assert not completion.text.startswith(("*** ", "cart.py"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_session_in_any_format_writes_the_change(name):
    backend = EditingBackend(stub(UPDATE), FakeClock(), edit_format=name)
    assert backend.manner == editing_manner(name)
    generation, workspace = await generation_of(backend, CONTENT, asked(name))
    assert generation.failure is None
    assert workspace.files["cart.py"] == AFTER.encode()


@pytest.mark.parametrize("name", OTHERS)
async def test_a_model_that_answers_in_another_format_is_told_and_asked_again(name):
    backend = EditingBackend(stub(UPDATE), FakeClock(), edit_format=name, corrections=1)
    generation, workspace = await generation_of(backend, CONTENT, asked("search_replace"))
    assert generation.failure.reason == "malformed_reply"
    assert workspace.writes == 0
    assert len(generation.exchanges) == 2


@pytest.mark.parametrize("name", NAMES)
async def test_where_all_is_in_place_there_is_no_change(name):
    files = {**CONTENT, "cart.py": AFTER.encode()}
    backend = EditingBackend(stub(UPDATE), FakeClock(), edit_format=name)
    generation, _ = await generation_of(backend, files, asked(name, {**FILES, "cart.py": AFTER}))
    assert generation.failure.reason == "no_change"


@pytest.mark.parametrize("shown", [{"cart.py": "nothing = 1\n"}, {}])
@pytest.mark.parametrize("name", NAMES)
def test_what_it_answers_from_memory_does_not_apply(name, shown):
    content = {"cart.py": b"nothing = 1\n"}
    completion = reply_of(name, files=shown, prompt={"writable": ["cart.py"]})
    assert outcome_of(name, completion, content) == "edit_does_not_apply"


@pytest.mark.parametrize("draw", range(1, 9))
@pytest.mark.parametrize("solution", [UPDATE, UPDATE + ADDED, ADDED, DELETED, None])
@pytest.mark.parametrize("name", OTHERS)
def test_a_malformed_answer_is_malformed(name, solution, draw):
    completion = reply_of(name, solution, malformed_block=1.0, prompt={"draw": draw})
    assert outcome_of(name, completion) == "malformed_reply"


@pytest.mark.parametrize("draw", range(1, 5))
@pytest.mark.parametrize("solution", [UPDATE, UPDATE + ADDED, ADDED, DELETED, MOVED, None])
@pytest.mark.parametrize("name", OTHERS)
def test_a_misplaced_edit_can_be_read_and_does_not_apply(name, solution, draw):
    completion = reply_of(name, solution, misplaced_edit=1.0, prompt={"draw": draw})
    assert FORMATS[name].parse(completion.text)
    assert outcome_of(name, completion) == "edit_does_not_apply"


def test_in_whole_files_it_leaves_lines_out_instead():
    completion = reply_of("whole_file", misplaced_edit=1.0)
    assert "# ... rest of the file unchanged ...\n" in completion.text
    assert len(completion.text) < len(reply_of("whole_file").text)


@pytest.mark.parametrize("draw", range(1, 4))
@pytest.mark.parametrize("name", OTHERS)
def test_mistakes_in_the_change_are_the_same_in_every_format(name, draw):
    for kind in ("wrong_edit", "broken_syntax", "protected_edit"):
        prompt = {"draw": draw, "text": "run tests/test_cart.py"}
        completion = reply_of(name, prompt=prompt, **{kind: 1.0})
        content = {**CONTENT, "tests/test_cart.py": b"assert False\n"}
        blocks = reply_of("search_replace", prompt=prompt, **{kind: 1.0})
        after = after_of(name, completion, content)
        assert after == after_of("search_replace", blocks, content)
        assert after != {"cart.py": AFTER.encode()}
        if kind == "broken_syntax":
            with pytest.raises(SyntaxError):
                ast.parse(after["cart.py"])


@pytest.mark.parametrize("name", OTHERS)
def test_an_answer_that_ends_early_says_so(name):
    completion = reply_of(name, truncated=1.0)
    assert completion.stop_reason == "max_tokens"
    assert outcome_of(name, completion) == "malformed_reply"
    assert reply_of(name, refusal=1.0).stop_reason == "refusal"


@pytest.mark.parametrize("name", OTHERS)
async def test_a_cut_answer_is_told_how_to_be_shorter(name):
    backend = EditingBackend(stub(UPDATE, truncated=1.0), FakeClock(), edit_format=name)
    generation, _ = await generation_of(backend, CONTENT, asked(name))
    assert generation.failure.reason == "truncated"
    assert FORMATS[name].shorter in generation.failure.feedback


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", ".git/config"])
@pytest.mark.parametrize("text", ["*** Add File: {}\n+x\n", "*** Update File: cart.py\n*** Move to: {}\n"])
async def test_a_patch_leads_out_of_the_repository_by_no_path(path, text):
    reply = f"*** Begin Patch\n{text.format(path)}*** End Patch\n"
    generation, workspace = await generation_of(
        EditingBackend(ScriptedModel(reply), FakeClock(), edit_format="patch"), CONTENT
    )
    assert generation.failure.reason == "edit_does_not_apply"
    assert path in generation.failure.feedback
    assert workspace.writes == 0


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_is_the_same_whoever_asks_and_whenever(name):
    profile = {"wrong_edit": 0.4, "misplaced_edit": 0.3, "malformed_block": 0.3}
    one = [reply_of(name, prompt={"draw": draw}, **profile).text for draw in range(1, 9)]
    assert one == [reply_of(name, prompt={"draw": draw, "attempt": 7}, **profile).text for draw in range(1, 9)]
    assert len(set(one)) > 2
