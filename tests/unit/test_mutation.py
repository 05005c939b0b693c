"""Mutants: one wrong place each, and always a program."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.mutation import mutants, sites

SOURCE = '''"""Über."""
def f(a, b: int = 3) -> bool:
    if not a and b >= 10:
        return a - 1 is not None
    grün = "ä" + f"{a + 1}"; return grün or (a) == (  # a < b
        b)
'''


def described(source, lines=range(1, 100)):
    return [(mutant.line, mutant.description) for mutant in mutants(source, set(lines))]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = a == b\n", "x = a != b\n"),
        ("x = a < b\n", "x = a >= b\n"),
        ("x = a  not   in b\n", "x = a  in b\n"),
        ("x = a is b\n", "x = a is not b\n"),
        ("x = a + b\n", "x = a - b\n"),
        ("x = a // b\n", "x = a * b\n"),
        ("x = a and b\n", "x = a or b\n"),
        ("x = not a\n", "x = a\n"),
        ("x = 41\n", "x = 42\n"),
        ("x = True\n", "x = False\n"),
        ("def f():\n    return y\n", "def f():\n    return None\n"),
        ("x = (a) < (b)\n", "x = (a) >= (b)\n"),
        ("ä = 'ö' == b\n", "ä = 'ö' != b\n"),
    ],
)
def test_each_operator_changes_its_own_place(before, after):
    assert [mutant.source for mutant in mutants(before, {1, 2})] == [after]


def test_every_site_of_a_text_is_found_with_its_line():
    assert described(SOURCE) == [
        (2, "3 became 4"),
        (3, "dropped `not`"),
        (3, "`and` became `or`"),
        (3, "`>=` became `<`"),
        (3, "10 became 11"),
        (4, "returned None"),
        (4, "`-` became `+`"),
        (4, "1 became 2"),
        (4, "`is not` became `is`"),
        (5, "`+` became `-`"),
        (5, "returned None"),
        (5, "`or` became `and`"),
        (5, "`==` became `!=`"),
    ]


def test_only_the_given_lines_are_mutated():
    assert {line for line, _ in described(SOURCE, {3})} == {3}
    assert described(SOURCE, ()) == []


def test_formatting_annotations_and_strings_stay():
    assert described("x: Literal[1] = '%d' % y\n") == []
    assert described("def f(a: Literal[1]) -> Literal[2]: pass\n") == []


def test_a_text_that_does_not_parse_has_no_mutants():
    assert mutants("def (:\n", {1}) == []
    assert mutants("x = '\0'\n", {1}) == []


@given(
    st.lists(
        st.sampled_from(
            [
                "x = a < b <= c != d",
                "if not (a or b) and c: x = [i + 1 for i in y if i % 2 == 0]",
                "def f(p=1): return p * 2 - -3",
                "é = 'ü' in ('ß', True)  # and 1 < 2",
                "z = lambda q: q is not None",
                "w = f'{a + 1}' + 'b'",
                "v = (a\n     +  # or\n     1)",
                "\x0cu = 1\r",
            ]
        ),
        max_size=6,
    ).map("\n".join)
)
def test_every_mutant_parses_and_is_another_program(source):
    every = range(1, source.count("\n") + 2)
    for mutant in mutants(source, every):
        assert ast.dump(ast.parse(mutant.source)) != ast.dump(ast.parse(source))
    assert sites(source, every) == sorted(set(sites(source, every)))
