"""`pinvault store upgrade`: the tables of the store, made or brought to this release."""

from pathlib import Path

import click

from pinvault.cli.common import config_argument
from pinvault.config import ConfigError, load


@click.group()
def store() -> None:
    """Look after the store: what outlives the process."""


@store.command()
@config_argument
def upgrade(config_file: Path) -> None:
    """Make the tables of the store, or bring older ones to this release. Stop the servers first."""
    from pinvault.store import upgrade as upgrade_store

    loaded = load(config_file.absolute())
    if loaded.config.store is None:
        text = "there is no store: name one, such as sqlite:////var/lib/pinvault/store.db"
        raise ConfigError(loaded.path, "store.address", text)
    upgrade_store(loaded.config.store.address)
    click.echo(f"{config_file}: the store has the tables of this release")
