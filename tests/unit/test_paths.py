"""Which paths a change may name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.paths import collisions, unsafe_reason


@pytest.mark.parametrize(
    "path",
    [
        *("", "/etc/passwd", "..", "a/../b", "./a", "a/", "a//b", "a\\b", "a\0b", "a\nb", "a\x7fb", "a\x85b"),
        *(".git", ".git/config", "a/.GIT/x", ".Git", "a/.gi\u200ct", "\ufeff.git/x", "git~1", "GIT~1/x", ".git./x"),
        *(".git /x", ".git::$INDEX_ALLOCATION/x", "a" * 256, "d/" * 2_050 + "f", "bad\udcff"),
    ],
)
def test_unsafe_paths_are_refused_with_a_reason(path):
    assert unsafe_reason(path)


@pytest.mark.parametrize(
    "path",
    ["a", "a/b.py", ".gitignore", ".github/x.yml", "a b/é.txt", "日本/語", "git", "x.git/y", "-rf", "a:b", "..."],
)
def test_plain_paths_are_accepted(path):
    assert unsafe_reason(path) is None


def test_paths_that_a_file_system_would_fold_together_are_named_once():
    assert collisions(["a", "b/c"]) == []
    assert collisions(["A.py", "a.py"]) == [("A.py", "a.py")]
    assert collisions(["lib/x", "Lib/y", "Lib/z"]) == [("Lib", "lib")]
    assert collisions(["caf\u00e9", "cafe\u0301"]) == [("cafe\u0301", "caf\u00e9")]


@given(st.lists(st.text(alphabet="aAbB/", min_size=1, max_size=6), max_size=8))
def test_collisions_do_not_depend_on_order_and_paths_of_one_case_have_none(paths):
    assert collisions(paths) == collisions(reversed(paths))
    assert collisions([path.lower() for path in paths]) == []


@given(st.text(max_size=40))
def test_what_is_accepted_stays_below_the_root(path):
    if unsafe_reason(path) is None:
        parts = path.split("/")
        assert all(parts)
        assert not {".", ".."} & set(parts)
        assert ".git" not in {part.lower() for part in parts}
