"""The formats by name: what a model is told, which one a text asks for, and one change in each of them."""

import pytest

from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import EDIT_FORMAT, Edit, EditError
from orchestrator.core.edits.formats import FORMATS, format_of, whole_edits
from orchestrator.core.prompt import DEFAULT_MANNER, correction, editing_manner, system_text
from tests.fakes_backends import prompt_for

NAMES = sorted(FORMATS)
FILES = {"a.py": b"one\ntwo\nthree\nfour\nfive\nsix\nseven\n", "gone.py": b"bye\n", "old.py": b"x = 1\n"}
CHANGES = {
    "blocks": (Edit("a.py", "two\n", "TWO\n"), Edit("a.py", "six\n", "SIX\n6\n")),
    "whole": (Edit("a.py", replace="one\nTWO\n", is_whole=True),),
    "whole, new": (Edit("n.py", replace="x\n", is_whole=True),),
    "new": (Edit("n.py", replace="x\n\ny\n"), Edit("empty.py")),
    "deleted": (Edit("gone.py", is_deletion=True),),
    "deleted and written anew": (Edit("gone.py", is_deletion=True), Edit("gone.py", replace="hello\n")),
    "moved": (Edit("old.py", "x = 1\n", "x = 2\n"), Edit("old.py", new_path="lib/new.py")),
    "located": (Edit("a.py", "", "between\n", after=("three",)), Edit("a.py", "", "eight\n", is_at_end=True)),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("edits", CHANGES.values(), ids=CHANGES.keys())
def test_any_change_can_be_written_in_any_format_and_gives_the_same_files(name, edits):
    rules = FORMATS[name]
    reply = f"I do it:\n\n{rules.render(edits, FILES)}\nDone."
    assert apply_edits(rules.parse(reply), FILES) == apply_edits(edits, FILES)


@pytest.mark.parametrize("name", NAMES)
def test_what_does_not_apply_cannot_be_written_in_terms_of_a_file_that_is_not_known(name):
    edits = (Edit("a.py", replace="x\n", is_whole=True), Edit("unknown.py", "x\n", "y\n"))
    if name == "whole_file":
        with pytest.raises(EditError, match="no such file"):
            FORMATS[name].render(edits, {})
    else:
        # A block may quote a file that it has not seen; whether it fits shows when it is applied.
        assert "unknown.py" in FORMATS[name].render(edits[1:], {})


def test_whole_files_name_each_path_once():
    edits = (Edit("a", replace="1\n", is_whole=True), Edit("a", "1\n", "2\n"), Edit("b"), Edit("b", is_deletion=True))
    assert whole_edits(edits, {}) == (Edit("a", replace="2\n", is_whole=True),)
    assert whole_edits(edits, {"b": b""}) == (Edit("a", replace="2\n", is_whole=True), Edit("b", is_deletion=True))


@pytest.mark.parametrize("name", NAMES)
def test_a_system_text_tells_its_format(name):
    manner = editing_manner(name, 9_000)
    assert manner.max_output_tokens == 9_000
    assert format_of(system_text([], manner)) == name
    assert format_of(system_text([], manner).replace("\n\n", "\n\n").strip() + "\nmore") == name


def test_a_text_without_instructions_tells_none():
    assert format_of("You are an engineer. Answer with edit blocks.") is None


def test_the_usual_manner_is_that_of_the_usual_format():
    assert editing_manner() == DEFAULT_MANNER
    assert DEFAULT_MANNER.answer == "Edit format:\n\n" + EDIT_FORMAT


@pytest.mark.parametrize("name", NAMES)
def test_the_rules_that_models_are_shown_are_an_example_that_parses(name):
    assert FORMATS[name].parse(FORMATS[name].instructions)[0].path == "path/to/file.py"


@pytest.mark.parametrize("name", NAMES)
def test_no_format_reads_what_another_asks_for(name):
    for other in set(NAMES) - {name}:
        with pytest.raises(EditError) as caught:
            FORMATS[name].parse(FORMATS[other].render(CHANGES["blocks"], FILES))
        assert caught.value.reason == "malformed_reply"
        assert "xpected" in caught.value.feedback


@pytest.mark.parametrize(
    ("name", "words"), [("patch", "whole patch"), ("whole_file", "files, each whole"), (None, "blocks")]
)
def test_a_correction_asks_again_in_the_words_of_the_format(name, words):
    system = "system" if name is None else system_text([], editing_manner(name))
    asked = correction(prompt_for().model_copy(update={"system": system}), "reply", "does not fit").messages[-1].text
    assert f"Send {('the ' if name == 'patch' else 'all of its ')}" in asked
    assert words in asked


@pytest.mark.parametrize(
    ("name", "edits", "told"),
    [
        (
            "patch",
            [Edit("a.py", "nine\n", "x\n")],
            "Nothing was applied.\nHunk 1 of 1 (a.py): the text that the hunk quotes",
        ),
        ("patch", [Edit("b.py", "nine\n", "x\n", after=("def f",))], "no such file; write `*** Add File:`"),
        (
            "whole_file",
            [Edit("a.py", replace="x\n... rest of the file unchanged ...\n", is_whole=True)],
            "File 1 of 1 (a.py): line 2",
        ),
        ("search_replace", [Edit("a.py", "nine\n", "x\n")], "Block 1 of 1 (a.py): the SEARCH text is not in the file."),
    ],
)
def test_feedback_speaks_the_language_of_the_format(name, edits, told):
    with pytest.raises(EditError) as caught:
        apply_edits(edits, FILES, FORMATS[name].terms)
    assert told in caught.value.feedback
