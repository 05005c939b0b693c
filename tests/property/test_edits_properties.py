"""What holds for edits whatever the texts are."""

import difflib

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError, parse_reply, render_edits
from orchestrator.core.edits.diff import edits_between, edits_from_diff, parse_diff
from orchestrator.core.edits.formats import FORMATS
from orchestrator.core.edits.lines import Document
from orchestrator.core.edits.whole import first_elision

LINES = st.one_of(
    st.sampled_from(
        ["", "x = 1", "x = 1", "    y", "\ty", "=======", "<<<<<<< SEARCH", ">>>>>>> REPLACE", "```", "-- a", "\x0c"]
    ),
    st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\n\r\ufeff\0"), max_size=12),
)
TEXTS = st.lists(LINES, max_size=14).map(lambda lines: "".join(f"{line}\n" for line in lines))
PATHS = st.one_of(
    st.sampled_from(["a.py", "src/deep/b.py", "with blank.txt", "Makefile", "*odd*", "#x", "a:", ".env", "DELETE"]),
    st.text(st.characters(categories=("L", "N"), include_characters="-_. "), min_size=1, max_size=12).map(
        lambda name: f"d/{name.strip() or 'x'}.txt"
    ),
)
EDITS = st.one_of(
    st.builds(Edit, path=PATHS, search=TEXTS, replace=TEXTS),
    st.builds(lambda path: Edit(path, is_deletion=True), PATHS),
)

PLAIN = st.text(st.characters(categories=("L", "N", "P"), include_characters=" "), min_size=1, max_size=12)
CONTEXTS = st.lists(PLAIN.filter(lambda line: line.strip(" .@…") and not line.startswith(" ")), max_size=2).map(tuple)
HUNKS = st.builds(
    Edit, path=PATHS, search=TEXTS, replace=TEXTS, after=CONTEXTS, is_at_end=st.booleans(), new_path=st.just("")
).filter(lambda edit: edit.search or edit.replace)
MOVES = st.builds(lambda path, new: Edit(path, new_path=new), PATHS, PATHS)
WHOLES = st.builds(lambda path, text: Edit(path, replace=text, is_whole=True), PATHS, TEXTS)
DELETIONS = st.builds(lambda path: Edit(path, is_deletion=True), PATHS)
# What each format can state as it is.
NATIVE = {
    "search_replace": EDITS,
    "whole_file": WHOLES | DELETIONS,
    "patch": EDITS | HUNKS | MOVES,
}


def outcome_of(function, *arguments):
    try:
        return function(*arguments), None
    except EditError as error:
        return None, error


@given(st.lists(EDITS, min_size=1, max_size=5))
def test_what_is_written_is_read_back(edits):
    assert parse_reply(render_edits(edits)) == tuple(edits)


@given(st.lists(EDITS, min_size=1, max_size=3))
def test_what_is_written_is_read_back_within_prose_and_with_crlf(edits):
    text = f"I change this:\n\n{render_edits(edits)}\nDone."
    assert parse_reply(text.replace("\n", "\r\n")) == tuple(edits)


@given(st.text(max_size=200) | st.lists(LINES, max_size=12).map("\n".join))
def test_reading_answers_or_says_what_is_malformed(text):
    edits, error = outcome_of(parse_reply, text)
    assert edits or (error.reason == "malformed_reply" and error.feedback)


@given(st.sampled_from(sorted(NATIVE)), st.data())
def test_what_is_written_in_any_format_is_read_back_within_prose_and_with_crlf(name, data):
    unique = (lambda edit: edit.path) if name == "whole_file" else None
    edits = data.draw(st.lists(NATIVE[name], min_size=1, max_size=5, unique_by=unique))
    text = f"I change this:\n\n{FORMATS[name].render(edits, {})}\nDone."
    assert FORMATS[name].parse(text) == tuple(edits)
    assert FORMATS[name].parse(text.replace("\n", "\r\n")) == tuple(edits)


MARKED = st.sampled_from(
    [
        *(
            "*** Begin Patch",
            "*** Update File: f",
            "*** Add File: f",
            "*** Move to: g",
            "*** End of File",
            "*** End Patch",
        ),
        *(
            "@@",
            "@@ def f",
            "@@ -1 +1 @@",
            "--- a/f",
            "+++ b/f",
            "diff --git a/f b/f",
            "rename to g",
            "-a",
            "+b",
            " c",
            "\\",
        ),
        *("f", "<<<<<<< FILE", "<<<<<<< DELETE", ">>>>>>> END", "", "```"),
    ]
)


@given(st.sampled_from(sorted(FORMATS)), st.lists(LINES | MARKED, max_size=14).map("\n".join))
@settings(max_examples=400)
def test_reading_any_format_answers_or_says_what_is_malformed(name, text):
    edits, error = outcome_of(FORMATS[name].parse, text)
    assert edits or (error.reason == "malformed_reply" and error.feedback)


@given(st.sampled_from(sorted(NATIVE)), st.data())
def test_a_reply_that_was_cut_is_malformed_or_ends_between_two_edits(name, data):
    edits = data.draw(st.lists(NATIVE[name], min_size=1, max_size=3, unique_by=lambda edit: edit.path))
    reply = FORMATS[name].render(edits, {})
    cut = data.draw(st.integers(0, len(reply) - 2))
    read, error = outcome_of(FORMATS[name].parse, reply[:cut])
    if error is None:
        # A patch says where it ends.
        assert name != "patch"
        assert read == tuple(edits[: len(read)])


