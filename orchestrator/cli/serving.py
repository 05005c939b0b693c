"""`stub-server`: the simulated model service, for trying things out without a key.

The service is imported when it is asked for: no other command needs it.
"""

import asyncio
import math
import signal
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.views.serving import Address, ServiceSummary, closing_lines, opening_lines
from orchestrator.wiring.surroundings import Surroundings

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _above_zero(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value > 0):
        raise typer.BadParameter(f"{value:g} is not a number above 0")
    return value


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("stub-server")(stub_server)


def stub_server(
    port: Annotated[
        int, typer.Option("--port", min=0, max=65_535, help="The port to listen on; 0 takes a free one.", metavar="N")
    ] = 8787,
    config: Annotated[
        Path | None,
        typer.Option("--config", help="Settings of the service, as YAML; options go before them.", metavar="FILE"),
    ] = None,
    profile: Annotated[
        str, typer.Option("--profile", help="Which simulated model answers.", metavar="NAME|FILE")
    ] = "stub",
    task: Annotated[
        Path | None,
        typer.Option("--task", help="A task file whose reference solutions it answers from.", metavar="SPEC"),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            "--fault",
            help="Let a share of the requests go wrong, as in overloaded=0.1; may be given again.",
            metavar="KIND=SHARE",
        ),
    ] = None,
    rpm: Annotated[
        int | None, typer.Option("--rpm", min=1, help="Requests a minute that it lets in.", metavar="N")
    ] = None,
    input_tpm: Annotated[
        int | None, typer.Option("--input-tpm", min=1, help="Input tokens a minute.", metavar="N")
    ] = None,
    output_tpm: Annotated[
        int | None, typer.Option("--output-tpm", min=1, help="Output tokens a minute.", metavar="N")
    ] = None,
    tokens_per_s: Annotated[
        float | None,
        typer.Option(
            "--tokens-per-s",
            callback=_above_zero,
            help="Pace of each answer; default: the profile's.",
            metavar="X",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="What the faults are drawn from; default 0.", metavar="N")
    ] = None,
    json: options.Json = False,
) -> None:
    """Serve a simulated model in both providers' wire formats, with limits and faults, on this machine only.

    It needs no key and costs nothing. It says on start how to point clients and configurations at it, and at the end
    (Ctrl-C, SIGTERM) what it did. With --json the first line is an object with url, openai_url and pid.

    Example: orchestrate stub-server --rpm 60 --fault overloaded=0.1 --fault stream_cut=0.05
    """
    from orchestrator.wiring import serving  # noqa: PLC0415 — loads the whole service, for this command alone

    chosen = serving.ServiceOptions(
        profile=profile,
        config=config,
        task=task,
        faults=fault or (),
        seed=seed,
        requests_per_minute=rpm,
        input_tokens_per_minute=input_tpm,
        output_tokens_per_minute=output_tpm,
        tokens_per_s=tokens_per_s,
    )
    service = serving.prepare_service(Surroundings.found(), chosen)

    async def serve() -> None:
        """Serve until a signal, and tell how it went, also when the service itself failed."""
        stopped = _stop_signal()
        async with serving.open_service(service, port) as server:
            _say_opening(serving.address_of(server), service.settings.models[0], as_json=json)
            try:
                await serving.serve_until(stopped, server)
            finally:
                _say_closing(serving.summary_of_service(server), as_json=json)

    asyncio.run(serve())


def _stop_signal() -> asyncio.Event:
    """An event that the first signal to end sets, in place of what the signal does otherwise."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, stopped.set)
    return stopped


def _say_opening(address: Address, model: str, *, as_json: bool) -> None:
    if as_json:
        console.raw(address.model_dump_json() + "\n")
        return
    for line in opening_lines(address, model):
        console.line(line)


def _say_closing(summary: ServiceSummary, *, as_json: bool) -> None:
    if as_json:
        console.raw(f'{{"summary":{summary.model_dump_json()}}}\n')
        return
    for line in ("", *closing_lines(summary)):
        console.line(line)
