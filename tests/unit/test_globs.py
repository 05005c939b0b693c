import time

import pytest

from orchestrator.core.globs import escape, is_literal, matches, problem_in, select, select_sorted

TREE = sorted([
    ".github/ci.yml",
    "a.py",
    "app/[slug]/page.tsx",
    "app/s/page.tsx",
    "src/a.py",
    "src/.hidden.py",
    "src/deep/er/b.py",
    "srcs/c.py",
    "tests/test_a.py",
])  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "meant"),
    [
        ("*.py", ["a.py"]),
        ("src/*.py", ["src/.hidden.py", "src/a.py"]),
        ("src/**", ["src/.hidden.py", "src/a.py", "src/deep/er/b.py"]),
        ("src/", ["src/.hidden.py", "src/a.py", "src/deep/er/b.py"]),
        ("src", []),
        ("**/b.py", ["src/deep/er/b.py"]),
        ("**/a.py", ["a.py", "src/a.py"]),
        ("src/**/*.py", ["src/.hidden.py", "src/a.py", "src/deep/er/b.py"]),
        ("?.py", ["a.py"]),
        ("[ab].py", ["a.py"]),
        (".github/", [".github/ci.yml"]),
        ("A.py", []),
        ("**", TREE),
        ("src**/c.py", ["srcs/c.py"]),
    ],
)
def test_a_glob_means_what_the_dialect_says(pattern, meant):
    assert select(TREE, [pattern]) == meant
    assert select_sorted(TREE, pattern) == meant
    assert [path for path in TREE if matches(path, [pattern])] == meant


def test_a_path_with_brackets_can_be_written_as_it_is_and_escaped_it_means_nothing_else():
    assert matches("app/[slug]/page.tsx", ["app/[slug]/page.tsx"])
    assert select(TREE, [escape("app/[slug]/page.tsx")]) == ["app/[slug]/page.tsx"]


def test_what_is_excluded_is_not_selected_and_order_is_kept():
    assert select(reversed(TREE), ["**/*.py"], ["src/", "tests/test_a.py"]) == ["srcs/c.py", "a.py"]
    assert select(TREE, []) == []
    assert not matches("a.py", [])


@pytest.mark.parametrize(
    ("pattern", "advice"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("/etc/passwd", "absolute"),
        ("../up", "`..`"),
        ("a/../b", "`..`"),
        ("./a", "`./`"),
        ("a//b", "`//`"),
        ("a\\b", "backslash"),
        ("!a", "exclude"),
        ("src/*.{ts,tsx}", "one pattern for each"),
        (".git/config", "git's own"),
        ("x/.GIT/hooks", "git's own"),
        ("a\nb", "control"),
        ("*a*b*c*d*e*f*g", "wildcards"),
        ("a" * 1001, "longer"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused_with_advice(pattern, advice):
    assert advice in (problem_in(pattern) or "")


@pytest.mark.parametrize(
    "pattern", ["a.py", "src/", "**", "src/**/*.py", ".gitignore", "app/[slug]/x", "{{x}}.py", "..a/b"]
)
def test_a_sound_pattern_has_no_problem(pattern):
    assert problem_in(pattern) is None


def test_only_a_spelled_path_is_literal():
    assert is_literal("a/b.py")
    assert not is_literal("a/")
    assert not is_literal("a/*.py")


def test_ten_thousand_paths_against_five_patterns_take_a_blink():
    paths = [f"src/pkg{number % 100}/mod_{number}.py" for number in range(10_000)]
    patterns = ["src/**/*.py", "tests/", "**/x_*.py", "docs/*.md", "src/pkg1/mod_?.py"]
    started = time.process_time()
    assert len(select(paths, patterns)) == 10_000
    assert time.process_time() - started < 1.0


def test_the_worst_pattern_that_is_allowed_stays_cheap_on_a_long_name():
    started = time.process_time()
    assert not matches("a" * 60 + "/b", ["*a*a*a*a*b*c"])
    assert time.process_time() - started < 5.0
