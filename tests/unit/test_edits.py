"""The edit format: what is read, what is refused, and what a model is told."""

import pytest

from orchestrator.core.edits.apply import MAX_FEEDBACK_CHARS, apply_edits
from orchestrator.core.edits.blocks import EDIT_FORMAT, Edit, EditError, parse_reply, render_edits
from orchestrator.core.edits.diff import edits_between, edits_from_diff, parse_diff
from orchestrator.core.edits.lines import Document
from orchestrator.core.errors import SpecError

BLOCK = "src/a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n"


def malformed(text):
    with pytest.raises(EditError) as caught:
        parse_reply(text)
    assert caught.value.reason == "malformed_reply"
    return caught.value.feedback


def misfit(edits, files):
    with pytest.raises(EditError) as caught:
        apply_edits(edits, files)
    assert caught.value.reason == "edit_does_not_apply"
    assert "Nothing was applied" in caught.value.feedback
    return caught.value.feedback


def replaced(before, search, replace):
    return apply_edits([Edit("f", search, replace)], {"f": before})["f"]


@pytest.mark.parametrize(
    "text",
    [
        BLOCK,
        f"Some words first.\n\n{BLOCK}\nAnd some after.",
        "src/a.py\n```python\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n```\n",
        "```\n" + BLOCK + "```\n",
        "`src/a.py`\n" + BLOCK.split("\n", 1)[1],
        "### src/a.py\n" + BLOCK.split("\n", 1)[1],
        "**src/a.py**:\n\n" + BLOCK.split("\n", 1)[1],
        "File: ./src/a.py\n" + BLOCK.split("\n", 1)[1],
        "In `src/a.py` I change:\n" + BLOCK.split("\n", 1)[1],
        BLOCK.replace("\n", "\r\n"),
        BLOCK.replace("=======", "=======  ").replace("SEARCH", "SEARCH "),
        BLOCK.rstrip("\n"),
    ],
)
def test_a_block_is_read_in_every_usual_dress(text):
    assert parse_reply(text) == (Edit("src/a.py", "old\n", "new\n"),)


def test_a_block_knows_its_line_in_the_reply():
    assert parse_reply("words\n\n" + BLOCK)[0].line == 4


def test_a_second_block_directly_below_may_leave_its_path_out():
    assert [edit.path for edit in parse_reply(BLOCK + "\n" + BLOCK.split("\n", 1)[1])] == ["src/a.py", "src/a.py"]


def test_markers_within_a_line_are_content():
    text = "a\n<<<<<<< SEARCH\n x = '<<<<<<< SEARCH'\n=======\n  ======= \n# >>>>>>> REPLACE\n>>>>>>> REPLACE\n"
    assert parse_reply(text)[0].replace == "  ======= \n# >>>>>>> REPLACE\n"


def test_a_text_with_marker_lines_is_written_with_longer_markers_and_read_back():
    edit = Edit("doc.rst", "Title\n=======\n", "<<<<<<< SEARCH\n========\n")
    assert parse_reply(render_edits([edit])) == (edit,)


def test_the_rules_that_models_are_shown_are_an_example_that_parses():
    assert parse_reply(EDIT_FORMAT)[0].path == "path/to/file.py"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would change the file so that it works.", "no edit block"),
        (
            "a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n",
            "Line 2 of the reply: the block that starts here is never closed",
        ),
        ("a.py\n<<<<<<< SEARCH\nold\n>>>>>>> REPLACE\n", "0 lines of exactly '======='"),
        ("a.py\n<<<<<<< SEARCH\nold\n======\nnew\n>>>>>>> REPLACE\n", "(but '======')"),
        ("a.py\n<<<<<<< SEARCH\n=======\nold\n=======\n>>>>>>> REPLACE\n", "make this block's markers longer"),
        ("<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n", "nothing stands above this block"),
        ("here it is\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n", "above this block stands 'here it is'"),
        ("a.py\nold\n=======\nnew\n>>>>>>> REPLACE\n", "Line 5 of the reply: found '>>>>>>> REPLACE' outside"),
        ("a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n" + BLOCK, "while the block of line 2 is open"),
        ("a.py\n<<<<<<< SEARCH\nold\n=======\n\ud83d\n>>>>>>> REPLACE\n", "half of a surrogate pair"),
    ],
)
def test_a_malformed_reply_is_told_where_what_and_what_belongs_there(text, told):
    assert told in malformed(text)


