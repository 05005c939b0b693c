"""What survives a crash: which requests went into which batch, and the results that came back.

A batch is noted *before* it is submitted, and again with the provider's id afterwards. So a process that dies in between leaves a
half-noted batch, which the next one looks for before it pays for anything twice. Answers are stored as they came, before they are
given to anybody. Failed requests are not stored: nobody was paid for them, and asking again may help.

One SQLite file, as durable as the journal: write-ahead log, `synchronous=FULL`, one thread that owns the connection. Replies are in
it, so it is readable by its owner alone. The caller holds the run's lock: one process at a time.
"""

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from orchestrator.backends.batches.provider import BatchId, BatchName
from orchestrator.core.errors import EnvironmentFault
from orchestrator.core.values import Digest

FORMAT = 1
_SCHEMA = f"""
BEGIN;
CREATE TABLE ledger (id TEXT NOT NULL) STRICT;
CREATE TABLE batches (
    name TEXT PRIMARY KEY, place TEXT NOT NULL, noted_s REAL NOT NULL, batch TEXT, is_closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE requests (
    name TEXT NOT NULL REFERENCES batches, number INTEGER NOT NULL, digest TEXT NOT NULL, result TEXT,
    PRIMARY KEY (name, number)
) STRICT;
PRAGMA user_version = {FORMAT};
COMMIT;
"""
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class NotedRequest:
    """One request of a noted batch. `is_stored` says that its result can be read here."""

    number: int
    digest: Digest
    is_stored: bool


@dataclass(frozen=True, slots=True)
class NotedBatch:
    """A batch as the ledger has it. `batch` is None when it was noted and perhaps submitted; `noted_s` is on the clock."""

    name: BatchName
    noted_s: float
    batch: BatchId | None
    is_closed: bool
    requests: tuple[NotedRequest, ...]


class BatchLedger:
    """One run's batches. Open it with `with`. Raises `EnvironmentFault` where the file cannot be read or written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches")
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentFault(f"the ledger of batches {path} cannot be opened: {error}") from error
        try:
            self._id, self._count = self._begin()
        except sqlite3.Error as error:
            self._db.close()
            raise self._fault("opened", error) from error
        except EnvironmentFault:
            self._db.close()
            raise

    def new_name(self) -> BatchName:
        """A name that no other batch has, in this ledger or another."""
        self._count += 1
        return BatchName(f"{self._id}-{self._count}")

    def batches(self, place: str) -> Sequence[NotedBatch]:
        """What was noted for a place, oldest first: what is open, and what is closed and holds results."""
        try:
            rows = self._db.execute(
                "SELECT name, noted_s, batch, is_closed FROM batches WHERE place = ? ORDER BY rowid", (place,)
            ).fetchall()
            return [
                NotedBatch(BatchName(name), noted_s, batch, bool(is_closed), requests)
                for name, noted_s, batch, is_closed in rows
                if (requests := self._requests(name, only_stored=bool(is_closed))) or not is_closed
            ]
        except sqlite3.Error as error:
            raise self._fault("read", error) from error

    async def note(self, name: BatchName, place: str, noted_s: float, digests: Sequence[Digest]) -> None:
        """Write down a batch that is about to be submitted."""

        def write() -> None:
            self._db.execute("INSERT INTO batches (name, place, noted_s) VALUES (?, ?, ?)", (name, place, noted_s))
            rows = [(name, number, digest) for number, digest in enumerate(digests)]
            self._db.executemany("INSERT INTO requests (name, number, digest) VALUES (?, ?, ?)", rows)

        await self._written(write)

    async def submitted(self, name: BatchName, batch: BatchId) -> None:
        """Write down what the provider calls a batch."""
        await self._written(lambda: self._db.execute("UPDATE batches SET batch = ? WHERE name = ?", (batch, name)))

    async def keep(self, name: BatchName, results: Mapping[int, str]) -> None:
        """Store results, by the number of their request; one that is there already stays."""
        rows = [(text, name, number) for number, text in results.items()]
        await self._written(
            lambda: self._db.executemany(
                "UPDATE requests SET result = ? WHERE name = ? AND number = ? AND result IS NULL", rows
            )
        )

    async def close_batch(self, name: BatchName) -> None:
        """Nothing more comes of a batch; the results that are stored stay."""
        await self._written(lambda: self._db.execute("UPDATE batches SET is_closed = 1 WHERE name = ?", (name,)))

    async def result(self, name: BatchName, number: int) -> str:
        """A stored result. Raises `EnvironmentFault` for one that is not there."""

        def read() -> str | None:
            row = self._db.execute(
                "SELECT result FROM requests WHERE name = ? AND number = ?", (name, number)
            ).fetchone()
            text: str | None = row[0] if row is not None else None
            return text

        text = await self._in_thread(read, "read")
        if text is None:
            raise EnvironmentFault(f"the ledger of batches {self._path} has no result of {name}-{number} any more")
        return text

    def close(self) -> None:
        """Finish what is being written and close the file."""
        self._writer.shutdown(wait=True)
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _begin(self) -> tuple[str, int]:
        """The ledger's id and how many batches it has; a file that holds nothing yet is set up, whole or not at all."""
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        found = self._db.execute("PRAGMA user_version").fetchone()[0]
        if found == 0 and self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            self._db.executescript(_SCHEMA)
        elif found != FORMAT:
            raise EnvironmentFault(f"{self._path} is no ledger of batches that this version reads (format {found})")
        self._db.execute(
            "INSERT INTO ledger SELECT ? WHERE NOT EXISTS (SELECT 1 FROM ledger)", (f"b{secrets.token_hex(8)}",)
        )
        ledger_id: str = self._db.execute("SELECT id FROM ledger").fetchone()[0]
        count: int = self._db.execute("SELECT count(*) FROM batches").fetchone()[0]
        return ledger_id, count

    def _requests(self, name: str, *, only_stored: bool) -> tuple[NotedRequest, ...]:
        rows = self._db.execute(
            "SELECT number, digest, result IS NOT NULL FROM requests WHERE name = ? ORDER BY number", (name,)
        )
        return tuple(
            NotedRequest(number, Digest(digest), bool(is_stored))
            for number, digest, is_stored in rows
            if is_stored or not only_stored
        )

    async def _written(self, change: Callable[[], object]) -> None:
        """Make a change in one transaction. Cancelled, it is made all the same."""

        def write() -> None:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                change()
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

        await self._in_thread(write, "written")

    async def _in_thread(self, work: Callable[[], _Answer], what: str) -> _Answer:
        try:
            # Cancelling the wait would cancel what the thread has not begun.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._writer, work))
        except sqlite3.Error as error:
            raise self._fault(what, error) from error

    def _fault(self, what: str, error: sqlite3.Error) -> EnvironmentFault:
        return EnvironmentFault(f"the ledger of batches {self._path} cannot be {what}: {error}")
