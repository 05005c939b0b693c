"""A chat model whose every request is paid for from the attempt's allowance, and counted whether it is answered or not.

It stands inside of `resilience`, so that each HTTP request passes here once: what is repeated is counted as often. Before a
request goes, the most that it can cost is taken from the allowance; afterwards what it did cost takes its place. A request that
was turned away, or never went, costs nothing. One that broke off may have been answered in part, and billed: it counts as the most that it can
have been, and is reported as unknown.
"""

from orchestrator.backends.tariffs import Tariff, most_usd
from orchestrator.core.chat import Completion, Measured, Prompt, most_input_tokens
from orchestrator.core.errors import BackendError
from orchestrator.core.values import Allowance, Usage
from orchestrator.ports import ChatModel, Meter

_CUT_OFF = frozenset({"transient", "stall", "malformed_response"})
# Sums of dollars are exact to this much.
_ROUNDING_USD = 1e-8


class MeteredModel:
    """A `ChatModel` around a `ChatModel`; its completions have a cost where `tariff` knows one.

    `output_limit` is the most output tokens that the model may be asked for, whatever a prompt wants; None is no other limit.
    """

    def __init__(
        self, model: ChatModel, tariff: Tariff, *, output_limit: int | None = None, is_simulated: bool = False
    ) -> None:
        self._model = model
        self._tariff = tariff
        self._output_limit = output_limit
        self._is_simulated = is_simulated

    @property
    def name(self) -> str:
        """The inner model's name."""
        return self._model.name

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:
        """Ask, if the allowance has room for it: else raises `BackendError` of kind `budget`, with what is needed."""
        most = self._most(prompt, meter)
        _require(most, meter)
        _take(meter, most)
        before = meter.output_tokens
        try:
            completion = await self._model.complete(prompt, meter)
        except BackendError as error:
            # Whatever it is called: where output came, an answer had begun, and is billed.
            if (error.kind in _CUT_OFF and not error.is_unsent) or meter.output_tokens > before:
                self._lose(meter, most)
            else:
                _give_back(meter, most)
                meter.failed += Usage(requests=1, is_simulated=self._is_simulated)
            raise
        except BaseException:
            # Dropped by whoever waited for it.
            self._lose(meter, most)
            raise
        if completion.usage.input_tokens is not None:
            meter.measured = Measured(prompt=prompt, input_tokens=completion.usage.input_tokens)
        return completion.model_copy(update={"usage": self._settled(completion.usage, most, meter)})

    def _most(self, prompt: Prompt, meter: Meter) -> Allowance:
        inputs, outputs = most_input_tokens(prompt, meter.measured), prompt.max_output_tokens
        if self._output_limit is not None:
            outputs = min(outputs, self._output_limit)
        return Allowance(cost_usd=most_usd(self._tariff, inputs, outputs), tokens=inputs + outputs)

    def _lose(self, meter: Meter, most: Allowance) -> None:
        meter.failed += Usage(
            requests=1,
            unknown_requests=1,
            unknown_cost_usd=most.cost_usd or 0.0,
            unknown_tokens=most.tokens or 0,
            is_simulated=self._is_simulated,
        )

    def _settled(self, usage: Usage, most: Allowance, meter: Meter) -> Usage:
        cost = self._tariff.cost_usd(usage) if usage.cost_usd is None else usage.cost_usd
        tokens = usage.total_tokens
        unknown_usd = 0.0 if cost is not None else most.cost_usd or 0.0
        unknown_tokens = 0 if tokens is not None else most.tokens or 0
        _give_back(meter, most)
        spent_usd = unknown_usd if cost is None else cost
        _take(meter, Allowance(cost_usd=spent_usd, tokens=unknown_tokens if tokens is None else tokens))
        return usage.model_copy(
            update={"cost_usd": cost, "unknown_cost_usd": unknown_usd, "unknown_tokens": unknown_tokens}
        )


def _require(most: Allowance, meter: Meter) -> None:
    left = meter.left
    if left is None:
        return
    is_too_dear = left.cost_usd is not None and (most.cost_usd is None or most.cost_usd > left.cost_usd + _ROUNDING_USD)
    is_too_long = left.tokens is not None and (most.tokens is None or most.tokens > left.tokens)
    if is_too_dear or is_too_long:
        parts = [f"${most.cost_usd:.4f}"] if is_too_dear and most.cost_usd is not None else []
        parts += [f"{most.tokens:,} tokens"] if is_too_long and most.tokens is not None else []
        what = " and ".join(parts) or "an unknown amount"
        raise BackendError(
            f"the next request may come to {what}, more than the budget has left for this attempt",
            kind="budget",
            needed=_with_spent(most, meter),
        )


def _with_spent(most: Allowance, meter: Meter) -> Allowance:
    """What the whole attempt would have had to be given: another one has to come this far before it asks the same."""
    given, left = meter.given or Allowance(), meter.left or Allowance()
    cost = None if most.cost_usd is None else most.cost_usd + (given.cost_usd or 0.0) - (left.cost_usd or 0.0)
    tokens = None if most.tokens is None else most.tokens + (given.tokens or 0) - (left.tokens or 0)
    return Allowance(cost_usd=cost, tokens=tokens)


def _take(meter: Meter, amount: Allowance) -> None:
    left = meter.left
    if left is None:
        return
    cost = None if left.cost_usd is None else left.cost_usd - (amount.cost_usd or 0.0)
    tokens = None if left.tokens is None else left.tokens - (amount.tokens or 0)
    meter.left = Allowance(cost_usd=cost, tokens=tokens)


def _give_back(meter: Meter, amount: Allowance) -> None:
    negative = Allowance(cost_usd=-(amount.cost_usd or 0.0), tokens=-(amount.tokens or 0))
    _take(meter, negative)
