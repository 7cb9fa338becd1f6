"""The command line: serve, check, keys, verify; errors say what to do and end with code 1 or 2.

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
    "card": "pinvault.cli.card:card",
    "config": "pinvault.cli.check:config",
    "doctor": "pinvault.cli.check:doctor",
    "edge": "pinvault.cli.edge:edge",
    "key": "pinvault.cli.key:key",
    "notify": "pinvault.cli.notify:notify",
    "reencrypt": "pinvault.cli.reencrypt:reencrypt",
    "serve": "pinvault.cli.serve:serve",
    "store": "pinvault.cli.store:store",
    "webhook": "pinvault.cli.webhook:webhook",
    "worker": "pinvault.cli.serve:worker",
}

_SECRET = (["card"], ["edge"], ["key"], ["notify"], ["reencrypt"], ["serve"], ["webhook"])
"""The commands that hold a PIN, a key or a secret, if only for a moment."""


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
    if sys.argv[1:2] in _SECRET and not allocator_told(os.environ):
        # The same program again, with an allocator that scrubs, before there is any secret.
        arguments = [sys.executable, "-m", "pinvault", *sys.argv[1:]]
        os.execve(sys.executable, arguments, with_allocator(os.environ))  # noqa: S606
    try:
        cli()
    except Exception as error:
        from pinvault.cli.faults import told

        text = told(error)
        if text is None:
            raise
        click.echo(f"pinvault: {text}", err=True)
        sys.exit(REFUSED)
