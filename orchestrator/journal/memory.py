"""A journal that lives as long as its process: for simulations and tests."""

from collections.abc import Iterable, Sequence

from orchestrator.core.events import Entry, Event
from orchestrator.core.values import Digest
from orchestrator.ports import Bodies


class MemoryJournal:
    """Entries in a list, bodies in a dictionary."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries: list[Entry] = list(entries)
        self._bodies: dict[Digest, bytes] = {}

    async def append(self, events: Sequence[tuple[float, Event]], bodies: Bodies) -> Sequence[Entry]:
        """Keep events and bodies; see `ports.Journal`."""
        first = len(self._entries) + 1
        entries = [Entry.model_construct(seq=first + n, at=at, event=event) for n, (at, event) in enumerate(events)]
        self._entries += entries
        self._bodies.update(bodies)
        return entries

    def entries(self) -> Iterable[Entry]:
        """Every entry so far, in order."""
        return list(self._entries)

    def body(self, digest: Digest) -> bytes | None:
        """A stored body, or None."""
        return self._bodies.get(digest)
