"""`pinvault key list`: the key ring as text for people or programs."""

from pathlib import Path

import click

from pinvault import bootstrap
from pinvault.cli.common import config_argument, json_option, show
from pinvault.config import load

COLUMNS = (
    "Key",
    "Usage",
    "Algorithm",
    "Mode",
    "Check value",
    "State",
    "Origin",
    "From",
    "Until",
)


@click.group()
def key() -> None:
    """Look at keys; values are never shown, since they are never known."""


@key.command(name="list")
@config_argument
@json_option
def list_keys(config_file: Path, as_json: bool) -> None:
    """List the key ring: names, X9.143 attributes, check values, states, cryptoperiods."""
    directory = bootstrap.key_directory(bootstrap.read_keyring(load(config_file.absolute())))
    rows = [
        (
            found.id,
            found.usage.value,
            found.algorithm.value,
            found.mode.value,
            found.check_value if as_json else found.check_value[:16],
            found.state.value,
            found.origin.value,
            found.valid_from.isoformat(),
            found.valid_until.isoformat() if found.valid_until else "",
        )
        for found in directory
    ]
    show("Keys", COLUMNS, rows, as_json=as_json)
