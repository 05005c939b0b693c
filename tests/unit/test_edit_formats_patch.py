"""Patches without line numbers, and the unified diffs that models write instead."""

import pytest

from orchestrator.core.edits.apply import apply_edits
from orchestrator.core.edits.blocks import Edit, EditError
from orchestrator.core.edits.formats import FORMATS
from orchestrator.core.edits.patch import parse_patch, render_patch

HUNK = " a\n-old\n+new\n b\n"
PATCH = f"*** Begin Patch\n*** Update File: src/a.py\n@@\n{HUNK}*** End Patch\n"
EDIT = Edit("src/a.py", "a\nold\nb\n", "a\nnew\nb\n")
TWICE = b"def f():\n    x = 1\n    return x\n\n\ndef g():\n    x = 1\n    return x\n"


def patch(body):
    return f"*** Begin Patch\n{body}*** End Patch\n"


def malformed(text):
    with pytest.raises(EditError) as caught:
        parse_patch(text)
    assert caught.value.reason == "malformed_reply"
    return caught.value.feedback


def patched(before, hunks, path="f"):
    edits = parse_patch(patch(f"*** Update File: {path}\n{hunks}"))
    return apply_edits(edits, {"f": before}, FORMATS["patch"].terms)["f"]


def misfit(before, hunks, path="f"):
    with pytest.raises(EditError) as caught:
        patched(before, hunks, path)
    assert caught.value.reason == "edit_does_not_apply"
    assert "Nothing was applied" in caught.value.feedback
    return caught.value.feedback


@pytest.mark.parametrize(
    "text",
    [
        PATCH,
        f"Some words.\n\n```diff\n{PATCH}```\nMore words.",
        PATCH.replace("\n", "\r\n"),
        PATCH.replace("src/a.py", "`src/a.py`"),
        PATCH.replace("src/a.py", '"./src/a.py"'),
        PATCH.replace("*** Begin Patch\n", ""),
        PATCH.replace("@@\n", ""),
        PATCH.replace("@@\n", "@@ -1,3 +9,99 @@\n"),
        PATCH.replace("@@\n", "@@ ... @@\n"),
        PATCH.replace("@@\n", "--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n"),
        PATCH.replace("*** End", "\n\n*** End"),
        PATCH.replace("*** End", "\\ No newline at end of file\n*** End"),
        PATCH.rstrip("\n"),
        f"```diff\n--- a/src/a.py\n+++ b/src/a.py\n@@ -7,1 +8,2 @@\n{HUNK}```\n",
        f"--- src/a.py\t2024-01-01\n+++ src/a.py\n@@ -1,3 +1,3 @@\n{HUNK}",
        f"diff --git a/src/a.py b/src/a.py\nindex 1..2 100644\n--- a/src/a.py\n+++ b/src/a.py\n@@ -1 +1 @@\n{HUNK}\n\n",
    ],
)
def test_a_hunk_is_read_in_every_usual_dress(text):
    assert parse_patch(text) == (EDIT,)


def test_files_are_added_deleted_and_moved():
    text = patch(
        "*** Add File: n.py\n+x\n+\n+y\n*** Delete File: gone.py\n\n*** Update File: a\n*** Move to: lib/b\n@@\n-x\n+y\n"
        "*** Update File: c\n*** Move to: d\n*** Add File: empty\n"
    )
    assert parse_patch(text) == (
        Edit("n.py", replace="x\n\ny\n"),
        Edit("gone.py", is_deletion=True),
        Edit("a", "x\n", "y\n"),
        Edit("a", new_path="lib/b"),
        Edit("c", new_path="d"),
        Edit("empty"),
    )


def test_a_move_keeps_every_byte_of_the_file():
    before = b"\xef\xbb\xbfx\r\nold\r\ncaf\xe9"
    edits = [Edit("a", "old\n", "new\n"), Edit("a", new_path="b")]
    assert apply_edits(edits, {"a": before}) == {"a": None, "b": before.replace(b"old", b"new")}


@pytest.mark.parametrize(
    ("edit", "told"), [(Edit("n", new_path="b"), "no such file to move"), (Edit("a", new_path="b"), "b exists already")]
)
def test_a_move_overwrites_nothing(edit, told):
    with pytest.raises(EditError, match=told):
        apply_edits([edit], {"a": b"a", "b": b"b"})
    assert apply_edits([Edit("a", new_path="a")], {"a": b"a"}) == {}


