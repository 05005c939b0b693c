"""What a provider's batch API has to offer, whatever its form, and what it can say.

Whether a submission was accepted decides about money, so it has three answers, not two: accepted, refused, or unclear, when the
connection broke before the answer came. What is unclear is looked for (`find`) before it is submitted again.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NewType, Protocol

from orchestrator.core.chat import Completion, Prompt
from orchestrator.core.errors import BackendError

BatchName = NewType("BatchName", str)
"""Our own name of a batch, known before it is submitted; [a-zA-Z0-9_-], at most 48 characters."""
BatchId = NewType("BatchId", str)
"""The provider's name of a batch."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One request of a batch. `custom_id` comes back with its result; `body` is what a single request would send."""

    custom_id: str
    body: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Accepted:
    """The batch is there."""

    batch: BatchId


@dataclass(frozen=True, slots=True)
class Refused:
    """The batch is certainly not there."""

    error: BackendError


@dataclass(frozen=True, slots=True)
class Unclear:
    """The batch may be there: no usable answer came."""

    error: BackendError


Submission = Accepted | Refused | Unclear


@dataclass(frozen=True, slots=True)
class Sought:
    """A submission whose fate is not known: its name, how many requests it held, when it was noted (epoch, in seconds).

    `others` are batches that are known to be something else.
    """

    name: BatchName
    requests: int
    noted_s: float
    others: frozenset[BatchId] = frozenset()


@dataclass(frozen=True, slots=True)
class Found:
    """It was accepted."""

    batch: BatchId


@dataclass(frozen=True, slots=True)
class Absent:
    """The provider lists no batch that could be it."""


@dataclass(frozen=True, slots=True)
class Undecided:
    """So many batches could be it, and show what they hold only once they have ended."""

    batches: int


Search = Found | Absent | Undecided


@dataclass(frozen=True, slots=True)
class Running:
    """So many of its requests are done."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Ended:
    """Its results can be read."""


@dataclass(frozen=True, slots=True)
class Declined:
    """It was accepted, but found faulty before any request was worked at; nothing is billed.

    `faulty` are those requests, by number from 0, that were at fault themselves; `error` holds for all others.
    """

    error: BackendError
    faulty: Mapping[int, BackendError] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gone:
    """The provider knows no such batch, or keeps its results no more."""


BatchState = Running | Ended | Declined | Gone


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What one request of a batch came to: JSON text as the provider wrote it. `is_answered`: a model worked at it, which costs."""

    custom_id: str
    text: str
    is_answered: bool


class BatchProvider(Protocol):
    """One model through a provider's batch API. Every call is one attempt, bounded in time; nobody repeats it underneath."""

    @property
    def name(self) -> str:
        """The model's id."""
        ...

    @property
    def place(self) -> str:
        """Which service this is; a batch can only be found again at the place that it was submitted to."""
        ...

    @property
    def max_requests(self) -> int:
        """The most requests that a batch may hold."""
        ...

    @property
    def max_bytes(self) -> int:
        """The most bytes that the requests of a batch may come to."""
        ...

    def body(self, prompt: Prompt) -> Mapping[str, object]:
        """What a single request would send for a prompt, as JSON."""
        ...

    async def submit(self, name: BatchName, requests: Sequence[BatchRequest]) -> Submission:
        """Submit a batch; custom ids are `<name>-<number>`, numbered from 0 in their order."""
        ...

    async def find(self, sought: Sought) -> Search:
        """Look for a submission whose fate is not known. Raises `BackendError`."""
        ...

    async def poll(self, batch: BatchId) -> BatchState:
        """How far a batch is. Raises `BackendError`."""
        ...

    def results(self, batch: BatchId) -> AsyncGenerator[BatchResult, None]:
        """The results of a batch that has ended, in any order. Raises `BackendError`, in the middle as well."""
        ...

    def read(self, prompt: Prompt, result: str) -> Completion:
        """Read the text of the result of a prompt's request. Raises `BackendError` for one that is no answer."""
        ...


def custom_id(name: BatchName, number: int) -> str:
    """The id under which a request's result comes back."""
    return f"{name}-{number}"


def number_in(custom: str, name: BatchName) -> int | None:
    """Which request of a batch an id names; None for one of another batch."""
    owner, _, number = custom.rpartition("-")
    return int(number) if owner == name and number.isascii() and number.isdecimal() else None
