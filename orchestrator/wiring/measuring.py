"""What runs are measured by: the speedup stack of one, with its bounds, and the comparison of two."""

from collections.abc import Sequence

from orchestrator.core.events import Entry
from orchestrator.core.values import Value
from orchestrator.journal.sqlite import JournalReader
from orchestrator.journal.store import RunFolder, RunStore
from orchestrator.measure.bounds import Bounds, bounds_from
from orchestrator.measure.identity import Explanation, Identity, explain, identity_of
from orchestrator.measure.stack import Decomposition, Stack, account_of, decompose, stack_of
from orchestrator.measure.summary import Summary


class Measures(Value):
    """Where a run's slot time went. `decomposition` is None where no serial run merged the same subtasks."""

    stack: Stack
    decomposition: Decomposition | None
    bounds: Bounds
    identity: Identity


def measures_of(entries: Sequence[Entry], summary: Summary, store: RunStore) -> Measures:
    """Measure a run; `summary` names the serial run that it is compared with."""
    stack, tried = account_of(entries)
    decomposition = None
    if summary.multiplier_kind == "speedup" and summary.one_agent_run is not None:
        serial = stack_of(_entries(store.find(summary.one_agent_run)))
        decomposition = decompose(stack, serial) if serial.is_serial else None
    return Measures(
        stack=stack,
        decomposition=decomposition,
        bounds=bounds_from(entries, stack, tried),
        identity=identity_of(entries, stack),
    )


def joined_json(summary: Summary, measures: Measures) -> str:
    """One JSON object with the figures of both."""
    return f"{summary.model_dump_json()[:-1]},{measures.model_dump_json()[1:]}"


def explanation(store: RunStore, a: str, b: str) -> Explanation:
    """Say why run b's throughput differs from run a's. Raises `EnvironmentFault` when there is no such run."""
    return explain(*(_entries(store.find(name)) for name in (a, b)))


def _entries(folder: RunFolder) -> Sequence[Entry]:
    with JournalReader(folder.journal) as reader:
        return list(reader.entries())
