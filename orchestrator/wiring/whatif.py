"""`whatif`: a recorded run under other limits, and what was measured under the same ones."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from orchestrator.core.errors import EnvironmentFault, OrchestratorError
from orchestrator.core.events import Entry, RunStarted
from orchestrator.core.values import Limits, RunId
from orchestrator.engine.timemachine.account import Quotas
from orchestrator.engine.timemachine.replay import Scales
from orchestrator.engine.timemachine.schedule import Schedule, Terms, schedule
from orchestrator.journal.sqlite import JournalReader
from orchestrator.journal.store import RunFolder, RunStore
from orchestrator.measure.calibration import calibrated
from orchestrator.measure.contention import ALL_BUSY, Contention
from orchestrator.measure.recorded import Recorded, recorded
from orchestrator.measure.whatif import Assumptions, Measured, WhatIf, WhatIfRow, facts_of

DEFAULT_AGENTS = (1, 2, 4, 8, 16, 32)
_Place = tuple[bool, int, int]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. None leaves it to the record or to the machine; `calibrate` fits the slowdown to the runs that there are."""

    agents: Sequence[int] | None = None
    gate_slots: int | None = None
    is_serial: bool = False
    wall_s: float | None = None
    quotas: Quotas = field(default_factory=Quotas)
    scales: Scales = field(default_factory=Scales)
    copies: int = 1
    max_batch: int | None = None
    seed: int = 0
    cores: int | None = None
    gate_slowdown: float | None = None
    calibrate: bool = False

    @property
    def is_as_recorded(self) -> bool:
        """Whether nothing but limits of the orchestrator is asked for, so that a measured run can be beside it."""
        changed = (self.wall_s, self.max_batch, self.quotas.are_set or None)
        return all(each is None for each in changed) and self.scales == Scales() and self.copies == 1


@dataclass(frozen=True, slots=True)
class _Sibling:
    """Another run of the same task, base, backend and seed that was completed."""

    run: RunId
    limits: Limits
    record: Recorded


def what_if(folder: RunFolder, question: Question) -> WhatIf:
    """Answer a question about a run. Raises `EnvironmentFault` for one that there is nothing to learn from, and `JournalError`."""
    entries = _entries(folder)
    here = Contention(_cores(), question.gate_slowdown or ALL_BUSY)
    record = _record(folder, entries, here)
    siblings = _siblings(folder, record.run, here)
    if question.calibrate:
        here = Contention(here.cores, _calibrated(record, siblings, here.cores))
        record = recorded(entries, here)
    terms = Terms(
        gate_slots=question.gate_slots or _gate_slots(record.run),
        wall_s=question.wall_s,
        quotas=question.quotas,
        scales=question.scales,
        copies=question.copies,
        max_batch=question.max_batch,
        seed=question.seed,
        # The journal does not say where it was written: on a machine like this one.
        contention=replace(here, cores=question.cores or here.cores),
    )
    return _answer(record, terms, question, _measured([_Sibling(record.run.run, record.run.limits, record), *siblings]))


def _answer(
    record: Recorded, terms: Terms, question: Question, measured: Mapping[_Place, Sequence[_Sibling]]
) -> WhatIf:
    serial = schedule(record, replace(terms, is_serial=True, wall_s=None))
    is_own = record.run.limits.is_serial and record.is_complete and question.is_as_recorded
    one_agent_s = record.wall_s if is_own else serial.wall_s
    wanted = [replace(terms, agents=1, gate_slots=1, is_serial=True)] if question.is_serial else []
    agents = question.agents or (() if question.is_serial else DEFAULT_AGENTS)
    wanted += [replace(terms, agents=number) for number in agents]
    rows: list[WhatIfRow] = []
    for each in wanted:
        made = schedule(record, each)
        known = measured.get((each.is_serial, each.agents, each.gate_slots), ()) if question.is_as_recorded else ()
        speedup = one_agent_s / made.wall_s if made.merged == serial.merged and made.wall_s > 0 else None
        rows.append(_row(record, each, made, _beside(made, known), speedup))
    return WhatIf(
        simulated_from=record.run.run,
        record=facts_of(record),
        assumptions=_assumptions(record, terms, question),
        one_agent_s=one_agent_s if serial.merged else None,
        is_one_agent_measured=is_own,
        rows=tuple(rows),
    )


