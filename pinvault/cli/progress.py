"""How far a long command is: a bar on a terminal, a line now and then elsewhere."""

import time
from datetime import timedelta
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY_S: Final = 5.0


class Meter:
    """The progress of one thing, on standard error, for the length of a `with` block."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._console = Console(stderr=True)
        self._began = time.monotonic()
        self._next_line_at = self._began + LINE_EVERY_S
        self._rows = 0
        self._first: int | None = None
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]:,.0f} rows/s"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None, rate=0.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def show(self, *, rows: int, done: int, total: int) -> None:
        """Tell of `rows` more, and that `done` of `total` is done."""
        self._rows += rows
        self._first = done if self._first is None else self._first
        now = time.monotonic()
        rate = self._rows / max(now - self._began, 1e-6)
        self._bar.update(self._task, completed=done, total=total, rate=rate)
        if self._bar.disable and now >= self._next_line_at:
            self._next_line_at = now + LINE_EVERY_S
            self.say(
                f"{self._title}: {done / max(total, 1):.0%}, {rate:,.0f} rows/s"
                f"{self._left(now, done, total)}"
            )

    def say(self, text: str) -> None:
        """Tell something else, above the bar."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _left(self, now: float, done: int, total: int) -> str:
        """Say how long it still takes, once that can be told."""
        gone = done - (self._first or 0)
        if not gone:
            return ""
        seconds = (now - self._began) * (total - done) / gone
        return f", {timedelta(seconds=round(seconds))} left"
