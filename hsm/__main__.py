"""`python -m hsm doctor`: look at a PKCS#11 module, its tokens and a key ring.

Rules:
- Exit codes: 0 all is well, 1 something is wrong, 2 it could not be looked at (or wrong usage).
- `--json` prints the same checks for machines.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from hsm.doctor import Check, Question, Verdict, diagnose, exit_code

_STYLES: Final = {
    Verdict.GOOD: "green",
    Verdict.NOTE: "yellow",
    Verdict.FAULT: "bold red",
    Verdict.BLOCKED: "bold red",
}
_FILE: Final = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """Keys in a PKCS#11 token, seen from the outside."""


@main.command()
@click.option("--module", type=_FILE, required=True, help="The PKCS#11 library.")
@click.option("--token-label", help="Label of the token to log in to.")
@click.option("--token-serial", help="Serial number of the token to log in to.")
@click.option("--pin-file", type=_FILE, help="File of mode 0600 with the token's user PIN.")
@click.option("--keyring", type=_FILE, help="Key ring to compare the token with.")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def doctor(
    module: Path,
    token_label: str | None,
    token_serial: str | None,
    pin_file: Path | None,
    keyring: Path | None,
    as_json: bool,
) -> None:
    """Say what the module can do, which tokens it offers, and what is wrong.

    With --token-label, --token-serial and --pin-file it logs in (once) and tries the OAEP hashes;
    with --keyring as well it compares the token with the key ring, attribute by attribute.
    """
    named = (token_label, token_serial, pin_file)
    if any(named) and not all(named):
        raise click.UsageError("--token-label, --token-serial and --pin-file go together")
    if keyring is not None and not all(named):
        raise click.UsageError("--keyring needs --token-label, --token-serial and --pin-file")
    checks = diagnose(
        Question(
            module=module,
            label=token_label,
            serial=token_serial,
            pin_file=pin_file,
            keyring=keyring,
        )
    )
    if as_json:
        print(json.dumps([dataclasses.asdict(check) for check in checks], indent=2))
    else:
        Console().print(_table(checks))
    sys.exit(exit_code(checks))


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
