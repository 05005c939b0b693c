"""CPU that the orchestrator itself costs for each subtask, when the model and the world cost nothing.

    python -m benchmarks.fanout [--sizes 100 1000 10000] [--agents 100]

Every subtask goes the whole way: decision, prompt, simulated reply, parsing, edit, patch, verdict, batch, and every event in
the durable SQLite journal (WAL, synchronous=FULL). Workspaces, gate and trunk answer at once, so that what is measured is this
program and not git or pytest. The reference is bare asyncio: a TaskGroup and a Semaphore around a coroutine that does nothing.
"""

import argparse
import asyncio
import gc
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.costless import CostlessGate, CostlessTrees, CostlessTrunk, CostlessWorkspaces
from orchestrator.backends.resilience import ResilienceSettings, ResilientModel
from orchestrator.backends.sessions.editing import EditingBackend
from orchestrator.backends.stub.model import StubModel
from orchestrator.backends.stub.profile import StubProfile
from orchestrator.core.events import RunStarted
from orchestrator.core.fold import fold
from orchestrator.core.transitions import Phase
from orchestrator.core.values import Check, CommitId, GateSettings, Limits, Subtask
from orchestrator.engine.clock import SystemClock
from orchestrator.engine.driver import Driver
from orchestrator.engine.effects import Effects, World
from orchestrator.journal.memory import MemoryJournal
from orchestrator.journal.sqlite import SqliteJournal
from orchestrator.ports import Journal, Splitting
from orchestrator.wiring.collector import calm_collector


@dataclass(frozen=True)
class Cost:
    """CPU and wall time of a run, in seconds, of this process and all its threads."""

    cpu_s: float
    wall_s: float


def measured(work: Callable[[], Awaitable[None]]) -> Cost:
    gc.collect()
    before, started = time.process_time(), time.perf_counter()
    asyncio.run(_awaited(work))
    return Cost(time.process_time() - before, time.perf_counter() - started)


async def _awaited(work: Callable[[], Awaitable[None]]) -> None:
    await work()


async def bare(size: int, agents: int) -> None:
    slots = asyncio.Semaphore(agents)

    async def subtask() -> None:
        async with slots:
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(size):
            tasks.create_task(subtask())


@dataclass(frozen=True)
class _Split:
    subtasks: tuple[Subtask, ...]

    async def split(self, base: str, seed: int) -> Splitting:  # noqa: ARG002 - they are known
        return Splitting(self.subtasks)


def trivial(number: int) -> Subtask:
    name = f"s{number}"
    return Subtask(
        id=name,
        title=f"Write {name}",
        instruction="Write the file.",
        writable=(f"out/{name}.txt",),
        checks=(Check(name="ok", argv=("true",)),),
    )


async def orchestrated(size: int, agents: int, journal: Journal) -> None:
    clock, base = SystemClock(), CommitId("0")
    stub = StubModel(StubProfile(time_scale=0), clock, lambda _: None)
    backend = EditingBackend(ResilientModel(stub, ResilienceSettings(), clock), clock)
    world = World(
        splitter=_Split(tuple(trivial(number) for number in range(size))),
        backend=backend,
        workspaces=CostlessWorkspaces(),
        trees=CostlessTrees(),
        gate=CostlessGate(),
        trunk=CostlessTrunk(),
        clock=clock,
    )
    started = RunStarted(
        run="bench",
        spec_name="fanout",
        spec_path="-",
        spec_digest="-",
        repo="-",
        base=base,
        backend="stub",
        backend_digest="-",
        is_simulated=True,
        seed=0,
        limits=Limits(agents=agents, gate_slots=agents),
        gate=GateSettings(),
        integration_checks=(),
        max_batch=64,
        version="-",
    )
    await journal.append([(clock.now(), started)], {})
    state = fold(journal.entries())
    reason = await Driver(state, journal, Effects(world), clock).drive()
    if reason != "completed" or state.counts[Phase.MERGED] != size:
        raise RuntimeError(f"{reason}: {state.counts}")


def durable(size: int, agents: int) -> Cost:
    with tempfile.TemporaryDirectory() as folder, SqliteJournal(Path(folder) / "journal.sqlite") as journal:
        return measured(partial(orchestrated, size, agents, journal))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 10_000], metavar="N")
    parser.add_argument("--agents", type=int, default=100)
    options = parser.parse_args(arguments)
    calm_collector()  # as the command does
    durable(50, options.agents)  # imports and caches are not what is measured
    print(f"CPU a subtask, {options.agents} agents, zero latency (ms)\n")
    print(
        f"{'subtasks':>9} {'bare asyncio':>13} {'in memory':>10} {'durable':>8} {'durable/bare':>13} {'events':>7}/s {'peak MB':>8}"
    )
    per_subtask = []
    agents = options.agents
    for size in options.sizes:
        reference = measured(partial(bare, size, agents))
        memory = measured(partial(orchestrated, size, agents, MemoryJournal()))
        disk = durable(size, agents)
        each = [1000 * cost.cpu_s / size for cost in (reference, memory, disk)]
        per_subtask.append(each[2])
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        ratio = each[2] / each[0]
        print(
            f"{size:>9,} {each[0]:>13.4f} {each[1]:>10.3f} {each[2]:>8.3f} {ratio:>12.0f}× "
            f"{4.1 * size / disk.wall_s:>7,.0f}   {peak:>8.0f}"
        )
    growth = per_subtask[-1] / per_subtask[0]
    print(
        f"\nfrom {options.sizes[0]:,} to {options.sizes[-1]:,} subtasks the cost of one changes by a factor of {growth:.2f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
