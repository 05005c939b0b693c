import json
from pathlib import Path

import pytest

from orchestrator.catalog import expand_task, load_task, schema_text, task_schema
from orchestrator.core.errors import SpecError

SOUND = """\
version: 1
name: demo
repo: {path: code}
split:
  foreach: {glob: "src/*.py"}
subtask:
  id: "{{ item.stem }}"
  instruction: |
    Improve
    {{ item.path }}.
  writable: ["{{ item.path }}"]
  skills: [refactor]
gate:
  setup: [[python, -m, compileall], "make warm"]
  checks:
    - {name: tests, run: "python -m pytest -q tests/test_{{ item.stem }}.py"}
"""
PATHS = ["src/a.py", "src/b.py"]


@pytest.fixture
def write(tmp_path):
    (tmp_path / "code").mkdir()

    def put(text, name="task.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return put


def refused(path, skills=("refactor",)):
    """The problems as (line, message)."""
    with pytest.raises(SpecError) as caught:
        load_task(path, skills)
    found = []
    for problem in caught.value.problems:
        assert problem.startswith(f"{path}:"), problem
        line, _, message = problem.removeprefix(f"{path}:").partition(": ")
        found.append((int(line), message))
    return found


def test_a_sound_task_is_loaded_and_expanded(write, tmp_path):
    loaded = load_task(write(SOUND), ["refactor"])
    a, b = expand_task(loaded, PATHS)
    assert (a.id, b.id) == ("a", "b")
    assert a.instruction == "Improve\nsrc/a.py.\n"
    assert a.checks[0].argv == ("python", "-m", "pytest", "-q", "tests/test_a.py")
    assert loaded.repo_path == (tmp_path / "code").resolve()
    assert loaded.directory == tmp_path
    assert loaded.reference is None
    assert [one.run for one in loaded.spec.gate.setup] == [("python", "-m", "compileall"), "make warm"]
    assert loaded.line_of(("subtask", "writable", 0)) == 11
    assert loaded.line_of(("gate", "checks", 0, "timeout_s")) == 16


def test_five_different_mistakes_are_reported_at_once_with_their_lines(write):
    text = (
        SOUND.replace("version: 1", "version: 3")
        .replace("  writable:", "  writeable:")
        .replace("{{ item.path }}.", "{{ item.pth }}.")
        .replace("skills: [refactor]", "attempts: many\n  skills: [refctor]")
        .replace("run:", "timeout: 5, run:")
    )
    assert refused(write(text)) == [
        (1, "`version` must be 1, not the number 3"),
        (10, "unknown variable `item.pth`; did you mean `item.path`?"),
        (11, "unknown key `writeable`; did you mean `writable`?"),
        (12, "`subtask.attempts` must be a whole number, not the text 'many'; write it without quotes and units"),
        (13, "there is no skill `refctor`; did you mean `refactor`?"),
        (17, "unknown key `timeout`; did you mean `timeout_s`?"),
    ]


@pytest.mark.parametrize(
    ("body", "line", "told"),
    [
        (b"", 1, "the file is empty; it needs at least `version`, `name`, `repo`, `split`, `gate`"),
        (b"# only a comment\n", 1, "the file is empty"),
        (b"- a\n- b\n", 1, "must be a mapping (`key: value` lines), not a list"),
        (b"just words", 1, "must be a mapping"),
        (b"\x89PNG\r\n\x1a\n\xff\xff", 1, "not UTF-8"),
        (b"a: 1\nb: \x01", 2, "U+0001 is not allowed"),
        (b"a:\n\tb: 1", 2, "a tab; indent with spaces"),
        (b"a: &x 1\nb: *x", 1, "the anchor `&x`"),
        (b"a: 1\nb: *x", 2, "the alias `*x`"),
        (b"a: !!python/object/apply:os.system [id]", 1, "the tag"),
        (b"a: 1\n---\nb: 1", 2, "second document"),
        (b"a: b: c", 1, "put the text in quotes"),
        (b"a: [1, 2", 1, "not valid YAML"),
        (b"[" * 9_000, 1, "levels"),
        (b"a: " + b"x" * (1 << 20), 1, "larger than"),
    ],
)
def test_what_is_no_task_at_all_is_refused_in_one_line(write, body, line, told):
    ((found, message),) = refused(write(body))
    assert found == line
    assert told in message


def test_a_file_that_is_not_there_or_is_a_folder_is_refused(tmp_path):
    assert "no such file" in refused(tmp_path / "nope.yaml")[0][1]
    assert "this is a folder" in refused(tmp_path)[0][1]


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("name: demo\n", "", 1, "`name` is missing; add it: the task's name"),
        ("name: demo", "name: demo\nname: again", 3, "`name` is given twice, first on line 2"),
        ("name: demo", "name: Demo Task", 2, "`name` must be lower-case letters"),
        ("name: demo", "name: yes", 2, "`yes` is true or false to some YAML readers"),
        ("name: demo", "name: 5", 2, '`name` must be text, not the number 5; put it in quotes: "5"'),
        ("name: demo", "name: demo\non: 1", 3, 'put it in quotes: `"on":`'),
        ("name: demo", "name: demo\n7: 1", 3, 'put it in quotes: `"7":`'),
        ("{path: code}", "{path: cod}", 3, "there is no folder 'cod'"),
        ("{path: code}", "{}", 3, "give either `path`"),
        ("{path: code}", "{url: --upload-pack=x}", 3, "not something that git may be given"),
        ("{path: code}", '{url: "ext::sh -c id"}', 3, "not something that git may be given"),
        ("foreach:", "forech:", 5, "unknown key `forech`; did you mean `foreach`?"),
        ('foreach: {glob: "src/*.py"}', "listed: []", 5, "did you mean `list`?"),
        ('foreach: {glob: "src/*.py"}', "plan: {instruction: x}\n  matrix: {a: [b]}", 4, "`plan` stands alone"),
        ('foreach: {glob: "src/*.py"}', "dataset: rows.jsonl", 5, "there is no file 'rows.jsonl'"),
        ('foreach: {glob: "src/*.py"}', "plan: {instruction: x}", 7, "the model gives `id`"),
        ('"src/*.py"', '"/src/*.py"', 5, "is absolute"),
        ('"{{ item.stem }}"', '"{{ item.stem"', 7, "not valid Jinja2"),
        ('"{{ item.stem }}"', "{{ item.stem }}", 7, "quotes around a value that begins with `{{`"),
        ("    Improve\n", "    {{ tsk.name }}\n", 9, "unknown variable `tsk`"),
        ("    Improve\n", "    {{ task.nme }}\n", 9, "unknown variable `task.nme`; did you mean `task.name`?"),
        ("    Improve\n", "    {% for %}\n", 9, "not valid Jinja2"),
        ('["{{ item.path }}"]', '"{{ item.path }}"', 11, "must be a list, not the text '{{ item.path }}'; write [\"{{"),
        ("run:", 'run: "python \'x", rn:', 16, "No closing quotation"),
        ("tests/test_{{ item.stem }}.py", "{% if 1 %} x {% endif %}", 16, "each argument is a template of its own"),
        ('"make warm"', '"make {{ item.stem }}"', 14, "judges no single subtask"),
        ("gate:\n", 'gate:\n  protected: ["!x"]\n', 14, "`!`"),
        ("gate:\n", "reference: nowhere\ngate:\n", 13, "there is no folder 'nowhere'"),
        ("gate:\n", "limits: {agents: 0}\ngate:\n", 13, "`limits.agents` must be at least 1, not the number 0"),
        ("gate:\n", "integration_gate: {checks: []}\ngate:\n", 13, "must not be empty"),
        ("gate:\n", "gate:\n  env: {A: 1}\n", 14, '`gate.env.A` must be text, not the number 1; put it in quotes: "1"'),
    ],
)
def test_each_mistake_is_placed_and_says_what_to_write(write, old, new, line, told):
    assert old in SOUND
    found = refused(write(SOUND.replace(old, new, 1)))
    assert [one for one in found if one[0] == line and told in one[1]], found