def test_a_git_diff_adds_deletes_and_renames():
    text = (
        "```diff\ndiff --git a/n.py b/n.py\nnew file mode 100644\n--- /dev/null\n+++ b/n.py\n@@ -0,0 +1,2 @@\n+x\n+y\n"
        "diff --git a/e b/e\nnew file mode 100644\nindex 0..e69\n"
        "diff --git a/gone b/gone\ndeleted file mode 100644\n--- a/gone\n+++ /dev/null\n@@ -1 +0,0 @@\n-bye\n"
        "diff --git a/g b/g\ndeleted file mode 100644\nindex 1..0\n"
        "diff --git a/a b/b\nsimilarity index 90%\nrename from a\nrename to b\n--- a/a\n+++ b/b\n@@ -1 +1 @@\n-x\n+y\n"
        "diff --git a/c b/d\nsimilarity index 100%\nrename from c\nrename to d\n```\n"
    )
    assert parse_patch(text) == (
        Edit("n.py", replace="x\ny\n"),
        Edit("e"),
        Edit("gone", is_deletion=True),
        Edit("g", is_deletion=True),
        Edit("a", "x\n", "y\n"),
        Edit("a", new_path="b"),
        Edit("c", new_path="d"),
    )


def test_a_removed_line_of_dashes_is_no_next_file():
    assert parse_patch("--- a/f\n+++ b/f\n@@ -1 +1 @@\n--- x\n+++ y\n") == (Edit("f", "-- x\n", "++ y\n"),)


def test_hunks_of_one_file_and_several_patches_are_read_in_order():
    text = patch("*** Update File: f\n@@\n-a\n+b\n@@ def g():\n-c\n") + "Then:\n" + patch("*** Delete File: g\n")
    edits = parse_patch(text)
    assert edits == (Edit("f", "a\n", "b\n"), Edit("f", "c\n", after=("def g():",)), Edit("g", is_deletion=True))
    assert [edit.line for edit in edits] == [3, 6, 11]


def test_an_empty_line_in_a_hunk_is_one_of_the_file_whose_blank_was_lost():
    assert patched(b"a\n\nold\n\nb\n", "@@\n a\n\n-old\n+new\n\n b\n") == b"a\n\nnew\n\nb\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I would change the file so that it works.", "holds no patch"),
        (PATCH.replace("*** End Patch\n", ""), "Line 1 of the reply: the patch that starts here is never ended"),
        (PATCH[: PATCH.index(" b\n")], "expected a line `*** End Patch` at its end"),
        (
            PATCH.replace(" b\n", "b\n"),
            "Line 7 of the reply: found 'b' in a hunk; expected a line that begins with ' '",
        ),
        (PATCH.replace(HUNK, ""), "Line 3 of the reply: found '@@', a hunk without lines"),
        (PATCH.replace(f"@@\n{HUNK}", ""), "Line 2 of the reply: found '*** Update File: src/a.py' without a hunk"),
        (patch("*** Add File: n\nx = 1\n"), "Line 3 of the reply: found 'x = 1' in a file that is added"),
        (
            patch("*** Change File: n\n"),
            "Line 2 of the reply: found '*** Change File: n' in a patch; expected `*** Update File",
        ),
        (patch("*** End of File\n"), "found '*** End of File' in a patch"),
        (
            PATCH.replace("src/a.py", ""),
            "Line 2 of the reply: found '*** Update File: ' in a patch; expected `*** Update File: path`",
        ),
        (
            PATCH.replace("@@", "*** Move to: \n@@"),
            "Line 3 of the reply: found '*** Move to: '; expected `*** Move to: path`",
        ),
        ("*** End Patch\n", "outside of a patch"),
        ("```diff\n@@ -1 +1 @@\n-a\n+b\n```\n", "a hunk of no file; expected `--- a/path`"),
        (
            "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\nThat is all.\n",
            "Line 6 of the reply: found 'That is all.' in a hunk",
        ),
        ("--- a/f\n+++ b/f\n", "without a hunk"),
        ("diff --git a/f b/f\nBinary files differ\n", "without a hunk"),
        ("a.py\n<<<<<<< SEARCH\nold\n=======\nnew\n>>>>>>> REPLACE\n", "holds no patch"),
        (PATCH.replace("new", "\ud83d"), "half of a surrogate pair"),
    ],
)
def test_a_malformed_reply_is_told_where_what_and_what_belongs_there(text, told):
    assert told in malformed(text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a\nold\nb\n", b"a\nnew\nb\n"),
        (b"a  \nold\t\nb\n", b"a  \nnew\nb\n"),
        (b"  a\n  old\n  b\n", b"  a\n  new\n  b\n"),
        (b"\xef\xbb\xbfa\r\nold\r\nb", b"\xef\xbb\xbfa\r\nnew\r\nb"),
    ],
)
def test_a_hunk_finds_its_place_as_leniently_as_a_block(before, after):
    assert patched(before, "@@\n" + HUNK) == after


def test_a_hunk_that_fits_nowhere_is_told_the_nearest_lines():
    told = misfit(b"x\na\nold\nc\n", "@@\n" + HUNK)
    assert "    2 | a\n    3 | old" in told
    assert "Hunk 1 of 1 (f)" in told


