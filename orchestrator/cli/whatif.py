"""`whatif`: a recorded run under other limits, simulated."""

import math
from typing import Annotated

import typer

from orchestrator.cli import console, options
from orchestrator.engine.timemachine.account import Quotas
from orchestrator.engine.timemachine.replay import Scales
from orchestrator.views.whatif import whatif_table
from orchestrator.wiring.collector import calm_collector
from orchestrator.wiring.surroundings import Surroundings
from orchestrator.wiring.whatif import Question, what_if

_MOST_AGENTS = 1_000_000
_LEAST_SCALE, _MOST_SCALE = 1e-6, 1e6


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(whatif)


def _numbers(text: str | None) -> list[int] | None:
    """Numbers of agents, each once, as written: 1,2,4."""
    if text is None:
        return None
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of whole numbers; write for example 1,2,4", param_hint="--agents"
        ) from None
    if not all(1 <= number <= _MOST_AGENTS for number in found):
        raise typer.BadParameter(f"{text!r}: agents are from 1 to {_MOST_AGENTS:,}", param_hint="--agents")
    return list(dict.fromkeys(found))


def _scale(value: float) -> float:
    if not _LEAST_SCALE <= value <= _MOST_SCALE:
        raise typer.BadParameter(f"{value:g} is not between {_LEAST_SCALE:g} and {_MOST_SCALE:,.0f}")
    return value


def _slowdown(value: float | None) -> float | None:
    if value is not None and not (math.isfinite(value) and value >= 1):
        raise typer.BadParameter(f"{value:g} is no slowdown; write 1 for none, 1.5 for half as long again")
    return value


def whatif(
    name: options.Run,
    agents: Annotated[
        str | None,
        typer.Option(
            "--agents", "-n", help="Agents at work at once, one row for each; default 1,2,4,8,16,32.", metavar="N,N,…"
        ),
    ] = None,
    gate_slots: options.GateSlots = None,
    serial: Annotated[bool, typer.Option("--serial", help="A row with one slot for everything, T(1).")] = False,
    max_time: options.MaxTime = None,
    rpm: Annotated[int | None, typer.Option("--rpm", min=1, help="Requests a minute.", metavar="N")] = None,
    input_tpm: Annotated[
        int | None, typer.Option("--input-tpm", min=1, help="Input tokens a minute.", metavar="N")
    ] = None,
    output_tpm: Annotated[
        int | None, typer.Option("--output-tpm", min=1, help="Output tokens a minute.", metavar="N")
    ] = None,
    generate_scale: Annotated[
        float,
        typer.Option(
            "--generate-scale", callback=_scale, help="Generation takes that many times as long.", metavar="X"
        ),
    ] = 1.0,
    gate_scale: Annotated[
        float,
        typer.Option(
            "--gate-scale",
            callback=_scale,
            help="Gates, integration, set-up take that many times as long.",
            metavar="X",
        ),
    ] = 1.0,
    replicate: Annotated[
        int, typer.Option("--replicate", min=1, help="The task's subtasks that many times over.", metavar="K")
    ] = 1,
    max_batch: Annotated[
        int | None, typer.Option("--max-batch", min=1, help="Subtasks integrated together at most.", metavar="N")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="What is drawn, is drawn from this.", metavar="N")] = 0,
    cores: Annotated[
        int | None,
        typer.Option(
            "--cores", min=1, help="Cores that gates and integration share; default: this machine's.", metavar="N"
        ),
    ] = None,
    gate_slowdown: Annotated[
        float | None,
        typer.Option(
            "--gate-slowdown",
            callback=_slowdown,
            help="How many times longer a gate takes when every core has one; default 1.25.",
            metavar="X",
        ),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Fit --gate-slowdown to the runs of the same task that there are.")
    ] = False,
    json: options.Json = False,
    store: options.Store = None,
) -> None:
    """Schedule a recorded run anew under other limits: simulated by the same core and driver, at no token's cost.

    What was measured under the same limits stands beside it. Figures are those of the recorded tries and gates;
    docs/measurement.md says what is assumed.

    Examples: orchestrate whatif last --agents 16,32 --gate-slots 8 --cores 8 · orchestrate whatif last -n 10000 --replicate 500
    """
    if calibrate and gate_slowdown is not None:
        raise typer.BadParameter("either fit it or say it", param_hint="--calibrate, --gate-slowdown")
    calm_collector()
    question = Question(
        agents=_numbers(agents),
        gate_slots=gate_slots,
        is_serial=serial,
        wall_s=max_time,
        quotas=Quotas(rpm, input_tpm, output_tpm),
        scales=Scales(generate_scale, gate_scale),
        copies=replicate,
        max_batch=max_batch,
        seed=seed,
        cores=cores,
        gate_slowdown=gate_slowdown,
        calibrate=calibrate,
    )
    answer = what_if(Surroundings.found().store(store).find(name), question)
    if json:
        console.raw(answer.model_dump_json() + "\n")
        return
    console.out().print(whatif_table(answer))
