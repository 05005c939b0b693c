"""A recording as a folder: one JSON file for each exchange, `<first 16 of the request's digest>-<n>.json`.

`n` counts the answers to one request from 1, in the order in which they came; a number may be missing. A file is written
beside its place under a name with a dot and then renamed, so that a process that is killed leaves whole files and perhaps one
with a dot, which nobody reads. That name belongs to one writer at a time: several processes may record into one folder. Files
are readable by their owner only.

Opening looks at names alone. What is in a file is looked at when it is asked for.
"""

import json
import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from orchestrator.backends.recordings.exchanges import RecordedExchange, decode
from orchestrator.backends.recordings.redaction import Redactor
from orchestrator.core.errors import EnvironmentFault, SpecError
from orchestrator.core.values import Digest, SubtaskId, digest_of

SHOWN = 16
_NAME = re.compile(rf"([0-9a-f]{{{SHOWN}}})-([1-9][0-9]{{0,8}})\.json")
_SUBTASK = re.compile(r'"subtask": ("(?:[^"\\]|\\.)*")')
_HEAD_BYTES = 2_048
_MAX_NAMED = 10


@dataclass(slots=True)
class Recording:
    """An open folder. `open` is for reading one that is there, `create` for writing one or going on with it."""

    folder: Path
    redactor: Redactor
    _numbers: dict[str, list[int]]
    _by_subtask: dict[SubtaskId, list[str]] | None = field(default=None)

    @classmethod
    def open(cls, folder: Path, secrets: Iterable[SecretStr | str] = ()) -> Self:
        """Open a recording to be replayed; `secrets` are not shown in what it says of new requests.

        Raises `SpecError` where there is none, or where something else is in the folder.
        """
        numbers = _numbers_in(folder)
        if not numbers:
            raise SpecError([f"{folder}: nothing is recorded here; {_how_to(folder)}"])
        return cls(folder, Redactor(secrets), numbers)

    @classmethod
    def create(cls, folder: Path, secrets: Iterable[SecretStr | str] = ()) -> Self:
        """Make the folder, or go on with what is recorded in it. `secrets` are never written, nor is what looks like a key.

        Raises `SpecError` where something else is in the folder, `EnvironmentFault` where it cannot be made.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            numbers = _numbers_in(folder)
            folder.chmod(0o700)
        except OSError as error:
            raise EnvironmentFault(f"cannot record in {folder}: {error.strerror}; name another folder") from error
        return cls(folder, Redactor(secrets), numbers)

    def __len__(self) -> int:
        """How many exchanges there are."""
        return sum(map(len, self._numbers.values()))

    def answers_to(self, digest: Digest) -> int:
        """How many answers to a request there are."""
        return len(self._numbers.get(digest[:SHOWN], ()))

    def answer(self, digest: Digest, place: int) -> RecordedExchange:
        """The answer at a place, from 0, of those to a request. Raises `SpecError` for a damaged file."""
        name = _name(digest[:SHOWN], self._numbers[digest[:SHOWN]][place])
        exchange = self.read(name)
        if exchange.digest != digest:
            raise SpecError([f"{self.folder / name}: this is the answer to another request; remove the file"])
        return exchange

    def first(self) -> RecordedExchange:
        """Any one exchange, always the same. Raises `SpecError` for a damaged file."""
        prefix = min(self._numbers)
        return self.read(_name(prefix, self._numbers[prefix][0]))

    def read(self, name: str) -> RecordedExchange:
        """The exchange in a file. Raises `SpecError` for a damaged one."""
        path = self.folder / name
        try:
            exchange = decode(path.read_bytes())
        except OSError as error:
            raise SpecError([f"{path}: the recording cannot be read: {error.strerror}"]) from error
        except ValueError as error:
            raise SpecError([f"{path}: this is no recorded exchange, {error}; remove the file"]) from error
        if not name.startswith(exchange.digest[:SHOWN]):
            raise SpecError([f"{path}: the file was renamed; it holds request {exchange.digest[:SHOWN]}"])
        return exchange

    def subtasks(self) -> Sequence[SubtaskId]:
        """The subtasks that asked, sorted. The first call looks into every file."""
        return sorted(self._asked())

    def of_subtask(self, subtask: SubtaskId) -> Sequence[str]:
        """The files of a subtask's exchanges, sorted. The first call looks into every file."""
        return sorted(self._asked().get(subtask, ()))

    def add(self, exchange: RecordedExchange) -> str:
        """Keep an exchange, without its secrets, and return its file's name. Raises `EnvironmentFault`; may run in any thread."""
        redacted = self.redactor.value(exchange).model_copy(update={"digest": exchange.digest})
        try:
            return self._write(exchange.digest[:SHOWN], redacted.encoded())
        except OSError as error:
            raise EnvironmentFault(
                f"cannot record in {self.folder}: {error.strerror}; the run can be resumed once that is mended"
            ) from error

    def _write(self, prefix: str, body: bytes) -> str:
        number = max(self._numbers.get(prefix, (0,)))
        claim = None
        while claim is None:
            number += 1
            name = _name(prefix, number)
            claim = _claim(self.folder, name)
        try:
            with os.fdopen(claim, "wb") as stream:
                stream.write(body)
                stream.flush()
                os.fsync(claim)
            _part(self.folder, name).rename(self.folder / name)
        except OSError:
            _part(self.folder, name).unlink(missing_ok=True)
            raise
        self._numbers.setdefault(prefix, []).append(number)
        return name

    def _asked(self) -> dict[SubtaskId, list[str]]:
        if self._by_subtask is None:
            self._by_subtask = {}
            for prefix, numbers in self._numbers.items():
                for number in numbers:
                    name = _name(prefix, number)
                    self._by_subtask.setdefault(self._subtask_in(name), []).append(name)
        return self._by_subtask

    def _subtask_in(self, name: str) -> SubtaskId:
        with suppress(OSError), (self.folder / name).open("rb") as stream:
            found = _SUBTASK.search(stream.read(_HEAD_BYTES).decode(errors="replace"))
            if found is not None:
                return SubtaskId(json.loads(found[1]))
        return self.read(name).prompt.draw.subtask


