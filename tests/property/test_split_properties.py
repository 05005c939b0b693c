import contextlib
import json
import re
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from orchestrator.catalog import load_task
from orchestrator.core.errors import SpecError
from orchestrator.core.globs import escape, matches, problem_in, select, select_sorted
from orchestrator.core.items import normal_id
from orchestrator.core.plan import subtasks_from_plan
from orchestrator.core.spec import TaskSpec
from orchestrator.core.split import SplitError, expand
from orchestrator.core.templates import TemplateFault, arguments, render, scope

IDS = st.sampled_from([f"t{number}" for number in range(6)])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
PATH = st.lists(st.text("ab.[]*-_é ", min_size=1, max_size=4), min_size=1, max_size=4).map("/".join)
PATTERN = st.text("ab/*?[].", min_size=1, max_size=8)
FORM = re.compile(r"[a-z0-9][a-z0-9._-]*")


def listed(graph):
    entries = [{"id": name, "needs": sorted(needs)} for name, needs in graph.items()]
    return TaskSpec.model_validate({
        "version": 1,
        "name": "x",
        "repo": {"path": "."},
        "split": {"list": entries},
        "subtask": {"instruction": "x", "writable": ["x"]},
        "gate": {},
    })  # fmt: skip


def is_cyclic(graph):
    left = dict(graph)
    while free := [name for name, needs in left.items() if not set(needs) & set(left)]:
        for name in free:
            del left[name]
    return bool(left)


@given(st.dictionaries(IDS, st.sets(IDS), min_size=1))
def test_every_cycle_and_every_unknown_need_is_found_and_nothing_else_is_refused(graph):
    unknown = {need for needs in graph.values() for need in needs if need not in graph}
    try:
        made = expand(listed(graph), [])
    except SplitError as error:
        said = str(error)
        assert all(f"`{need}`" in said for need in unknown)
        assert ("circle" in said) == is_cyclic(graph)
        for cycle in re.findall(r"circle: (.*?);", said):
            steps = cycle.split(" → ")
            assert steps[0] == steps[-1]
            assert all(after in graph[before] for before, after in pairwise(steps))
    else:
        assert not unknown
        assert not is_cyclic(graph)
        assert {one.id: set(one.needs) for one in made} == graph


@given(st.lists(NAMES, min_size=1, max_size=6))
def test_expansion_is_deterministic_and_its_ids_are_unique_and_safe(names):
    spec = listed({"x": []}).model_copy(update={"split": TaskSpec.model_fields["split"].annotation(dataset="d.jsonl")})
    rows = [{"id": name} for name in names]
    outcomes = []
    for _ in range(2):
        try:
            outcomes.append(expand(spec, ["b", "a"], rows))
        except SplitError as error:
            outcomes.append(error.problems)
    assert outcomes[0] == outcomes[1]
    ids = [getattr(one, "id", None) for one in outcomes[0]]
    if ids[0] is not None:
        assert len({name.casefold() for name in ids}) == len(names)
        assert all(FORM.fullmatch(name) and len(name) <= 100 for name in ids)


@given(st.text(max_size=40))
def test_an_id_is_normal_or_nothing_and_stays_as_it_is(text):
    name = normal_id(text)
    assert name == "" or FORM.fullmatch(name)
    assert normal_id(name) == name
    assert ".." not in name
    assert not name.endswith((".", ".lock"))


@given(NAMES, st.dictionaries(st.sampled_from(["a", "b"]), NAMES, max_size=2))
def test_an_undefined_variable_is_never_silent(before, fields):
    variables = scope(fields, {"name": "n", "description": "d"})
    text = before.replace("{", "(").replace("\r", "") + "{{ item.a }}{{ item.b }}"
    try:
        filled = render(text, variables)
    except TemplateFault:
        assert set(fields) != {"a", "b"}
    else:
        assert filled.endswith(fields["a"] + fields["b"])


@given(NAMES)
@example("a b' \"c")
@example("-rf")
@example("{{ 1 }}")
def test_a_value_never_adds_an_argument_and_never_makes_an_option(value):
    variables = scope({"v": value}, {})
    assert arguments("run x{{ item.v }} 'y {{ item.v }}'", variables) == ("run", f"x{value}", f"y {value}")
    try:
        assert not arguments("run {{ item.v }}", variables)[1].startswith("-")
    except TemplateFault:
        assert value.startswith("-")


@given(PATH, st.lists(PATH, max_size=5))
def test_an_escaped_path_means_itself_alone(path, others):
    assert select([path, *others], [escape(path)]) == [one for one in [path, *others] if one == path]


@given(st.lists(PATH, max_size=8).map(sorted), PATTERN)
def test_looking_only_where_a_pattern_begins_finds_all_that_it_means(paths, pattern):
    if problem_in(pattern) is None:
        assert select_sorted(paths, pattern) == select(paths, [pattern])
        assert select(paths, [pattern]) == [path for path in paths if matches(path, [pattern])]


def loads_or_refuses(body):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "task.yaml"
        path.write_bytes(body)
        problems = [str(path)]
        try:
            load_task(path, ["refactor"])
        except SpecError as error:
            problems = error.problems
        assert problems
        assert all(problem.startswith(folder) for problem in problems)


# fmt: off
SCRAP = st.sampled_from([
    "a", "version", "gate", "checks", "run", "split", "list", "foreach", "{{", "{%", "{{ item.x }}", "no", "1", "- ", ": ",
    " ", "\n", "\n  ", "\n- ", "\t", "[", "]", "{", "}", '"', "'", "|", ">", "&a ", "*a", "!!x", "---", "#", ",", "?", "\\",
])
# fmt: on


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(SCRAP, max_size=40).map(lambda parts: "".join(parts).encode())))
@example(b'"\\ud800": 1')
@example(b"? {a: 1}\n: 2")
@example(b"{{ x }}: 1")
@example(b"= : 1")
def test_arbitrary_bytes_never_raise_anything_but_a_spec_error(body):
    loads_or_refuses(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES | st.sampled_from(["{{ item.a }}", "{% x", "../a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["version", "name", "repo", "split", "subtask", "gate", "checks", "run", "list", "foreach", "glob", "plan",
         "matrix", "dataset", "vars", "overrides", "limits", "env", "id", "path", "setup", "skills", "context"]),
        inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["version", "name", "repo", "split", "subtask", "overrides", "gate"]), VALUES))
def test_any_shape_of_values_is_loaded_or_refused_with_lines(value):
    # YAML reads JSON, but for the names of numbers that are none.
    loads_or_refuses(json.dumps(value).encode())


@given(st.text(max_size=60) | VALUES.map(repr))
def test_any_answer_of_a_model_is_a_plan_or_refused(text):
    with contextlib.suppress(SplitError):
        assert subtasks_from_plan(text, listed({"x": []}), ["a"])