def test_one_malformed_block_spoils_the_whole_reply():
    malformed(BLOCK + "b.py\n<<<<<<< SEARCH\nold\n")


def test_an_edit_replaces_lines_and_keeps_the_rest():
    assert replaced(b"a\nold\nb\n", "old\n", "new\nnewer\n") == b"a\nnew\nnewer\nb\n"


@pytest.mark.parametrize(
    ("before", "search", "replace", "after"),
    [
        (b"\xef\xbb\xbfold\nb\n", "old\n", "new\n", b"\xef\xbb\xbfnew\nb\n"),
        (b"a\r\nold\r\n", "old\n", "new\nx\n", b"a\r\nnew\r\nx\r\n"),
        (b"a\nold", "old\n", "new\n", b"a\nnew"),
        (b"a\nold", "a\n", "b\n", b"b\nold"),
        (b"a\r\nkeep\nold\r\nz\r\n", "keep\nold\n", "keep\nnew\n", b"a\r\nkeep\nnew\r\nz\r\n"),
        (b"old\n", "old\n", "", b""),
    ],
)
def test_mark_line_endings_and_final_newline_stay(before, search, replace, after):
    assert replaced(before, search, replace) == after


def test_trailing_whitespace_may_differ_and_quoted_lines_stay_as_they_are():
    assert replaced(b"a  \nold \nb\n", "a\nold\nb\n", "a\nnew\nb\n") == b"a  \nnew\nb\n"


@pytest.mark.parametrize("shift", ["", "  ", "        "])
def test_a_uniformly_shifted_block_finds_its_place_and_takes_on_its_indentation(shift):
    search = f"{shift}if x:\n{shift}    y()\n"
    replace = f"{shift}if x:\n{shift}    z()\n\n{shift}    y()\n"
    before = b"def f():\n    if x:\n        y()\n"
    assert replaced(before, search, replace) == b"def f():\n    if x:\n        z()\n\n        y()\n"


def test_a_block_that_is_not_shifted_uniformly_is_refused():
    assert "nearest lines" in misfit([Edit("f", "if x:\ny()\n", "pass\n")], {"f": b"if x:\n    y()\n"})


def test_typographic_punctuation_is_read_as_ascii_and_stays_in_quoted_lines():
    before = "say(“hi”) – now\nold\n".encode()
    assert replaced(before, 'say("hi") - now\nold\n', 'say("hi") - now\nnew\n') == "say(“hi”) – now\nnew\n".encode()


@pytest.mark.parametrize("text", [b"x\ny\nx\n", b"x \ny\nx \n", b"  x\ny\n  x\n"])
def test_a_text_that_is_found_twice_is_refused_with_its_places(text):
    told = misfit([Edit("f", "x\n", "z\n")], {"f": text})
    assert "found 2 times (at lines 1, 3)" in told
    assert "occurs only once" in told


def test_a_strict_match_wins_over_lenient_ones():
    assert replaced(b"    x\nx\n", "x\n", "z\n") == b"    x\nz\n"


def test_a_text_that_is_not_there_is_told_the_nearest_lines_with_numbers():
    source = "\n".join(f"line {number}" for number in range(1, 40)) + "\ndef total(items):\n    return sum(items)\n"
    told = misfit([Edit("f", "def total(items):\n    return add(items)\n", "pass\n")], {"f": source.encode()})
    assert "   40 | def total(items):\n   41 |     return sum(items)" in told


def test_similar_lines_are_found_without_an_equal_one():
    told = misfit([Edit("f", "def totals(item):\n", "pass\n")], {"f": b"x = 1\n\ndef total(items):\n    pass\n"})
    assert "    3 | def total(items):" in told


