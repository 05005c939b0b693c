"""What `doctor` found, as lines: a mark, what it is about, how it is, and what to do about it.

A terminal gets columns, or, where it is narrow, an indented paragraph for each finding. A pipe gets each finding on one
line, so that `grep` finds the advice with its mark. `wiring.doctor` collects the values.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from orchestrator.core.values import Usage, Value
from orchestrator.views.text import count, one_line, seconds

State = Literal["ok", "warning", "missing"]
Topic = Literal["machine", "cli", "backend", "live"]

_STYLES: Mapping[State, str] = {"ok": "green", "warning": "yellow", "missing": "red"}
_HEADINGS: Mapping[Topic, str] = {
    "machine": "this machine",
    "cli": "agent command lines (none is needed)",
    "backend": "backends",
    "live": "one real request to each",
}
_MARK_CELLS = 7
_WIDEST_NAME = 24
_NARROW = 72


class AnnouncedLimit(Value):
    """A limit that a provider announced in a response's headers: units a minute, units left, seconds until it is whole."""

    name: str
    limit: float | None = None
    remaining: float | None = None
    reset_s: float | None = None


class Answer(Value):
    """What one real request came to. `model` is who answered, by its own word; None when it did not say."""

    latency_s: float
    usage: Usage
    model: str | None = None
    limits: tuple[AnnouncedLimit, ...] = ()


class Finding(Value):
    """One thing that was looked at. One that `is_needed` and missing keeps the program from working."""

    topic: Topic
    name: str
    state: State
    detail: str
    advice: str = ""
    is_needed: bool = False
    answer: Answer | None = None


def answer_text(answer: Answer) -> str:
    """A live answer in words."""
    usage = answer.usage
    simulated = " (simulated)" if usage.is_simulated else ""
    tokens = f"{count(usage.input_tokens)} tokens in, {count(usage.output_tokens)} out{simulated}"
    model = f"{answer.model} answered" if answer.model else "a model that gave no name answered"
    limits = ", ".join(_limit_text(limit) for limit in answer.limits)
    return (
        f"{model} in {seconds(answer.latency_s)}; {tokens}; {f'limits: {limits}' if limits else 'no limits announced'}"
    )


def finding_line(finding: Finding) -> str:
    """A finding on one line."""
    advice = f" → {finding.advice}" if finding.advice else ""
    told = one_line(f"{finding.topic} {finding.name}: {finding.detail}{advice}")
    return f"{finding.state:<{_MARK_CELLS}}  {told}"


def conclusion(findings: Sequence[Finding]) -> str:
    """The last line: which backends are ready, and what is in the way."""
    missing = [finding for finding in findings if finding.state == "missing"]
    silent = {finding.name for finding in missing if finding.topic in ("backend", "live")}
    ready = [each.name for each in findings if each.topic == "backend" and each.name not in silent]
    told = [f"ready: {', '.join(ready)}" if ready else "no backend is ready"]
    asked = [finding for finding in findings if finding.topic == "live"]
    if asked and all(finding.state == "missing" for finding in asked):
        told.append("none of those that were asked answers")
    failing = dict.fromkeys(finding.name for finding in missing if finding.is_needed)
    if failing:
        told.append(f"in the way: {', '.join(failing)}")
    return one_line("; ".join(told))


@dataclass(frozen=True, slots=True)
class FindingsTable:
    """All findings, under their topics."""

    findings: Sequence[Finding]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw them in columns where there is room for the words."""
        draw = _paragraphs if options.max_width < _NARROW else self._columns
        for topic, group in groupby(self.findings, key=lambda finding: finding.topic):
            yield Text(_HEADINGS[topic], style="bold")
            yield from draw(list(group))

    def _columns(self, group: Sequence[Finding]) -> Iterator[Table]:
        widest = max(Text(one_line(finding.name)).cell_len for finding in self.findings)
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=_MARK_CELLS)
        grid.add_column(width=min(widest, _WIDEST_NAME), overflow="fold")
        grid.add_column(overflow="fold")
        for finding in group:
            grid.add_row(_mark(finding), Text(one_line(finding.name)), Text("\n").join(_told(finding)))
        yield grid


def _paragraphs(group: Sequence[Finding]) -> Iterator[Text | Padding]:
    for finding in group:
        yield Text.assemble(_mark(finding), "  ", one_line(finding.name))
        for part in _told(finding):
            yield Padding(part, (0, 0, 0, 2))


def _mark(finding: Finding) -> Text:
    is_harmless = finding.state == "missing" and not finding.is_needed
    return Text(finding.state, style="dim" if is_harmless else _STYLES[finding.state])


def _told(finding: Finding) -> list[Text]:
    detail = Text(one_line(finding.detail))
    return [detail, Text(f"→ {one_line(finding.advice)}", style="cyan")] if finding.advice else [detail]


def _limit_text(limit: AnnouncedLimit) -> str:
    unit = limit.name.replace("_", " ")
    most = f"{_amount(limit.limit)} {unit}/min" if limit.limit is not None else unit
    return f"{most} ({_amount(limit.remaining)} left)" if limit.remaining is not None else most


def _amount(value: float | None) -> str:
    return count(None if value is None else round(value))
