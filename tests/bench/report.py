"""Tables of medians, for people and for programs."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from rich import box
from rich.console import Console
from rich.table import Table as RichTable


@dataclass(frozen=True, slots=True)
class Column:
    """A quantity: its name with the unit, and how many decimals are worth reading."""

    name: str
    decimals: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One of the things compared. A value that could not be had is None."""

    what: str
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was compared, and one sentence of how to read it."""

    title: str
    columns: tuple[Column, ...]
    rows: Sequence[Row]
    reading: str
    conditions: str = ""


@dataclass(slots=True)
class Rounds:
    """One number a round of each of the things that take turns."""

    found: dict[str, list[float]] = field(default_factory=dict)

    def add(self, name: str, value: float) -> None:
        """Note what a round gave."""
        self.found.setdefault(name, []).append(value)

    def median(self, name: str) -> float:
        """Give the median of all rounds."""
        return statistics.median(self.found[name])

    def ratio(self, name: str, to: str) -> float:
        """Give the median of the rounds' ratios."""
        return statistics.median(_ratios(self.found[name], self.found[to]))

    def span(self, name: str, to: str) -> tuple[float, float]:
        """Give the least and the greatest of the rounds' ratios."""
        ratios = _ratios(self.found[name], self.found[to])
        return min(ratios), max(ratios)


def _ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    return [value / other for value, other in zip(values, base, strict=True)]


def show(tables: Iterable[Table], console: Console) -> None:
    """Print tables for people."""
    for table in tables:
        drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
        drawn.add_column("", no_wrap=True)
        for column in table.columns:
            drawn.add_column(column.name, justify="right")
        for row in table.rows:
            cells = zip(row.values, table.columns, strict=True)
            drawn.add_row(row.what, *(_cell(value, column) for value, column in cells))
        console.print(f"\n[bold]{table.title}[/bold]")
        console.print(drawn)
        console.print(table.reading, markup=False)
        if table.conditions:
            console.print(table.conditions, style="dim", markup=False)


def _cell(value: float | None, column: Column) -> str:
    return "-" if value is None else f"{value:,.{column.decimals}f}"


def as_data(tables: Iterable[Table]) -> list[dict[str, object]]:
    """Give tables for programs."""
    return [asdict(table) for table in tables]