def test_an_edit_that_is_in_place_already_gets_a_hint():
    assert "is there already, at line 2" in misfit([Edit("f", "old\n", "new\n")], {"f": b"a\nnew\n"})


def test_one_misfit_leaves_all_files_alone_and_names_every_misfit():
    edits = [Edit("a", "x\n", "y\n"), Edit("b", "no\n", "y\n"), Edit("c", "", "new\n"), Edit("gone", is_deletion=True)]
    files = {"a": b"x\n", "b": b"b\n"}
    told = misfit(edits, files)
    assert files == {"a": b"x\n", "b": b"b\n"}
    assert "of 4 blocks, 2 did not fit" in told
    assert "Block 2 of 4 (b)" in told
    assert "Block 4 of 4 (gone)" in told


def test_feedback_is_bounded_however_long_the_file_is():
    source = "\n".join("x" * 5_000 for _ in range(50))
    assert (
        len(misfit([Edit("f", "y\n" * 30 + "x" * 5_000 + "\n", "z\n")] * 9, {"f": source.encode()}))
        <= MAX_FEEDBACK_CHARS
    )


def test_later_blocks_see_what_earlier_ones_changed():
    assert apply_edits([Edit("f", "a\n", "b\n"), Edit("f", "b\n", "c\n")], {"f": b"a\n"}) == {"f": b"c\n"}


def test_files_are_created_deleted_and_overwritten():
    edits = [Edit("new", "", "x\n"), Edit("old", is_deletion=True), Edit("f", is_deletion=True), Edit("f", "", "y\n")]
    assert apply_edits(edits, {"old": b"o", "f": b"z\n"}) == {"new": b"x\n", "old": None, "f": b"y\n"}


def test_an_empty_search_fills_an_empty_file_but_never_overwrites():
    assert apply_edits([Edit("f", "", "x\n")], {"f": b"\n"}) == {"f": b"x\n"}
    assert "is not empty" in misfit([Edit("f", "", "x\n")], {"f": b"y\n"})


def test_a_missing_file_is_told_with_similar_names():
    assert "Did you mean src/cart.py?" in misfit([Edit("src/carts.py", "x\n", "y\n")], {"src/cart.py": b"x\n"})


def test_an_edit_that_changes_nothing_is_left_out():
    assert apply_edits([Edit("f", "a\n", "a\n")], {"f": b"a\n"}) == {}


def test_bytes_that_are_no_utf8_are_kept_and_matched_exactly_only():
    assert replaced(b"caf\xe9\nold\n", "old\n", "new\n") == b"caf\xe9\nnew\n"
    misfit([Edit("f", "  old\n", "new\n")], {"f": b"caf\xe9\nold\n"})


def test_a_binary_file_is_refused():
    assert "binary" in misfit([Edit("f", "a\n", "b\n")], {"f": b"\0a\n"})


@pytest.mark.parametrize(
    "content", [b"", b"a", b"a\n", b"\xef\xbb\xbf", b"a\r\nb\nc", b"\xff\xfe\r\r\n", b"\n\n", b"a\x0cb\x1c\n"]
)
def test_a_document_keeps_every_byte(content):
    assert Document.of(content).content == content


DIFF = """\
diff --git a/src/a.py b/src/a.py
index 111..222 100644
--- a/src/a.py
+++ b/src/a.py
@@ -2,5 +2,6 @@ def f():
 two
 three
-four
+FOUR
+four and a half
 five
 six
diff --git a/new.py b/new.py
new file mode 100644
index 000..333
--- /dev/null
+++ b/new.py
@@ -0,0 +1,2 @@
+x = 1
+y = 2
\\ No newline at end of file
diff --git a/gone.py b/gone.py
deleted file mode 100644
index 444..000
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-bye
diff --git a/empty.py b/empty.py
new file mode 100644
index 000..e69
diff --git "a/caf\\303\\251.txt" "b/caf\\303\\251.txt"
similarity index 100%
rename from "caf\\303\\251.txt"
rename to "th\\303\\251.txt"
"""
NUMBERS = "one\ntwo\nthree\nfour\nfive\nsix\nseven\n"


