"""The command line: serve, check, list, verify; errors say what to do and end with code 1 or 2.

Rules:
- A command's module is imported when the command runs, so that the supervisor and the
  launcher stay small: they have no use for gRPC or the HSM.
"""

import importlib
import os
import sys

import click

from pinvault import __version__
from pinvault.server.hardening import allocator_told, with_allocator

REFUSED = 2
COMMANDS = {
    "audit": "pinvault.cli.audit:audit",
    "config": "pinvault.cli.check:config",
    "doctor": "pinvault.cli.check:doctor",
    "key": "pinvault.cli.keys:key",
    "serve": "pinvault.cli.serve:serve",
    "worker": "pinvault.cli.serve:worker",
}


class _Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pinvault")
def cli() -> None:
    """PIN-block cryptography as a service; clear PINs never leave the secure zone."""


def main() -> None:
    """Run the command line; a known fault is told in its own words, without a traceback."""
    if sys.argv[1:2] == ["serve"] and not allocator_told(os.environ):
        # The same program again, with an allocator that scrubs, before there is any secret.
        arguments = [sys.executable, "-m", "pinvault", *sys.argv[1:]]
        os.execve(sys.executable, arguments, with_allocator(os.environ))  # noqa: S606
    try:
        cli()
    except Exception as error:
        told = _told(error)
        if told is None:
            raise
        click.echo(f"pinvault: {told}", err=True)
        sys.exit(REFUSED)


def _told(error: Exception) -> str | None:
    """Say what is wrong, where, and what to do; None for an error that nobody foresaw."""
    from hsm.errors import HsmError, InspectionFailed
    from pinvault.audit.errors import AuditError
    from pinvault.bootstrap import StartRefused
    from pinvault.config import ConfigError
    from pinvault.policy.shared_table import TableError

    if isinstance(error, InspectionFailed):
        found = (f"  {finding.summary}: {finding.remedy}" for finding in error.findings)
        return "\n".join([error.text, *found])
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}: correct the path, its kind or its mode"
    if isinstance(error, OSError):
        return (
            f"{error.strerror or 'the operating system refused'}: see that ports and paths are free"
        )
    if not isinstance(error, ConfigError | HsmError | AuditError | TableError | StartRefused):
        return None
    path, remedy = getattr(error, "path", None), getattr(error, "remedy", "")
    text = str(error)
    where = f"{path}: " if path is not None and str(path) not in text else ""
    return where + text + (f": {remedy}" if remedy and remedy not in text else "")