@pytest.mark.parametrize("template", ["{{ item.x | default('') }}", "{% if item.x is defined %}{% endif %}", "{% for item in [] %}{{ item.x }}{% endfor %}"])  # fmt: skip
def test_a_variable_that_is_asked_for_politely_may_be_missing(write, template):
    assert load_task(write(SOUND.replace("    Improve\n", f"    {template}\n")), ["refactor"])


def test_variables_are_known_from_every_source(write):
    split = (
        "  matrix: {module: [a]}\n  list:\n    - {id: x, vars: {rule: r}, title: '{{ item.rul }}'}\n  dataset: d.csv\n"
    )
    write("col,other\n1,2\n", "d.csv")
    text = SOUND.replace('  foreach: {glob: "src/*.py"}\n', split).replace("item.stem", "item.module")
    found = refused(write(text.replace("item.path", "item.colm")))
    assert (7, "unknown variable `item.rul`; did you mean `item.rule`?") in found
    assert [line for line, message in found if "did you mean `item.col`?" in message] == [13, 14]


def test_a_split_that_the_repository_refutes_is_told_with_its_line(write):
    text = SOUND.replace(
        "gate:\n", "overrides:\n  aa: {needs: [b]}\n  b:\n    needs: [a]\n  a:\n    needs: [b]\ngate:\n", 1
    )
    path = write(text)
    with pytest.raises(SpecError) as caught:
        expand_task(load_task(path), PATHS)
    assert caught.value.problems == [
        f"{path}:14: there is no subtask `aa` to override; did you mean `a`?",
        f"{path}:18: `needs` goes in a circle: a → b → a; take one of these out",
    ]
    with pytest.raises(SpecError, match=r"task\.yaml:5: 'src/\*\.py' matches none of the repository's 1 files"):
        expand_task(load_task(write(SOUND)), ["README.md"])


