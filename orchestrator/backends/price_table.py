"""The providers' published prices, from a maintained table that is a package and needs no network.

A model that the table does not know has no price: that is unknown, and not free. Importing this module takes a quarter of a
second, so only a backend that needs it does.
"""

from dataclasses import dataclass
from decimal import Decimal

import genai_prices

from orchestrator.core.values import Usage


@dataclass(frozen=True, slots=True)
class TableTariff:
    """The providers' published prices, as `genai-prices` has them. `factor` is for requests at a rebate."""

    model: str
    provider: str
    factor: float = 1.0

    @property
    def is_known(self) -> bool:
        """Whether the table knows the model."""
        return self.cost_usd(Usage(requests=1, input_tokens=1, output_tokens=1)) is not None

    def cost_usd(self, usage: Usage) -> float | None:
        """What one request cost."""
        counts = (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens, usage.cache_write_tokens)
        if None in counts:
            return None
        inputs, outputs, read, written = counts
        asked = genai_prices.Usage(
            input_tokens=inputs, output_tokens=outputs, cache_read_tokens=read, cache_write_tokens=written
        )
        try:
            found = genai_prices.calc_price(asked, model_ref=self.model, provider_id=self.provider)
        except LookupError:
            return None
        return float(found.total_price * Decimal(str(self.factor)))
