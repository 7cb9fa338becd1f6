"""The command line: serve, check, list, verify; errors say what to do and end with code 1 or 2."""

import sys

import click

from hsm.errors import HsmError, InspectionFailed
from pinvault import __version__
from pinvault.audit.errors import AuditError
from pinvault.bootstrap import StartRefused
from pinvault.cli.audit import audit
from pinvault.cli.check import config, doctor
from pinvault.cli.keys import key
from pinvault.cli.serve import serve, worker
from pinvault.config import ConfigError
from pinvault.policy.shared_table import TableError

REFUSED = 2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pinvault")
def cli() -> None:
    """PIN-block cryptography as a service; clear PINs never leave the secure zone."""


for command in (serve, worker, config, doctor, key, audit):
    cli.add_command(command)


def main() -> None:
    """Run the command line; a known fault is told in its own words, without a traceback."""
    try:
        cli()
    except (ConfigError, HsmError, AuditError, TableError, StartRefused) as error:
        click.echo(f"pinvault: {_told(error)}", err=True)
        sys.exit(REFUSED)


def _told(error: Exception) -> str:
    """Say what is wrong, where, and what to do, as far as the error knows."""
    if isinstance(error, InspectionFailed):
        found = (f"  {finding.summary}: {finding.remedy}" for finding in error.findings)
        return "\n".join([error.text, *found])
    path, remedy = getattr(error, "path", None), getattr(error, "remedy", "")
    text = str(error)
    where = f"{path}: " if path is not None and str(path) not in text else ""
    return where + text + (f": {remedy}" if remedy and remedy not in text else "")
