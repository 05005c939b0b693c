"""What waiting for a rate limit costs, and how much of a quota the limiter uses.

    python -m benchmarks.limiter [--waiters 1000 5000] [--rate 50] [--seconds 4]

First, on the real clock: CPU, as a share of one core, while many wait and `--rate` a second are let go; behind the limiter,
and, as the reference in the same run, with each of them waiting at a bare asyncio-throttle, whose waiters poll. "Late" counts
those that were overtaken.

Second, SIMULATED on the virtual clock: requests against a provider that enforces its limits over one second with continuously
refilled buckets: requests, input and output all tight, but for the halved ones, where only the requests are. "Quota used" is the least time that the tightest quota allows (its full
bucket at the start included), over the time from the first request let in to the last.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

from asyncio_throttle import Throttler

from orchestrator.backends.limits.limiter import AccountLimiter
from orchestrator.backends.limits.limiter_settings import LimiterSettings
from orchestrator.engine.clock import SystemClock
from tests.rate_server import Outcome, RateServer, run, server_of, told

Ask = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Waited:
    """What it was to wait: CPU seconds over wall seconds, how many got through, how many of those were overtaken."""

    cpu_share: float
    done: int
    late: int


async def crowd(ask: Ask, waiters: int, seconds: float) -> Waited:
    """Let so many wait for so long, measured once all of them are waiting."""
    order: list[int] = []

    async def one(number: int) -> None:
        await ask()
        order.append(number)

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + 1), asyncio.TaskGroup() as tasks:
            for number in range(waiters):
                tasks.create_task(one(number))
            await asyncio.sleep(0.5)
            before, began, done = time.process_time(), time.perf_counter(), len(order)
            await asyncio.sleep(seconds)
            cpu_s, wall_s, done = time.process_time() - before, time.perf_counter() - began, len(order) - done
            await asyncio.Event().wait()
    late = sum(later < earlier for earlier, later in pairwise(order))
    return Waited(cpu_s / wall_s, done, late)


async def behind_the_limiter(waiters: int, rate: int, seconds: float) -> Waited:
    limiter = AccountLimiter("bench", LimiterSettings(requests_per_min=rate * 60), SystemClock())

    async def ask() -> None:
        async with limiter.request(0, 0) as grant:
            limiter.settle(grant)

    return await crowd(ask, waiters, seconds)


async def at_the_throttle(waiters: int, rate: int, seconds: float) -> Waited:
    return await crowd(Throttler(rate_limit=rate, period=1.0).acquire, waiters, seconds)


def real(sizes: Sequence[int], rate: int, seconds: float) -> None:
    print(f"CPU of one core while waiting, {rate}/s, {seconds:g} s, real clock")
    print(
        f"{'waiters':>8}  {'limiter':>8} {'done':>6} {'late':>6}  {'bare asyncio-throttle':>22} {'done':>6} {'late':>6}"
    )
    for waiters in sizes:
        found = []
        for case in (behind_the_limiter, at_the_throttle):
            gc.collect()
            found.append(asyncio.run(case(waiters, rate, seconds)))
        ours, bare = found
        print(
            f"{waiters:>8}  {ours.cpu_share:>8.1%} {ours.done:>6} {ours.late:>6}"
            f"  {bare.cpu_share:>22.1%} {bare.done:>6} {bare.late:>6}"
        )


def halved() -> RateServer:
    return server_of(20, token_share=2.0, changes_after=250)


def simulated() -> None:
    nothing, second = LimiterSettings(), {"token_burst_s": 1.0}
    cases: Sequence[tuple[str, Callable[[int], Outcome]]] = (
        ("20/s, told", lambda seed: run(server_of(20), told(20, **second), seed=seed)),
        ("20/s, told, no headers", lambda seed: run(server_of(20, sends_headers=False), told(20, **second), seed=seed)),
        ("20/s, not told, headers", lambda seed: run(server_of(20), nothing, seed=seed)),
        ("20/s, neither", lambda seed: run(server_of(20, sends_headers=False), nothing, seed=seed)),
        ("20/s, told 40", lambda seed: run(server_of(20), told(40, **second), seed=seed)),
        ("20/s, told 10", lambda seed: run(server_of(20), told(10, **second), seed=seed)),
        ("20/s halved, told", lambda seed: run(halved(), told(20, 2.0), seed=seed)),
        ("20/s halved, not told", lambda seed: run(halved(), nothing, seed=seed)),
        ("the same, tokens tight", lambda seed: run(server_of(20, changes_after=250), nothing, seed=seed)),
        ("150/s, told", lambda seed: run(server_of(150), told(150, **second), requests=3_750, agents=256, seed=seed)),
        ("150/s, not told", lambda seed: run(server_of(150), nothing, requests=3_750, agents=256, seed=seed)),
    )
    print("\nQuota used, SIMULATED (500 requests, 64 at once; at 150/s 3,750 and 256), seeds 1 to 3")
    print(f"{'case':<26} {'quota used':>22} {'429s per 100':>14} {'failed':>8}")
    for name, case in cases:
        outcomes = [case(seed) for seed in (1, 2, 3)]
        used = " ".join(f"{outcome.quota_used:.3f}" for outcome in outcomes)
        refused = 100 * sum(outcome.refused for outcome in outcomes) / sum(outcome.done for outcome in outcomes)
        print(f"{name:<26} {used:>22} {refused:>14.2f} {sum(outcome.failed for outcome in outcomes):>8}")


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiters", type=int, nargs="+", default=[1_000, 5_000])
    parser.add_argument("--rate", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=4.0)
    chosen = parser.parse_args(arguments)
    real(chosen.waiters, chosen.rate, chosen.seconds)
    simulated()


if __name__ == "__main__":
    main(sys.argv[1:])
