"""The simulated model: honest, keyed, and wrong in the ways that it says."""

import ast
import asyncio
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import ANSWER_ERRORS, API_FAULTS, StubProfile
from orchestrator.backends.stub.rewrites import concrete_path, rewritten
from orchestrator.core.chat import Message, estimate_tokens
from orchestrator.core.draws import choice, fraction, lognormal
from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import EditError, parse_reply
from orchestrator.core.errors import BackendError, SpecError
from orchestrator.core.globs import matches
from orchestrator.core.prompt import correction
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, generation_of, prompt_for

CONFIGS = Path(__file__).parents[2] / "configs"
BEFORE = '"""Cart."""\n\n\ndef total(prices):\n    """Sum."""\n    result = 0\n    for price in prices:\n        result = result + price\n    return result\n'
AFTER = BEFORE.replace("result = result + price", "if price > 0 and not None:\n            result += price")
SOLUTION = """\
diff --git a/cart.py b/cart.py
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
INSTANT = {"time_scale": 0, "ttft_s": 0}


def stub(clock=None, solution=SOLUTION, **fields):
    return StubModel(StubProfile(**{**INSTANT, **fields}), clock or FakeClock(), lambda _: solution)


def cart(shown=BEFORE, **fields):
    return prompt_for({"cart.py": shown}, **fields)


def reply_of(model, prompt):
    return asyncio.run(model.complete(prompt, Meter()))


def after_of(completion, files):
    return {
        path: content and content.decode() for path, content in apply_edits(parse_reply(completion.text), files).items()
    }


def certain(kind, **fields):
    return stub(**{kind: 1.0}, **fields)


def test_it_answers_its_reference_solution_as_edit_blocks():
    completion = reply_of(stub(), cart())
    assert after_of(completion, {"cart.py": BEFORE.encode()}) == {"cart.py": AFTER}
    assert not completion.text.startswith("cart.py")


def test_it_answers_against_the_files_as_they_are_shown():
    changed = "import math\n" + BEFORE.replace("result = 0", "result = 0  # cents")
    after = after_of(reply_of(stub(), cart(changed)), {"cart.py": changed.encode()})
    assert after["cart.py"].startswith("import math")
    assert "result += price" in after["cart.py"]


def test_where_it_cannot_find_the_place_its_answer_does_not_apply():
    completion = reply_of(stub(), cart("nothing = 1\n"))
    with pytest.raises(EditError):
        after_of(completion, {"cart.py": b"nothing = 1\n"})


async def test_where_all_is_in_place_there_is_no_change():
    files = {"cart.py": AFTER.encode()}
    generation, _ = await generation_of(EditingBackend(stub(), FakeClock()), files, cart(AFTER))
    assert generation.failure.reason == "no_change"


def test_an_unreadable_reference_names_its_file_and_line():
    with pytest.raises(SpecError, match=r"one\.diff: line 1"):
        reply_of(stub(solution="@@ -1 +1 @@\n"), cart())


def test_usage_is_counted_from_the_texts_and_says_that_it_is_simulated():
    prompt = cart()
    completion = reply_of(stub(input_usd_per_million=2.0, output_usd_per_million=10.0), prompt)
    usage = completion.usage
    assert usage.is_simulated
    assert usage.input_tokens == estimate_tokens(prompt.text)
    assert usage.output_tokens == estimate_tokens(completion.text)
    assert usage.cost_usd == pytest.approx((usage.input_tokens * 2 + usage.output_tokens * 10) / 1e6)
    assert reply_of(stub(), prompt).usage.cost_usd is None


def test_an_answer_depends_on_its_draw_and_not_on_attempts_or_neighbours():
    profile = {"wrong_edit": 0.5, "misplaced_edit": 0.5}
    alone = {draw: reply_of(stub(**profile), cart(draw=draw)).text for draw in range(1, 9)}
    model = stub(**profile)
    for draw in reversed(range(1, 9)):
        reply_of(model, cart(subtask="neighbour", draw=draw))
        assert reply_of(model, cart(draw=draw, attempt=draw + 3)).text == alone[draw]
    assert len(set(alone.values())) > 1


def test_latency_takes_its_time_in_small_steps_that_the_meter_shows():
    clock, meter = FakeClock(), Meter()
    completion = asyncio.run(
        stub(clock, time_scale=2, ttft_s=1, ttft_sigma=0, tokens_per_s=10, tokens_per_s_sigma=0).complete(cart(), meter)
    )
    tokens = completion.usage.output_tokens
    assert clock.now() - 1_000 == pytest.approx(2 * (1 + tokens / 10))
    assert clock.sleeps[0] == 2
    assert max(clock.sleeps[1:]) <= 0.25
    assert meter.output_tokens == tokens


def test_latency_differs_between_attempts():
    def took_s(attempt):
        clock = FakeClock()
        reply_of(stub(clock, time_scale=1, ttft_s=1), cart(attempt=attempt))
        return clock.now()

    assert took_s(1) == took_s(1) != took_s(2)


def test_without_a_time_scale_it_never_sleeps():
    clock = FakeClock()
    reply_of(stub(clock), cart())
    for fault in API_FAULTS:
        with pytest.raises(BackendError):
            reply_of(certain(fault, clock=clock), cart())
    assert clock.sleeps == []


@pytest.mark.parametrize(
    ("fault", "kind", "tokens_seen"),
    [
        ("rate_limit", "rate_limit", False),
        ("overloaded", "overloaded", False),
        ("stall", "stall", True),
        ("disconnect", "transient", True),
    ],
)
def test_a_fault_is_the_error_that_an_adapter_would_raise(fault, kind, tokens_seen):
    meter = Meter()
    with pytest.raises(BackendError) as caught:
        asyncio.run(certain(fault).complete(cart(), meter))
    assert caught.value.kind == kind
    assert caught.value.is_retryable
    assert (meter.output_tokens > 0) == tokens_seen
    assert (caught.value.retry_after_s is not None) == (fault == "rate_limit")


def test_a_stall_lasts_as_long_as_it_says():
    clock = FakeClock()
    with pytest.raises(BackendError):
        reply_of(certain("stall", clock=clock, stall_s=90, time_scale=1), cart())
    assert 90 in clock.sleeps


def test_asking_again_after_a_fault_is_another_draw():
    model = stub(overloaded=0.5)
    outcomes = []
    for number in range(40):
        prompt = cart(subtask=f"s{number}")
        while True:
            try:
                reply_of(model, prompt)
            except BackendError:
                outcomes.append(0)
            else:
                outcomes.append(1)
                break
    assert 15 < outcomes.count(0) < 90


@pytest.mark.parametrize("draw", range(1, 6))
def test_a_wrong_edit_applies_and_parses_and_computes_something_else(draw):
    after = after_of(reply_of(certain("wrong_edit"), cart(draw=draw)), {"cart.py": BEFORE.encode()})["cart.py"]
    assert ast.dump(ast.parse(after)) not in {ast.dump(ast.parse(AFTER)), ast.dump(ast.parse(BEFORE))}


def test_a_wrong_edit_of_a_text_states_something_else():
    diff = "--- /dev/null\n+++ b/docs/a.md\n@@ -0,0 +1,2 @@\n+Carts hold 99 items.\n+Call `total`.\n"
    prompt = prompt_for({}, writable=["docs/a.md"])
    wrong = {
        after_of(reply_of(certain("wrong_edit", solution=diff), prompt.model_copy(update={"draw": drawn})), {})[
            "docs/a.md"
        ]
        for drawn in (cart(draw=number).draw for number in range(1, 9))
    }
    assert wrong == {"Carts hold 100 items.\nCall `total`.\n", "Carts hold 99 items.\nCall `total_all`.\n"}


def test_wrong_edits_differ_between_draws():
    assert len({reply_of(certain("wrong_edit"), cart(draw=draw)).text for draw in range(1, 12)}) > 2


@pytest.mark.parametrize("draw", range(1, 6))
@pytest.mark.parametrize("solution", [SOLUTION, None])
def test_broken_syntax_applies_and_does_not_parse(draw, solution):
    completion = reply_of(certain("broken_syntax", solution=solution), cart(draw=draw))
    after = after_of(completion, {"cart.py": BEFORE.encode()})["cart.py"]
    with pytest.raises(SyntaxError):
        ast.parse(after)


@pytest.mark.parametrize("draw", range(1, 8))
@pytest.mark.parametrize("solution", [SOLUTION, None])
def test_a_malformed_block_is_malformed(draw, solution):
    with pytest.raises(EditError) as caught:
        parse_reply(reply_of(certain("malformed_block", solution=solution), cart(draw=draw)).text)
    assert caught.value.reason == "malformed_reply"


@pytest.mark.parametrize("text", [BEFORE, None])
def test_a_misplaced_edit_can_be_read_and_does_not_apply(text):
    prompt = prompt_for({} if text is None else {"cart.py": text}, writable=["cart.py"])
    completion = reply_of(certain("misplaced_edit", solution=SOLUTION if text else None), prompt)
    with pytest.raises(EditError) as caught:
        after_of(completion, {"cart.py": text.encode()} if text else {})
    assert caught.value.reason == "edit_does_not_apply"


@pytest.mark.parametrize(("kind", "stop_reason"), [("truncated", "max_tokens"), ("refusal", "refusal")])
def test_an_answer_that_ends_early_says_so(kind, stop_reason):
    completion = reply_of(certain(kind), cart())
    assert completion.stop_reason == stop_reason
    assert len(completion.text) < len(reply_of(stub(), cart()).text)


def test_an_answer_longer_than_allowed_is_cut():
    completion = reply_of(stub(), cart(max_output_tokens=20))
    assert completion.stop_reason == "max_tokens"
    assert completion.usage.output_tokens <= 20


def test_a_test_whose_text_is_shown_is_weakened():
    files = {"cart.py": BEFORE, "tests/test_cart.py": "def test():\n    assert total([1]) == 1\n"}
    completion = reply_of(certain("protected_edit"), prompt_for(files, writable=["cart.py"]))
    after = after_of(completion, {path: text.encode() for path, text in files.items()})
    assert after["tests/test_cart.py"] == "def test():\n    assert True\n"
    assert "cart.py" in after


def test_a_test_that_is_only_named_is_overwritten():
    completion = reply_of(certain("protected_edit"), cart(text="run python -m pytest tests/test_cart.py"))
    after = after_of(completion, {"cart.py": BEFORE.encode(), "tests/test_cart.py": b"def test(): ...\n"})
    assert "assert True" in after["tests/test_cart.py"]


def test_where_no_test_is_known_it_is_a_wrong_edit():
    after = after_of(reply_of(certain("protected_edit"), cart()), {"cart.py": BEFORE.encode()})
    assert set(after) == {"cart.py"}
    assert after["cart.py"] != AFTER


def test_feedback_makes_errors_rarer():
    def errors(prompts):
        model = stub(refusal=0.6, repair=0.25)
        return sum(reply_of(model, prompt).stop_reason == "refusal" for prompt in prompts)

    fresh = [cart(subtask=f"s{number}") for number in range(300)]
    told = [correction(prompt, "earlier", "does not fit") for prompt in fresh]
    assert 150 < errors(fresh) < 210
    assert 25 < errors(told) < 65


def test_longer_prompts_are_answered_worse_only_where_that_is_assumed():
    long = "x" * 400_000

    def errors(**fields):
        return sum(
            reply_of(stub(refusal=0.1, **fields), cart(subtask=f"s{n}", text=long)).stop_reason == "refusal"
            for n in range(100)
        )

    assert errors() < 20
    assert errors(context_decay=0.5) > 40


PYTHON = "import os\n\n\nclass CartItem:\n    x = 1\n\n    def add_all(self, y):\n        # why\n        return y\n\n    @property\n    def size(self): return 1\n"


def test_without_a_reference_it_writes_missing_docstrings():
    after = after_of(
        reply_of(stub(solution=None), prompt_for({"src/cart_item.py": PYTHON})), {"src/cart_item.py": PYTHON.encode()}
    )
    tree = ast.parse(after["src/cart_item.py"])
    assert ast.get_docstring(tree) == "Cart item."
    assert ast.get_docstring(tree.body[2]) == "Cart item."
    assert ast.get_docstring(tree.body[2].body[2]) == "Add all."


@given(
    st.lists(
        st.sampled_from([*PYTHON.split("\n"), "def f():", "    pass", "'''", '"""x"""', "if x:", "@d", "\\"]),
        max_size=12,
    ).map("\n".join)
)
def test_a_rewrite_changes_something_and_keeps_python_parseable(text):
    after = rewritten("a/b.py", text, "Tidy up")
    assert after != text
    try:
        ast.parse(text)
    except SyntaxError:
        return
    ast.parse(after)


def test_optionals_are_modernised_where_annotations_are_not_evaluated():
    text = '"""D."""\nfrom __future__ import annotations\nx: Optional[int] = Optional\n'
    assert "x: int | None = Optional" in rewritten("a.py", text, "t")


@pytest.mark.parametrize(
    ("path", "line"),
    [("a.yaml", "# Tidy"), ("a.js", "// Tidy"), ("a.html", "<!-- Tidy -->"), ("a.md", "Tidy"), ("a.bin", "")],
)
def test_other_files_get_a_line_in_their_own_syntax(path, line):
    after = rewritten(path, "one\n", "Tidy")
    assert after.startswith("one\n")
    assert after.split("\n")[-2] == line


@pytest.mark.parametrize("writable", [["new.py"], ["docs/*.md"], ["a/**/b?.txt", "z"], ["folder/"], ["**/*.py"]])
def test_where_nothing_writable_is_shown_it_creates_a_writable_file(writable):
    completion = reply_of(stub(solution=None), prompt_for({}, writable=writable))
    (path,) = after_of(completion, {})
    assert matches(path, writable)
    assert concrete_path(writable, "one") == path


def schema(**array):
    fields = {name: {"type": "string"} for name in ("id", "title", "instruction")} | {"writable": {"type": "array"}}
    return {
        "properties": {"subtasks": {"type": "array", "items": {"$ref": "#/$defs/S"}, **array}},
        "$defs": {"S": {"properties": fields}},
    }


def test_a_plan_has_a_subtask_for_each_shown_file_up_to_the_limit():
    files = {f"m{number}.py": "x = 1\n" for number in range(5)}
    plan = json.loads(reply_of(stub(solution=None), prompt_for(files, response_schema=schema(maxItems=3))).text)
    assert [entry["writable"] for entry in plan["subtasks"]] == [["m0.py"], ["m1.py"], ["m2.py"]]
    assert set(plan["subtasks"][0]) == {"id", "title", "instruction", "writable"}
    assert len({entry["id"] for entry in plan["subtasks"]}) == 3
    stated = prompt_for(files, response_schema=schema(), text="Split this into at most 2 subtasks.")
    assert len(json.loads(reply_of(stub(solution=None), stated).text)["subtasks"]) == 2


def test_a_reference_plan_is_given_as_it_is():
    assert (
        reply_of(stub(solution='{"subtasks": []}'), prompt_for({}, response_schema=schema())).text == '{"subtasks": []}'
    )


def test_a_malformed_plan_is_no_json():
    with pytest.raises(json.JSONDecodeError):
        json.loads(
            reply_of(certain("malformed_block", solution=None), prompt_for({"a.py": ""}, response_schema=schema())).text
        )


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("stub*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_profile_is_valid_and_named_after_its_file(path):
    profile = StubProfile.model_validate(yaml.safe_load(path.read_text()))
    assert profile.name == path.stem


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("stub", 0.15, 0.2), ("stub-careful", 0.035, 0.045), ("stub-sloppy", 0.45, 0.55), ("stub-instant", 0, 0)],
)
def test_shipped_profiles_go_wrong_as_often_as_their_comments_say(name, low, high):
    profile = StubProfile.model_validate(yaml.safe_load((CONFIGS / f"{name}.yaml").read_text()))
    assert low <= sum(profile.share_of(kind) for kind in ANSWER_ERRORS) <= high
    model = StubModel(
        profile.model_copy(update=INSTANT | dict.fromkeys(API_FAULTS, 0.0)), FakeClock(), lambda _: SOLUTION
    )

    def blocks(completion):
        return completion.text.partition("\n")[2]  # the opening line names the subtask

    right = blocks(reply_of(stub(), cart()))
    wrong = sum(blocks(reply_of(model, cart(subtask=f"s{number}"))) != right for number in range(600)) / 600
    assert max(0, low - 0.04) <= wrong <= (high + 0.04 if high else 0)


def test_shares_that_exceed_one_are_refused():
    with pytest.raises(ValidationError, match="exclude each other"):
        StubProfile(wrong_edit=0.6, refusal=0.6)


def test_draws_are_the_same_everywhere():
    assert fraction((1, "a", 2, "error")) == 0.6520788064887485
    assert fraction((0, "über")) == 0.3984700203497137
    assert lognormal((1, "a", "ttft"), 1.2, 0.4) == pytest.approx(0.5504764156925037, rel=1e-9)
    assert choice((3, "x"), "abcdef") == "e"
    assert choice((0,), ["only"]) == "only"
    assert lognormal((0,), 3.0, 0.0) == 3.0


@given(st.integers(), st.text())
def test_a_fraction_is_uniform_enough_and_in_range(seed, name):
    values = [fraction((seed, name, number)) for number in range(64)]
    assert all(0 <= value < 1 for value in values)
    assert 0.2 < sum(values) / 64 < 0.8


def test_a_second_turn_is_another_draw():
    model = stub(refusal=0.5, repair=1)
    first = [reply_of(model, cart(subtask=f"s{n}")).stop_reason for n in range(50)]
    turns = (Message(role="assistant", text="a"), Message(role="user", text="b"))
    prompts = [cart(subtask=f"s{n}") for n in range(50)]
    second = [reply_of(model, p.model_copy(update={"messages": p.messages + turns})).stop_reason for p in prompts]
    assert first != second
