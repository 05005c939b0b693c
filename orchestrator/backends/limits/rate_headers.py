"""What providers say about an account's limits in the headers of a response, as one neutral value.

Two pure functions read the two dialects. Everything in a `RateHeaders` may be missing: a header that cannot be read is
one that was not sent, because feedback is a courtesy and must never fail a request.

The seam to the adapters: an adapter takes a `RateFeedback` and calls it once for each HTTP response, those with status 429
included, inside the task that made the request. `AccountLimiter.listener` makes one.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Literal

from orchestrator.core.values import Value

RateFeedback = Callable[[int, Mapping[str, str]], None]
"""Called with the status and the headers of one HTTP response."""

QuotaName = Literal["requests", "input_tokens", "output_tokens", "tokens"]
QUOTAS: tuple[QuotaName, ...] = ("requests", "input_tokens", "output_tokens", "tokens")

_DAY_S = 86_400.0
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|d|h|m|s)")
_UNIT_S = {"d": _DAY_S, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Quota(Value):
    """One quota as announced: units a minute, units left, and seconds until it is whole again. None is not said."""

    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


class RateHeaders(Value):
    """The quotas that one response announced. `tokens` counts input and output together; None is not said."""

    requests: Quota | None = None
    input_tokens: Quota | None = None
    output_tokens: Quota | None = None
    tokens: Quota | None = None
    retry_after_s: float | None = None

    def quotas(self) -> Iterator[tuple[QuotaName, Quota]]:
        """Those that were announced, by name."""
        for name in QUOTAS:
            quota: Quota | None = getattr(self, name)
            if quota is not None:
                yield name, quota


def anthropic_rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """Read `anthropic-ratelimit-*`. Its resets are times of day, which are counted from the response's own `date`.

    `anthropic-ratelimit-tokens-*` repeats the tightest of the others, so it counts only where those are not sent.
    """
    lower = _lower(headers)
    sent = _moment(lower.get("date"))

    def quota(name: str) -> Quota | None:
        prefix = f"anthropic-ratelimit-{name}"
        reset = _moment(lower.get(f"{prefix}-reset"))
        return _quota(
            _amount(lower.get(f"{prefix}-limit")),
            _amount(lower.get(f"{prefix}-remaining")),
            max(0.0, (reset - sent).total_seconds()) if reset and sent else None,
        )

    inputs, outputs = quota("input-tokens"), quota("output-tokens")
    return RateHeaders(
        requests=quota("requests"),
        input_tokens=inputs,
        output_tokens=outputs,
        tokens=quota("tokens") if inputs is None and outputs is None else None,
        retry_after_s=_retry_after_s(lower),
    )


def openai_rate_headers(headers: Mapping[str, str]) -> RateHeaders:
    """Read `x-ratelimit-*`, as OpenAI and servers that imitate it send them. Its resets are durations (`6m0s`, `120ms`).

    Small plans and some imitators announce requests per *day* under the same name. A quota whose reset says that it
    refills over a day is left out: pacing by it would spread a day's requests evenly over the day.
    """
    lower = _lower(headers)

    def quota(name: str) -> Quota | None:
        return _quota(
            _amount(lower.get(f"x-ratelimit-limit-{name}")),
            _amount(lower.get(f"x-ratelimit-remaining-{name}")),
            duration_s(lower.get(f"x-ratelimit-reset-{name}")),
        )

    requests = quota("requests")
    return RateHeaders(
        requests=None if requests is not None and _refills_over_a_day(requests) else requests,
        tokens=quota("tokens"),
        retry_after_s=_retry_after_s(lower),
    )


def duration_s(text: str | None) -> float | None:
    """Seconds of a duration such as `1s`, `6m0s`, `120ms` or a bare number of seconds; None where it is neither."""
    if text is None:
        return None
    text = text.strip()
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    return _amount(text)


def _refills_over_a_day(quota: Quota) -> bool:
    if quota.limit is None or quota.remaining is None or quota.reset_s is None or quota.remaining >= quota.limit:
        return False
    window_s = quota.reset_s * quota.limit / (quota.limit - quota.remaining)
    return _DAY_S / 1.5 < window_s < _DAY_S * 1.5


def _retry_after_s(lower: Mapping[str, str]) -> float | None:
    """Seconds to wait: `retry-after-ms`, or `retry-after` as a number or as a date (counted from the response's own)."""
    milliseconds = _amount(lower.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = lower.get("retry-after")
    seconds = _amount(text)
    if seconds is not None:
        return seconds
    until, sent = _moment(text), _moment(lower.get("date"))
    return max(0.0, (until - sent).total_seconds()) if until and sent else None


def _quota(limit: float | None, remaining: float | None, reset_s: float | None) -> Quota | None:
    # Some proxies write 0 or -1 for "no limit".
    limit = limit or None
    if limit is None and remaining is None:
        return None
    return Quota(limit=limit, remaining=remaining, reset_s=reset_s)


def _amount(text: str | None) -> float | None:
    try:
        number = float(text) if text is not None else None
    except ValueError:
        return None
    return number if number is not None and isfinite(number) and number >= 0 else None


def _moment(text: str | None) -> datetime | None:
    """A time of day, in RFC 3339 or in the form of HTTP's `date`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _lower(headers: Mapping[str, str]) -> Mapping[str, str]:
    return {name.lower(): value for name, value in headers.items()}
