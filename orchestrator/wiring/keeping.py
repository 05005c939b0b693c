"""What of the past is kept: runs are removed by rule, and nothing that is alive or could go on without being asked to."""

import contextlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.core.errors import OrchestratorError
from orchestrator.core.state import fold
from orchestrator.journal.sqlite import JournalReader
from orchestrator.journal.store import RunFolder, RunStore


@dataclass(frozen=True, slots=True)
class Rule:
    """`keep` newest finished runs stay, as does what changed after `before` (seconds since the epoch; None is no bound)."""

    keep: int
    before: float | None
    unfinished: bool
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Removed:
    """Something that went, and its size in bytes."""

    what: str
    size: int


def collect(store: RunStore, rule: Rule) -> Sequence[Removed]:
    """Remove what the rule says; return what that was."""
    runs = store.root / "runs"
    if not runs.is_dir():
        return []
    folders = [RunFolder(path) for path in sorted(runs.iterdir()) if path.is_dir()]
    idle = [folder for folder in folders if not folder.is_locked()]
    finished = [folder for folder in idle if _is_finished(folder)]
    kept = set(finished[max(0, len(finished) - rule.keep) :])
    removed: list[Removed] = []
    for folder in idle:
        is_candidate = folder in finished or rule.unfinished or not folder.has_started
        if is_candidate and folder not in kept and _is_old(folder, rule):
            removed.append(Removed(f"run {folder.run}", folder.size() if rule.dry_run else folder.remove()))
        elif folder.trees.is_dir():
            removed.append(_remove_trees(folder, dry_run=rule.dry_run))
    return removed


def _is_finished(folder: RunFolder) -> bool:
    if not folder.has_started:
        return False
    with contextlib.suppress(OrchestratorError), JournalReader(folder.journal) as reader:
        return fold(reader.entries()).finished in ("completed", "split_failed")
    return False


def _is_old(folder: RunFolder, rule: Rule) -> bool:
    marker = folder.journal if folder.has_started else folder.path
    return rule.before is None or marker.stat().st_mtime < rule.before


def _remove_trees(folder: RunFolder, *, dry_run: bool) -> Removed:
    size = sum(file.lstat().st_size for file in folder.trees.rglob("*") if not file.is_dir())
    if not dry_run:
        shutil.rmtree(folder.trees)
    return Removed(f"trees of run {folder.run}", size)
