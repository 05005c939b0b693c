"""The cores that gates and integration share, on virtual time: the more are at work, the slower each comes on.

All of them advance at the same pace, so one counter of work done serves for all, and who is done next is the top of a heap:
a change costs the logarithm of their number.
"""

import asyncio
from heapq import heappop, heappush
from itertools import count

from orchestrator.measure.contention import Contention

_TINY_S = 1e-9


class SharedCores:
    """Work goes on at 1/slowdown(k) while k pieces of it are under way; None is as many cores as anybody wants."""

    def __init__(self, contention: Contention | None) -> None:
        self._contention = contention
        self._jobs: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()
        self._done = 0.0
        self._at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def work(self, alone_s: float) -> None:
        """Return when so much is done as takes `alone_s` seconds alone. It is not meant to be cancelled by itself."""
        if self._contention is None:
            await asyncio.sleep(alone_s)
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._advance(loop.time())
        heappush(self._jobs, (self._done + max(0.0, alone_s), next(self._numbers), done))
        self._arm(loop)
        await done

    def _pace(self) -> float:
        return 1.0 if self._contention is None else 1.0 / self._contention.slowdown(len(self._jobs))

    def _advance(self, now: float) -> None:
        self._done += (now - self._at) * self._pace()
        self._at = now

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look again when the first of them is done, if nothing changes until then."""
        if self._timer is not None:
            self._timer.cancel()
        left = max(0.0, self._jobs[0][0] - self._done)
        self._timer = loop.call_at(self._at + left / self._pace(), self._finish, loop)

    def _finish(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._advance(loop.time())
        # The timer was set for the first one: rounding must not make it wait for another instant.
        self._done = max(self._done, self._jobs[0][0])
        while self._jobs and self._jobs[0][0] <= self._done + _TINY_S:
            done = heappop(self._jobs)[2]
            if not done.done():
                done.set_result(None)
        if self._jobs:
            self._arm(loop)