def test_a_git_diff_is_read_with_new_deleted_empty_and_renamed_files():
    diffs = parse_diff(DIFF)
    assert [(diff.old_path, diff.new_path, len(diff.hunks)) for diff in diffs] == [
        ("src/a.py", "src/a.py", 1),
        (None, "new.py", 1),
        ("gone.py", None, 1),
        (None, "empty.py", 0),
        ("café.txt", "thé.txt", 0),
    ]
    assert diffs[0].hunks[0].old == ["two", "three", "four", "five", "six"]
    assert diffs[1].hunks[0].new == ["x = 1", "y = 2"]


def test_a_diff_becomes_blocks_that_do_the_same():
    files = {"src/a.py": NUMBERS, "gone.py": "bye\n", "café.txt": "c\n"}
    edits = edits_from_diff(parse_diff(DIFF), files)
    assert apply_edits(edits, {path: text.encode() for path, text in files.items()}) == {
        "src/a.py": NUMBERS.replace("four", "FOUR\nfour and a half").encode(),
        "new.py": b"x = 1\ny = 2\n",
        "gone.py": None,
        "empty.py": b"",
        "café.txt": None,
        "thé.txt": b"c\n",
    }


@pytest.mark.parametrize(
    "current",
    [
        "zero\n" * 5 + NUMBERS,
        NUMBERS.replace("two", "TWO"),
        NUMBERS.replace("two", "TWO").replace("six", "SIX"),
        NUMBERS.replace("three", "THREE").replace("five", "FIVE"),
        NUMBERS + "\nelse\n" + "four\n",
    ],
)
def test_a_hunk_is_found_where_siblings_changed_its_surroundings(current):
    edits = edits_from_diff(parse_diff(DIFF)[:1], {"src/a.py": current})
    after = apply_edits(edits, {"src/a.py": current.encode()})["src/a.py"].decode()
    assert after == current.replace("four", "FOUR\nfour and a half", 1)


def test_a_hunk_that_is_in_place_already_is_dropped():
    done = NUMBERS.replace("four", "FOUR\nfour and a half")
    assert edits_from_diff(parse_diff(DIFF)[:1], {"src/a.py": done}) == ()
    assert edits_from_diff(parse_diff(DIFF)[:1], {"src/a.py": done.replace("two", "TWO")}) == ()


def test_a_hunk_that_cannot_be_found_is_stated_as_the_diff_has_it():
    edits = edits_from_diff(parse_diff(DIFF)[:1], {"src/a.py": "nothing\n"})
    assert edits[0].search == "two\nthree\nfour\nfive\nsix\n"
    misfit(edits, {"src/a.py": b"nothing\n"})


def test_a_place_that_occurs_often_is_quoted_until_it_is_unique():
    before = "begin\n" + "x = 1\n" * 30 + "end\n"
    after = "begin\n" + "x = 1\n" * 15 + "x = 2\n" + "x = 1\n" * 14 + "end\n"
    edits = edits_between("f", before, after)
    assert apply_edits(edits, {"f": before.encode()}) == {"f": after.encode()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--- a/x\n@@ -1 +1 @@\n", "line 1: a `---` line without"),
        ("@@ -1 +1 @@\n-a\n+b\n", "line 1: a hunk without"),
        ("--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n a\n", "line 3: a hunk that ends before"),
        ("--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a", "ends before its header says"),
        ("--- a/x\n+++ b/x\n@@ nonsense @@\n", "no hunk header"),
        ("diff --git a/x b/x\nBinary files a/x and b/x differ\n", "a binary patch"),
    ],
)
def test_what_is_no_diff_is_refused_with_its_line(text, told):
    with pytest.raises(SpecError) as caught:
        parse_diff(text)
    assert told in str(caught.value)
