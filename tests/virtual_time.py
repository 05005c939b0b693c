"""An event loop whose clock jumps: a timer costs no time, and a loop with nothing left to do is a deadlock, not a hang."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any


class DeadlockError(RuntimeError):
    """Nothing can run and no timer is set."""


class _JumpingSelector(selectors.SelectSelector):
    """Where a real loop would wait for a timer, move the clock to it."""

    now = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            waiting = super().select(0.2)  # a thread may still answer
            if not waiting:
                raise DeadlockError("nothing can run and no timer is set")
            return waiting
        self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` starts at 0 and moves only when everybody waits."""

    def __init__(self):
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.now


class VirtualClock:
    """The engine's clock on a virtual loop."""

    def now(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(seconds)


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end on a fresh virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
