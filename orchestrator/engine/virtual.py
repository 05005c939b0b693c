"""An event loop whose clock jumps: waiting costs no time, and a loop with nothing left to do is a deadlock, not a hang.

The driver and every coroutine run on it unchanged; only `loop.time()` is another one. It starts at 0 and moves when everybody
waits, straight to the next timer; of timers for the same moment, the one that was set first goes off first. So a run of hours takes
what its decisions take, and takes the same course each time.

Work in threads (`run_in_executor`, `asyncio.to_thread`) is real: virtual time stands still until it has answered, so what comes
of it does not depend on how fast this machine is.
"""

import asyncio
import selectors
from asyncio import Future, TimerHandle
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_GRACE_S = 0.2  # a thread that the loop did not start may still have something to say


class DeadlockError(RuntimeError):
    """Nothing can run and no timer is set."""


class _Moment(float):
    """When a timer goes off. Equal ones keep the order in which they were set, which a heap of plain numbers does not."""

    __slots__ = ("number",)
    number: int

    def __lt__(self, other: float, /) -> bool:
        if isinstance(other, _Moment) and self == other:
            return self.number < other.number
        return super().__lt__(other)


class _JumpingSelector(selectors.SelectSelector):
    """Where a real loop would wait for a timer, move the clock to it. `threads` counts the work that is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where that is nothing, let the time until the next timer pass at once."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.threads:
            return super().select(None)
        if timeout is None:
            waiting = super().select(_GRACE_S)
            if not waiting:
                raise DeadlockError("nothing can run and no timer is set")
            return waiting
        self.now += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` starts at 0 and moves only when everybody waits."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        self._timers = count()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._jumping.now

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> TimerHandle:
        """Set a timer, as always; see above for those of the same moment."""
        moment = _Moment(when)
        moment.number = next(self._timers)
        return super().call_at(moment, callback, *args, context=context)

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> Future[T]:
        """Run in a thread, as always; until it has answered, no virtual time passes."""
        future = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._hear_thread)
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002, ASYNC109 — theirs
        """Wait for the threads in real time, without a limit: a virtual one would pass at once."""
        self._jumping.threads += 1
        try:
            await super().shutdown_default_executor()
        finally:
            self._jumping.threads -= 1

    def _hear_thread(self, _: Future[Any]) -> None:
        self._jumping.threads -= 1


class VirtualClock:
    """The engine's clock on a virtual loop."""

    def now(self) -> float:
        """Virtual seconds since the loop was made."""
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Return after that many virtual seconds, which take none."""
        await asyncio.sleep(seconds)


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a fresh virtual loop. Raises `DeadlockError` when it waits for what can never happen."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
