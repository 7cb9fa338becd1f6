"""What the commands share: the configuration argument, tables, and JSON."""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

UNBROKEN = 1_000
"""The width of what no terminal shows, in columns: a row is a line."""

F = TypeVar("F", bound=Callable[..., Any])


def config_argument(command: F) -> F:
    """Take the configuration file as the command's first argument."""
    return click.argument(
        "config_file", envvar="PINVAULT_CONFIG", type=click.Path(path_type=Path, dir_okay=False)
    )(command)


def json_option(command: F) -> F:
    """Give JSON in place of a table."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")(
        command
    )


def show(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, as_json: bool
) -> None:
    """Print rows as a table, or as a JSON list of objects."""
    if as_json:
        keys = [column.lower().replace(" ", "_") for column in columns]
        click.echo(json.dumps([dict(zip(keys, row, strict=True)) for row in rows], indent=2))
        return
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")  # nothing is cut off
    table.columns[0].no_wrap = True
    for row in rows:
        table.add_row(*map(_plain, row))
    Console(width=None if sys.stdout.isatty() else UNBROKEN).print(table)


def _plain(cell: str) -> Text:
    """Show what stands there: what came from elsewhere neither styles nor steers a terminal."""
    return Text("".join(each if each.isprintable() or each == "\n" else "\ufffd" for each in cell))
