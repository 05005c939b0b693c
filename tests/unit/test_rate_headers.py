"""Headers of real providers become one value; what cannot be read was not sent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.backends.limits.rate_headers import (
    Quota,
    RateHeaders,
    anthropic_rate_headers,
    duration_s,
    openai_rate_headers,
)

ANTHROPIC = {
    "date": "Mon, 02 Nov 2026 10:00:00 GMT",
    "Anthropic-RateLimit-Requests-Limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2026-11-02T10:00:01Z",
    "anthropic-ratelimit-input-tokens-limit": "400000",
    "anthropic-ratelimit-input-tokens-remaining": "399000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-02T10:00:02Z",
    "anthropic-ratelimit-output-tokens-limit": "80000",
    "anthropic-ratelimit-output-tokens-remaining": "80000",
    "anthropic-ratelimit-output-tokens-reset": "2026-11-02T10:00:00Z",
    "anthropic-ratelimit-tokens-limit": "480000",
    "retry-after": "7",
}
OPENAI = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "150000",
    "x-ratelimit-remaining-tokens": "149984",
    "x-ratelimit-reset-tokens": "6m0s",
}


def test_what_anthropic_announces_is_read():
    assert anthropic_rate_headers(ANTHROPIC) == RateHeaders(
        requests=Quota(limit=4000, remaining=3999, reset_s=1),
        input_tokens=Quota(limit=400_000, remaining=399_000, reset_s=2),
        output_tokens=Quota(limit=80_000, remaining=80_000, reset_s=0),
        retry_after_s=7,
    )


def test_the_tightest_token_limit_counts_only_where_it_is_alone():
    alone = anthropic_rate_headers({"anthropic-ratelimit-tokens-limit": "480000"})
    assert alone == RateHeaders(tokens=Quota(limit=480_000))


def test_what_openai_announces_is_read():
    assert openai_rate_headers(OPENAI) == RateHeaders(
        requests=Quota(limit=10_000, remaining=9_999, reset_s=0.006),
        tokens=Quota(limit=150_000, remaining=149_984, reset_s=360),
    )


def test_a_quota_of_requests_per_day_does_not_pace_by_the_minute():
    daily = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
    }
    assert openai_rate_headers(daily).requests is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after-ms": "120", "retry-after": "1"}, 0.12),
        ({"retry-after": "Mon, 02 Nov 2026 10:00:30 GMT", "date": "Mon, 02 Nov 2026 10:00:00 GMT"}, 30),
        ({"retry-after": "Mon, 02 Nov 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(headers, seconds):
    assert anthropic_rate_headers(headers).retry_after_s == seconds
    assert openai_rate_headers(headers).retry_after_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1), ("6m0s", 360), ("120ms", 0.12), ("7m12s", 432), ("1h2m3.5s", 3723.5), ("1d", 86400), ("3", 3),
        ("s", None), ("1x", None), ("", None), ("inf", None), (None, None),
    ],
)  # fmt: skip
def test_durations_are_read(text, seconds):
    assert duration_s(text) == pytest.approx(seconds) if seconds is not None else duration_s(text) is None


def test_no_limit_is_not_a_limit_of_nothing():
    assert openai_rate_headers({"x-ratelimit-limit-requests": "0"}) == RateHeaders()
    assert openai_rate_headers({"x-ratelimit-limit-requests": "-1"}) == RateHeaders()


NAMES = sorted({*ANTHROPIC, *OPENAI, "retry-after-ms"})


@given(st.dictionaries(st.sampled_from(NAMES), st.one_of(st.text(), st.floats().map(str), st.integers().map(str))))
def test_no_header_fails_a_request(headers):
    for read in (anthropic_rate_headers, openai_rate_headers):
        for _, quota in read(headers).quotas():
            assert quota.limit is None or quota.limit > 0
