"""What the suites run on: a fresh event loop for each test, bounded in time, without a plugin of pytest's."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from typing import Protocol, TypeVar

MadeT = TypeVar("MadeT")


class TimeLimited(Protocol):
    """A suite: what bounds each of its tests."""

    limit_s: float


SuiteT = TypeVar("SuiteT", bound=TimeLimited)


def on_a_loop(test: Callable[[SuiteT], Awaitable[None]]) -> Callable[[SuiteT], None]:
    """Make a test of a coroutine function: it runs to its end on a loop of its own, for `limit_s` seconds at most."""

    @wraps(test)
    def on_its_loop(suite: SuiteT) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(suite.limit_s):
                await test(suite)

        asyncio.run(bounded())

    return on_its_loop


@asynccontextmanager
async def closing(made: MadeT) -> AsyncIterator[MadeT]:
    """Give what was made, and close it afterwards where it can be closed."""
    try:
        yield made
    finally:
        close = getattr(made, "aclose", None)
        if close is not None:
            await close()
