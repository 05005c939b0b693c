from hashlib import sha256
from pathlib import Path

import pytest

from orchestrator.catalog import load_skill, load_skills
from orchestrator.core.errors import SpecError

SOUND = "---\nname: tidy\ndescription: Use it to tidy.\n---\n\nTidy up.\n"


@pytest.fixture
def write(tmp_path):
    def put(text=SOUND, folder="tidy", place="skills"):
        path = tmp_path / place / folder / "SKILL.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return put


def refused(path):
    with pytest.raises(SpecError) as caught:
        load_skill(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_a_sound_skill_is_loaded_with_its_digest(write):
    skill = load_skill(write())
    assert (skill.name, skill.description, skill.body) == ("tidy", "Use it to tidy.", "Tidy up.\n")
    assert skill.digest == sha256(SOUND.encode()).hexdigest()


def test_all_keys_of_the_open_format_are_taken(write):
    more = "license: MIT\ncompatibility: any\nmetadata: {author: me}\nallowed-tools: Read Grep\n---\n"
    assert load_skill(write(SOUND.replace("---\n\n", f"{more}\n"))).name == "tidy"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Tidy up.", "1: the file must begin with `---`"),
        ("---\n---\nx", "1: the file is empty; it needs at least `name`, `description`"),
        ("---\nname: tidy\n---\nx", "2: `description` is missing; add it: what the skill does and when to use it"),
        (SOUND.replace("name: tidy", "name: neat"), "2: `name` is 'neat', the folder 'tidy'; rename one of the two"),
        (SOUND.replace("name: tidy", "name: Tidy"), "2: `name` must be lower-case letters, digits and single hyphens"),
        (SOUND.replace("name: tidy", "name: " + "x" * 65), "2: `name` must be at most 64 characters long"),
        (SOUND.replace("Use it to tidy.", "x" * 1025), "3: `description` must be at most 1024 characters long"),
        (SOUND.replace("Use it to tidy.", '" "'), "3: `description` must not be empty"),
        (SOUND.replace("---\n\n", "licence: MIT\n---\n"), "4: unknown key `licence`; did you mean `license`?"),
        (SOUND.replace("Tidy up.", ""), "2: there is nothing below the front matter"),
        (SOUND.replace("name: tidy", "name: [tidy"), "3: not valid YAML"),
    ],
)
def test_a_wrong_skill_is_refused_with_line_and_advice(write, text, told):
    assert any(problem.startswith(told) for problem in refused(write(text))), refused(write(text))


def test_an_earlier_directory_wins_and_missing_ones_have_none(write, tmp_path):
    write()
    write(SOUND.replace("Tidy up.", "Other."), place="later")
    write(SOUND.replace("tidy", "more"), folder="more", place="later")
    skills = load_skills([tmp_path / "none", tmp_path / "skills", tmp_path / "later"])
    assert {name: skill.body for name, skill in skills.items()} == {"tidy": "Tidy up.\n", "more": "Tidy up.\n"}


def test_all_wrong_skills_are_told_at_once(write, tmp_path):
    write("x", folder="a")
    write("y", folder="b")
    with pytest.raises(SpecError) as caught:
        load_skills([tmp_path / "skills"])
    assert len(caught.value.problems) == 2


def test_the_shipped_skills_are_valid():
    skills = load_skills([Path(__file__).parents[2] / "skills"])
    assert {"refactor", "write-tests", "explain", "repair"} <= set(skills)
    assert all(len(skill.body) < 4_000 for skill in skills.values())
