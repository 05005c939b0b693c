"""What the simulated service does: how fast, within which limits, and which of its requests go wrong how."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from orchestrator.core.draws import fraction
from orchestrator.core.values import Value

FaultKind = Literal[
    # Answers with a status of their own.
    "rate_limit",
    "insufficient_quota",
    "overloaded",
    "server_error",
    "auth",
    "billing",
    "forbidden",
    "unknown_model",
    "too_large",
    "context_too_long",
    "invalid_request",
    "policy",
    "redirect",
    # Status 200, and not what the API promises.
    "html",
    "wrong_object",
    "truncated_json",
    # A whole answer whose calls of tools have arguments that are no JSON.
    "broken_arguments",
    # The connection.
    "reset",
    "short_body",
    "no_headers",
    # Within the stream.
    "stream_ends",
    "stream_cut",
    "stream_silent",
    "pings_only",
    "error_event",
    "broken_event",
]
Share = Annotated[float, Field(ge=0, le=1)]


class Fault(Value):
    """One way in which a request goes wrong."""

    kind: FaultKind = Field(description="What happens.")
    retry_after_s: float | None = Field(default=None, ge=0, description="Sent as retry-after with an error status.")
    after_pieces: int = Field(
        default=3, ge=0, description="Pieces of text and arguments that a stream brings before it goes wrong."
    )
    hang_s: float = Field(
        default=3600.0, gt=0, description="Seconds that a silent connection stays open, unless the client leaves."
    )


class FaultPlan(Value):
    """Which requests of a session go wrong. `nth` counts from 1 and goes before `every`, that before `shares`."""

    nth: Mapping[int, Fault] = Field(default={}, description="A fault for the request of that number.")
    every: Fault | None = Field(default=None, description="A fault for all other requests.")
    shares: Mapping[FaultKind, Share] = Field(default={}, description="The share of requests with each fault.")
    seed: int = Field(default=0, description="What the shares are drawn from.")

    @model_validator(mode="after")
    def _shares_fit(self) -> "FaultPlan":
        if sum(self.shares.values()) > 1 + 1e-9:
            raise ValueError("the shares add up to more than 1; a request has at most one fault")
        return self

    def fault_of(self, session: str, number: int) -> Fault | None:
        """The fault of a session's request of that number; the same whenever it is asked."""
        if number in self.nth:
            return self.nth[number]
        if self.every is not None:
            return self.every
        point = fraction((self.seed, session, number, "server fault"))
        for kind, share in self.shares.items():
            if point < share:
                return Fault(kind=kind)
            point -= share
        return None


class RateLimits(Value):
    """Published limits of an account, each a bucket that refills evenly; None is no limit."""

    requests_per_minute: int | None = Field(default=None, gt=0, description="Requests.")
    input_tokens_per_minute: int | None = Field(default=None, gt=0, description="Input tokens, estimated on arrival.")
    output_tokens_per_minute: int | None = Field(default=None, gt=0, description="Output tokens, as they come.")


class LaterLimits(Value):
    """Limits that come into force while the service runs, in place of all earlier ones."""

    after_s: float = Field(ge=0, description="Seconds after an account's first request.")
    limits: RateLimits = Field(description="What holds from then on.")


class ServerSettings(Value):
    """How the simulated service behaves."""

    models: tuple[str, ...] = Field(default=("stub",), description="What it lists; it answers to any name.")
    ttft_s: float = Field(default=0.0, ge=0, description="Seconds to the first piece, on top of the brain's own.")
    tokens_per_s: float | None = Field(default=None, gt=0, description="Pace of a stream; None is at once.")
    piece_chars: int = Field(default=24, gt=0, description="Characters in one event of a stream.")
    limits: RateLimits = Field(default=RateLimits(), description="The account's limits, for each provider.")
    limit_burst_s: float = Field(
        default=60.0,
        gt=0,
        le=86_400,
        description="Seconds' worth of a limit that may be used at once; providers allow from 1 to 60.",
    )
    later_limits: tuple[LaterLimits, ...] = Field(
        default=(), description="Limits that are changed while it runs, earliest first."
    )
    faults: FaultPlan = Field(default=FaultPlan(), description="What goes wrong where no session has its own plan.")
    sessions: Mapping[str, FaultPlan] = Field(
        default={}, description="Plans by name, chosen by a path under /s/<name>/."
    )
    is_cache_simulated: bool = Field(
        default=True, description="Whether prompts are cached, where the brain counts no cache of its own."
    )
    cache_from_tokens: int = Field(default=1024, gt=0, description="The shortest prefix that is cached, in tokens.")
    cache_lifetime_s: float = Field(
        default=300.0, gt=0, description="Seconds that a prefix stays cached after its last use."
    )
    batch_s: float = Field(default=60.0, ge=0, description="Seconds from a batch's arrival to its end.")
    max_connections: int = Field(default=1024, gt=0, description="Connections at once; more are turned away.")
    max_body_bytes: int = Field(default=32_000_000, gt=0, description="The largest request; a larger one gets 413.")
    idle_s: float = Field(default=60.0, gt=0, description="Seconds that an unused connection stays open.")
