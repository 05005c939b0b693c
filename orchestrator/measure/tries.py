"""What each try at a subtask was and took, from journal entries alone: the part of a record that the agents wrote.

The *service time* of a try is what it takes wherever and whenever it is done: its requests, and the work between them. What it
had to wait because of a limit of ours (spans `rate_limit` and `prompt_cache`) is no part of it and kept apart, since other
limits let it wait otherwise. What the provider's faults cost (spans `failed_request` and `backoff`) is part of it and told
apart: they belong to the try as much as its mistakes do. The journal does not say which of them were rejections for rate, so
those are faults too. Time in a provider's batch (span `batch`) is how such a backend answers, and so is service.

Attempts that were put off are no tries and only counted: by a rate limit, by the budget, by a provider that was down for a while, or by
a killed process, which took them with it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.core.events import AttemptFailed, AttemptStarted, Entry, PatchProposed, RunResumed
from orchestrator.core.subtask_state import POSTPONED
from orchestrator.core.values import Exchange, Failure, Patch, Span, SubtaskId, Usage
from orchestrator.measure.contention import Stretch

LIMIT_SPANS = frozenset({"rate_limit", "prompt_cache"})
FAULT_SPANS = frozenset({"failed_request", "backoff"})


@dataclass(frozen=True, slots=True)
class Request:
    """One exchange with a model: `before_s` of own work, then `duration_s` until the answer is there. Unknown tokens are None.

    `count` are the requests that it took, failed ones included.
    """

    before_s: float
    duration_s: float
    count: int = 1
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Try:
    """One try as it was. `after_s` follows the last request; all of it adds up to `service_s`."""

    subtask: SubtaskId
    attempt: int
    draw: int
    requests: tuple[Request, ...]
    after_s: float
    usage: Usage
    patch: Patch | None = None
    failure: Failure | None = None
    limit_s: float = 0.0
    fault_s: float = 0.0

    @property
    def service_s(self) -> float:
        """Seconds of work, without waits for a limit."""
        return sum(request.before_s + request.duration_s for request in self.requests) + self.after_s


@dataclass(slots=True)
class Tries:
    """All tries in the order of their ends, how many were put off, and how many were lost with a process."""

    tries: list[Try] = field(default_factory=list)
    postponed: int = 0
    lost: int = 0
    _open: dict[SubtaskId, tuple[float, AttemptStarted]] = field(default_factory=dict)

    def read(self, entry: Entry) -> None:
        """Take in one entry; most say nothing about tries."""
        match entry.event:
            case AttemptStarted() as started:
                self._open[started.subtask] = (entry.at, started)
            case PatchProposed() | AttemptFailed() as ended:
                at, started = self._open.pop(ended.subtask)
                if isinstance(ended, AttemptFailed) and ended.failure.reason in POSTPONED:
                    self.postponed += 1
                else:
                    self.tries.append(_try(started, ended, entry.at - at))
            case RunResumed():
                self.lost += len(self._open)
                self._open.clear()
            case _:
                pass


def tries_in(entries: Iterable[Entry]) -> Tries:
    """Read a journal. What is still under way at its end is left out."""
    found = Tries()
    for entry in entries:
        found.read(entry)
    answered = {(each.subtask, each.draw) for each in found.tries if not _is_outage(each)}
    # Where nothing else came of a draw, the outages were what it came to.
    kept = [each for each in found.tries if not _is_outage(each) or (each.subtask, each.draw) not in answered]
    found.postponed += len(found.tries) - len(kept)
    found.tries = kept
    return found


def _is_outage(each: Try) -> bool:
    return each.failure is not None and each.failure.reason == "backend_unavailable"


def _try(started: AttemptStarted, ended: PatchProposed | AttemptFailed, duration_s: float) -> Try:
    limits = merged_stretches(_stretches(ended.spans, LIMIT_SPANS))
    waits = merged_stretches(_stretches(ended.spans, LIMIT_SPANS | FAULT_SPANS))
    requests, after_s = _requests(ended.exchanges, limits, duration_s)
    limit_s = _length(limits, 0.0, duration_s)
    return Try(
        subtask=started.subtask,
        attempt=started.attempt,
        draw=started.draw,
        requests=requests,
        after_s=after_s,
        usage=ended.usage,
        patch=ended.patch if isinstance(ended, PatchProposed) else None,
        failure=ended.failure if isinstance(ended, AttemptFailed) else None,
        limit_s=limit_s,
        fault_s=_length(waits, 0.0, duration_s) - limit_s,
    )


def _requests(
    exchanges: Sequence[Exchange], limits: Sequence[Stretch], duration_s: float
) -> tuple[tuple[Request, ...], float]:
    """The exchanges one after the other, and what follows the last; waits for a limit are cut out of everything."""
    requests: list[Request] = []
    at = 0.0
    for exchange in sorted(exchanges, key=lambda each: each.started_s):
        start = min(max(at, exchange.started_s), duration_s)
        end = min(max(start, exchange.started_s + exchange.duration_s), duration_s)
        requests.append(
            Request(
                before_s=start - at - _length(limits, at, start),
                duration_s=end - start - _length(limits, start, end),
                count=max(1, exchange.usage.requests),
                input_tokens=exchange.usage.input_tokens,
                output_tokens=exchange.usage.output_tokens,
            )
        )
        at = end
    return tuple(requests), max(0.0, duration_s - at - _length(limits, at, duration_s))


def _stretches(spans: Iterable[Span], names: frozenset[str]) -> list[Stretch]:
    return [(span.started_s, span.started_s + span.duration_s) for span in spans if span.name in names]


def merged_stretches(stretches: Iterable[Stretch]) -> list[Stretch]:
    """The same time without overlaps, in order: a queue inside of a request that fails is waited for once."""
    merged: list[Stretch] = []
    for start, end in sorted(stretches):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > start:
            merged.append((start, end))
    return merged


def _length(stretches: Iterable[Stretch], start: float, end: float) -> float:
    """Seconds of these that lie between two moments."""
    return sum(max(0.0, min(end, till) - max(start, since)) for since, till in stretches)
