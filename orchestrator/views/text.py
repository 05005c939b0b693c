"""Words and numbers as people read them. Text that came from a model or a program loses its control characters here."""

import re

_CONTROL = re.compile(
    r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_NO_CHARACTER = re.compile("[\ud800-\udfff]")  # bytes of a file name that are not UTF-8; no stream can encode them


def clean(text: str) -> str:
    """Take out what could steer a terminal: escape sequences, control characters, direction overrides."""
    return _NO_CHARACTER.sub("\ufffd", _CONTROL.sub("", text.replace("\r\n", "\n")))


def one_line(text: str) -> str:
    """The same for a place that has one line: line breaks and tabs become spaces."""
    return " ".join(clean(text).split())


def count(number: int | None) -> str:
    """Format a count for a narrow place: 950, 12.3k, 4.56M; a question mark when it is unknown."""
    if number is None:
        return "?"
    for limit, unit, digits in ((1e9, "G", 2), (1e6, "M", 2), (1e4, "k", 1)):
        if abs(number) >= limit:
            scale = {"G": 1e9, "M": 1e6, "k": 1e3}[unit]
            return f"{number / scale:.{digits}f}{unit}"
    return f"{number:,}"


def seconds(value: float | None) -> str:
    """Format a duration: 0.42 s, 12.3 s, 4:05, 1:02:03; a dash when there is none."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value:.2f} s"
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def dollars(value: float | None, *, is_simulated: bool = False) -> str:
    """Format a cost; an unknown price is said to be unknown, a simulated one to be simulated."""
    if value is None:
        return "price unknown"
    amount = f"${value:.4f}" if 0 < value < 1 else f"${value:,.2f}"
    return f"{amount} simulated" if is_simulated else amount


def percent(value: float | None) -> str:
    """Format a share; a dash when it is not defined."""
    return "–" if value is None else f"{100 * value:.0f} %"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """Format a number with its noun: 1 subtask, 3 subtasks; `many` where an s does not do."""
    return f"{number:,} {noun if number == 1 else many or noun + 's'}"
