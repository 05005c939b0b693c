"""What a request costs. Prices are tiered by the length of a prompt, so a cost is computed for each request, never from a sum.

Here are prices that a person wrote down; `price_table` has those that the providers publish.
"""

from dataclasses import dataclass
from typing import Protocol

from pydantic import Field

from orchestrator.core.values import Usage, Value

_MILLION = 1_000_000


class Prices(Value):
    """Prices in dollars per million tokens, where the table has none, or others."""

    input_usd_per_million: float = Field(ge=0, description="Input tokens.")
    output_usd_per_million: float = Field(ge=0, description="Output tokens, thoughts included.")
    cached_input_usd_per_million: float | None = Field(
        default=None, ge=0, description="Input tokens that were read from a prompt cache; as other input unless given."
    )
    cache_write_usd_per_million: float | None = Field(
        default=None, ge=0, description="Input tokens that were written to one; as other input unless given."
    )


class Tariff(Protocol):
    """Turns tokens into dollars."""

    def cost_usd(self, usage: Usage) -> float | None:
        """What one request cost; None when a price, or a count that matters, is unknown."""
        ...


@dataclass(frozen=True, slots=True)
class NoTariff:
    """Nothing is known of prices."""

    def cost_usd(self, usage: Usage) -> float | None:  # noqa: ARG002 — whatever it was
        """None."""
        return None


@dataclass(frozen=True, slots=True)
class FlatTariff:
    """The prices that a configuration gives. `factor` is for requests at a rebate."""

    prices: Prices
    factor: float = 1.0

    def cost_usd(self, usage: Usage) -> float | None:
        """What one request cost."""
        prices = self.prices
        inputs, outputs = usage.input_tokens, usage.output_tokens
        if inputs is None or outputs is None:
            return None
        parts = (
            (usage.cached_input_tokens, prices.cached_input_usd_per_million),
            (usage.cache_write_tokens, prices.cache_write_usd_per_million),
        )
        total = outputs * prices.output_usd_per_million
        for tokens, price in parts:
            if price is None:
                continue
            if tokens is None:
                return None
            inputs -= tokens
            total += tokens * price
        return (total + inputs * prices.input_usd_per_million) * self.factor / _MILLION


def most_usd(tariff: Tariff, input_tokens: int, output_tokens: int) -> float | None:
    """The most that a request of that size can cost, cached or not."""
    plain = Usage(requests=1, input_tokens=input_tokens, output_tokens=output_tokens)
    costs = [tariff.cost_usd(plain), tariff.cost_usd(plain.model_copy(update={"cache_write_tokens": input_tokens}))]
    known = [cost for cost in costs if cost is not None]
    return max(known) if len(known) == len(costs) else None
