"""What is left out of a long conversation, in which order, and what never is."""

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.sessions.context import context_tokens, fitted, halved, room_for_results, within
from orchestrator.core.chat import Draw, Message, Prompt, ToolCall, ToolResult
from orchestrator.core.chat import after as followed_by

LONG = "x" * 4_000


def turn(*calls, text="", opaque=""):
    """The model's turn and the user's, of `(name, arguments, result)` or `(name, arguments, result, is_error)`."""
    made = tuple(ToolCall(id=f"c{n}", name=name, arguments=given) for n, (name, given, *_) in enumerate(calls))
    results = tuple(
        ToolResult(call=f"c{n}", text=result, is_error=bool(rest and rest[0]))
        for n, (_, _, result, *rest) in enumerate(calls)
    )
    return Message(role="assistant", text=text, calls=made, opaque=opaque), Message(role="user", results=results)


def conversation(*turns):
    messages = (Message(role="user", text="do it"), *(message for pair in turns for message in pair))
    return Prompt(system="system", messages=messages, draw=Draw(seed=0, subtask="one"))


def read(path, result=LONG):
    return ("read_file", {"path": path}, result)


def stub(about):
    return f"[result of {about} left out to keep the context small; call it again if you need it]"


def results_of(prompt):
    return [result.text for message in prompt.messages for result in message.results]


def test_a_prompt_within_its_budget_stays_as_it_is():
    prompt = conversation(turn(read("a.py")), turn(read("b.py")))
    assert fitted(prompt, 2_500) is prompt


def test_the_oldest_results_are_left_out_first_and_much_at_once():
    prompt = conversation(*(turn(read(f"{number}.py")) for number in range(10)))
    shorter = fitted(prompt, 9_000)
    assert context_tokens(shorter) <= 0.6 * 9_000
    assert results_of(shorter) == [stub(f"read_file {number}.py") for number in range(5)] + [LONG] * 5


def test_what_a_file_was_before_it_was_changed_goes_first():
    edit = ("edit_file", {"path": "b.py", "search": "x", "replace": "y"}, "edited b.py")
    prompt = conversation(turn(read("a.py")), turn(read("b.py", LONG * 4)), turn(edit), turn(read("c.py")))
    assert results_of(fitted(prompt, 6_000)) == [LONG, stub("read_file b.py"), "edited b.py", LONG]


def test_an_edit_that_failed_makes_no_reading_stale():
    edit = ("edit_file", {"path": "b.py", "search": "x", "replace": "y"}, "does not fit", True)
    prompt = conversation(turn(read("a.py", LONG * 4)), turn(read("b.py")), turn(edit), turn(read("c.py")))
    assert results_of(fitted(prompt, 6_000))[:2] == [stub("read_file a.py"), LONG]


def test_long_texts_of_old_writes_are_left_out_and_their_acknowledgement_stays():
    write = ("write_file", {"path": "a.py", "content": LONG}, "wrote a.py")
    shorter = fitted(conversation(turn(write), turn(read("b.py", "short"))), 500)
    (call,) = shorter.messages[1].calls
    assert call.arguments == {"path": "a.py", "content": "[4000 characters left out to keep the context small]"}
    assert results_of(shorter)[0] == "wrote a.py"


def test_a_turn_with_something_opaque_keeps_its_calls_and_loses_its_results():
    write = ("write_file", {"path": "a.py", "content": LONG}, "wrote a.py")
    prompt = conversation(turn(write, read("b.py"), opaque="{}"), turn(read("c.py", "short")))
    shorter = fitted(prompt, 500)
    assert shorter.messages[1] == prompt.messages[1]
    assert results_of(shorter)[:2] == ["wrote a.py", stub("read_file b.py")]


def test_the_last_two_turns_and_the_words_of_the_model_stay():
    prompt = conversation(turn(read("a.py"), text=LONG), turn(read("b.py"), ("write_file", {"content": LONG}, LONG)))
    shorter = fitted(prompt, 100)
    assert shorter.messages[1].text == LONG
    assert shorter.messages[-2:] == prompt.messages[-2:]


def test_the_ratio_of_real_tokens_to_estimated_ones_counts():
    prompt = conversation(*(turn(read(f"{number}.py")) for number in range(5)))
    assert fitted(prompt, 6_000) is prompt
    assert context_tokens(fitted(prompt, 6_000, ratio=1.5)) * 1.5 <= 0.6 * 6_000


_TEXTS = st.text("ab\n", max_size=600)
_CALLS = st.one_of(
    st.tuples(st.just("read_file"), st.fixed_dictionaries({"path": st.sampled_from("pq")}), _TEXTS),
    st.tuples(st.just("write_file"), st.fixed_dictionaries({"path": st.sampled_from("pq"), "content": _TEXTS}), _TEXTS),
    st.tuples(st.just("unknown"), st.dictionaries(st.text(max_size=5), st.integers() | _TEXTS), _TEXTS, st.booleans()),
)
_TURNS = st.builds(
    lambda calls, text, opaque: turn(*calls, text=text, opaque=opaque),
    st.lists(_CALLS, max_size=3),
    st.text("ab", max_size=50),
    st.sampled_from(["", "{}"]),
)


