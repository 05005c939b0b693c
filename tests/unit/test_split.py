import json

import pytest

from orchestrator.core.chat import ShownFile
from orchestrator.core.items import normal_id
from orchestrator.core.plan import PLAN_SCHEMA, plan_prompt_text, subtasks_from_plan
from orchestrator.core.spec import TaskSpec
from orchestrator.core.split import SplitError, expand, gate_settings, integration_checks

PATHS = ["src/b.py", "src/a.py", "src/__init__.py", "tests/test_a.py", "app/[slug]/page.tsx", "README.md"]


def task(split, subtask=None, **more):
    fields = {
        "version": 1,
        "name": "demo",
        "description": "A demo.",
        "repo": {"path": "."},
        "split": split,
        "subtask": {"instruction": "Do {{ item.id }}.", "writable": ["out/{{ item.id }}.txt"], **(subtask or {})},
        "gate": {"checks": [{"name": "t", "run": "check {{ item.id }}"}]},
        **more,
    }
    return TaskSpec.model_validate(fields)


def problems(spec, paths=PATHS, rows=()):
    with pytest.raises(SplitError) as caught:
        expand(spec, paths, rows)
    return [(problem.where, problem.message) for problem in caught.value.problems]


def one_problem(spec, paths=PATHS, rows=()):
    (problem,) = problems(spec, paths, rows)
    return problem


def test_foreach_makes_one_subtask_for_each_file_in_order_of_path():
    spec = task(
        {"foreach": {"glob": "src/*.py", "exclude": ["**/__init__.py"]}},
        {"id": "{{ item.stem }}", "instruction": "{{ item.path }} {{ item.name }} {{ item.suffix }} {{ item.parent }}"},
    )
    made = expand(spec, PATHS)
    assert [(one.id, one.instruction) for one in made] == [
        ("a", "src/a.py a.py .py src"),
        ("b", "src/b.py b.py .py src"),
    ]


def test_the_parts_are_concatenated_in_a_fixed_order():
    split = {
        "dataset": "rows.jsonl",
        "matrix": {"m": ["x", "y"], "n": [1]},
        "list": [{"id": "mine"}],
        "foreach": {"glob": "src/a.py"},
    }
    made = expand(task(split), PATHS, [{"id": "Q 7"}, {"v": 1}])
    assert [one.id for one in made] == ["src-a.py", "mine", "x-1", "y-1", "q-7", "row-2"]
    assert [one.title for one in made] == ["src/a.py", "mine", "x-1", "y-1", "Q 7", "row-2"]


def test_the_topmost_layer_that_gives_a_field_wins_and_all_layers_are_templates():
    spec = task(
        {"list": [{"id": "a", "vars": {"x": "X"}, "title": "listed {{ item.x }}", "attempts": 5}, {"id": "b"}]},
        {"title": "template", "attempts": 2},
        overrides={"b": {"title": "over {{ task.name }}", "needs": ["{{ 'a' }}"]}},
    )
    a, b = expand(spec, PATHS)
    assert (a.title, a.max_attempts, a.needs) == ("listed X", 5, ())
    assert (b.title, b.max_attempts, b.needs) == ("over demo", 2, ("a",))


def test_a_subtasks_own_gate_stands_in_place_of_the_common_one():
    own = {"checks": [{"name": "own", "run": ["mine", "{{ item.id }}"]}]}
    spec = task({"list": [{"id": "a", "gate": own}, {"id": "b"}, {"id": "c"}]}, overrides={"c": {"gate": own}})
    assert [one.checks[0].argv for one in expand(spec, PATHS)] == [("mine", "a"), ("check", "b"), ("mine", "c")]


def test_a_value_never_adds_an_argument():
    spec = task({"matrix": {"v": ["a b; rm -rf 'x"]}}, {"id": "one"})
    spec = spec.model_copy(
        update={"gate": spec.gate.model_copy(update={"checks": (_command("run 'p q' x={{ item.v }} {{ item.v }}"),)})}
    )
    assert expand(spec, PATHS)[0].checks[0].argv == ("run", "p q", "x=a b; rm -rf 'x", "a b; rm -rf 'x")


