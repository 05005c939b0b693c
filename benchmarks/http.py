"""What a stream costs in one process that holds a thousand of them: CPU for each call, memory for each open stream.

    python -m benchmarks.http [--streams 1000] [--repeats 3] [--only claude openai]

The bare SDK, our adapter, and the adapter with everything around it (retries, siblings, meter, limits) ask the same simulated
service, which runs in a process of its own: what it costs is not counted. It answers when all requests have come, so that
all streams are open at once, and each takes some seconds. Every figure is of a fresh process, after a few calls that load what
is loaded once. CPU is of all threads; memory is what the process grew by until the moment when most streams were open.
The ratios are to the bare SDK in the same round; the best of all rounds is shown beside the middle one, since other work on
the machine only adds.
"""

import argparse
import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import get_args

from benchmarks.clients import Ask, Provider, Service, adapter, bare, everything
from benchmarks.service import ROOT, Order, open_many_files, service
from orchestrator.core.chat import Draw, Message, Prompt
from orchestrator.ports import Meter
from orchestrator.stub_server import ServerSettings

WARM = 20
OUTPUT_TOKENS, PIECE_CHARS, TOKENS_PER_S = 300, 48, 30.0
Client = Callable[[Service], AbstractAsyncContextManager[Ask]]
# More than is ever asked for: each request passes the limiter, and none waits.
_AMPLE = {"limits": {"requests_per_min": 10_000_000, "input_tokens_per_min": 10**12, "output_tokens_per_min": 10**12}}
WAYS: dict[str, Client] = {
    "bare SDK": lambda service: bare(service, 0),
    "adapter": adapter,
    "with everything": lambda service: everything(service, _AMPLE),
}


@dataclass(frozen=True)
class Cost:
    """What each of the streams cost. `open` is how many were at the same time."""

    cpu_ms: float
    memory_kb: float
    open: int
    wall_s: float


def prompt_of(number: int) -> Prompt:
    turn = Message(role="user", text="x" * 2_400)
    return Prompt(system="", messages=(turn,), draw=Draw(seed=0, subtask=f"s{number}"), max_output_tokens=16_000)


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def streamed(way: str, provider: Provider, streams: int) -> Cost:
    settings = ServerSettings(
        tokens_per_s=TOKENS_PER_S, piece_chars=PIECE_CHARS, is_cache_simulated=False, max_connections=2 * streams + 100
    )
    order = Order(settings=settings, output_tokens=OUTPUT_TOKENS, output_sigma=0, warm=WARM, gate=streams)
    async with service(order) as running, WAYS[way](Service(running.url, provider)) as ask:
        await _all(ask, [Meter() for _ in range(WARM)])
        gc.collect()
        before, cpu_s, began = resident_bytes(), time.process_time(), time.perf_counter()
        watching = _Watching([Meter() for _ in range(streams)])
        async with asyncio.TaskGroup() as tasks:
            watcher = tasks.create_task(watching.watch())
            await _all(ask, watching.meters, watching.ended)
            watcher.cancel()
        cpu_s, wall_s = time.process_time() - cpu_s, time.perf_counter() - began
    return Cost(1000 * cpu_s / streams, (watching.most_bytes - before) / 1024 / streams, watching.most_open, wall_s)


class _Watching:
    """Looks now and then how many streams are open and what they take. A look costs tens of microseconds."""

    def __init__(self, meters: Sequence[Meter]) -> None:
        self.meters = meters
        self.ended_streams = 0
        self.most_open = 0
        self.most_bytes = 0

    def ended(self) -> None:
        self.ended_streams += 1

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(0.1)
            now_open = sum(meter.output_tokens > 0 for meter in self.meters) - self.ended_streams
            if now_open > self.most_open:
                self.most_open, self.most_bytes = now_open, resident_bytes()


async def _all(ask: Ask, meters: Sequence[Meter], ended: Callable[[], None] = lambda: None) -> None:
    async def one(number: int, meter: Meter) -> None:
        await ask(prompt_of(number), meter)
        ended()

    async with asyncio.TaskGroup() as tasks:
        for number, meter in enumerate(meters):
            tasks.create_task(one(number, meter))


def in_a_process(way: str, provider: Provider, streams: int) -> Cost:
    """Measure in a fresh process: memory that was once used is not given back."""
    argv = [sys.executable, "-m", "benchmarks.http", "--one", way, provider, "--streams", str(streams)]
    found = subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=300)
    return Cost(**json.loads(found.stdout))


def report(provider: Provider, rounds: Sequence[dict[str, Cost]], streams: int) -> None:
    print(f"\n{provider}, {streams:,} streams at once, {len(rounds)} rounds")
    print(f"{'':<16} {'CPU ms a call':>17} {'ratio':>7} {'KB a stream':>17} {'ratio':>7} {'open':>6} {'wall s':>7}")
    for way in WAYS:
        costs, bares = [each[way] for each in rounds], [each["bare SDK"] for each in rounds]
        cpu, memory = [each.cpu_ms for each in costs], [each.memory_kb for each in costs]
        cpu_ratio = median(one.cpu_ms / other.cpu_ms for one, other in zip(costs, bares, strict=True))
        memory_ratio = median(one.memory_kb / other.memory_kb for one, other in zip(costs, bares, strict=True))
        print(
            f"{way:<16} {min(cpu):>8.2f} {median(cpu):>8.2f} {cpu_ratio:>7.2f} {min(memory):>8.0f} {median(memory):>8.0f}"
            f" {memory_ratio:>7.2f} {min(each.open for each in costs):>6} {median(each.wall_s for each in costs):>7.1f}"
        )


def main(arguments: Sequence[str]) -> None:
    providers: tuple[Provider, ...] = get_args(Provider)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=providers, default=providers)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "PROVIDER"), help="measure one in this process, as JSON")
    chosen = parser.parse_args(arguments)
    open_many_files()
    if chosen.one is not None:
        way, provider = chosen.one
        print(json.dumps(asdict(asyncio.run(streamed(way, provider, chosen.streams)))))
        return
    print(f"Streams over HTTP, SIMULATED service; load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("each pair: least, median")
    for provider in chosen.only:
        rounds = [{way: in_a_process(way, provider, chosen.streams) for way in WAYS} for _ in range(chosen.repeats)]
        report(provider, rounds, chosen.streams)


if __name__ == "__main__":
    main(sys.argv[1:])
