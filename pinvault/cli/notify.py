"""`pinvault notify`: sends what the outbox holds to who is to be told."""

import sys
from pathlib import Path

import click

from pinvault.cli.common import config_argument
from pinvault.config import load


@click.command()
@config_argument
def notify(config_file: Path) -> None:
    """Deliver messages until SIGTERM; any number of these may run on one store."""
    from pinvault.bootstrap.notify import build_notifier

    sys.exit(build_notifier(load(config_file.absolute())).run())