def test_a_value_never_makes_an_option():
    spec = task({"matrix": {"v": ["--delete"]}}, {"id": "one"})
    spec = spec.model_copy(update={"gate": spec.gate.model_copy(update={"checks": (_command("run {{ item.v }}"),)})})
    where, message = one_problem(spec)
    assert where == ("gate", "checks", 0, "run")
    assert "'--delete'" in message


def _command(run):
    return task({"list": [{"id": "x"}]}, gate={"checks": [{"name": "t", "run": run}]}).gate.checks[0]


def test_an_undefined_variable_is_an_error_that_says_what_there_is():
    where, message = one_problem(task({"matrix": {"module": ["a"]}}, {"instruction": "{{ item.modul }}"}))
    assert where == ("subtask", "instruction")
    assert message == "item has no `modul`; it has item.id, item.module (for a)"


@pytest.mark.parametrize(
    ("template", "advice"),
    [
        ("{{ item }}", "write one of them"),
        ("{{ item.n }}", "null"),
        ("{{ item.l }}", "join"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ ''.__class__ }}", "__class__"),
        ("{% if %}", "not valid Jinja2"),
        ("{{ lipsum() }}", "lipsum"),
        ("{{ item.l | random }}", "random"),
    ],
)
def test_a_template_without_an_obvious_meaning_is_an_error(template, advice):
    spec = task({"dataset": "x.jsonl"}, {"instruction": template})
    assert advice in one_problem(spec, rows=[{"n": None, "l": [1]}])[1]


def test_columns_may_be_called_like_methods_of_a_mapping():
    spec = task({"dataset": "x.jsonl"}, {"instruction": "{{ item.items }} {{ item.values }} {{ item.get }}"})
    assert expand(spec, PATHS, [{"items": 1, "values": 2, "get": 3}])[0].instruction == "1 2 3"


def test_values_are_data_and_not_templates():
    spec = task({"dataset": "x.jsonl"}, {"instruction": "{{ item.v }}"})
    assert expand(spec, PATHS, [{"v": "{{ task.name }}"}])[0].instruction == "{{ task.name }}"


def test_a_path_in_a_glob_means_itself():
    spec = task({"foreach": {"glob": "app/**"}}, {"writable": ["{{ item.parent }}/*.tsx"], "title": "{{ item.path }}"})
    made = expand(spec, PATHS)[0]
    assert made.writable == ("app/[[]slug]/*.tsx",)
    assert made.title == "app/[slug]/page.tsx"


def test_entries_of_lists_that_come_out_empty_are_left_out():
    spec = task(
        {"matrix": {"m": ["a", "b"]}}, {"needs": ["{% if item.m == 'b' %}a{% endif %}"], "context": ["", "README.md"]}
    )
    a, b = expand(spec, PATHS)
    assert (a.needs, b.needs, a.context) == ((), ("a",), ("README.md",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("src/My File.py", "src-my-file.py"),
        ("__init__", "init__"),
        ("Über/größe", "uber-groe"),
        ("a..b", "a.b"),
        ("poetry.lock", "poetry-lock"),
        ("-x-", "x"),
        ("日本", ""),
        ("x.", "x"),
        ("a@{1}~^:?*[", "a-1"),
    ],
)
def test_ids_are_made_fit_for_git_and_file_names(text, expected):
    assert normal_id(text) == expected


def test_ids_that_differ_in_case_only_clash_and_both_items_are_named():
    where, message = one_problem(task({"list": [{"id": "A"}, {"id": "a"}]}))
    assert where == ("split", "list", 1, "id")
    assert "taken by 'A'" in message


def test_ids_that_are_too_long_or_empty_are_refused():
    found = problems(task({"list": [{"id": "x" * 101}, {"id": "日本"}]}))
    assert [where for where, _ in found] == [("split", "list", 0, "id"), ("split", "list", 1, "id")]