def test_a_skill_that_only_the_template_reveals_is_checked_too(write):
    loaded = load_task(write(SOUND.replace("[refactor]", '["{{ item.stem }}"]')), ["a"])
    with pytest.raises(SpecError, match=r"task\.yaml:12: there is no skill `b`.*\(for `b`\)"):
        expand_task(loaded, PATHS)


def test_every_bad_row_of_a_data_set_is_named_with_its_line(write, tmp_path):
    path = write(SOUND.replace('foreach: {glob: "src/*.py"}', "dataset: d.jsonl"))
    write('{"stem": "a", "path": "p"}\n\nnot json\n[1]\n{"x": "\\ud800"}\n{"x": NaN}\n', "d.jsonl")
    with pytest.raises(SpecError) as caught:
        load_task(path)
    file = tmp_path / "d.jsonl"
    lines = [problem for problem in caught.value.problems if problem.startswith(f"{file}:")]
    assert [line.removeprefix(f"{file}:").partition(":")[0] for line in lines] == ["3", "4", "5", "6"]
    assert all("one JSON object on one line" in line for line in lines)


@pytest.mark.parametrize(
    ("body", "line", "told"),
    [
        ("", 1, "the file is empty"),
        ("a,a\n1,2\n", 1, "'a' is there twice"),
        ("a,\n1,2\n", 1, "no name"),
        ("a,b\n1,2\n1,2,3\n", 3, "3 cells under 2 columns"),
        ('a,b\n1,"2\n', 2, "not valid CSV"),
    ],
)
def test_a_wrong_csv_is_told_with_its_line(write, tmp_path, body, line, told):
    path = write(SOUND.replace('foreach: {glob: "src/*.py"}', "dataset: d.csv"))
    write(body, "d.csv")
    with pytest.raises(SpecError) as caught:
        load_task(path)
    found = [problem for problem in caught.value.problems if problem.startswith(f"{tmp_path / 'd.csv'}:{line}: ")]
    assert [problem for problem in found if told in problem], caught.value.problems


def test_rows_of_a_data_set_become_subtasks(write):
    path = write(SOUND.replace('foreach: {glob: "src/*.py"}', "dataset: d.csv"))
    write('stem,path\nx,"a, b.py"\n', "d.csv")
    (made,) = expand_task(load_task(path), PATHS)
    assert (made.id, made.writable) == ("x", ("a, b.py",))


def test_the_digest_follows_the_meaning_and_not_the_layout(write):
    first = load_task(write(SOUND)).digest
    assert load_task(write("# a comment\n" + SOUND.replace("{path: code}", "\n  path: code"))).digest == first
    assert load_task(write(SOUND.replace("Improve", "Ruin"))).digest != first


def test_text_that_looks_like_a_number_to_old_yaml_stays_text(write):
    text = SOUND.replace('foreach: {glob: "src/*.py"}', "matrix: {stem: [010, 12:30], path: [x]}")
    assert [one.id for one in expand_task(load_task(write(text)), PATHS)] == ["010", "12-30"]


def test_the_editors_schema_is_the_one_in_the_documentation():
    shipped = Path(__file__).parents[2] / "docs" / "task.schema.json"
    assert shipped.read_text() == schema_text()


def test_the_editors_schema_knows_the_keys_by_their_names_in_the_file():
    schema = task_schema()
    split = schema["$defs"]["SplitSpec"]
    assert "list" in split["properties"]
    assert "listed" not in split["properties"]
    assert schema["additionalProperties"] is False
    assert all("description" in field for field in schema["properties"].values())
    assert json.loads(schema_text()) == schema


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parents[2] / "tasks").glob("*.yaml")), ids=lambda file: file.stem
)
def test_the_shipped_tasks_expand(file):
    loaded = load_task(file)
    assert loaded.repo_path is not None
    paths = [path.relative_to(loaded.repo_path).as_posix() for path in loaded.repo_path.rglob("*") if path.is_file()]
    assert len(expand_task(loaded, paths)) >= 2
