"""From statuses, bodies and exceptions to errors: by table, completely, in words that say what to do, without the key."""

import inspect
import json
from datetime import UTC, datetime
from email.utils import format_datetime

import anthropic
import httpx2
import openai
import pytest
from pydantic import SecretStr

from orchestrator.backends import anthropic as claude
from orchestrator.backends import openai as responses
from orchestrator.backends.batches.anthropic_batches import AnthropicBatches
from orchestrator.backends.batches.openai_batches import OpenAIBatches
from orchestrator.backends.batches.provider import BatchName, BatchRequest
from orchestrator.backends.openai_chat import ChatCompletionsModel
from orchestrator.backends.wire.api_model import Connection
from orchestrator.backends.wire.api_settings import ClaudeSettings, OpenAICompatibleSettings, OpenAISettings, key_place
from orchestrator.backends.wire.faults import FaultTeller, Reported, clean_key, meaning_of, reported, retry_after_s
from orchestrator.backends.wire.wire_faults import WIRE_FAULTS, fault_in
from orchestrator.core.errors import BackendError
from orchestrator.ports import Meter
from tests.fakes_backends import FakeClock, prompt_for

KEY = "sk-secret-0123456789"
REQUEST = httpx2.Request("POST", "http://127.0.0.1/v1", headers={"x-api-key": KEY})


def descendants(kind):
    yield kind
    for child in kind.__subclasses__():
        yield from descendants(child)


def public_errors(module, root):
    return sorted(
        {kind for kind in descendants(root) if kind.__module__.startswith(module)}, key=lambda kind: kind.__name__
    )


SDKS = {
    "anthropic": (claude.FAULTS, anthropic.AnthropicError, {anthropic.AnthropicError, anthropic.APIError}),
    "openai": (responses.FAULTS, openai.OpenAIError, {openai.OpenAIError, openai.APIError}),
}


@pytest.mark.parametrize("name", SDKS)
def test_every_exception_of_an_sdk_is_mapped_by_status_or_by_the_table(name):
    table, root, roots = SDKS[name]
    status_error = anthropic.APIStatusError if name == "anthropic" else openai.APIStatusError
    # What the SDK raises while it logs in for workloads; we always hand it a key.
    unused = {"SubjectTokenProviderError", "WorkloadIdentityError"}
    unmapped = [
        kind.__name__
        for kind in public_errors(f"{name}._exceptions", root)
        if kind not in roots
        and kind.__name__ not in unused
        and not issubclass(kind, status_error)
        and not any(parent in table for parent in kind.__mro__)
    ]
    assert unmapped == []


@pytest.mark.parametrize("name", SDKS)
def test_every_status_that_an_sdk_has_a_class_for_has_a_meaning(name):
    module = anthropic if name == "anthropic" else openai
    for kind in public_errors(f"{name}._exceptions", module.APIStatusError):
        status = inspect.getattr_static(kind, "status_code", None)
        if isinstance(status, int):
            meaning = meaning_of(Reported(status))
            assert meaning == "transient" if status >= 500 and status != 529 else meaning


def test_every_exception_of_the_http_library_is_mapped():
    roots = {httpx2.HTTPError, httpx2.RequestError, httpx2.TransportError, httpx2.ProtocolError}
    thrown = [kind for name in httpx2.__all__ if inspect.isclass(kind := getattr(httpx2, name))]
    thrown = [
        kind for kind in thrown if issubclass(kind, Exception) and kind not in roots and not issubclass(kind, Warning)
    ]
    assert len(thrown) > 20
    unmapped = [kind.__name__ for kind in thrown if not any(parent in WIRE_FAULTS for parent in kind.__mro__)]
    assert unmapped == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx2.ReadTimeout("", request=REQUEST), "transient"),
        (httpx2.RemoteProtocolError("", request=REQUEST), "transient"),
        (httpx2.ConnectError("", request=REQUEST), "transient"),
        (httpx2.LocalProtocolError("", request=REQUEST), "invalid_request"),
        (httpx2.UnsupportedProtocol("", request=REQUEST), "invalid_request"),
        (httpx2.DecodingError("", request=REQUEST), "malformed_response"),
        (json.JSONDecodeError("", "", 0), "malformed_response"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), "malformed_response"),
        (ConnectionResetError(), "transient"),
    ],
)
def test_an_exception_is_called_by_its_nearest_class(error, kind):
    assert fault_in(WIRE_FAULTS, error)[0] == kind