def test_an_unknown_need_comes_with_the_nearest_name():
    where, message = one_problem(task({"list": [{"id": "pricing"}, {"id": "b", "needs": ["pricng"]}]}))
    assert where == ("split", "list", 1, "needs", 0)
    assert message == "there is no subtask `pricng`; did you mean `pricing`?"


def test_every_cycle_is_named_in_the_order_of_needs():
    listed = [
        {"id": "a", "needs": ["b"]},
        {"id": "b", "needs": ["c"]},
        {"id": "c", "needs": ["a"]},
        {"id": "self", "needs": ["self"]},
        {"id": "free", "needs": ["a"]},
    ]
    found = problems(task({"list": listed}))
    assert {(where, message.split(";")[0]) for where, message in found} == {
        (("split", "list", 0, "needs", 0), "`needs` goes in a circle: a → b → c → a"),
        (("split", "list", 3, "needs", 0), "`needs` goes in a circle: self → self"),
    }


@pytest.mark.parametrize(
    ("writable", "advice"),
    [
        (["/etc/x"], "absolute"),
        (["a/../../x"], "`..`"),
        (["src"], "write `src/`"),
        (["tests/test_a.py"], "protected"),
        ([], "nothing is `writable`"),
        (["{% if 0 %}x{% endif %}"], "nothing is `writable`"),
    ],
)
def test_what_may_be_changed_lies_in_the_repository_and_is_not_protected(writable, advice):
    spec = task(
        {"list": [{"id": "a"}]},
        {"writable": writable},
        gate={"checks": [{"name": "t", "run": "true"}], "protected": ["tests/**"]},
    )
    assert advice in one_problem(spec)[1]


def test_one_mistake_of_many_items_is_told_once_and_mistakes_are_told_together():
    spec = task({"matrix": {"m": list(range(50))}}, {"instruction": " ", "context": ["../x"]}, overrides={"zz": {}})
    found = dict(problems(spec))
    assert set(found) == {("overrides", "zz"), ("subtask", "instruction"), ("subtask", "context", 0)}
    assert found["subtask", "instruction"].endswith("(for 0 and 49 more)")


def test_a_split_that_comes_to_nothing_is_refused():
    assert "matches none of the repository's 6 files" in one_problem(task({"foreach": {"glob": "lib/*"}}))[1]
    assert "takes all of them away" in one_problem(task({"foreach": {"glob": "src/*", "exclude": ["**"]}}))[1]
    assert one_problem(task({"matrix": {"m": []}}))[0] == ("split", "matrix", "m")
    assert one_problem(task({"dataset": "x.csv"}))[0] == ("split", "dataset")
    assert one_problem(task({"list": []}))[0] == ("split",)


def test_more_to_change_weighs_more():
    spec = task({"foreach": {"glob": "src/?.py"}}, {"writable": ["{{ item.path }}"]})
    light, heavy = expand(spec, PATHS, sizes={"src/a.py": 40, "src/b.py": 4_000})
    assert heavy.weight - light.weight == 990


def test_only_a_given_integration_gate_is_known_before_anything_is_integrated():
    spec = task({"list": [{"id": "a"}]})
    assert integration_checks(spec) == ()
    given = task({"list": [{"id": "a"}]}, integration_gate={"checks": [{"name": "all", "run": "lint {{ task.name }}"}]})
    assert [(one.name, one.argv) for one in integration_checks(given)] == [("all", ("lint", "demo"))]


def test_a_subtask_that_nothing_would_judge_is_a_mistake():
    where, message = one_problem(task({"list": [{"id": "a"}]}, gate={"protected": ["tests/**"]}))
    assert where == ("gate", "checks")
    assert "nothing would judge" in message


def test_gate_settings_carry_what_all_gates_share():
    gate = {"setup": [{"name": "warm", "run": "make {{ task.name }}"}], "protected": ["tests/"], "env": {"A": "1"}}
    settings = gate_settings(task({"list": [{"id": "a"}]}, gate=gate))
    assert settings.setup[0].argv == ("make", "demo")
    assert (settings.protected, settings.env) == (("tests/",), {"A": "1"})
    with pytest.raises(SplitError):
        gate_settings(task({"list": [{"id": "a"}]}, gate={"protected": ["/x"]}))


