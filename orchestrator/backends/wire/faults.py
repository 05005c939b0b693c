"""What a model API's failure means: from status, body and headers to a `BackendError` that says what to do.

Both SDKs hand over the same facts in different clothes (`Reported`), so the judgement is made once, here: first by the
provider's own code, since a 429 may be a bill and a 400 a prompt that is too long, then by its words, then by the status.
A prompt that the provider declines to work at is no failure but a refusal.

Nothing of a key passes: texts from outside are shortened and the key is cut out of them.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Literal

from pydantic import SecretStr

from orchestrator.backends.wire.api_settings import AnyApiSettings, key_place
from orchestrator.core.errors import RETRYABLE_FAULTS, BackendError, BackendFault
from orchestrator.ports import Clock

Meaning = BackendFault | Literal["refusal"]

_MAX_QUOTED_CHARS = 300

BY_CODE: Mapping[str, Meaning] = {
    "authentication_error": "auth",
    "invalid_api_key": "auth",
    "permission_error": "auth",
    "billing_error": "billing",
    "billing_hard_limit_reached": "billing",
    "billing_not_active": "billing",
    "insufficient_quota": "billing",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "engine_overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "model_not_found": "unknown_model",
    "not_found_error": "unknown_model",
    "context_length_exceeded": "context_too_long",
    "request_too_large": "context_too_long",
    "string_above_max_length": "context_too_long",
    "api_error": "transient",
    "internal_error": "transient",
    "server_error": "transient",
    "timeout_error": "transient",
    "bio_policy": "refusal",
    "content_filter": "refusal",
    "content_policy_violation": "refusal",
    "cyber_policy_violation": "refusal",
    "invalid_prompt": "refusal",
    "misalignment_policy_violation": "refusal",
}
# Lower-case pieces of messages, for what providers send without a code of its own.
BY_WORDS: tuple[tuple[str, Meaning], ...] = (
    ("credit balance is too low", "billing"),
    ("prompt is too long", "context_too_long"),
    ("input is too long", "context_too_long"),
    ("exceed context limit", "context_too_long"),
    ("maximum context length", "context_too_long"),
    ("context window", "context_too_long"),
    ("content filtering policy", "refusal"),
    # A 429 for one request above the limit of a whole minute: waiting does not help.
    ("request too large for", "context_too_long"),
)
BY_STATUS: Mapping[int, Meaning] = {
    400: "invalid_request",
    401: "auth",
    402: "billing",
    403: "auth",
    404: "unknown_model",
    408: "transient",
    409: "transient",
    413: "context_too_long",
    422: "invalid_request",
    425: "transient",
    429: "rate_limit",
    499: "transient",
    529: "overloaded",
}
_ADVICE: Mapping[BackendFault, str] = {
    "auth": "{key} was refused {said}; put a valid key for {where} there",
    "billing": "the account of {key} cannot pay {said}; add credit or use another key",
    "unknown_model": "{where} has no model {model} {said}; check model and base_url in the configuration",
    "context_too_long": "the prompt is too long for {model} {said}; lower context_tokens or take a larger model",
    "invalid_request": "{where} does not accept the request for {model} {said}; check the configuration",
    "rate_limit": "{model}: too many requests or tokens for the account's limits {said}",
    "overloaded": "{model}: the service is overloaded {said}",
    "transient": "{model}: the service failed {said}",
    "stall": "{model}: the service fell silent {said}",
    "malformed_response": "{model}: no usable answer {said}",
}


@dataclass(frozen=True, slots=True)
class Reported:
    """A failure as a provider reports it. `status` is None, or below 400, for one that came within a stream."""

    status: int | None = None
    codes: tuple[str, ...] = ()
    message: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def reported(status: int | None, body: object, headers: Mapping[str, str] | None = None) -> Reported:
    """Read an error's body: `{"error": {...}}` or the inner object alone, with `code`, `type` and `message`; or a text."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    if isinstance(inner, Mapping):
        codes = tuple(str(inner[key]) for key in ("code", "type") if isinstance(inner.get(key), str))
        message = inner.get("message", "")
    else:
        codes, message = (), inner
    if status is not None and 300 <= status < 400:
        message = f"it redirects to {(headers or {}).get('location', 'nowhere')!r}"
    return Reported(status, codes, message if isinstance(message, str) else "", headers or {})


def meaning_of(failure: Reported) -> Meaning:
    """Classify a failure; one that nothing is known of is transient within a stream or from 500 up, else our mistake."""
    for code in failure.codes:
        # A rate limit may be told in words to be something else, so its code is no last word.
        if BY_CODE.get(code, "rate_limit") != "rate_limit":
            return BY_CODE[code]
    words = failure.message.lower()
    for piece, meaning in BY_WORDS:
        if piece in words:
            return meaning
    if any(BY_CODE.get(code) == "rate_limit" for code in failure.codes):
        return "rate_limit"
    status = failure.status
    if status is None or status < 300 or status >= 500:
        return BY_STATUS.get(status or 500, "transient")
    return BY_STATUS.get(status, "invalid_request")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a response asks to wait: `retry-after-ms`, or `retry-after` in seconds or as an HTTP date; None without.

    `now` is in seconds since the epoch. What cannot be read is as good as absent.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None or text is None:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def clean_key(key: SecretStr, settings: AnyApiSettings) -> SecretStr:
    """The key without blanks around it. Raises `BackendError` for one that no header can carry."""
    text = key.get_secret_value().strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise BackendError(
            f"{key_place(settings)} is empty or holds blanks or special characters; put the bare key there", kind="auth"
        )
    return SecretStr(text)


@dataclass(frozen=True, slots=True)
class FaultTeller:
    """Words the failures of one configured model. It knows the key only to keep it out of them."""

    settings: AnyApiSettings
    key: SecretStr
    clock: Clock

    def reported(self, failure: Reported) -> BackendError | None:
        """The error that a reported failure is; None for a refusal."""
        meaning = meaning_of(failure)
        if meaning == "refusal":
            return None
        wait_s = retry_after_s(failure.headers, self.clock.now()) if meaning in RETRYABLE_FAULTS else None
        status = "in the stream" if failure.status is None or failure.status < 300 else str(failure.status)
        return BackendError(
            self._text(meaning, f"({status}){self.quoted(failure.message)}"), kind=meaning, retry_after_s=wait_s
        )

    def broken(self, kind: BackendFault, what: str, detail: str = "", *, is_unsent: bool = False) -> BackendError:
        """An error of the connection or of the answer's form."""
        return BackendError(
            f"{self.settings.model} at {self.settings.base_url}: {what}{self.quoted(detail)}",
            kind=kind,
            is_unsent=is_unsent,
        )

    def quoted(self, text: str) -> str:
        """Words from outside, on one line, short, without the key; with a colon before them if there are any."""
        secret = self.key.get_secret_value()
        plain = " ".join((text.replace(secret, "…") if secret else text).split())
        if not plain:
            return ""
        return f": {plain[:_MAX_QUOTED_CHARS]}{'…' if len(plain) > _MAX_QUOTED_CHARS else ''}"

    def _text(self, kind: BackendFault, said: str) -> str:
        """What happened, and what to do about it."""
        settings = self.settings
        return _ADVICE[kind].format(
            key=key_place(settings), model=repr(settings.model), where=settings.base_url, said=said
        )