def _row(record: Recorded, terms: Terms, made: Schedule, measured: Measured | None, speedup: float | None) -> WhatIfRow:
    tally, slots = made.tally, terms.agents * made.wall_s
    share = len(made.merged) / len(record.merged)
    return WhatIfRow(
        agents=terms.agents,
        gate_slots=terms.gate_slots,
        is_serial=terms.is_serial,
        finished=made.finished,
        wall_s=made.wall_s,
        speedup=speedup,
        busy_share=tally.generate_s / slots if slots else None,
        subtasks=made.subtasks,
        merged=len(made.merged),
        attempts=tally.attempts,
        extrapolated=made.extrapolated,
        conflicts=tally.conflicts,
        batches=tally.batches,
        input_tokens=tally.input_tokens,
        output_tokens=tally.output_tokens,
        rate_wait_s=made.rate_wait_s,
        retained_lines=round(record.retained_lines * share),
        binds=made.binds,
        bounds=dict(made.bounds),
        measured=measured,
    )


def _assumptions(record: Recorded, terms: Terms, question: Question) -> Assumptions:
    contention = terms.contention or Contention(1)
    given = "given" if question.gate_slowdown is not None else "default"
    return Assumptions(
        cores=contention.cores,
        gate_slowdown=contention.all_busy,
        slowdown_source="fitted to the runs below" if question.calibrate else given,
        generate_scale=terms.scales.generate,
        gate_scale=terms.scales.gate,
        copies=terms.copies,
        max_batch=terms.max_batch or record.run.max_batch,
        seed=terms.seed,
        wall_s=terms.wall_s,
        requests_per_min=terms.quotas.requests,
        input_tokens_per_min=terms.quotas.input_tokens,
        output_tokens_per_min=terms.quotas.output_tokens,
    )


def _beside(made: Schedule, known: Sequence[_Sibling]) -> Measured | None:
    if not known:
        return None
    walls = [each.record.wall_s for each in known]
    wall_s = median(walls)
    gates = [seconds for each in known if (seconds := each.record.times.mean_gate_s) is not None]
    gate_s = made.tally.beside_s / made.tally.checked if made.tally.checked else 0.0
    return Measured(
        runs=tuple(each.run for each in known),
        wall_s=wall_s,
        least_s=min(walls),
        most_s=max(walls),
        error=made.wall_s / wall_s - 1,
        gates_slower=median(gates) / gate_s if gates and gate_s > 0 else None,
    )


def _record(folder: RunFolder, entries: Sequence[Entry], contention: Contention) -> Recorded:
    if not entries:
        raise EnvironmentFault(f"run {folder.run} never started; there is nothing to schedule anew")
    record = recorded(entries, contention)
    if not record.merged:
        raise EnvironmentFault(
            f"run {folder.run} merged nothing, so nobody knows what its gates and integration take; choose another run"
        )
    return record


def _entries(folder: RunFolder) -> list[Entry]:
    with JournalReader(folder.journal) as reader:
        return list(reader.entries())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _gate_slots(run: RunStarted) -> int:
    """The record's; a serial one has one slot because it is serial, and does not say how many there would be."""
    return Limits().gate_slots if run.limits.is_serial else run.limits.gate_slots


def _siblings(folder: RunFolder, run: RunStarted, contention: Contention) -> list[_Sibling]:
    """Completed runs of the same task, base, backend and seed, oldest first; one that cannot be read is left out."""
    same = (run.spec_digest, run.base, run.backend_digest, run.seed)
    found: list[_Sibling] = []
    for other in RunStore(folder.path.parent.parent).all():
        if other.run == folder.run:
            continue
        with contextlib.suppress(OrchestratorError, ValueError), JournalReader(other.journal) as reader:
            first = next(iter(reader.entries()), None)
            if first is None or not isinstance(first.event, RunStarted):
                continue
            theirs = first.event
            if (theirs.spec_digest, theirs.base, theirs.backend_digest, theirs.seed) != same:
                continue
            record = recorded(list(reader.entries()), contention)
            if record.is_complete:
                found.append(_Sibling(theirs.run, theirs.limits, record))
    return found


def _measured(runs: Sequence[_Sibling]) -> Mapping[_Place, Sequence[_Sibling]]:
    """Complete runs by their limits; one that was interrupted lost time, and may have had others for a part of it."""
    places: dict[_Place, list[_Sibling]] = {}
    for each in runs:
        limits = each.limits
        if each.record.is_complete and each.record.processes == 1 and each.record.wall_s > 0:
            places.setdefault((limits.is_serial, limits.agents, limits.gate_slots), []).append(each)
    return places


def _calibrated(record: Recorded, siblings: Sequence[_Sibling], cores: int) -> float:
    everyone = [record, *(each.record for each in siblings)]
    alone = next((each for each in everyone if each.run.limits.is_serial and each.is_complete), None)
    crowded = [each for each in everyone if not each.run.limits.is_serial]
    found = None if alone is None else calibrated(alone, crowded, cores)
    if found is None:
        raise EnvironmentFault(
            "to calibrate takes a complete --serial run of this task, base, backend and seed, and another one whose gates overlapped; "
            "make them, or say --gate-slowdown X"
        )
    return found