def planned(**more):
    fields = {"instruction": "All.", "skills": ["refactor"], "attempts": 4, "writable": None}
    gate = {"checks": [{"name": "t", "run": "check {{ item.id }} 'about {{ item.title }}'"}], "protected": ["tests/"]}
    return task({"plan": {"instruction": "Improve it.", "max_subtasks": 2}}, fields, gate=gate, **more)


def answer(*subtasks):
    return json.dumps({"subtasks": [proposal(**one) for one in subtasks]})


def proposal(**fields):
    return {
        "id": "a",
        "title": "T",
        "instruction": "Do.",
        "writable": ["src/a.py"],
        "context": [],
        "needs": [],
        **fields,
    }


def test_a_plan_becomes_subtasks_with_the_task_files_part_filled_in():
    text = answer({"id": "a", "title": "-rf {{ task.name }}"}, {"id": "b", "needs": ["a"], "writable": ["src/new/"]})
    a, b = subtasks_from_plan(f"```json\n{text}\n```", planned(), PATHS)
    assert a.checks[0].argv == ("check", "a", "about -rf {{ task.name }}")
    assert (a.instruction, a.skills, a.max_attempts) == ("All.\n\nDo.", ("refactor",), 4)
    assert (b.needs, b.writable) == (("a",), ("src/new/",))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("I will not.", "not one JSON object"),
        ("[]", "object"),
        ('{"subtasks": []}', "subtasks: "),
        ('{"subtasks": [{"id": "a"}]}', "subtasks[0].title: this key is missing"),
        (answer({"id": "a", "extra": 1}), "subtasks[0].extra: this key is not known"),
        (answer({"id": "a"}, {"id": "a"}), "subtasks[1].id: the id 'a' is used twice"),
        (answer({"id": "Bad Id"}), "such as 'bad-id'"),
        (answer({"id": "a", "needs": ["b"]}, {"id": "b", "needs": ["a"]}), "a → b → a"),
        (answer({"id": "a", "needs": ["c"]}), "subtasks[0].needs[0]: there is no subtask `c`"),
        (answer({"writable": ["../x"]}), "subtasks[0].writable[0]: '../x' leads out"),
        (answer({"writable": ["tests/test_a.py"]}), "protected"),
        (answer({"writable": ["**"]}), "such as 'tests/test_a.py'"),
        (answer({"writable": []}), "subtasks[0].writable: "),
        (answer({"id": "a"}, {"id": "b"}, {"id": "c"}), "at most 2"),
        (answer({"title": "\ud800"}), "not one JSON object"),
        (answer({"instruction": " "}), "instruction is empty"),
    ],
)
def test_a_wrong_plan_is_refused_in_words_for_the_model(text, told):
    with pytest.raises(SplitError) as caught:
        subtasks_from_plan(text, planned(), PATHS)
    assert told in str(caught.value)


def test_a_planned_title_never_makes_an_option():
    spec = task({"plan": {"instruction": "x"}}, gate={"checks": [{"name": "t", "run": "check {{ item.title }}"}]})
    with pytest.raises(SplitError, match="an option"):
        subtasks_from_plan(answer({"title": "--fix"}), spec, PATHS)


def test_the_planner_is_told_the_task_the_limit_the_files_and_what_is_protected():
    shown = [ShownFile(path="src/a.py", text="x = '</file>'\n", is_writable=False)]
    prompt = plan_prompt_text(planned(), shown, [*PATHS, "evil\nname"])
    assert "Improve it." in prompt.user
    assert "at most 2 subtasks" in prompt.user
    assert '<file_ path="src/a.py">' in prompt.user
    assert '"evil\\nname"' in prompt.user
    assert "- tests/" in prompt.user
    assert prompt.system == plan_prompt_text(planned(), [], []).system


def test_the_plans_schema_asks_for_every_key_and_no_other():
    item = PLAN_SCHEMA["properties"]["subtasks"]["items"]
    assert item["required"] == list(item["properties"])
    assert item["additionalProperties"] is False
