"""`python -m hsm doctor`: look at a PKCS#11 module, its tokens and a key ring.

Rules:
- Exit codes: 0 all is well, 1 something is wrong, 2 it could not be looked at (or wrong usage).
  With `--qualify`: 0 qualified, 1 with limits, 2 not qualified (or wrong usage).
- `--json` prints the same checks for machines.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

import click
from rich import box
from rich.console import Console
from rich.table import Table

from hsm.doctor import Check, Question, Verdict, diagnose, exit_code
from hsm.qualify import Conclusion, conclude, qualify
from hsm.qualify_bench import Row, Suitability
from hsm.token import TokenLocation

_STYLES: Final = {
    Verdict.GOOD: "green",
    Verdict.NOTE: "yellow",
    Verdict.FAULT: "bold red",
    Verdict.BLOCKED: "bold red",
}
_SUITABILITY_STYLES: Final = {
    Suitability.GOOD: "green",
    Suitability.LIMITED: "yellow",
    Suitability.UNUSABLE: "bold red",
}
_FILE: Final = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """Keys in a PKCS#11 token, seen from the outside."""


@main.command()
@click.option("--module", type=_FILE, required=True, help="The PKCS#11 library.")
@click.option("--token-label", "--label", help="Label of the token to log in to.")
@click.option("--token-serial", "--serial", help="Serial number of the token to log in to.")
@click.option("--pin-file", type=_FILE, help="File of mode 0600 with the token's user PIN.")
@click.option("--keyring", type=_FILE, help="Key ring to compare the token with.")
@click.option("--qualify", "qualifies", is_flag=True, help="Try all that a service would need.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(
    module: Path,
    token_label: str | None,
    token_serial: str | None,
    pin_file: Path | None,
    keyring: Path | None,
    qualifies: bool,
    as_json: bool,
) -> None:
    """Say what the module can do, which tokens it offers, and what is wrong.

    With --token-label, --token-serial and --pin-file it logs in (once) and tries the OAEP hashes;
    with --keyring as well it compares the token with the key ring, attribute by attribute. With
    --qualify instead it tries everything that a service needs, on session objects alone.
    """
    named = (token_label, token_serial, pin_file)
    if any(named) and not all(named):
        raise click.UsageError("--token-label, --token-serial and --pin-file go together")
    if keyring is not None and not all(named):
        raise click.UsageError("--keyring needs --token-label, --token-serial and --pin-file")
    question = Question(
        module=module,
        label=token_label,
        serial=token_serial,
        pin_file=pin_file,
        keyring=keyring,
    )
    if qualifies:
        location = question.location()
        if location is None or keyring is not None:
            raise click.UsageError("--qualify needs a token, and takes no --keyring")
        sys.exit(_qualify(location, as_json=as_json))
    checks = diagnose(question)
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        Console().print(_table(checks))
    sys.exit(exit_code(checks))


def _qualify(location: TokenLocation, *, as_json: bool) -> Conclusion:
    """Print the rows and the conclusion."""
    rows = qualify(location)
    conclusion = conclude(rows)
    if as_json:
        told = [dataclasses.asdict(row) for row in rows]
        print(json.dumps({"conclusion": conclusion.text, "needs": told}, indent=2))
    else:
        console = Console()
        console.print(_report(rows))
        console.print(conclusion.text)
    return conclusion


def _report(rows: tuple[Row, ...]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("Need", no_wrap=True)
    table.add_column("Tried by", overflow="fold", ratio=4)
    table.add_column("Found", overflow="fold", ratio=4)
    table.add_column("Without it, and what to do", overflow="fold", ratio=4)
    for row in rows:
        style = _SUITABILITY_STYLES[row.verdict]
        verdict = f"[{style}]{row.verdict.value}[/]"
        tried = f"{row.call} {row.mechanism}".strip()
        then = f"lost: {row.lost}; {row.remedy}" if row.lost else ""
        table.add_row(verdict, *map(_text, (row.need, tried, row.found, then)))
    return table


def _table(checks: tuple[Check, ...]) -> Table:
    table = Table(title="hsm doctor", expand=True)
    table.add_column("Subject", overflow="fold", ratio=3)
    table.add_column("Verdict", no_wrap=True)
    table.add_column("What was found", overflow="fold", ratio=4)
    table.add_column("What to do", overflow="fold", ratio=4)
    for check in checks:
        style = _STYLES[check.verdict]
        verdict = f"[{style}]{check.verdict.value}[/]"
        # Names come from the token and from files: brackets in them are text, not markup.
        table.add_row(_text(check.subject), verdict, _text(check.detail), _text(check.remedy))
    return table


def _text(plain: str) -> str:
    return plain.replace("[", r"\[")


if __name__ == "__main__":
    main()
