"""The journal in one SQLite file: events as JSON lines, bodies by digest, compressed.

Write-ahead logging with `synchronous=FULL`: what `append` has returned for survives SIGKILL and power loss. One thread
owns the connection, so that the event loop never waits for a disk; one transaction takes everything that the engine
has to say at a moment, so that a durable event costs microseconds when there are many. The file is readable by its
owner alone: prompts and replies are in it.
"""

import asyncio
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from orchestrator.core.errors import EnvironmentFault, JournalError
from orchestrator.core.events import EVENT, Entry, Event
from orchestrator.core.values import Digest
from orchestrator.ports import Bodies

FORMAT = 1
# Bodies have a row number, so that they are written one after the other; by digest alone they would go all over the file,
# and the cost of one would grow with their number.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, at REAL NOT NULL, event TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS bodies (id INTEGER PRIMARY KEY, digest TEXT NOT NULL UNIQUE, body BLOB NOT NULL) STRICT;
PRAGMA user_version = {FORMAT};
"""


class SqliteJournal:
    """One run's journal for its one writer. Open it with `with`; the caller holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        is_new = not path.exists()
        try:
            if is_new:
                path.touch(mode=0o600)
            self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if is_new:
                self._db.executescript(_SCHEMA)
            self._seq: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentFault(f"the journal {path} cannot be opened: {error}") from error
        _check_format(self._db, path)

    async def append(self, events: Sequence[tuple[float, Event]], bodies: Bodies) -> Sequence[Entry]:
        """Store events and bodies in one transaction; see `ports.Journal`."""
        entries = [
            Entry.model_construct(seq=self._seq + n, at=at, event=event) for n, (at, event) in enumerate(events, 1)
        ]
        self._seq += len(entries)
        writing = asyncio.get_running_loop().run_in_executor(self._writer, self._write, entries, bodies)
        try:
            # A write that the thread has not begun would be dropped with its waiter, and what was paid for with it.
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise
        return entries

    def _write(self, entries: Sequence[Entry], bodies: Bodies) -> None:
        rows = [(entry.seq, entry.at, entry.event.model_dump_json()) for entry in entries]
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
            if bodies:
                packed = ((digest, zlib.compress(body, 1)) for digest, body in bodies.items())
                self._db.executemany("INSERT OR IGNORE INTO bodies (digest, body) VALUES (?, ?)", packed)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise EnvironmentFault(f"the journal {self._path} cannot be written: {error}") from error

    def entries(self) -> Iterable[Entry]:
        """Every entry so far, in order."""
        return _entries(self._db, self._path)

    def body(self, digest: Digest) -> bytes | None:
        """A stored body, or None."""
        return _body(self._db, digest)

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


class JournalReader:
    """A journal for those who only look: any number at once, beside the writer, on a read-only file too."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if not path.is_file():
            raise EnvironmentFault(f"there is no journal at {path}")
        # A log in WAL mode that nobody has open can only be read where its folder can be written, unless it is said to be still.
        is_still = not path.with_name(f"{path.name}-wal").exists() and not os.access(path.parent, os.W_OK)
        mode = "mode=ro&immutable=1" if is_still else "mode=ro"
        try:
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise EnvironmentFault(f"the journal {path} cannot be opened: {error}") from error
        _check_format(self._db, path)

    def last(self) -> int:
        """The number of the last entry; 0 when there is none."""
        try:
            number: int = self._db.execute("SELECT coalesce(max(seq), 0) FROM entries").fetchone()[0]
        except sqlite3.Error as error:
            raise JournalError(f"{self._path} cannot be read: {error}") from error
        return number

    def entries(self, after: int = 0) -> Iterable[Entry]:
        """Every entry with a higher number than `after`, in order."""
        return _entries(self._db, self._path, after)

    def body(self, digest: Digest) -> bytes | None:
        """A stored body, or None."""
        return _body(self._db, digest)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_format(db: sqlite3.Connection, path: Path) -> None:
    try:
        found = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        raise JournalError(f"{path} is not a journal: {error}") from error
    if found != FORMAT:
        raise JournalError(f"{path} has journal format {found}; this version reads format {FORMAT}")


def _entries(db: sqlite3.Connection, path: Path, after: int = 0) -> Iterator[Entry]:
    try:
        for seq, at, text in db.execute("SELECT seq, at, event FROM entries WHERE seq > ? ORDER BY seq", (after,)):
            try:
                event = EVENT.validate_json(text)
            except ValidationError as error:
                raise JournalError(f"{path}, entry {seq}: cannot be read: {error}") from error
            yield Entry.model_construct(seq=seq, at=at, event=event)
    except sqlite3.Error as error:
        raise JournalError(f"{path} cannot be read: {error}") from error


def _body(db: sqlite3.Connection, digest: Digest) -> bytes | None:
    row = db.execute("SELECT body FROM bodies WHERE digest = ?", (digest,)).fetchone()
    return None if row is None else zlib.decompress(row[0])
