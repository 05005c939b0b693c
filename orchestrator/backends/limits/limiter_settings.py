"""What a person may say of an account's limits, and what the limiter says of the changes it made."""

from collections.abc import Mapping

from pydantic import Field

from orchestrator.backends.limits.rate_headers import QUOTAS, QuotaName
from orchestrator.core.values import Value


class LimiterSettings(Value):
    """What is known of an account's limits, before its provider announces them. None is not known."""

    requests_per_min: float | None = Field(default=None, gt=0, description="Requests a minute.")
    input_tokens_per_min: float | None = Field(default=None, gt=0, description="Input tokens a minute.")
    output_tokens_per_min: float | None = Field(default=None, gt=0, description="Output tokens a minute.")
    tokens_per_min: float | None = Field(
        default=None, gt=0, description="Input and output tokens a minute, where the provider counts them together."
    )
    max_concurrency: int | None = Field(
        default=None, ge=1, description="Requests at once; without it, found by trying while no request limit is known."
    )
    first_concurrency: int = Field(
        default=16, ge=1, description="Requests at once to begin with, when it is to be found."
    )
    burst_s: float = Field(
        default=0.5,
        gt=0,
        description="Seconds' worth of requests that may go at once. Providers enforce a minute's limit over seconds.",
    )
    token_burst_s: float = Field(
        default=60.0, gt=0, description="Seconds' worth of tokens that may go at once; providers document a minute's."
    )
    max_pause_s: float = Field(
        default=120.0, gt=0, description="A longer retry-after is reported, and one request asks again after this long."
    )
    counts_cached_input: bool = Field(
        default=True, description="Whether input read from a prompt cache counts (OpenAI: yes, Anthropic: no)."
    )

    def limits(self) -> Mapping[QuotaName, float]:
        """The limits that are known, by the name of the quota."""
        configured = {
            "requests": self.requests_per_min,
            "input_tokens": self.input_tokens_per_min,
            "output_tokens": self.output_tokens_per_min,
            "tokens": self.tokens_per_min,
        }
        return {name: limit for name in QUOTAS if (limit := configured[name]) is not None}


class RateChange(Value):
    """One thing that the limiter changed, and why. `at_s` is on the clock; None is not known or no limit."""

    at_s: float
    what: str
    before: float | None
    after: float | None
    reason: str
