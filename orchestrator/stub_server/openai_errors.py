"""What both of OpenAI's wire formats share: the words for errors, and the names of the limits."""

from collections.abc import Mapping

from orchestrator.stub_server.buckets import Account
from orchestrator.stub_server.dialect import Rejection

_ERRORS: Mapping[str, tuple[int, str, str | None]] = {
    "rate_limit": (429, "tokens", "rate_limit_exceeded"),
    "insufficient_quota": (429, "insufficient_quota", "insufficient_quota"),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded"),
    "server_error": (500, "server_error", None),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "billing": (402, "invalid_request_error", "billing_not_active"),
    "forbidden": (403, "request_forbidden", "unsupported_country_region_territory"),
    "unknown_model": (404, "invalid_request_error", "model_not_found"),
    "too_large": (413, "invalid_request_error", None),
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded"),
    "invalid_request": (400, "invalid_request_error", None),
    "policy": (400, "invalid_request_error", "invalid_prompt"),
}
# The names of the limits in headers, and the bucket that each shows: input and output count together here.
_SHOWN: Mapping[str, str] = {"requests": "requests", "tokens": "tokens"}


def openai_rejection(kind: str, message: str) -> Rejection:
    """An error of one of the server's kinds."""
    status, name, code = _ERRORS[kind]
    return Rejection(status, {"error": {"message": message, "type": name, "param": None, "code": code}})


def openai_limit_headers(account: Account, now: float) -> Mapping[str, str]:
    """The published limits, with the time until each is full again, as in `6ms` or `1m30.5s`."""
    headers = {}
    for shown, name in _SHOWN.items():
        bucket = account.buckets.get(name)
        if bucket is not None:
            headers[f"x-ratelimit-limit-{shown}"] = str(bucket.per_minute)
            headers[f"x-ratelimit-remaining-{shown}"] = str(max(0, int(bucket.now_at(now))))
            headers[f"x-ratelimit-reset-{shown}"] = _duration(bucket.full_s(now))
    return headers


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{rest:.3f}s" if minutes else f"{rest:.3f}s"
