"""What a recording never holds, and what it leaves alone."""

import sysconfig
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from orchestrator.backends.recordings.folder import Recording
from orchestrator.backends.recordings.recorder import RecordingModel
from orchestrator.backends.recordings.redaction import REDACTED, Redactor
from orchestrator.core.chat import Completion, Message, Tool, ToolCall, ToolResult
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Usage
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, ScriptedModel, prompt_for

KEY = "key-of-this-account"
RANDOM = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0eF3hI6kL9nO2qR5tU8"
KEYS = [
    f"sk-{RANDOM}",
    f"sk-ant-api03-{RANDOM}_-{RANDOM}-AA",
    f"sk-proj-{RANDOM}",
    f"sk-or-v1-{'0123456789abcdef' * 4}",
    f"sk-{'0123456789abcdef' * 2}",
    f"ghp_{RANDOM[:36]}",
    f"github_pat_{RANDOM[:22]}_{RANDOM}",
    f"glpat-{RANDOM[:20]}",
    "xoxb-123456789012-abcdefABCDEF",
    "AKIA" + "IOSFODNN7EXAMPL2",
    "AIza" + RANDOM[:35],
    f"sk_live_{RANDOM[:24]}",
    f"eyJ{RANDOM[:20]}.eyJ{RANDOM}.{RANDOM}",
]
CODE = [
    "class SkToggle: css = 'sk-toggleable__label-arrow sk-container-id-1 sk-fading-circle-animation'",
    "task-0123456789abcdef01234567 risk-management-of-everything-2024 disk-0123456789abcdef0123",
    "headers = {'Authorization': f'Bearer {token}'}",
    'headers["Authorization"] = "Bearer " + os.environ["TOKEN"]',
    "Bearer authentication is not basic_authentication_with_a_password",
    "curl -H 'Authorization: Bearer YOUR_ACCESS_TOKEN_GOES_HERE' https://example.org/v1/models",
    "the bearer tests/unit/test_oauth2_tokens_and_more.py",
    "ghp_short gho_ github_pat_ AKIA AKIAnotakey0000000000 AIza-nothing xoxb-no sk- sk-x",
    "sha256 62620ca9e133c90c93ea47682a56644f9b864513edf5108f93bf4fc4a9df5b3c",
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
    'if text.startswith("-----BEGIN PRIVATE KEY-----"): raise ValueError("-----END PRIVATE KEY-----")',
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key[:8])
@pytest.mark.parametrize("around", ["{}", 'key = "{}"\n', "é{}.", "KEY={};", "https://u:{}@host/", "({})", "\\n{}\\n"])
def test_what_has_the_shape_of_a_key_is_not_written(key, around):
    redacted = Redactor().text(around.format(key))
    assert redacted.startswith(around.split("{}", maxsplit=1)[0] + REDACTED)
    assert RANDOM[:12] not in redacted


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_token_of_a_header_is_not_written(scheme):
    text = f"curl -H 'Authorization: {scheme} {RANDOM}+/{RANDOM}==' x"
    assert Redactor().text(text) == f"curl -H 'Authorization: {scheme} {REDACTED}' x"


def test_a_private_key_is_not_written_in_text_or_in_json():
    body = "\n".join([RANDOM + "+/12"] * 20)
    for text in (body, body.replace("\n", "\\n"), f"Proc-Type: 4,ENCRYPTED\n\n{body}"):
        key = f"-----BEGIN RSA PRIVATE KEY-----\n{text}\n-----END RSA PRIVATE KEY-----"
        assert Redactor().text(f"a\n{key}\nb") == f"a\n{REDACTED}\nb"


@pytest.mark.parametrize("code", CODE)
def test_ordinary_code_stays_as_it_is(code):
    assert Redactor().text(code) == code


def test_the_code_of_this_project_and_of_pythons_library_stays_as_it_is():
    library = Path(sysconfig.get_path("stdlib"))
    files = [*(Path(__file__).parents[2] / "orchestrator").rglob("*.py"), *sorted(library.glob("*.py"))]
    redactor = Redactor()
    assert len(files) > 200
    changed = [str(file) for file in files if (text := file.read_text(errors="replace")) != redactor.text(text)]
    assert changed == []


