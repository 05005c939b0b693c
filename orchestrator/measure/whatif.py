"""What came of scheduling a run anew: figures that were simulated, and beside them what was measured. Times are in seconds.

- *speedup*: T(1) over the wall time, where both merge the same subtasks; T(1) is the record's own wall time where it is a serial
  run under the same terms, else the simulated one of a serial run.
- *busy share*: of the agents' time, the share in which they were at work; waits for a rate limit are none.
- *bounds*: what each station by itself takes at the least. The largest one *binds*: only more of that helps.
- *error*: how much longer the simulation is than the measurement, as a share of it.
"""

from collections.abc import Mapping

from orchestrator.core.events import FinishReason
from orchestrator.core.values import RunId, Value
from orchestrator.measure.recorded import Recorded


class Measured(Value):
    """Runs of the same task, base, backend and seed under the same limits; `wall_s` is their median.

    `gates_slower` is the median of how many times longer a gate took there than here: where that is far from 1, the machine was
    busier, or less busy, than the one that the simulation assumes.
    """

    runs: tuple[RunId, ...]
    wall_s: float
    least_s: float
    most_s: float
    error: float
    gates_slower: float | None


class WhatIfRow(Value):
    """One schedule. None is *not defined* or *not known*."""

    agents: int
    gate_slots: int
    is_serial: bool
    finished: FinishReason
    wall_s: float
    speedup: float | None
    busy_share: float | None
    subtasks: int
    merged: int
    attempts: int
    extrapolated: int
    conflicts: int
    batches: int
    input_tokens: int
    output_tokens: int
    rate_wait_s: float
    retained_lines: int
    binds: str
    bounds: Mapping[str, float]
    measured: Measured | None = None


class RecordFacts(Value):
    """What was taken from the record, and what it does not know; see `measure.recorded`."""

    run: RunId
    spec: str
    backend: str
    is_simulated: bool
    agents: int
    gate_slots: int
    is_serial: bool
    finished: FinishReason | None
    wall_s: float
    subtasks: int
    settled: int
    merged: int
    tries: int
    limit_wait_s: float
    fault_wait_s: float
    postponed: int
    lost: int
    clashing_pairs: int
    untested_pairs: int
    unexplained_conflicts: int
    unblamed_batches: int
    set_up_s: float
    integration_base_s: float
    integration_each_s: float
    integration_counts_merged: bool
    recorded_batches: int
    has_unknown_tokens: bool


class Assumptions(Value):
    """What the simulation was told besides the limits. `slowdown_source` says where `gate_slowdown` comes from."""

    cores: int
    gate_slowdown: float
    slowdown_source: str
    generate_scale: float = 1.0
    gate_scale: float = 1.0
    copies: int = 1
    max_batch: int = 16
    seed: int = 0
    wall_s: float | None = None
    requests_per_min: float | None = None
    input_tokens_per_min: float | None = None
    output_tokens_per_min: float | None = None


class WhatIf(Value):
    """All schedules of a question. Every figure in `rows` but `measured` is simulated from the record."""

    simulated_from: RunId
    record: RecordFacts
    assumptions: Assumptions
    one_agent_s: float | None
    is_one_agent_measured: bool
    rows: tuple[WhatIfRow, ...]


def facts_of(record: Recorded) -> RecordFacts:
    """What is to be said of a record."""
    tries = [each.did for history in record.histories for same in history.tries.values() for each in same]
    requests = [request for each in tries for request in each.requests]
    run, clashes = record.run, record.clashes
    return RecordFacts(
        run=run.run,
        spec=run.spec_name,
        backend=run.backend,
        is_simulated=run.is_simulated,
        agents=run.limits.agents,
        gate_slots=run.limits.gate_slots,
        is_serial=run.limits.is_serial,
        finished=record.finished,
        wall_s=record.wall_s,
        subtasks=len(record.histories),
        settled=sum(history.is_settled for history in record.histories),
        merged=len(record.merged),
        tries=len(tries),
        limit_wait_s=sum(each.limit_s for each in tries),
        fault_wait_s=sum(each.fault_s for each in tries),
        postponed=record.postponed,
        lost=record.lost,
        clashing_pairs=len(clashes.pairs),
        untested_pairs=clashes.untested,
        unexplained_conflicts=clashes.unexplained,
        unblamed_batches=clashes.unblamed,
        set_up_s=record.set_up_s,
        integration_base_s=record.integration.base_s,
        integration_each_s=record.integration.each_s,
        integration_counts_merged=record.integration.counts_merged,
        recorded_batches=record.integration.batches,
        has_unknown_tokens=any(request.input_tokens is None or request.output_tokens is None for request in requests),
    )