def openai_body(code=None, kind="invalid_request_error", message=""):
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def anthropic_body(kind, message=""):
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (429, openai_body("rate_limit_exceeded", "tokens"), "rate_limit"),
        (429, openai_body("insufficient_quota", "insufficient_quota"), "billing"),
        (
            429,
            openai_body("rate_limit_exceeded", "tokens", "Request too large for gpt-x on TPM: Limit 9"),
            "context_too_long",
        ),
        (429, anthropic_body("rate_limit_error"), "rate_limit"),
        (429, "Too many requests", "rate_limit"),
        (429, None, "rate_limit"),
        (529, anthropic_body("overloaded_error"), "overloaded"),
        (503, openai_body("server_is_overloaded", "service_unavailable_error"), "overloaded"),
        (503, "<html>", "transient"),
        (500, anthropic_body("api_error"), "transient"),
        (500, None, "transient"),
        (599, None, "transient"),
        (200, anthropic_body("overloaded_error"), "overloaded"),
        (200, anthropic_body("rate_limit_error"), "rate_limit"),
        (None, anthropic_body("api_error"), "transient"),
        (None, {"type": "error", "code": "server_error", "message": "x"}, "transient"),
        (401, openai_body("invalid_api_key"), "auth"),
        (401, "<html>", "auth"),
        (403, anthropic_body("permission_error"), "auth"),
        (402, anthropic_body("billing_error"), "billing"),
        (400, anthropic_body("invalid_request_error", "Your credit balance is too low to access"), "billing"),
        (400, anthropic_body("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum"), "context_too_long"),
        (
            400,
            anthropic_body("invalid_request_error", "input length and `max_tokens` exceed context limit"),
            "context_too_long",
        ),
        (400, openai_body("context_length_exceeded"), "context_too_long"),
        (400, openai_body(None, message="This model's maximum context length is 8 tokens"), "context_too_long"),
        (400, anthropic_body("invalid_request_error", "temperature: not supported"), "invalid_request"),
        (400, openai_body("invalid_prompt"), "refusal"),
        (400, openai_body("content_filter"), "refusal"),
        (404, anthropic_body("not_found_error"), "unknown_model"),
        (404, openai_body("model_not_found"), "unknown_model"),
        (404, {"detail": "Not Found"}, "unknown_model"),
        (408, None, "transient"),
        (409, None, "transient"),
        (413, anthropic_body("request_too_large"), "context_too_long"),
        (418, None, "invalid_request"),
        (422, None, "invalid_request"),
        (307, None, "invalid_request"),
        (400, {"error": None}, "invalid_request"),
        (400, {"error": {"code": 7, "type": [], "message": {}}}, "invalid_request"),
    ],
)
def test_a_failure_is_judged_by_code_then_words_then_status(status, body, meaning):
    assert meaning_of(reported(status, body)) == meaning


NOW = 1_000_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW + 30, tz=UTC), usegmt=True)}, 30.0),
        ({"retry-after": format_datetime(datetime.fromtimestamp(NOW - 30, tz=UTC), usegmt=True)}, 0.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_a_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert retry_after_s(headers, NOW) == seconds


SETTINGS = {
    "claude": ClaudeSettings(model="m-1"),
    "openai": OpenAISettings(model="m-1", api_key_command=("pass", "show", "openai")),
    "compatible": OpenAICompatibleSettings(model="m-1", base_url="http://127.0.0.1:1/v1"),
}


def teller(name="claude"):
    return FaultTeller(SETTINGS[name], SecretStr(KEY), FakeClock())


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (401, ("$ANTHROPIC_API_KEY", "refused (401)", "put a valid key")),
        (402, ("$ANTHROPIC_API_KEY", "cannot pay (402)", "add credit")),
        (404, ("'m-1'", "check model and base_url")),
        (413, ("'m-1'", "context_tokens")),
        (400, ("api.anthropic.com", "check the configuration")),
        (429, ("'m-1'", "(429)")),
    ],
)
def test_an_error_says_what_happened_and_what_to_do(status, says):
    text = str(teller().reported(reported(status, {"error": {"message": "the provider's words"}})))
    assert all(piece in text for piece in (*says, "the provider's words"))


def test_where_the_key_comes_from_is_named():
    assert key_place(SETTINGS["openai"]) == "the key that the command 'pass' prints"
    assert "api_key_env" in key_place(SETTINGS["compatible"])


def test_words_from_outside_are_short_on_one_line_and_without_the_key():
    text = str(teller().reported(reported(401, {"error": {"message": f"bad key {KEY}\n\n" + "x" * 10_000}})))
    assert KEY not in text
    assert "\n" not in text
    assert len(text) < 600


def test_a_retry_after_counts_only_where_asking_again_may_help():
    assert teller().reported(reported(401, None, {"retry-after": "5"})).retry_after_s is None
    assert teller().reported(reported(529, None, {"retry-after": "5"})).retry_after_s == 5