@given(TEXTS, TEXTS, st.sampled_from([b"", b"\xef\xbb\xbf"]), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_the_same_change_in_every_format_gives_the_same_bytes(old, new, mark, ending, is_open_ended):
    text = old.replace("\n", ending)
    before = mark + (text.removesuffix(ending) if is_open_ended else text).encode()
    edits = edits_between("f", before.decode(), new)
    assume(edits and first_elision(new.split("\n"), []) is None)
    # A blank file has no dress to keep, and without a final newline a last empty line cannot be told from none.
    assume(old.strip() or not (is_open_ended or ending == "\r\n"))
    assume(not is_open_ended or not (old.endswith("\n\n") or new.endswith("\n\n") or new == "\n"))
    expected = apply_edits(edits, {"f": before})
    for rules in FORMATS.values():
        assert apply_edits(rules.parse(rules.render(edits, {"f": before})), {"f": before}) == expected


@given(st.dictionaries(st.sampled_from("fg"), TEXTS, min_size=1), st.data())
def test_any_edits_that_apply_do_the_same_in_every_format(texts, data):
    files = {path: text.encode() for path, text in texts.items()}
    edits = []
    for _ in range(data.draw(st.integers(1, 4))):
        path, text = data.draw(st.sampled_from("fgh")), data.draw(TEXTS.filter(bool))
        # A context that is blank, or looks like a diff's own, says nothing.
        lines = [line for line in texts.get(path, "").split("\n") if line.strip(" .@…") and line[0] != "-"]
        line = data.draw(st.sampled_from(lines or ["x"]))
        steps = [
            Edit(path, replace=text, is_whole=True),
            Edit(path, is_deletion=True),
            Edit(path, new_path=data.draw(st.sampled_from("fgh"))),
            Edit(path, f"{line}\n", text, after=(line,)),
            Edit(path, "", text, after=(line,)),
            Edit(path, "", text, is_at_end=True),
            *edits_between(path, texts.get(path), text),
        ]
        for edit in data.draw(st.permutations(steps)):
            if outcome_of(apply_edits, [*edits, edit], files)[1] is None:
                edits.append(edit)
                break
    expected = apply_edits(edits, files)
    for rules in FORMATS.values() if expected else ():
        assert apply_edits(rules.parse(rules.render(edits, files)), files) == expected


@given(TEXTS, TEXTS)
def test_a_change_written_as_blocks_and_applied_gives_the_target(old, new):
    edits = edits_between("f", old, new)
    assert apply_edits(edits, {"f": old.encode()}).get("f", old.encode()) == new.encode()
    if edits:
        assert parse_reply(render_edits(edits)) == edits


@given(TEXTS, TEXTS, st.sampled_from([b"", b"\xef\xbb\xbf"]), st.booleans())
def test_it_gives_the_target_in_the_dress_of_the_file(old, new, mark, is_open_ended):
    assume(old and new)

    def dressed(text):
        text = text.replace("\n", "\r\n")
        return mark + (text.removesuffix("\r\n") if is_open_ended else text).encode()

    # Without a final newline a last empty line cannot be told from none, nor one line's ending from another's.
    assume(not is_open_ended or (old.count("\n") > 1 and not old.endswith("\n\n")))
    assume(not is_open_ended or not (new.endswith("\n\n") or new == "\n"))
    before = dressed(old)
    after = apply_edits(edits_between("f", before.decode(), new), {"f": before}).get("f", before)
    assert after == dressed(new)


@given(TEXTS, TEXTS, st.integers(0, 4))
def test_a_unified_diff_turned_into_blocks_gives_the_target(old, new, context):
    # A diff without context names a line number only, which blocks cannot.
    assume(context or not old)
    lines = difflib.unified_diff(old.split("\n")[:-1], new.split("\n")[:-1], "a/f", "b/f", lineterm="", n=context)
    diff = "".join(f"{line}\n" for line in lines)
    edits = edits_from_diff(parse_diff(diff), {"f": old})
    assert apply_edits(edits, {"f": old.encode()}).get("f", old.encode()) == new.encode()


@given(
    st.lists(EDITS | HUNKS | MOVES | WHOLES, max_size=4),
    st.dictionaries(PATHS, st.one_of(TEXTS.map(str.encode), st.binary(max_size=30)), max_size=3),
)
def test_applying_gives_everything_or_nothing(edits, files):
    before = dict(files)
    after, error = outcome_of(apply_edits, edits, files)
    if error is None:
        assert all(files.get(path) != content for path, content in after.items())
        assert set(after) <= {path for edit in edits for path in edit.paths}
    else:
        assert error.reason == "edit_does_not_apply"
        assert "Nothing was applied" in error.feedback
    assert files == before


@given(TEXTS, TEXTS, st.data())
def test_a_lenient_match_never_chooses_between_places(text, replace, data):
    lines = text.split("\n")[:-1]
    assume(lines)
    start = data.draw(st.integers(0, len(lines) - 1))
    stop = data.draw(st.integers(start + 1, len(lines)))
    quoted = "".join(f"{line}\n" for line in lines[start:stop])
    count = sum(lines[at : at + stop - start] == lines[start:stop] for at in range(len(lines)))
    assume(text.strip())
    if count > 1:
        with pytest.raises(EditError, match=f"found {count} times"):
            apply_edits([Edit("f", quoted, replace)], {"f": text.encode()})
    else:
        expected = (
            "".join(f"{line}\n" for line in lines[:start]) + replace + "".join(f"{line}\n" for line in lines[stop:])
        )
        assert (
            apply_edits([Edit("f", quoted, replace)], {"f": text.encode()}).get("f", text.encode()) == expected.encode()
        )


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"a", b"\r\n", b"\n", b"\r", b"\xff", b"\xef\xbb\xbf"])).map(b"".join)
)
@settings(max_examples=300)
def test_a_document_keeps_every_byte(content):
    assert Document.of(content).content == content
