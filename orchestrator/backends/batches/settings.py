"""How requests are gathered into batches and how patiently their results are waited for."""

from pydantic import Field

from orchestrator.core.values import Value

PRICE_FACTOR = 0.5
"""What both providers charge for a batch, as a part of the usual price: input, output and cache alike."""


class BatchSettings(Value):
    """Work that can wait: when a batch goes out, and how often it is asked after."""

    collect_s: float = Field(
        default=2.0, ge=0, description="Seconds without a new request after which a batch goes out."
    )
    max_collect_s: float = Field(
        default=30.0, ge=0, description="Seconds after which a batch goes out though new requests keep coming."
    )
    max_requests: int = Field(default=1000, ge=1, description="Requests at which a batch goes out at once.")
    poll_s: float = Field(default=30.0, gt=0, description="Seconds between the first two looks at a batch; grows.")
    max_poll_s: float = Field(default=300.0, gt=0, description="Seconds between two looks at most.")
    submit_tries: int = Field(
        default=5,
        ge=1,
        description="Submissions in a row that may fail before their requests do; rate limits do not count.",
    )
    search_s: float = Field(
        default=60.0,
        ge=0,
        description="Seconds for which a submission of unknown fate is looked for in the provider's list before it counts "
        "as not accepted.",
    )
    leave_s: float = Field(
        default=10.0, ge=0, description="Seconds that a submission under way may still take when the run is left."
    )
    deadline_s: float = Field(
        default=90_000.0,
        gt=0,
        description="Seconds that one request may wait in all. The providers let a batch expire after 24 hours.",
    )
