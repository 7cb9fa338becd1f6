"""`pinvault reencrypt`: what the store holds moves to the present versions of its keys.

Rules:
- It may be stopped and killed at any moment, and goes on from there when it is started again.
- A row that cannot be moved is told by its card's id; the command then ends with code 1.
"""

import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import click

from pinvault.bootstrap.reencrypt import Reencryption, open_reencryption
from pinvault.cli.common import config_argument, json_option, show
from pinvault.cli.key.desk import NotDone
from pinvault.cli.progress import Meter
from pinvault.config import RunMode, load
from pinvault.model.batch import MAX_ITEMS
from pinvault.model.keys import Key
from pinvault.operations.reencrypt import Left, Step
from pinvault.server.hardening import weaknesses

EXIT_CODES: Final = {"OK": 0, "ROWS_LEFT": 1, "STOPPED": 3}
"""By the outcome that is on record."""
FAILED: Final = "FAILED"
MOST_TOLD: Final = 100
"""How many rows that were left are told of each column."""
ADVICE: Final = {
    "ROWS_LEFT": "rows were left: do not retire a version that has any",
    "STOPPED": "stopped before the end: start it again, and it goes on from there",
}
TITLES: Final = ("Column", "Present key", "Looked at", "Moved", "Left", "Under other versions")


class Way(StrEnum):
    """How it goes over the store; the words are causes in the record."""

    MOVE = ""
    DRY_RUN = "dry-run"
    VERIFY = "verify"


@dataclass(slots=True)
class Tally:
    """What became of a column; `others` are its rows under other versions at the end."""

    column: str
    present: Key
    looked_at: int = 0
    moved: int = 0
    left: dict[str, Left] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)

    def add(self, step: Step) -> Iterator[str]:
        """Count a step; say which rows were left that were not told before."""
        self.looked_at += step.rows
        self.moved += step.moved
        for left in step.left:
            if left.card_id not in self.left:
                self.left[left.card_id] = left
                if len(self.left) <= MOST_TOLD:
                    yield f"{self.column} of {left.card_id}, {left.key}: {left.fault}"

    def row(self) -> tuple[str, ...]:
        """Give the row of the table."""
        others = ", ".join(f"{key}: {rows:,}" for key, rows in self.others.items())
        numbers = (f"{number:,}" for number in (self.looked_at, self.moved, len(self.left)))
        return (self.column, self.present.id, *numbers, others or "none")


@click.command()
@config_argument
@click.option("--dry-run", "way", flag_value=Way.DRY_RUN.value, help="Do everything but write.")
@click.option(
    "--verify",
    "way",
    flag_value=Way.VERIFY.value,
    help="Open every row under its key; write nothing.",
)
@click.option(
    "--chunk",
    type=click.IntRange(1, MAX_ITEMS),
    default=2_000,
    show_default=True,
    help="Rows that are read, moved and written together.",
)
@click.option(
    "--rest",
    type=click.FloatRange(0, 3600),
    default=0.0,
    show_default=True,
    help="Seconds to rest after each chunk, for the service.",
)
@json_option
@click.pass_context
def reencrypt(
    context: click.Context,
    config_file: Path,
    way: str | None,
    chunk: int,
    rest: float,
    as_json: bool,
) -> None:
    """Move stored PANs and PIN blocks to the present versions of the store's keys.

    Servers go on meanwhile; on PostgreSQL any number of these work together. Ends with 1 when rows
    were left, 2 when it cannot go on, 3 when it was stopped: start it again.
    """
    loaded = load(config_file.absolute())
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with open_reencryption(loaded, size=chunk, rest_s=rest, pause=stop.wait) as job:
        missing = weaknesses() if loaded.config.mode is RunMode.PRODUCTION else []
        if missing:
            raise NotDone("production mode refuses to touch keys: " + "; ".join(missing))
        tallies, outcome = _recorded(job, Way(way or Way.MOVE), stop)
    title = f"Re-encryption: {way}" if way else "Re-encryption"
    show(title, TITLES, [tally.row() for tally in tallies], as_json=as_json)
    if outcome != "OK":
        click.echo(f"pinvault: {ADVICE[outcome]}", err=True)
    context.exit(EXIT_CODES[outcome])


def _recorded(job: Reencryption, way: Way, stop: threading.Event) -> tuple[list[Tally], str]:
    """Do it between two entries in the record; give what became of each column, and the outcome."""
    outcome = FAILED
    job.record("BEGUN", way.value)
    try:
        tallies = [_column(job, way, column, stop) for column in job.columns]
        outcome = _outcome(tallies, way, stop)
    finally:
        job.record(outcome, way.value)
    return tallies, outcome


def _column(job: Reencryption, way: Way, column: str, stop: threading.Event) -> Tally:
    tally = Tally(column, job.columns[column])
    work = {
        Way.MOVE: job.work.move,
        Way.DRY_RUN: job.work.try_out,
        Way.VERIFY: job.work.verify,
    }[way]
    with Meter(column) as meter:
        for step in work(column, tally.present) if not stop.is_set() else ():
            for text in tally.add(step):
                meter.say(text)
            meter.show(rows=step.rows, done=step.done, total=step.total)
            if stop.is_set():
                break
    counts = job.work.rows_by_key(column)
    tally.others = {key: rows for key, rows in counts.items() if key != tally.present.id}
    return tally


def _outcome(tallies: list[Tally], way: Way, stop: threading.Event) -> str:
    if stop.is_set():
        return "STOPPED"
    is_left = any(tally.left or (way is Way.MOVE and tally.others) for tally in tallies)
    return "ROWS_LEFT" if is_left else "OK"
