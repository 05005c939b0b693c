"""A chat model whose requests wait for their account's rate limit.

It stands inside `ResilientModel`, so that a slot is held only while a request is under way: never during a backoff, a gate
or a sibling's work.

    ResilientModel(LimitedModel(AnthropicModel(…, limiter.listener(anthropic_rate_headers)), limiter), …)

What a request will take is not known before it was made. Input is estimated at four characters a token and corrected by the
ratio seen so far; output by a quantile of what this model has answered lately, never above what the prompt allows.
"""

from collections import deque
from dataclasses import dataclass, field
from math import ceil

from orchestrator.backends.limits.limiter import TOO_MANY_REQUESTS, AccountLimiter, Grant
from orchestrator.backends.limits.rate_headers import RateHeaders
from orchestrator.core.chat import Completion, Prompt, estimate_tokens
from orchestrator.core.errors import BackendError, BackendFault
from orchestrator.ports import ChatModel, Meter

# A guess too high holds everybody back until the first answer; one too low is a debt that is paid once.
FIRST_OUTPUT_TOKENS = 500
# Only the difference between statuses matters: rejected, the server's fault, no answer, the request's own fault.
_STATUS: dict[BackendFault, int | None] = {
    "rate_limit": TOO_MANY_REQUESTS,
    "overloaded": 529,
    "transient": None,
    "stall": None,
    "malformed_response": 502,
    "auth": 401,
    "billing": 402,
    "unknown_model": 404,
    "invalid_request": 400,
    "context_too_long": 413,
    "budget": 400,
    "not_recorded": 400,
}


@dataclass(slots=True)
class TokenEstimates:
    """What requests to one model take, learned from what they took. `outputs` are the latest answers' tokens."""

    ratio: float | None = None
    outputs: deque[int] = field(default_factory=lambda: deque(maxlen=200))

    def input_tokens(self, prompt: Prompt) -> int:
        """Estimate a prompt's input tokens."""
        return ceil(estimate_tokens(prompt.text) * (1.0 if self.ratio is None else self.ratio))

    def output_tokens(self, prompt: Prompt) -> int:
        """Estimate an answer's tokens: four of five answers were no longer."""
        if not self.outputs:
            return min(FIRST_OUTPUT_TOKENS, prompt.max_output_tokens)
        ordered = sorted(self.outputs)
        return min(ordered[min(len(ordered) * 4 // 5, len(ordered) - 1)], prompt.max_output_tokens)

    def learn(self, prompt: Prompt, input_tokens: int | None, output_tokens: int | None) -> None:
        """Take in what one request took; None is not known and teaches nothing."""
        if input_tokens is not None:
            seen = input_tokens / max(1, estimate_tokens(prompt.text))
            # Half the weight is on the last seven.
            self.ratio = seen if self.ratio is None else 0.9 * self.ratio + 0.1 * seen
        if output_tokens is not None:
            self.outputs.append(output_tokens)


class LimitedModel:
    """A `ChatModel` around a `ChatModel`. Cancelling `complete` leaves the queue, or gives the slot back."""

    def __init__(self, model: ChatModel, limiter: AccountLimiter) -> None:
        self._model = model
        self._limiter = limiter
        self._estimates = TokenEstimates()

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Wait for a slot, ask, and settle. Raises what the inner model raises."""
        inputs, outputs = self._estimates.input_tokens(prompt), self._estimates.output_tokens(prompt)
        async with self._limiter.request(inputs, outputs, meter) as grant:
            try:
                completion = await self._model.complete(prompt, meter)
            except BackendError as error:
                self._settle_failed(grant, error)
                raise
            self._limiter.settle(grant, completion.usage)
        self._estimates.learn(prompt, *self._limiter.counted(completion.usage))
        return completion

    def _settle_failed(self, grant: Grant, error: BackendError) -> None:
        headers = RateHeaders(retry_after_s=error.retry_after_s)
        self._limiter.settle(grant, None, headers, _STATUS[error.kind])
