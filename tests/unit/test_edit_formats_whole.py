"""Whole files: what is read, what is refused, and what of the file's dress stays."""

import pytest

from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.whole import first_elision, parse_whole, render_whole

FILE = "src/a.py\n<<<<<<< FILE\none\n\ntwo\n>>>>>>> END\n"


def whole(path, text):
    return Edit(path, replace=text, is_whole=True)


def rewritten(before, text):
    return apply_edits([whole("f", text)], {"f": before}).get("f", before)


def malformed(text):
    with pytest.raises(EditError) as caught:
        parse_whole(text)
    assert caught.value.reason == "malformed_reply"
    return caught.value.feedback


def refused(before, text):
    with pytest.raises(EditError) as caught:
        rewritten(before, text)
    assert caught.value.reason == "edit_does_not_apply"
    return caught.value.feedback


@pytest.mark.parametrize(
    "text",
    [
        FILE,
        f"Some words first.\n\n{FILE}\nAnd some after.",
        "src/a.py\n```python\n" + FILE.split("\n", 1)[1] + "```\n",
        "`./src/a.py`:\n" + FILE.split("\n", 1)[1],
        "### File: src/a.py\n\n" + FILE.split("\n", 1)[1],
        FILE.replace("\n", "\r\n"),
        FILE.replace("END", "FILE"),
        FILE.replace("<<<<<<<", "<<<<<<<<").replace(">>>>>>>", ">>>>>>>>"),
        FILE.rstrip("\n"),
    ],
)
def test_a_file_is_read_in_every_usual_dress(text):
    assert parse_whole(text) == (whole("src/a.py", "one\n\ntwo\n"),)


def test_files_and_deletions_are_read_in_order_with_their_lines():
    edits = parse_whole(FILE + "\ngone.py\n<<<<<<< DELETE\n\nempty.py\n<<<<<<< FILE\n>>>>>>> END\n")
    assert edits == (whole("src/a.py", "one\n\ntwo\n"), Edit("gone.py", is_deletion=True), whole("empty.py", ""))
    assert [edit.line for edit in edits] == [2, 9, 12]


def test_a_text_that_holds_the_markers_is_written_with_longer_ones():
    edit = whole("doc.md", "path\n<<<<<<< FILE\n>>>>>>> END\n>>>>>>>> FILE\n<<<<<<< DELETE\n")
    assert parse_whole(render_whole([edit])) == (edit,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would change the file so that it works.", "holds no file"),
        (FILE.replace(">>>>>>> END\n", ""), "Line 2 of the reply: the file that starts here is never ended"),
        (FILE[:-8], "never ended; expected a line `>>>>>>> END` below its last line"),
        (FILE + "b.py\n<<<<<<< FILE\ncut", "Line 8 of the reply"),
        (
            FILE.replace(">>>>>>> END\n", FILE),
            "Line 7 of the reply: found '<<<<<<< FILE' while the file of line 2 is open",
        ),
        (FILE.split("\n", 1)[1], "nothing stands above this block"),
        (FILE + FILE.split("\n", 1)[1], "nothing stands above this block"),
        ("Here it is\n" + FILE.split("\n", 1)[1], "above this block stands 'Here it is'"),
        (FILE.replace("<<<<<<< FILE\n", ""), "found '>>>>>>> END' outside of a file"),
        (
            "a.py\n<<<<<<< SEARCH\nx\n=======\ny\n>>>>>>> REPLACE\n",
            "Line 2 of the reply: found '<<<<<<< SEARCH', which is of another",
        ),
        ("*** Begin Patch\n*** End Patch\n", "of another format"),
        (FILE.replace("two", "\ud83d"), "half of a surrogate pair"),
    ],
)
def test_a_malformed_reply_is_told_where_what_and_what_belongs_there(text, told):
    assert told in malformed(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\nb\n", b"a\nX\n"),
        (b"a\r\nb\r\n", b"a\r\nX\r\n"),
        (b"\xef\xbb\xbfa\r\nb", b"\xef\xbb\xbfa\r\nX"),
        (b"a\nb", b"a\nX"),
        (b"", b"a\nX\n"),
        (b"\n\n", b"a\nX\n"),
    ],
)
def test_mark_line_endings_and_final_newline_stay(before, after):
    assert rewritten(before, "a\nX\n") == after


