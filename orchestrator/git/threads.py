"""Blocking work off the event loop, where the work owns something that must not be given away before it has ended."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def run_to_end(work: Callable[[], T]) -> T:
    """Run `work` in a thread and return what it returns; a cancellation waits for its end and is then passed on.

    `asyncio.to_thread` would return at once and leave the thread at work on a folder that somebody else gets next.
    """
    future = asyncio.get_running_loop().run_in_executor(None, work)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        while not future.done():
            try:
                await asyncio.wait([future])
            except asyncio.CancelledError:
                continue
        raise