@given(st.lists(_TURNS, min_size=1, max_size=8), st.integers(1, 1_500), st.sampled_from([0.5, 1.0, 1.7]))
def test_pairs_are_kept_and_a_prompt_shrinks_below_its_budget_if_what_must_stay_fits(turns, budget, ratio):
    prompt = conversation(*turns)
    shorter = fitted(prompt, budget, ratio)
    for before, after in zip(prompt.messages, shorter.messages, strict=True):
        assert (before.role, before.text, before.opaque) == (after.role, after.text, after.opaque)
        assert [(call.id, call.name) for call in before.calls] == [(call.id, call.name) for call in after.calls]
        assert [call.arguments.keys() for call in before.calls] == [call.arguments.keys() for call in after.calls]
        assert [(each.call, each.is_error) for each in before.results] == [
            (each.call, each.is_error) for each in after.results
        ]
        assert not before.opaque or before.calls == after.calls
    assert shorter.messages[0] == prompt.messages[0]
    assert shorter.messages[-2:] == prompt.messages[-2:]
    assert context_tokens(shorter) <= context_tokens(prompt)
    least = fitted(prompt, 1, ratio)
    if context_tokens(least) * ratio <= 0.6 * budget:
        assert context_tokens(shorter) * ratio <= budget
    assert fitted(shorter, budget, ratio) == shorter
    assert fitted(prompt, budget, ratio) == shorter


# --- what the results of one answer may take together


def share(*made, room):
    answer, told = turn(*made)
    return [result.text for result in within(answer.calls, told.results, room)]


def test_results_that_fit_together_stay_as_they_are():
    assert share(read("a.py"), read("b.py"), room=8_000) == [LONG, LONG]


def test_what_does_not_fit_is_cut_or_left_out_with_a_word_on_how_to_get_it():
    first, second, third, short = share(read("a.py"), read("b.py"), read("c.py"), read("d.py", "short"), room=7_000)
    assert first == LONG
    assert second.startswith("x" * 1_000)
    assert second.endswith("more characters, too many beside the others; ask for it alone, or for a part of it]")
    assert third == "[left out: read_file c.py, 4000 characters, too many beside the others; ask for it alone]"
    assert short == "short"


def test_what_was_changed_and_what_the_checks_said_comes_before_what_was_read():
    edit = ("edit_file", {"path": "b.py", "search": "x", "replace": "y"}, "edited b.py")
    shown = share(read("a.py"), edit, ("run_checks", {}, LONG), room=4_500)
    assert shown[0].startswith("[left out: read_file a.py")
    assert shown[1:] == ["edited b.py", LONG]


def test_the_room_for_results_is_half_of_the_budget_and_less_where_the_rest_takes_more():
    answer, _ = turn(read("b.py"))
    assert room_for_results(conversation(), answer, 6_000) == 12_000
    assert room_for_results(conversation(), answer, 6_000, ratio=2.0) == 6_000
    # What was read before can be left out; what the model said cannot.
    assert room_for_results(conversation(turn(read("a.py", LONG * 9))), answer, 6_000) == 12_000
    wordy = room_for_results(conversation(turn(text=LONG * 4)), answer, 6_000)
    assert 6_000 < wordy < 8_000
    assert room_for_results(conversation(turn(text=LONG * 9)), answer, 6_000) == 3_000


@given(st.lists(_TURNS, max_size=4), st.lists(_CALLS, min_size=1, max_size=9), st.integers(100, 4_000))
def test_a_prompt_fits_with_the_results_of_an_answer_however_many_unless_what_stays_is_too_long(turns, made, budget):
    prompt, (answer, told) = conversation(*turns), turn(*made)
    room = room_for_results(prompt, answer, budget)
    results = within(answer.calls, told.results, room)
    assert [(each.call, each.is_error) for each in results] == [(each.call, each.is_error) for each in told.results]
    assert sum(len(each.text) for each in results) <= max(room, 200 * len(results))
    if 200 * len(results) <= room and room > budget / 2:
        whole = followed_by(prompt, (answer, Message(role="user", results=tuple(results))))
        # Each text is rounded up to whole tokens.
        assert context_tokens(fitted(whole, budget)) <= budget + 1


def test_a_halved_conversation_keeps_to_half_of_what_was_too_long_its_last_results_included():
    prompt = conversation(turn(read("a.py")), turn(read("b.py", LONG * 4)))
    shorter, budget = halved(prompt, 60_000, 1.0)
    assert budget == context_tokens(prompt) // 2
    assert context_tokens(shorter) <= budget
    assert "ask for it alone" in results_of(shorter)[1]
    assert halved(prompt, 4_000, 1.0)[1] == 2_000


def test_a_conversation_that_holds_nothing_to_leave_out_cannot_be_halved():
    for prompt in (conversation(), conversation(turn(read("a.py", "short"))), conversation(turn(text=LONG))):
        assert halved(prompt, 60_000, 1.0)[0] == prompt
