import pytest

from storefront.config import Settings, duration_s, from_env, parse, size_bytes
from storefront.errors import ConfigError

TEXT = """
# defaults of the shop
name = Hats & more   # shown in mails
[ Cart ]
Max_Lines = 50
note = a = b

[mail]
"""


def test_parse():
    assert parse(TEXT) == {"name": "Hats & more", "cart.max_lines": "50", "cart.note": "a = b"}
    assert parse("") == {}
    assert parse("a =") == {"a": ""}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n[ ]", "line 2: empty section name"),
        ("[cart", "line 1: expected key = value"),
        ("cart]", "line 1: expected key = value"),
        ("a = 1\nword", "line 2: expected key = value"),
        (" = 1", "line 1: empty key"),
        ("a = 1\nA = 2", "line 2: a is set twice"),
        ("[s]\na = 1\na = 2", "line 3: s.a is set twice"),
    ],
)
def test_parse_errors(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_from_env():
    environ = {
        "STOREFRONT_CART__MAX_LINES": "9",
        "STOREFRONT_NAME": "x",
        "PATH": "p",
        "STOREFRONT_": "y",
    }
    assert from_env(environ) == {"cart.max_lines": "9", "name": "x"}
    assert from_env(environ, "PA") == {"th": "p"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("15m", 900),
        (" 1H30m ", 5400),
        ("2d", 172800),
        ("1h1m1s", 3661),
        ("0s", 0),
        ("1m1m", 120),
    ],
)
def test_duration(text, seconds):
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["h", "1x", "1h30", "1hm", "-5", "1.5h"])
def test_bad_duration(text):
    with pytest.raises(ConfigError, match=f"^bad duration '{text}'$"):
        duration_s(text)


def test_empty_duration():
    with pytest.raises(ConfigError, match="^empty duration$"):
        duration_s("  ")


@pytest.mark.parametrize(("text", "size"), [("512", 512), (" 2K", 2048), ("1m", 1048576), ("0", 0)])
def test_size(text, size):
    assert size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "k", "1g", "-1", "1kk"])
def test_bad_size(text):
    with pytest.raises(ConfigError, match=f"^bad size '{text}'$"):
        size_bytes(text)


@pytest.fixture
def settings():
    return Settings(
        [
            {"a": "1", "cart.lines": "5", "cart.names": " x, ,y "},
            {"a": "2", "debug": "On", "cartoon": "z", "word": "w"},
        ]
    )


def test_last_layer_wins(settings):
    assert settings.text("a") == "2"
    assert "a" in settings
    assert "b" not in settings
    assert "a" not in Settings()


def test_layers_are_copied():
    layer = {"a": "1"}
    settings = Settings([layer])
    layer["a"] = "2"
    assert settings.text("a") == "1"


def test_text(settings):
    assert settings.text("a", "x") == "2"
    assert settings.text("b", "x") == "x"
    assert settings.text("b", "") == ""
    with pytest.raises(ConfigError, match="^b is not set$"):
        settings.text("b")


def test_integer(settings):
    assert settings.integer("cart.lines") == 5
    assert settings.integer("cart.lines", 7, 5, 5) == 5
    assert settings.integer("b", 0) == 0
    assert settings.integer("b", 7, 10, 20) == 7


@pytest.mark.parametrize(
    ("key", "low", "high", "message"),
    [
        ("b", None, None, "b is not set"),
        ("word", None, None, "word is not a number"),
        ("cart.lines", 6, None, "cart.lines must be at least 6"),
        ("cart.lines", None, 4, "cart.lines must be at most 4"),
    ],
)
def test_integer_errors(settings, key, low, high, message):
    with pytest.raises(ConfigError, match=f"^{message}$"):
        settings.integer(key, None, low, high)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", True),
        ("YES", True),
        ("true", True),
        ("1", True),
        ("off", False),
        ("No", False),
        ("false", False),
        ("0", False),
    ],
)
def test_flag(text, value):
    settings = Settings([{"f": text}])
    assert settings.flag("f") is value
    assert settings.flag("f", not value) is value


def test_flag_default_and_error(settings):
    assert settings.flag("b") is False
    assert settings.flag("b", True) is True
    with pytest.raises(ConfigError, match="^word is not on or off$"):
        settings.flag("word")


def test_items(settings):
    assert settings.items("cart.names") == ["x", "y"]
    assert settings.items("b") == []
    default = ["q"]
    assert settings.items("b", default) == ["q"]
    assert settings.items("b", default) is not default


def test_section(settings):
    assert settings.section("cart") == {"lines": "5", "names": " x, ,y "}
    assert settings.section("none") == {}
