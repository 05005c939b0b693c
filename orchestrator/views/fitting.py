"""Tables that stay readable in a narrow terminal: rather than break every cell, the least important columns are left out.

A column has a rank; where the width does not do, those of the highest rank go first, and a line says which are missing.
Columns of rank 0 always stay. Columns that fold give way down to a few characters before any is left out. A column in which
nothing stands is never drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """How a column looks, and how soon it may be missed. One that folds keeps at least that many characters."""

    header: str
    rank: int = 0
    justify: Literal["left", "right"] = "left"
    style: str = ""
    is_folded: bool = False
    least: int = 16


@dataclass(frozen=True, slots=True)
class FittedTable:
    """A table of cells that chooses its columns when it is drawn. Each row has a cell for each column."""

    columns: Sequence[Column]
    rows: list[tuple[Text, ...]] = field(default_factory=list)

    def add(self, cells: Sequence[str | Text]) -> None:
        """Add a row; plain text is shown as it is, markup in it means nothing."""
        self.rows.append(tuple(cell if isinstance(cell, Text) else Text(cell) for cell in cells))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the columns that fit."""
        told = [index for index in range(len(self.columns)) if not self.rows or any(row[index] for row in self.rows)]
        kept = self._fitting(told, options.max_width)
        table = Table(box=None, pad_edge=False, header_style="dim")
        for index in kept:
            column = self.columns[index]
            table.add_column(
                column.header,
                justify=column.justify,
                style=column.style,
                overflow="fold" if column.is_folded else "ellipsis",
                no_wrap=not column.is_folded,
            )
        for row in self.rows:
            table.add_row(*(row[index] for index in kept))
        yield table
        missing = [self.columns[index].header for index in told if index not in kept]
        if missing:
            yield Text(f"(a wider terminal also shows: {', '.join(missing)})", style="dim")

    def _fitting(self, told: Sequence[int], width: int) -> list[int]:
        needed = {index: self._least(index) for index in told}
        for index in sorted(told, key=lambda index: -self.columns[index].rank):
            if self.columns[index].rank == 0 or sum(needed.values()) + _GAP * (len(needed) - 1) <= width:
                break
            del needed[index]
        return list(needed)

    def _least(self, index: int) -> int:
        column = self.columns[index]
        widest = max((row[index].cell_len for row in self.rows), default=0)
        return max(Text(column.header).cell_len, min(widest, column.least) if column.is_folded else widest)
