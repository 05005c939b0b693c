import pytest
from pydantic import BaseModel, ConfigDict, Field

from orchestrator.catalog import find_config, load_config, parse_config
from orchestrator.core.errors import SpecError


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid")

    model: str = Field(description="The model's name.")
    max_output_tokens: int = 100
    prices: dict[str, float] = {}


@pytest.fixture
def write(tmp_path):
    def put(text, name="fast.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return put


def test_a_config_is_found_by_name_or_by_path_and_an_earlier_folder_wins(write, tmp_path):
    path = write("backend: x\n")
    (tmp_path / "own").mkdir()
    own = write("backend: y\n", "own/fast.yml")
    assert find_config("fast", [tmp_path]) == path
    assert find_config("fast", [tmp_path / "own", tmp_path]) == own
    assert find_config("fast.yaml", [tmp_path]) == path
    assert find_config(str(path), []) == path


def test_a_name_that_is_not_there_is_answered_with_what_is(write, tmp_path):
    write("backend: x\n")
    write("backend: x\n", "slow.yaml")
    with pytest.raises(SpecError, match="no configuration 'fats'; did you mean `fast`"):
        find_config("fats", [tmp_path])
    with pytest.raises(SpecError, match="there is `fast`, `slow`"):
        find_config("zzzzzz", [tmp_path / "none", tmp_path])
    with pytest.raises(SpecError, match="no configuration"):
        find_config("../fast", [tmp_path / "own"])


def test_settings_become_the_backends_own_model(write):
    loaded = load_config(write("backend: api\nmodel: m\nprices: {input: 1}\n"))
    assert (loaded.backend, loaded.name, loaded.line_of("model"), loaded.line_of(("prices", "input"))) == (
        "api",
        "fast",
        2,
        3,
    )
    assert parse_config(loaded, Settings) == Settings(model="m", prices={"input": 1.0})


def test_mistakes_in_settings_are_told_together_with_lines(write):
    path = write("backend: api\nmax_output_tokns: 5\nmax_output_tokens: lots\nprices: {input: cheap}\n")
    with pytest.raises(SpecError) as caught:
        parse_config(load_config(path), Settings)
    assert caught.value.problems == [
        f"{path}:1: `model` is missing; add it: the model's name",
        f"{path}:2: unknown key `max_output_tokns`; did you mean `max_output_tokens`?",
        f"{path}:3: `max_output_tokens` must be a whole number, not the text 'lots'; write it without quotes and units",
        f"{path}:4: `prices.input` must be a number, not the text 'cheap'; write it without quotes and units",
    ]


@pytest.mark.parametrize("text", ["", "- x\n", "model: m\n", "backend: 5\n", "backend: ''\n"])
def test_a_config_without_a_backend_is_refused(write, text):
    with pytest.raises(SpecError, match=r"fast\.yaml:1: .*backend"):
        load_config(write(text))


def test_other_bytes_have_another_digest(write):
    assert load_config(write("backend: a\n")).digest != load_config(write("backend: a\nx: 1\n")).digest