@pytest.mark.parametrize("secret", [SecretStr(KEY), KEY, f"  {KEY}\n"], ids=["SecretStr", "str", "with space"])
def test_a_known_secret_is_not_written_wherever_it_stands(secret):
    assert Redactor([secret]).text(f"{KEY}{KEY} x{KEY}y") == f"{REDACTED}{REDACTED} x{REDACTED}y"


def test_a_secret_with_quotes_is_found_in_json_too():
    assert Redactor(['pass"word\\1']).text(r'{"a": "pass\"word\\1"} pass"word\1') == f'{{"a": "{REDACTED}"}} {REDACTED}'


def test_of_two_secrets_the_longer_one_goes_whole():
    assert Redactor(["12345678", "1234567890"]).text("1234567890 12345678") == f"{REDACTED} {REDACTED}"


@pytest.mark.parametrize("placeholder", ["", " ", "none", "test", "x"])
def test_a_placeholder_for_a_key_is_not_looked_for(placeholder):
    text = "none of this is a test of x"
    assert Redactor([placeholder]).text(text) == text


async def test_no_part_of_an_exchange_holds_a_secret(tmp_path):
    turn = Message(
        role="assistant",
        text=KEY,
        calls=(ToolCall(id=KEY, name=KEY, arguments={KEY: [{"x": (KEY, 1)}]}, problem=KEY),),
        opaque=f'["{KEY}"]',
    )
    results = Message(role="user", results=(ToolResult(call=KEY, text=KEY),))
    prompt = prompt_for(
        {KEY: KEY},
        text=KEY,
        subtask=KEY,
        tools=(Tool(name=KEY, description=KEY, parameters={"enum": [KEY]}),),
        response_schema={KEY: KEY},
    ).model_copy(update={"system": KEY})
    prompt = prompt.model_copy(update={"messages": (*prompt.messages, turn, results)})
    answer = Completion(text=KEY, stop_reason="tool_use", usage=Usage(), calls=turn.calls, opaque=KEY)
    model = ScriptedModel(answer, BackendError(f"wrong key {KEY}", kind="auth"))
    model.name = KEY
    keeper = RecordingModel(model, Recording.create(tmp_path / "r", [SecretStr(KEY)]), FakeClock())
    assert await keeper.complete(prompt, Meter()) == answer
    with pytest.raises(BackendError, match=KEY):
        await keeper.complete(prompt, Meter())
    written = [path.read_text() for path in (tmp_path / "r").iterdir()]
    assert len(written) == 2
    for body in written:
        assert KEY not in body
        assert body.count(REDACTED) > 15


async def test_words_of_a_fixed_choice_and_the_digest_stay_what_they_are(tmp_path):
    secrets = ["tool_use", "assistant", "end_turn", "[redacted]", "1970-01-01"]
    recording = Recording.create(tmp_path / "r", secrets)
    keeper = RecordingModel(ScriptedModel("an assistant"), recording, FakeClock())
    await keeper.complete(prompt_for(), Meter())
    exchange = Recording.open(tmp_path / "r").first()
    assert exchange.completion.stop_reason == "end_turn"
    assert exchange.completion.text == f"an {REDACTED}"


async def test_arguments_nested_beyond_reason_are_left_out_unseen(tmp_path):
    deep = {"key": KEY}
    for _ in range(400):
        deep = {"a": [deep]}
    call = ToolCall(id="c", name="n", arguments=deep)
    answer = Completion(text="", stop_reason="tool_use", usage=Usage(), calls=(call,))
    keeper = RecordingModel(ScriptedModel(answer), Recording.create(tmp_path / "r", [KEY]), FakeClock())
    await keeper.complete(prompt_for(), Meter())
    exchange = Recording.open(tmp_path / "r").first()
    assert exchange.completion.calls[0].name == "n"
    assert KEY not in exchange.model_dump_json()


@given(st.text(max_size=200), st.text(min_size=8, max_size=20).filter(lambda text: len(text.strip()) >= 8))
def test_no_text_holds_the_secret_afterwards(text, secret):
    redactor = Redactor([secret])
    redacted = redactor.text(text.join([secret, secret]))
    if secret.strip() not in REDACTED:
        assert secret.strip() not in redacted.replace(REDACTED, "\0")