@pytest.mark.parametrize("key", ["", "  ", "two words", "line\nbreak", "ünicode", "bell\x07"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(key):
    with pytest.raises(BackendError) as caught:
        clean_key(SecretStr(key), SETTINGS["claude"])
    assert caught.value.kind == "auth"
    assert "$ANTHROPIC_API_KEY" in str(caught.value)
    assert not key.strip() or key not in str(caught.value)


def test_blanks_around_a_key_are_no_part_of_it():
    assert clean_key(SecretStr(f"  {KEY}\n"), SETTINGS["claude"]).get_secret_value() == KEY


FOREIGN = "of-the-environment"
ACCOUNT = {"OPENAI_ORG_ID": f"org-{FOREIGN}", "OPENAI_PROJECT_ID": f"proj-{FOREIGN}"}
CUSTOM = f"Authorization: Bearer {FOREIGN}\nx-api-key: {FOREIGN}\nX-Gateway: {FOREIGN}\nuser-agent: {FOREIGN}"
ENVIRONMENT = {
    **ACCOUNT,
    **{f"{sdk}_CUSTOM_HEADERS": CUSTOM for sdk in ("OPENAI", "ANTHROPIC")},
    **{f"OPENAI_{name}": FOREIGN for name in ("API_KEY", "ADMIN_KEY", "WEBHOOK_SECRET")},
    **{f"ANTHROPIC_{name}": FOREIGN for name in ("API_KEY", "AUTH_TOKEN", "PROFILE", "WEBHOOK_SIGNING_KEY")},
    **{f"ANTHROPIC_{name}": FOREIGN for name in ("IDENTITY_TOKEN", "FEDERATION_RULE_ID", "ORGANIZATION_ID")},
    **{f"{sdk}_BASE_URL": f"http://{FOREIGN}.test" for sdk in ("OPENAI", "ANTHROPIC")},
}
LOCAL = "http://127.0.0.1:9/v1"
ASKING = {
    "claude": (claude.AnthropicModel, ClaudeSettings),
    "openai": (responses.OpenAIModel, OpenAISettings),
    "compatible": (ChatCompletionsModel, OpenAICompatibleSettings),
    "claude in batches": (AnthropicBatches, ClaudeSettings),
    "openai in batches": (OpenAIBatches, OpenAISettings),
}


async def request_of(kind, base_url, key=KEY):
    """The one request that a model sends before it is refused."""
    model, settings = ASKING[kind]
    sent = []

    def refuse(request):
        sent.append(request)
        return httpx2.Response(401, json={"error": {"message": "no"}})

    secret = None if key is None else SecretStr(key)
    connection = Connection(secret, FakeClock(), httpx2.MockTransport(refuse))
    async with model(settings(model="m", base_url=base_url), connection) as asked:
        if kind.endswith("batches"):
            await asked.submit(BatchName("b-1"), [BatchRequest("b-1-0", {})])
        else:
            with pytest.raises(BackendError):
                await asked.complete(prompt_for(), Meter())
    assert len(sent) == 1
    return sent[0]


@pytest.fixture
def _environment(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("key", [KEY, None])
@pytest.mark.parametrize("kind", ASKING)
async def test_nothing_of_the_environment_goes_to_a_server(kind, key):
    request = await request_of(kind, LOCAL, key)
    assert request.url.host == "127.0.0.1"
    assert [name for name, value in request.headers.items() if FOREIGN in value] == []
    assert not {"openai-organization", "openai-project", "x-gateway"} & set(request.headers)
    credentials = [value for name in ("authorization", "x-api-key") for value in request.headers.get_list(name)]
    assert [value.removeprefix("Bearer ") for value in credentials] == [key or "none"]


@pytest.mark.usefixtures("_environment")
@pytest.mark.parametrize("kind", ["openai", "compatible", "openai in batches"])
async def test_only_openai_itself_is_told_the_environments_organisation_and_project(kind):
    headers = (await request_of(kind, "https://api.openai.com/v1")).headers
    assert [name for name, value in headers.items() if FOREIGN in value] == ["openai-organization", "openai-project"]
    assert headers["authorization"] == f"Bearer {KEY}"
    for lookalike in ("https://api.openai.com.test/v1", "https://api.openai.com@gateway.test/v1"):
        headers = (await request_of(kind, lookalike)).headers
        assert [name for name, value in headers.items() if FOREIGN in value] == []


@pytest.mark.usefixtures("_environment")
async def test_anthropic_itself_gets_nothing_of_the_environment_either():
    headers = (await request_of("claude", "https://api.anthropic.com")).headers
    assert [name for name, value in headers.items() if FOREIGN in value] == []
