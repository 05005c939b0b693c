"""The runs that there are: their figures, their attempts, their results."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.core.errors import EnvironmentFault, OrchestratorError
from orchestrator.core.events import Entry, RunStarted
from orchestrator.core.fold import fold
from orchestrator.core.state import RunState
from orchestrator.core.transitions import Phase
from orchestrator.core.values import CommitId, Digest, Patch, RunId
from orchestrator.git.intake import is_checkout_root, open_bare
from orchestrator.git.publish import Move, apply_to_checkout, apply_to_folder, publish, published
from orchestrator.git.repository import Repository
from orchestrator.git.trunk import trunk_ref
from orchestrator.journal.sqlite import JournalReader
from orchestrator.journal.store import RunFolder, RunStore
from orchestrator.measure.summary import OneAgent, Summary, summarize
from orchestrator.wiring.keeping import is_finished
from orchestrator.wiring.surroundings import Surroundings


@dataclass(slots=True)
class PastRun:
    """A run to look at: its entries, its bodies, its repository. Nothing is changed through it."""

    folder: RunFolder
    entries: Sequence[Entry]
    state: RunState
    reader: JournalReader
    repository: Repository

    @property
    def started(self) -> RunStarted:
        """What the run is."""
        if self.state.run is None:
            raise EnvironmentFault(f"run {self.folder.run} never started")
        return self.state.run

    def text(self, digest: Digest | None) -> str:
        """A stored body as text; empty where there is none."""
        body = self.reader.body(digest) if digest is not None else None
        return "" if body is None else body.decode(errors="replace")

    def diff(self, base: CommitId, commit: CommitId, *options: str) -> str:
        """The difference between two commits of the run, as git shows it, as text."""
        return self.diff_bytes(base, commit, *options).decode(errors="replace")

    def diff_bytes(self, base: CommitId, commit: CommitId, *options: str) -> bytes:
        """The same, whatever the files' encodings are."""
        return self.repository.run("diff", "--no-color", "--no-ext-diff", "--no-textconv", *options, base, commit)

    def patch_diff(self, patch: Patch) -> str:
        """An attempt's change."""
        return self.diff(patch.base, patch.commit)


@contextlib.contextmanager
def past_run(surroundings: Surroundings, folder: RunFolder) -> Iterator[PastRun]:
    """Open a run to look at."""
    with JournalReader(folder.journal) as reader, contextlib.ExitStack() as stack:
        entries = list(reader.entries())
        repository = open_bare(folder.repository, surroundings.env)
        stack.callback(repository.close)
        yield PastRun(folder, entries, fold(entries), reader, repository)


def summary_of(entries: Iterable[Entry], folder: RunFolder) -> Summary:
    """A run's figures, against a measured one-agent run of the same task, backend and seed where there is one."""
    known = list(entries)
    return summarize(known, _one_agent(known, folder))


def all_summaries(store: RunStore) -> list[tuple[Summary, str]]:
    """Every run's figures and how it stands, oldest first; a journal that cannot be read is left out."""
    found: list[tuple[Summary, str]] = []
    for folder in store.all():
        with contextlib.suppress(OrchestratorError, ValueError), JournalReader(folder.journal) as reader:
            entries = list(reader.entries())
            summary = summarize(entries)
            found.append((summary, standing(summary, is_locked=folder.is_locked())))
    return found


def resumable(store: RunStore) -> RunFolder:
    """The latest run that can go on. Raises `EnvironmentFault` when there is none."""
    folders = sorted(store.all(), key=lambda folder: folder.written, reverse=True)
    found = next((folder for folder in folders if not is_finished(folder)), None)
    if found is None:
        last = store.find("last")
        raise EnvironmentFault(f"no run in {store.root} can be resumed; run {last.run} has ended: nothing to resume")
    return found


