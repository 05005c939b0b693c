"""A provider's rate limit on virtual time: requests and tokens a minute, as this program's own limiter keeps them.

Requests wait in one queue, first come, first served. Each quota is a bucket that refills continuously, holds a burst, and may
go into debt for a request that is larger than it holds. What a request takes is known from the record, so nothing is rejected.
"""

import asyncio
from dataclasses import dataclass, field

REQUEST_BURST_S = 0.5
TOKEN_BURST_S = 60.0
"""Seconds' worth that may go at once; the defaults of the real limiter, which says why."""


@dataclass(frozen=True, slots=True)
class Quotas:
    """What an account may take in a minute; None is not limited."""

    requests: float | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None

    @property
    def are_set(self) -> bool:
        """Whether anything is limited."""
        return any(quota is not None for quota in (self.requests, self.input_tokens, self.output_tokens))

    def least_s(self, requests: float, input_tokens: float, output_tokens: float) -> float:
        """Seconds that so much takes at the least; what fits into the first burst is free."""
        wanted = (
            (requests, self.requests, REQUEST_BURST_S),
            (input_tokens, self.input_tokens, TOKEN_BURST_S),
            (output_tokens, self.output_tokens, TOKEN_BURST_S),
        )
        return max((60 * amount / quota - burst_s for amount, quota, burst_s in wanted if quota), default=0.0)


@dataclass(slots=True)
class _Bucket:
    per_s: float
    capacity: float
    level: float = field(init=False)
    at: float = 0.0

    def __post_init__(self) -> None:
        self.level = self.capacity

    def wait_s(self, amount: float, now: float) -> float:
        self.level = min(self.capacity, self.level + (now - self.at) * self.per_s)
        self.at = now
        return max(0.0, (min(amount, self.capacity) - self.level) / self.per_s)


class Account:
    """Lets requests go as its quotas allow. `waited_s` sums up what they stood in the queue."""

    def __init__(self, quotas: Quotas) -> None:
        given = (
            (quotas.requests, REQUEST_BURST_S),
            (quotas.input_tokens, TOKEN_BURST_S),
            (quotas.output_tokens, TOKEN_BURST_S),
        )
        self._buckets = [
            None if quota is None else _Bucket(quota / 60, max(1.0, quota / 60 * burst_s)) for quota, burst_s in given
        ]
        self._front = asyncio.Lock()
        self.waited_s = 0.0

    async def admit(self, requests: float, input_tokens: float, output_tokens: float) -> None:
        """Wait until so much may go, and take it."""
        loop = asyncio.get_running_loop()
        amounts = (requests, input_tokens, output_tokens)
        taken = [(bucket, amount) for bucket, amount in zip(self._buckets, amounts, strict=True) if bucket is not None]
        asked = loop.time()
        async with self._front:
            wait_s = max((bucket.wait_s(amount, loop.time()) for bucket, amount in taken), default=0.0)
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            for bucket, amount in taken:
                bucket.wait_s(amount, loop.time())
                bucket.level -= amount
        self.waited_s += loop.time() - asked
