"""What of the past is kept: runs are removed by rule, and nothing that is alive or could go on without being asked to."""

import contextlib
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.errors import EnvironmentFault, OrchestratorError
from orchestrator.core.events import RunFinished
from orchestrator.journal.sqlite import JournalReader
from orchestrator.journal.store import RunFolder, RunStore, size_of

_YOUNG_S = 600.0


@dataclass(frozen=True, slots=True)
class Rule:
    """`keep` newest finished runs stay, as does what was written after `before`; times in seconds since the epoch.

    A folder in which no run has started is left alone while it is young: its process may be about to begin.
    """

    keep: int
    now: float
    before: float | None
    unfinished: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that went, and its size in bytes."""

    what: str
    size: int


def collect(store: RunStore, rule: Rule) -> Sequence[Removed]:
    """Remove what the rule says, each under its run's lock; return what that was."""
    runs = store.root / "runs"
    if not runs.is_dir():
        return []
    folders = [RunFolder(path) for path in sorted(runs.iterdir()) if path.is_dir()]
    finished = [folder for folder in folders if is_finished(folder)]
    kept = set(finished[max(0, len(finished) - rule.keep) :])
    removed: list[Removed] = []
    for folder in folders:
        with contextlib.suppress(EnvironmentFault), folder.locked():  # who works at it, or removes it, is left alone
            removed += _tidy(folder, rule, is_finished=folder in finished, is_kept=folder in kept)
    return removed


def is_finished(folder: RunFolder) -> bool:
    """Whether a run has ended for good."""
    with contextlib.suppress(OrchestratorError), JournalReader(folder.journal) as reader:
        last = deque(reader.entries(after=reader.last() - 1), maxlen=1)
        return bool(last) and isinstance(last[0].event, RunFinished) and last[0].event.is_for_good
    return False


def _tidy(folder: RunFolder, rule: Rule, *, is_finished: bool, is_kept: bool) -> list[Removed]:
    removed: list[Removed] = []
    trees = folder.left_trees()
    if trees is not None:
        removed.append(Removed(f"trees of run {folder.run}", size_of(trees)))
        if not rule.dry_run:
            folder.drop_trees()
    has_started = folder.has_started
    is_candidate = is_finished or (rule.unfinished if has_started else _age_s(folder, rule) > _YOUNG_S)
    if is_candidate and not is_kept and (rule.before is None or rule.now - _age_s(folder, rule) < rule.before):
        removed.append(Removed(f"run {folder.run}", folder.size() if rule.dry_run else folder.remove()))
    return removed


def _age_s(folder: RunFolder, rule: Rule) -> float:
    return rule.now - (folder.written or folder.path.stat().st_mtime)