def test_lines_that_occur_twice_are_refused_unless_a_line_above_tells_the_place():
    told = misfit(TWICE, "@@\n-    x = 1\n+    x = 2\n")
    assert "found 2 times (at lines 2, 7)" in told
    assert "write after `@@` a line that stands above the place" in told
    first, second = (TWICE[:10] + TWICE[10:].replace(b"1", b"2", 1), TWICE[:40] + TWICE[40:].replace(b"1", b"2", 1))
    for context in ("def g():", "def g", "  def g()  ", "def g(): @@", "def g..."):
        assert patched(TWICE, f"@@ {context}\n-    x = 1\n+    x = 2\n") == second
    assert patched(TWICE, "@@ def g():\n def g():\n-    x = 1\n+    x = 2\n") == second
    assert patched(TWICE, "@@ def f():\n-    x = 1\n+    x = 2\n") == first
    assert patched(TWICE, "@@ -1,9 +1,9 @@ def g():\n-    x = 1\n+    x = 2\n") == second


def test_contexts_narrow_from_the_outside_in():
    before = b"class A:\n    def f(self):\n        x = 1\n\n\nclass B:\n    def f(self):\n        x = 1\n"
    after = patched(before, "@@ class B:\n@@     def f(self):\n-        x = 1\n+        x = 2\n")
    assert after == before.removesuffix(b"1\n") + b"2\n"
    assert "found 2 times" in misfit(before, "@@ def f\n-        x = 1\n+        x = 2\n")


@pytest.mark.parametrize(
    ("context", "told"),
    [("def h", "`def h` that should tell the place is not in the file"), ("x = 1", "is found 2 times")],
)
def test_a_context_that_tells_no_place_does_not_decide(context, told):
    assert told in misfit(TWICE, f"@@ {context}\n-    return x\n+    return 2\n")
    # Where the lines occur once it is not needed.
    assert patched(b"a\nold\nb\n", f"@@ {context}\n{HUNK}") == b"a\nnew\nb\n"


def test_a_place_above_the_named_line_is_never_taken():
    told = misfit(
        b"def f():\n    return 1\n\n\ndef g():\n    return 2\n", "@@ def g():\n-    return 1\n+    return 3\n"
    )
    assert "found at line 2 only, which is above `def g():` (line 5)" in told


def test_the_beginning_of_a_name_is_not_the_name():
    before = b"def foobar():\n    x\n\ndef foo(a):\n    x\n"
    assert patched(before, "@@ def foo\n-    x\n+    y\n") == b"def foobar():\n    x\n\ndef foo(a):\n    y\n"


def test_end_of_file_tells_the_last_of_several_places():
    assert patched(b"x\ny\nx\n", "@@\n-x\n+z\n*** End of File\n") == b"x\ny\nz\n"
    assert patched(b"x\ny\n", "@@\n-x\n+z\n*** End of File\n") == b"z\ny\n"


def test_lines_alone_go_below_the_named_line_or_to_the_end():
    assert patched(b"def f():\n    pass\n", "@@ def f():\n+    x = 1\n") == b"def f():\n    x = 1\n    pass\n"
    assert patched(b"a\r\nb", "@@\n+c\n*** End of File\n") == b"a\r\nb\r\nc"
    assert "is not in the file" in misfit(b"a\n", "@@ def f():\n+    x = 1\n")
    assert "quotes no line of the file" in misfit(b"a\n", "@@\n+    x = 1\n")
    # The heading that git prints is the function around the place, not the line above it.
    assert "quotes no line of the file" in misfit(b"def f():\n    pass\n", "@@ -2,0 +3 @@ def f():\n+    x = 1\n")


def test_one_misfit_leaves_all_files_alone():
    edits = parse_patch(patch("*** Update File: f\n@@\n-a\n+b\n*** Update File: g\n@@\n-no\n+b\n"))
    files = {"f": b"a\n", "g": b"g\n"}
    with pytest.raises(EditError, match="of 2 hunks, 1 did not fit"):
        apply_edits(edits, files, FORMATS["patch"].terms)
    assert files == {"f": b"a\n", "g": b"g\n"}


def test_a_patch_groups_what_concerns_one_file():
    edits = [
        Edit("f", "a\n", "b\n"),
        Edit("f", "c\n", "", after=("x",)),
        Edit("f", new_path="g"),
        Edit("g", "d\n", "d\n"),
    ]
    text = render_patch(edits)
    assert text.count("*** Update File: f\n") == text.count("*** Update File: g\n") == 1
    assert parse_patch(text) == tuple(edits)


LONG = ["*** Add File: {}", "*** Move to: {}", "@@ {}", "*** End Patch{}", "@@ -1{}", "<<<<<<< FILE{}", ">>>>>>> END{}"]


@pytest.mark.parametrize("line", [*LONG, "<<<<<<< SEARCH{}", "=======\n>>>>>>> REPLACE{}", "{}x", "+{}"])
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_long_line_is_refused_in_no_time_and_not_repeated(name, line):
    blank = line.format(" " * 200_000)
    for text in (f"{blank}\n", patch(f"*** Update File: f\n{blank}\n{HUNK}*** Change File")):
        with pytest.raises(EditError) as caught:
            FORMATS[name].parse(text)
        assert len(caught.value.feedback) < 1_000
