"""Runs to be scheduled anew: made on the virtual clock, so that what the record should say is known."""

from orchestrator.core.fold import fold
from orchestrator.core.values import FileChange, Verdict
from orchestrator.journal.memory import MemoryJournal
from orchestrator.measure.contention import Contention
from orchestrator.measure.recorded import recorded
from tests.simulation import Ledger, SimulatedEffects, begin, drive, run_started, subtask
from tests.virtual_time import VirtualClock, run_virtually

PLENTY = Contention(cores=1_000, all_busy=1.0)


class SharingEffects(SimulatedEffects):
    """Patches of subtasks that clash touch a path in common, as they would in git; a merged batch says how it was judged."""

    async def generate(self, job):
        outcome = await super().generate(job)
        if outcome.kind != "patch_proposed":
            return outcome
        name = job.subtask.id
        pairs = [f"{'-'.join(sorted((name, other)))}.txt" for other in self.siblings(name)]
        change = outcome.patch.changes[0]
        changes = tuple(FileChange(**{**change.model_dump(), "path": path}) for path in [change.path, *pairs])
        return outcome.model_copy(update={"patch": outcome.patch.model_copy(update={"changes": changes})})

    async def integrate(self, job):
        outcome = await super().integrate(job)
        if outcome.kind == "batch_rejected":
            return outcome
        return outcome.model_copy(update={"verdict": Verdict(passed=True, reason="passed")})

    def siblings(self, name):
        theirs = {other for other, fate in self.fates.items() if name in fate.clashes}
        return sorted(theirs | self.fate(name).clashes)


def made(subtasks, fates=None, integrate_s=2.0, **run):
    """Run it; return the entries."""
    journal = MemoryJournal()
    effects = SharingEffects(subtasks, fates or {}, Ledger(), integrate_s)

    async def process():
        state = await begin(journal, run_started(**run))
        await drive(journal, state, effects, VirtualClock())

    run_virtually(process())
    return list(journal.entries())


def record_of(subtasks, fates=None, contention=PLENTY, **run):
    """Run it, and read what came of it."""
    return recorded(made(subtasks, fates, **run), contention)


def events_of(entries):
    """What happened when, without what is not decided: commits, patches, figures."""
    fold(entries)
    return [(round(entry.at, 6), entry.event.kind, *_names(entry.event)) for entry in entries[1:]]


def _names(event):
    found = [
        getattr(event, name) for name in ("subtask", "attempt", "draw", "batch", "members") if hasattr(event, name)
    ]
    return [*found, *sorted(each.subtask for each in getattr(event, "conflicts", ()))]


def crowd(size, **fields):
    """That many subtasks that need nobody."""
    return [subtask(f"s{number}", **fields) for number in range(size)]
