"""The simulated model service in a process of its own, so that what it costs is not counted as the client's.

    async with service(Order(settings=…)) as running:
        …                              # clients at running.url and running.openai_url
        tally = await running.tally()

`python -m benchmarks.service` is that process: it reads an order from its standard input, says where it listens, and tells what
came for each further line. It ends when its input does, so that it cannot outlive whoever started it.
"""

import asyncio
import json
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.draws import lognormal
from orchestrator.core.values import Usage, Value
from orchestrator.engine.clock import SystemClock
from orchestrator.ports import Clock, Meter
from orchestrator.stub_server import ServerSettings, StubServer, serving

ROOT = Path(__file__).parents[1]
_CHARS_PER_TOKEN = 4
_UNKNOWN = Usage(requests=1, input_tokens=None, output_tokens=None)
_FILES = 8_192


class Order(Value):
    """What the service is to be. Times and sizes are medians of lognormal distributions.

    After the first `warm` requests, the next `gate` are answered together, once all of them have come.
    """

    settings: ServerSettings = ServerSettings()
    latency_s: float = 0.0
    latency_sigma: float = 0.3
    output_tokens: float = 300.0
    output_sigma: float = 0.4
    seed: int = 1
    warm: int = 0
    gate: int = 0


class Tally(Value):
    """What came. `admitted_s` are the times of the requests that were let in, counted from the first.

    `output_tokens_before` is what had been booked by the time of the last of them.
    """

    statuses: Mapping[str, int]
    admitted_s: tuple[float, ...]
    input_tokens: int
    output_tokens_before: int

    @property
    def admitted(self) -> int:
        """Requests that were let in."""
        return len(self.admitted_s)

    @property
    def refused(self) -> int:
        """Requests that were answered with 429."""
        return self.statuses.get("429", 0)


@dataclass(slots=True)
class Brain:
    """Answers with so much text after so long. It is asked when a request was let in, and so knows when that was."""

    order: Order
    clock: Clock
    name: str = "stub"
    admitted_s: list[float] = field(default_factory=list)
    booked: int = 0
    booked_before: int = 0
    _all_came: asyncio.Event = field(default_factory=asyncio.Event)

    async def complete(self, prompt: Prompt, meter: Meter) -> Completion:  # noqa: ARG002 - every prompt is as good
        order, number = self.order, len(self.admitted_s)
        self.admitted_s.append(self.clock.now())
        self.booked_before = self.booked
        if number + 1 >= order.warm + order.gate:
            self._all_came.set()
        if number >= order.warm:
            await self._all_came.wait()
        if order.latency_s:
            await self.clock.sleep(lognormal((order.seed, number, "latency"), order.latency_s, order.latency_sigma))
        tokens = round(lognormal((order.seed, number, "output"), order.output_tokens, order.output_sigma))
        self.booked += tokens
        return Completion(text="word" * tokens, stop_reason="end_turn", usage=_UNKNOWN)

    def tally(self, server: StubServer) -> Tally:
        first = self.admitted_s[0] if self.admitted_s else 0.0
        return Tally(
            statuses={str(status): number for status, number in server.statuses().items()},
            admitted_s=tuple(at - first for at in self.admitted_s),
            input_tokens=sum(seen.input_tokens for seen in server.requests),
            output_tokens_before=self.booked_before,
        )


@dataclass(frozen=True, slots=True)
class Running:
    """A service that runs in a process."""

    process: Process
    url: str
    openai_url: str

    async def tally(self) -> Tally:
        """What came so far."""
        return Tally.model_validate_json(await _asked(self.process, "tally"))


@asynccontextmanager
async def service(order: Order) -> AsyncIterator[Running]:
    """Run a service until the context is left."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.service", stdin=PIPE, stdout=PIPE, cwd=ROOT, limit=2**24
    )
    try:
        address = json.loads(await _asked(process, order.model_dump_json()))
        yield Running(process, address["url"], address["openai_url"])
    finally:
        await _ended(process)


async def _asked(process: Process, line: str) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the service has no pipes")
    process.stdin.write(f"{line}\n".encode())
    async with asyncio.timeout(30):
        answer = await process.stdout.readline()
    if not answer:
        raise RuntimeError("the service ended before it answered")
    return answer


async def _ended(process: Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(10):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def serve() -> None:
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    order = Order.model_validate_json(await reader.readline())
    clock = SystemClock()
    brain = Brain(order, clock)
    async with serving(brain, clock, order.settings) as server:
        print(json.dumps({"url": server.url, "openai_url": server.openai_url}), flush=True)
        while await reader.readline():
            print(brain.tally(server).model_dump_json(), flush=True)


def open_many_files() -> None:
    """Let this process have thousands of connections, as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(arguments: Sequence[str]) -> None:  # noqa: ARG001 - the order comes by the standard input
    open_many_files()
    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1:])
