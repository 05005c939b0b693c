"""What a run has spent, what it has promised, and what it may have lost: the account that budgets are held against.

An attempt gets an *allowance* before it starts, the most that it may cost, and cannot spend more; when it ends, what it really
cost takes the allowance's place. An attempt that a killed process had under way never says what it cost, so its allowance
counts as spent. Hence, at any moment and after any crash:

    known + unknown at most + allowances under way + allowances lost  ≤  limit

and what was billed is never above the left side. Where a backend cannot say beforehand what it may cost (no quote), the
limits are checked against the average so far, which is an expectation and no bound.
"""

from dataclasses import dataclass, field

from orchestrator.core.values import Allowance, Limits, Quote, Usage

_PICO = 1_000_000_000_000


@dataclass(frozen=True, slots=True)
class Amount:
    """Dollars, as whole millionths of a millionth so that sums are exact, and tokens."""

    cost: int = 0
    tokens: int = 0

    @classmethod
    def of(cls, cost_usd: float | None, tokens: int | None) -> "Amount":
        """From figures of which some may be unknown or unlimited: they count as 0."""
        return cls(round((cost_usd or 0.0) * _PICO), tokens or 0)

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(self.cost + other.cost, self.tokens + other.tokens)

    def __sub__(self, other: "Amount") -> "Amount":
        return Amount(self.cost - other.cost, self.tokens - other.tokens)

    @property
    def cost_usd(self) -> float:
        """In dollars."""
        return self.cost / _PICO


@dataclass(slots=True)
class Bill:
    """A run's account. `usage` is what answers said that they cost; `answered` counts attempts that said so."""

    usage: Usage = field(default_factory=Usage)
    spent: Amount = field(default_factory=Amount)
    reserved: Amount = field(default_factory=Amount)
    lost: Amount = field(default_factory=Amount)
    answered: int = 0

    def reserve(self, allowance: Allowance | None) -> None:
        """Promise an allowance."""
        if allowance is not None:
            self.reserved += Amount.of(allowance.cost_usd, allowance.tokens)

    def spend(self, usage: Usage, allowance: Allowance | None = None) -> None:
        """Book what something cost in place of its allowance; what stayed unknown counts as the most that it can be."""
        self.usage += usage
        self.spent += Amount.of(
            usage.known_cost_usd + usage.unknown_cost_usd, usage.known_tokens + usage.unknown_tokens
        )
        self._release(allowance)

    def lose(self, allowance: Allowance | None, quote: Quote | None) -> None:
        """Count an allowance as spent, since nobody is left to say; where none was needed, what a session may cost."""
        self._release(allowance)
        most = None if quote is None else quote.session
        given, quoted = allowance or Allowance(), most or Allowance()
        cost = quoted.cost_usd if given.cost_usd is None else given.cost_usd
        tokens = quoted.tokens if given.tokens is None else given.tokens
        self.lost += Amount.of(cost, tokens)

    def _release(self, allowance: Allowance | None) -> None:
        if allowance is not None:
            self.reserved -= Amount.of(allowance.cost_usd, allowance.tokens)

    @property
    def committed(self) -> Amount:
        """Everything that counts against the limits."""
        return self.spent + self.reserved + self.lost

    def allow(self, limits: Limits, quote: Quote, needed: Allowance | None = None, raises: int = 0) -> Allowance | None:
        """The allowance of an attempt that is to start now, or None when what is left is less than one request may cost.

        It is what a whole session may cost, or what is left of the limits; `needed` is what a request is known to need.
        """
        taken = self.committed
        least, most = Amount.of(*_pair(quote.request)), Amount.of(*_pair(quote.session))
        # One that was too small is doubled, so that a long session is begun again a few times at most.
        most = Amount(most.cost << min(raises, _MOST_RAISES), most.tokens << min(raises, _MOST_RAISES))
        asked = Amount.of(*_pair(needed))
        limit = None if limits.cost_usd is None else round(limits.cost_usd * _PICO)
        cost = _share(limit, taken.cost, max(least.cost, asked.cost), most.cost)
        tokens = _share(limits.tokens, taken.tokens, max(least.tokens, asked.tokens), most.tokens)
        if cost == _NOTHING or tokens == _NOTHING:
            return None
        return Allowance(cost_usd=None if cost is None else cost / _PICO, tokens=tokens)

    def exceeds(self, limit: float | None, spent: float, in_flight: int) -> bool:
        """Whether a limit is reached if what is in flight comes to the average so far."""
        expected = in_flight / self.answered if self.answered else 0.0
        return limit is not None and spent * (1 + expected) >= limit


_NOTHING = -1
_MOST_RAISES = 20


def _pair(allowance: Allowance | None) -> tuple[float | None, int | None]:
    return (None, None) if allowance is None else (allowance.cost_usd, allowance.tokens)


def _share(limit: int | None, committed: int, least: int, most: int) -> int | None:
    """What of a limit an attempt gets: None without a limit, `_NOTHING` when too little is left."""
    if limit is None:
        return None
    left = limit - committed
    return _NOTHING if left <= 0 or left < least else min(left, max(least, most))