def recording_digest(folder: Path) -> Digest:
    """A digest of what a recording holds, by its files' names and sizes. Raises `SpecError` where there is none."""
    numbers = _numbers_in(folder)
    if not numbers:
        raise SpecError([f"{folder}: nothing is recorded here; {_how_to(folder)}"])
    names = sorted(_name(prefix, number) for prefix, each in numbers.items() for number in each)
    listed = "".join(f"{name} {(folder / name).stat().st_size}\n" for name in names)
    return digest_of(listed.encode())


def _name(prefix: str, number: int) -> str:
    return f"{prefix}-{number}.json"


def _part(folder: Path, name: str) -> Path:
    return folder / f".{name}.part"


def _claim(folder: Path, name: str) -> int | None:
    """Open the file beside a place, for this writer alone; None where the place is taken, or somebody else is at it."""
    try:
        claim = os.open(_part(folder, name), os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return None
    # Looked at with the claim in hand: nobody can take the place any more.
    if not (folder / name).exists():
        return claim
    os.close(claim)
    _part(folder, name).unlink()
    return None


def _numbers_in(folder: Path) -> dict[str, list[int]]:
    """The numbers of the answers by the beginning of their request's digest, sorted. Names with a dot are nobody's business."""
    numbers: dict[str, list[int]] = {}
    foreign: list[str] = []
    for name, is_file in _entries(folder):
        found = _NAME.fullmatch(name)
        if found is not None and is_file:
            numbers.setdefault(found[1], []).append(int(found[2]))
        elif not name.startswith("."):
            foreign.append(name)
    if foreign:
        raise SpecError(_refused(folder, sorted(foreign)))
    for each in numbers.values():
        each.sort()
    return numbers


def _entries(folder: Path) -> list[tuple[str, bool]]:
    """The names in a folder, and whether each is a file. Raises `SpecError`."""
    try:
        with os.scandir(folder) as entries:
            return [(entry.name, entry.is_file()) for entry in entries]
    except FileNotFoundError:
        raise SpecError([f"{folder}: there is no such folder; {_how_to(folder)}"]) from None
    except NotADirectoryError:
        raise SpecError([f"{folder}: this is no folder; name the folder of a recording"]) from None
    except OSError as error:
        raise SpecError([f"{folder}: the recording cannot be read: {error.strerror}"]) from error


def _refused(folder: Path, foreign: Sequence[str]) -> list[str]:
    told = [f"{folder / name}: this is no part of a recording; move it elsewhere" for name in foreign[:_MAX_NAMED]]
    if len(foreign) > _MAX_NAMED:
        told.append(f"{folder}: and {len(foreign) - _MAX_NAMED:,} more files that are no part of a recording")
    return told


def _how_to(folder: Path) -> str:
    return f"record a run first: `orchestrate run SPEC --record {folder}`"
