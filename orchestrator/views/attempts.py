"""Every attempt at a subtask: what was asked, what came back, what it changed, what the gate said."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol

from rich.console import RenderableType
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

from orchestrator.core.events import (
    AttemptFailed,
    AttemptStarted,
    BatchMerged,
    BatchRejected,
    BatchStarted,
    Entry,
    PatchJudged,
    PatchProposed,
)
from orchestrator.core.subtask_state import SubtaskState
from orchestrator.core.values import Digest, Exchange, Failure, Patch, SubtaskId, Value, Verdict
from orchestrator.views.text import clean, count, one_line, seconds

PARTS: Sequence[Literal["prompt", "reply", "diff", "verdict"]] = ("prompt", "reply", "diff", "verdict")


class AttemptStory(Value):
    """One attempt, from its start to what became of it."""

    subtask: SubtaskId
    attempt: int
    draw: int
    base: str
    started: float
    ended: float | None = None
    exchanges: tuple[Exchange, ...] = ()
    patch: Patch | None = None
    failure: Failure | None = None
    verdicts: tuple[Verdict, ...] = ()
    fate: str = "in flight when the process ended"


class Shelf(Protocol):
    """Where the texts are: stored bodies by digest, patches as diffs."""

    def text(self, digest: Digest | None) -> str:
        """A stored body as text."""
        ...

    def patch_diff(self, patch: Patch) -> str:
        """An attempt's change."""
        ...


def attempts_of(entries: Iterable[Entry], subtask: SubtaskId) -> list[AttemptStory]:
    """Collect the attempts at one subtask, in order."""
    stories: list[AttemptStory] = []
    batch: frozenset[SubtaskId] = frozenset()
    for entry in entries:
        event = entry.event
        if isinstance(event, BatchStarted):
            batch = frozenset(event.members)
        if isinstance(event, AttemptStarted) and event.subtask == subtask:
            stories.append(
                AttemptStory(subtask=subtask, attempt=event.attempt, draw=event.draw, base=event.base, started=entry.at)
            )
        elif stories and (told := _continued(entry, subtask, batch)):
            verdict = told.pop("verdict", None)
            if isinstance(verdict, Verdict):
                told["verdicts"] = (*stories[-1].verdicts, verdict)
            stories[-1] = stories[-1].model_copy(update=told)
    return stories


def _continued(entry: Entry, subtask: SubtaskId, batch: frozenset[SubtaskId]) -> dict[str, object]:
    """What an entry adds to the story of the subtask's latest attempt."""
    match entry.event:
        case PatchProposed() as event if event.subtask == subtask:
            return {"ended": entry.at, "exchanges": event.exchanges, "patch": event.patch, "fate": "proposed"}
        case AttemptFailed() as event if event.subtask == subtask:
            fate = event.failure.reason.replace("_", " ")
            return {"ended": entry.at, "exchanges": event.exchanges, "failure": event.failure, "fate": fate}
        case PatchJudged() as event if event.subtask == subtask:
            fate = "accepted" if event.verdict.passed else f"gate: {event.verdict.reason.replace('_', ' ')}"
            return {"verdict": event.verdict, "fate": fate}
        case BatchMerged() as event if subtask in batch:
            is_in = any(patch.subtask == subtask for patch in event.merged)
            return {"fate": f"merged in batch {event.batch}" if is_in else "conflict: to be redone"}
        case BatchRejected() as event if subtask in batch:
            told = {"fate": f"batch {event.batch} was rejected: {event.verdict.reason.replace('_', ' ')}"}
            return told | {"verdict": event.verdict}
        case _:
            return {}


def show_attempts(
    subtask: SubtaskState, attempts: Sequence[AttemptStory], shelf: Shelf, parts: Sequence[str]
) -> Iterator[RenderableType]:
    """Render the chosen parts of each attempt."""
    yield Text.assemble((one_line(subtask.spec.id), "bold"), f" · {subtask.phase} · {one_line(subtask.spec.title)}")
    if not attempts:
        yield Text(clean(subtask.reason) or "not started yet", style="dim")
    for story in attempts:
        took = seconds(story.ended - story.started) if story.ended is not None else "?"
        tokens = [exchange.usage.output_tokens for exchange in story.exchanges]
        spent = count(None if None in tokens else sum(each or 0 for each in tokens))
        told = f"attempt {story.attempt} · {took} · {spent} tokens out · {one_line(story.fate)}"
        yield Rule(Text(told), align="left", style="dim")
        yield from _parts(story, shelf, parts)


def _parts(story: AttemptStory, shelf: Shelf, parts: Sequence[str]) -> Iterator[RenderableType]:
    for number, exchange in enumerate(story.exchanges, 1):
        which = f" {number} of {len(story.exchanges)}" if len(story.exchanges) > 1 else ""
        if "prompt" in parts:
            yield Text(f"▸ prompt{which}", style="bold cyan")
            yield Text(clean(shelf.text(exchange.prompt)))
        if "reply" in parts:
            yield Text(f"▸ reply{which} ({exchange.stop_reason or 'none came'})", style="bold cyan")
            yield Text(clean(shelf.text(exchange.reply)))
    if "diff" in parts and story.patch is not None:
        yield Text(f"▸ diff (+{story.patch.added_lines} -{story.patch.deleted_lines})", style="bold cyan")
        yield Syntax(
            clean(shelf.patch_diff(story.patch)), "diff", theme="ansi_dark", background_color="default", word_wrap=True
        )
    if "verdict" in parts:
        if story.failure is not None:
            yield Text(f"▸ failed: {story.failure.reason.replace('_', ' ')}", style="bold red")
            yield Text(clean(story.failure.feedback))
        for verdict in story.verdicts:
            yield from _verdict(verdict, shelf)


def _verdict(verdict: Verdict, shelf: Shelf) -> Iterator[RenderableType]:
    style = "bold green" if verdict.passed else "bold red"
    told = (
        f"▸ verdict: {verdict.reason.replace('_', ' ')} · sandbox {verdict.sandbox} · tree in {seconds(verdict.tree_s)}"
    )
    yield Text(told, style=style)
    for check in verdict.checks:
        mark, colour = ("✓", "green") if check.passed else ("✗", "red")
        how = "too slow" if check.timed_out else f"exit {check.exit_code}"
        yield Text.assemble((f"  {mark} ", colour), f"{clean(check.name)} {seconds(check.duration_s)}, {how}")
        if not check.passed:
            yield Text(clean(shelf.text(check.output)).rstrip(), style="dim")
    if verdict.feedback and not any(not check.passed for check in verdict.checks):
        yield Text(clean(verdict.feedback))
