"""A simulated schedule as a table: each row says what it comes from, and what was measured stands beside it."""

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.text import Text

from orchestrator.core.values import RunId
from orchestrator.measure.whatif import Assumptions, Measured, RecordFacts, WhatIf, WhatIfRow
from orchestrator.views.fitting import Column, FittedTable
from orchestrator.views.text import clean, count, one_line, percent, plural, seconds

_BUSY = 1.3


def whatif_table(answer: WhatIf) -> RenderableType:
    """Render an answer; it says of every figure that it is simulated, and of what was measured that it is."""
    table = FittedTable(
        (
            Column("agents", justify="right"),
            Column("gate slots", 5, "right", "dim"),
            Column("wall", justify="right"),
            Column("speedup", 1, "right"),
            Column("busy", 4, "right"),
            Column("merged", 2, "right"),
            Column("redone", 7, "right"),
            Column("extrapolated", 6, "right"),
            Column("binds", 2),
            Column("measured", justify="right"),
            Column("error", justify="right"),
            Column("in", 4),
            Column("gates took", 5, "right"),
            Column("ended by", 3),
        )
    )
    for row in answer.rows:
        table.add(_cells(row, answer))
    run = clean(answer.simulated_from)
    notes = [Text(f"• {note}", style="dim") for note in _notes(answer)]
    title = f"{answer.record.spec} · {answer.record.backend} · simulated from run {run}"
    return Group(Rule(Text(one_line(title)), style="dim"), table, Text(), _one_agent(answer), *notes)


def _cells(row: WhatIfRow, answer: WhatIf) -> tuple[str | Text, ...]:
    return (
        "serial" if row.is_serial else f"{row.agents:,}",
        f"{row.gate_slots:,}",
        seconds(row.wall_s),
        "–" if row.speedup is None else f"{row.speedup:.1f} ×",
        percent(row.busy_share),
        f"{row.merged:,}/{row.subtasks:,}",
        f"{row.conflicts:,}" if row.conflicts else "",
        f"{row.extrapolated:,}" if row.extrapolated else "",
        row.binds,
        *_measured(row.measured, answer.simulated_from),
        "" if row.finished == "completed" else row.finished.replace("_", " "),
    )


def _measured(measured: Measured | None, itself: RunId) -> tuple[str, str, str, str]:
    """The wall time, the error, where they come from, and how much longer gates took there."""
    if measured is None:
        return "", "", "", ""
    runs = measured.runs
    which = "itself" if runs == (itself,) else plural(len(runs), "run")
    spread = f", {seconds(measured.least_s)} to {seconds(measured.most_s)}" if len(runs) > 1 else ""
    slower = "" if measured.gates_slower is None else f"{measured.gates_slower:.1f} × as long"
    return seconds(measured.wall_s), f"{100 * measured.error:+.0f} %", f"{which}{spread}", slower


def _one_agent(answer: WhatIf) -> Text:
    told = Text("simulated ", style="bold")
    how = "measured: it is a serial run" if answer.is_one_agent_measured else "simulated as well"
    against = "nothing is merged, so there is no speedup"
    if answer.one_agent_s is not None:
        against = f"speedup against T(1) = {seconds(answer.one_agent_s)}, {how}"
    return told.append(f"from run {clean(answer.simulated_from)}; {against}", style="not bold")


def _notes(answer: WhatIf) -> list[str]:
    record, assumed = answer.record, answer.assumptions
    return [
        *_assumed(assumed, record),
        *_unfinished(record),
        *_siblings(record),
        *_left_out(record, assumed),
        *_busy_machines(answer),
    ]


def _busy_machines(answer: WhatIf) -> list[str]:
    """Why a measurement may not be what was simulated."""
    found = [row.measured.gates_slower for row in answer.rows if row.measured and row.measured.gates_slower]
    if all(slower < _BUSY for slower in found):
        return []
    return [
        f"gates of the measured runs took up to {max(found):.1f} × as long as simulated: other work was on their cores, "
        "or --gate-slowdown is too small here"
    ]


def _assumed(assumed: Assumptions, record: RecordFacts) -> list[str]:
    each = record.integration_each_s
    grows = f" + {seconds(each)} for each {'merged' if record.integration_counts_merged else 'member'}" if each else ""
    busy = f"; with all of them busy each takes {assumed.gate_slowdown:.2f} × as long ({assumed.slowdown_source})"
    notes = [
        f"gates and integration share {plural(assumed.cores, 'core')}{busy if assumed.cores > 1 else ''}",
        f"a batch takes {seconds(record.integration_base_s)}{grows} alone, from {plural(record.recorded_batches, 'batch', 'batches')}; "
        f"at most {assumed.max_batch} at once; set-up {seconds(record.set_up_s)}",
    ]
    scaled = [
        f"{name} × {scale:g}"
        for name, scale in (("generation", assumed.generate_scale), ("gates", assumed.gate_scale))
        if scale != 1
    ]
    quotas = [
        f"{count(round(quota))} {name}"
        for name, quota in (
            ("requests", assumed.requests_per_min),
            ("input tokens", assumed.input_tokens_per_min),
            ("output tokens", assumed.output_tokens_per_min),
        )
        if quota is not None
    ]
    notes += [f"times: {', '.join(scaled)}"] if scaled else []
    notes += [f"an account that takes {', '.join(quotas)} a minute"] if quotas else []
    if assumed.copies > 1:
        notes.append(
            f"{assumed.copies:,} copies of the task; all but the first play the histories of recorded subtasks, drawn by seed {assumed.seed}"
        )
    return notes


def _unfinished(record: RecordFacts) -> list[str]:
    if record.finished == "completed":
        return []
    how = "is still open" if record.finished is None else f"ended by {record.finished.replace('_', ' ')}"
    return [
        f"the run {how}: {record.settled} of {plural(record.subtasks, 'subtask')} came to their end there; "
        "tries that it does not have are drawn from those that it has"
    ]


def _siblings(record: RecordFacts) -> list[str]:
    """Who gets into whose way, as far as the record knows."""
    notes: list[str] = []
    if record.untested_pairs:
        pairs = plural(record.untested_pairs, "pair")
        notes.append(f"{pairs} of subtasks changed a file in common and never met; taken to get along")
    if record.clashing_pairs:
        notes.append(f"{plural(record.clashing_pairs, 'pair')} of subtasks can conflict here, since they did there")
    lost = record.unexplained_conflicts + record.unblamed_batches
    if lost:
        told = plural(lost, "conflict or failed batch", "conflicts or failed batches")
        notes.append(f"{told} of the run without a cause in its journal; nothing like it happens here")
    return notes


def _left_out(record: RecordFacts, assumed: Assumptions) -> list[str]:
    """Whose time is counted here, and whose is not."""
    notes: list[str] = []
    if record.limit_wait_s > 0:
        notes.append(f"{seconds(record.limit_wait_s)} that agents waited for a limit are left out")
    if record.fault_wait_s > 0:
        notes.append(
            f"{seconds(record.fault_wait_s)} of failed requests and backoff are kept, as a part of their tries"
        )
    if record.postponed or record.lost:
        notes.append(f"{plural(record.postponed + record.lost, 'attempt')} put off, or lost with a process: left out")
    quotas = (assumed.input_tokens_per_min, assumed.output_tokens_per_min)
    if record.has_unknown_tokens and any(quota is not None for quota in quotas):
        notes.append("some requests did not say their tokens; they count as none")
    return notes