def test_lines_that_stay_keep_their_own_endings_in_a_mixed_file():
    assert rewritten(b"a\r\nkeep\nold\r\nz\r\n", "a\nkeep\nnew\nz\n") == b"a\r\nkeep\nnew\r\nz\r\n"


@pytest.mark.parametrize(
    "before", [b"", b"a\nb\n", b"a\r\nb", b"\xef\xbb\xbfa\n", b"\n", b"\r\n", b" ", b"a\r\nb\nc\r\n"]
)
def test_the_same_text_again_is_no_change(before):
    text = before.decode().removeprefix("\ufeff").replace("\r\n", "\n")
    assert apply_edits([whole("f", text if text.endswith("\n") or not text else text + "\n")], {"f": before}) == {}


def test_a_new_file_is_written_as_it_is_and_an_old_one_may_become_empty():
    assert apply_edits([whole("n", "x\n"), whole("f", "")], {"f": b"a\n"}) == {"n": b"x\n", "f": b""}


@pytest.mark.parametrize("before", [b"\0a\n", b"caf\xe9\n"])
def test_bytes_that_the_text_cannot_state_are_not_lost(before):
    assert "no UTF-8" in refused(before, "x\n") or "binary" in refused(before, "x\n")
    assert apply_edits([Edit("f", is_deletion=True), whole("f", "x\n")], {"f": before}) == {"f": b"x\n"}


@pytest.mark.parametrize(
    "line",
    [
        "# ... existing code ...",
        "    # ...existing code...",
        "// ... rest of the file unchanged ...",
        "... rest of the file unchanged ...",
        "# rest of the code remains unchanged",
        "// the rest of the file stays the same",
        "    # ... (rest of the class is the same)",
        "<!-- ... rest of the document unchanged ... -->",
        "/* ... existing imports ... */",
        "# … unchanged …",
        "[... unchanged ...]",
        "# ... other methods unchanged ...",
        "# ... remaining functions ...",
        "# ... keep existing tests ...",
        "# Rest of the code goes here...",
        "-- existing code unchanged",
        "# [... rest of file omitted for brevity ...]",
    ],
)
def test_a_line_that_stands_for_lines_left_out_is_refused_and_named(line):
    told = refused(b"import os\nx = 1\ny = 2\n", f"import os\n{line}\ny = 3\n")
    assert "line 2 of its text" in told
    assert line.strip()[:40] in told
    assert "every line" in told


@pytest.mark.parametrize(
    "line",
    [
        "...",
        "    ...",
        "# ...",
        "def f(): ...",
        "x: tuple[int, ...]",
        "# the fields are the same",
        "### Unchanged",
        "# unchanged",
        "# the rest is the same",
        "# Other fields are unchanged",
        "# handle existing code...paths",
        "# for the rest of the file, x holds",
        "print('... existing code ...')",
        "and so on, for the rest of the document...",
        "* the rest of the code is unchanged",
        "rest of the file unchanged",
        "# rest of the file",
    ],
)
def test_a_line_that_means_itself_is_written(line):
    assert first_elision([line], []) is None
    assert line.encode() in rewritten(b"a\n", f"a\n{line}\n")


def test_such_a_line_may_stay_where_the_file_held_it():
    before = b"a\n    # ... existing code ...\nb\n"
    assert rewritten(before, "a\n  # ... existing code ...\nc\n") == b"a\n  # ... existing code ...\nc\n"


def test_an_elision_in_one_file_leaves_all_files_alone():
    with pytest.raises(EditError, match="of 2 blocks, 1 did not fit"):
        apply_edits([whole("a", "x\n"), whole("b", "# ... existing code ...\n")], {"a": b"a\n", "b": b"b\n"})