def standing(summary: Summary, *, is_locked: bool) -> str:
    """Say how a run stands, in a word or two."""
    if is_locked:
        return "running"
    if summary.finished == "completed":
        return "completed"
    if summary.finished == "split_failed":
        return "split failed"
    return f"{(summary.finished or 'killed').replace('_', ' ')}, can be resumed"


def result_branch(run: RunId) -> str:
    """The name of a run's branch."""
    return trunk_ref(run).removeprefix("refs/heads/")


def publish_result(state: RunState, repository: Repository, surroundings: Surroundings) -> str:
    """Bring what was merged to the user's repository, where there is one; return the branch's name. Again, it does nothing.

    Raises `EnvironmentFault` when the branch there is not where this run left it.
    """
    run = state.run
    if run is None:
        raise EnvironmentFault("this run never started")
    branch = result_branch(run.run)
    path = Path(run.repo)
    if state.counts[Phase.MERGED] == 0 or not _is_users_checkout(path, surroundings):
        return branch
    ref, env = trunk_ref(run.run), surroundings.env
    before = published(path, ref, env)
    if before is not None and not _is_ours(repository, before, state.head):
        raise EnvironmentFault(
            f"the branch {branch} of {run.repo} is at {before[:10]}, where this run never put it; "
            f"rename it, then try again: the result is safe in {repository.git_dir}"
        )
    publish(repository, path, Move(ref, state.head, before, run.base), env)
    return branch


def _is_ours(repository: Repository, before: CommitId, head: CommitId) -> bool:
    """Whether a branch stands where an earlier process of this run left it."""
    return repository.resolve(before) == before and repository.is_ancestor(before, head)


def apply_result(past: PastRun, surroundings: Surroundings) -> Sequence[str]:
    """Bring the result into the checkout or the folder that the run was started on; return the paths that changed."""
    run, state = past.started, past.state
    if state.counts[Phase.MERGED] == 0:
        raise EnvironmentFault(f"run {run.run} merged nothing; there is nothing to apply")
    path = Path(run.repo)
    changed = past.diff(run.base, state.head, "--name-only", "-z").split("\0")[:-1]
    if _is_users_checkout(path, surroundings):
        publish_result(state, past.repository, surroundings)
        before = published(path, "HEAD", surroundings.env)
        after = apply_to_checkout(path, state.head, surroundings.env)
        return [] if after == before else changed
    if path.is_dir():
        return apply_to_folder(past.repository, path, run.base, state.head)
    raise EnvironmentFault(
        f"run {run.run} worked on {run.repo}, which is not here; "
        f"fetch its branch: git fetch {past.folder.repository} {result_branch(run.run)}"
    )


def _is_users_checkout(path: Path, surroundings: Surroundings) -> bool:
    return path.is_dir() and is_checkout_root(path, surroundings.env)


def _one_agent(entries: Sequence[Entry], folder: RunFolder) -> OneAgent | None:
    """The latest completed serial run over the same base, task, backend and seed; None for such a run itself."""
    run = next((entry.event for entry in entries if isinstance(entry.event, RunStarted)), None)
    if run is None or run.limits.is_serial:
        return None
    same = (run.spec_digest, run.backend_digest, run.seed, run.base)
    for other in reversed(RunStore(folder.path.parent.parent).all()):
        if other.run == folder.run:
            continue
        with contextlib.suppress(OrchestratorError, ValueError), JournalReader(other.journal) as reader:
            first = next(iter(reader.entries()), None)
            if first is None or not isinstance(first.event, RunStarted) or not first.event.limits.is_serial:
                continue
            if (first.event.spec_digest, first.event.backend_digest, first.event.seed, first.event.base) != same:
                continue
            theirs = summarize(list(reader.entries()))
            if theirs.finished == "completed":
                merged = frozenset(row.id for row in theirs.rows if row.phase is Phase.MERGED)
                return OneAgent(run=theirs.run, wall_s=theirs.wall_s, merged=merged)
    return None
