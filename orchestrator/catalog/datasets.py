"""Data sets: one subtask for each row of a `.jsonl` or `.csv` file. Every bad line is named, not just the first."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

from orchestrator.catalog.files import fail, read_text
from orchestrator.core.errors import SpecError

Row = dict[str, object]
_MAX_BYTES = 64 << 20
_MAX_SHOWN = 20


def read_rows(path: Path) -> tuple[Row, ...]:
    """Read the rows of a data set. Raises `SpecError`, with a line for each bad row."""
    if path.suffix == ".jsonl":
        return _json_lines(path)
    if path.suffix == ".csv":
        return _csv(path)
    raise fail(path, "a data set is a `.jsonl` or `.csv` file; convert it, or rename it")


def columns(rows: Iterable[Row]) -> list[str]:
    """Return the names of all columns, in order of appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def _raise(path: Path, problems: list[tuple[int, str]]) -> None:
    if problems:
        lines = [f"{path}:{line}: {message}" for line, message in problems[:_MAX_SHOWN]]
        if len(problems) > _MAX_SHOWN:
            lines.append(f"{path}:{problems[_MAX_SHOWN][0]}: {len(problems) - _MAX_SHOWN:,} more lines are wrong")
        raise SpecError(lines)


def _json_lines(path: Path) -> tuple[Row, ...]:
    rows: list[Row] = []
    problems: list[tuple[int, str]] = []
    for number, line in enumerate(read_text(path, _MAX_BYTES).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_row(line))
        except (ValueError, RecursionError) as error:
            problems.append((number, f"not a row: {_reason(error)}; write one JSON object on one line"))
    _raise(path, problems)
    return tuple(rows)


def _row(line: str) -> Row:
    value = json.loads(line, parse_constant=_not_json)
    if not isinstance(value, dict):
        raise ValueError(f"this is {type(value).__name__}, no object")  # noqa: TRY004  (a wrong file, not a wrong call)
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _not_json(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg} at column {error.colno}"
    if isinstance(error, UnicodeEncodeError):
        return "it holds an escape that is not Unicode text"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _csv(path: Path) -> tuple[Row, ...]:
    reader = csv.reader(io.StringIO(read_text(path, _MAX_BYTES), newline=""), strict=True)
    rows: list[Row] = []
    problems: list[tuple[int, str]] = []
    try:
        header = next(reader, [])
        problems += _header_problems(header)
        for cells in reader:
            if not cells:
                continue
            if len(cells) == len(header):
                rows.append(dict(zip(header, cells, strict=True)))
            else:
                message = f"{len(cells)} cells under {len(header)} columns; quote cells that hold commas"
                problems.append((reader.line_num, message))
    except csv.Error as error:
        problems.append((reader.line_num, f"not valid CSV: {error}; check the quotes"))
    _raise(path, problems)
    return tuple(rows)


def _header_problems(header: list[str]) -> list[tuple[int, str]]:
    if not header:
        return [(1, "the file is empty; begin with a line of column names")]
    twice = sorted({name for name in header if header.count(name) > 1})
    problems = [(1, f"the column {name!r} is there twice; rename one") for name in twice]
    if any(not name.strip() for name in header):
        problems.append((1, "a column has no name; give it one"))
    return problems
