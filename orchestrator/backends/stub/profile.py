"""The settings of the simulated model: how fast it is, what it costs, how often it goes wrong.

The files `configs/stub*.yaml` hold one of these each. Every probability is an assumption that a user can read and
change; none is a claim about a real model.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.core.values import Value

Probability = Annotated[float, Field(ge=0, le=1)]

AnswerError = Literal[
    "broken_syntax",
    "wrong_edit",
    "malformed_block",
    "misplaced_edit",
    "truncated",
    "refusal",
    "protected_edit",
]
ApiFault = Literal["rate_limit", "overloaded", "stall", "disconnect"]

ANSWER_ERRORS: tuple[AnswerError, ...] = (
    "broken_syntax",
    "wrong_edit",
    "malformed_block",
    "misplaced_edit",
    "truncated",
    "refusal",
    "protected_edit",
)
API_FAULTS: tuple[ApiFault, ...] = ("rate_limit", "overloaded", "stall", "disconnect")


class StubProfile(Value):
    """A simulated model. Times are medians of lognormal distributions; errors are mutually exclusive per answer."""

    backend: Literal["stub"] = Field(default="stub", description="Which kind of backend this is.")
    name: str = Field(default="stub", min_length=1, description="The name that reports show.")
    max_output_tokens: int = Field(default=16_000, gt=0, description="Tokens that one answer may have at most.")
    ttft_s: float = Field(default=1.2, ge=0, description="Median time to the first token, in seconds.")
    ttft_sigma: float = Field(default=0.4, ge=0, description="Spread of it: the standard deviation of its logarithm.")
    tokens_per_s: float = Field(default=70.0, gt=0, description="Median output tokens per second after the first.")
    tokens_per_s_sigma: float = Field(default=0.2, ge=0, description="Spread of it, in the same way.")
    time_scale: float = Field(
        default=1.0, ge=0, description="All waits are multiplied by this: 1 is real time, 0 answers at once."
    )
    input_usd_per_million: float | None = Field(
        default=None,
        ge=0,
        description="Simulated price of a million input tokens; without both prices the cost is unknown.",
    )
    output_usd_per_million: float | None = Field(
        default=None, ge=0, description="Simulated price of a million output tokens."
    )
    broken_syntax: Probability = Field(
        default=0.0, description="Share of answers that leave a file that does not parse."
    )
    wrong_edit: Probability = Field(default=0.0, description="Share with one small semantic mistake in an added line.")
    malformed_block: Probability = Field(
        default=0.0, description="Share whose edits, or one of whose calls, cannot be read."
    )
    misplaced_edit: Probability = Field(
        default=0.0,
        description="Share with an edit whose text is not in the file; in whole files: with lines left out.",
    )
    truncated: Probability = Field(default=0.0, description="Share that is cut off at the limit on output tokens.")
    refusal: Probability = Field(default=0.0, description="Share that declines.")
    protected_edit: Probability = Field(
        default=0.0, description="Share that tries to weaken a test, where the prompt gives a test's path away."
    )
    repair: float = Field(
        default=0.5,
        ge=0,
        description="The shares above times this, where the prompt tells what came of an earlier try; in a session with "
        "tools the chance that a mistake stays although the agent's own checks have failed.",
    )
    context_decay: float = Field(
        default=0.0,
        ge=0,
        description="The shares above times (1 + this × prompt tokens / 10,000): an assumption that longer prompts "
        "are answered worse; 0 leaves it out.",
    )
    rate_limit: Probability = Field(
        default=0.0, description="Share of requests answered with HTTP 429 and a retry-after."
    )
    retry_after_s: float = Field(default=2.0, ge=0, description="What a simulated 429 asks to wait, in seconds.")
    overloaded: Probability = Field(default=0.0, description="Share of requests turned away because of load.")
    stall: Probability = Field(default=0.0, description="Share of requests that fall silent.")
    stall_s: float = Field(default=60.0, ge=0, description="Seconds of that silence; then the connection is lost.")
    disconnect: Probability = Field(default=0.0, description="Share of requests cut in the middle of the answer.")

    @model_validator(mode="after")
    def _shares_fit(self) -> "StubProfile":
        for names in (ANSWER_ERRORS, API_FAULTS):
            total = sum(self.share_of(name) for name in names)
            if total > 1 + 1e-9:
                raise ValueError(f"{', '.join(names)} add up to {total:g}; they exclude each other, so at most 1")
        return self

    def share_of(self, kind: AnswerError | ApiFault) -> float:
        """The configured share of one kind of error or fault."""
        share: float = getattr(self, kind)
        return share

    def cost_usd(self, input_tokens: int, output_tokens: int) -> float | None:
        """Simulated dollars of one request; None without prices."""
        if self.input_usd_per_million is None or self.output_usd_per_million is None:
            return None
        return (input_tokens * self.input_usd_per_million + output_tokens * self.output_usd_per_million) / 1e6
