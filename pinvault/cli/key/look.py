"""`pinvault key list` and `pinvault key show`: what is known of keys, without the token."""

import json
from pathlib import Path

import click

from hsm import keyring
from pinvault import bootstrap
from pinvault.bootstrap.stored_blocks import StoredBlocks
from pinvault.cli.common import config_argument, json_option, show
from pinvault.config import Loaded, load
from pinvault.model.keys import Key, KeyDirectory

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
    "Days left",
)
BLOCK_COUNTS = "blocks.table"
_SHORT = 16


@click.command(name="list")
@config_argument
@json_option
def list_keys(config_file: Path, as_json: bool) -> None:
    """List the key ring: names, X9.143 attributes, check values, states, cryptoperiods."""
    directory = _directory(load(config_file.absolute()))
    rows = [
        (
            *(found.id, found.usage.value, found.algorithm.value, found.mode.value),
            found.check_value if as_json else found.check_value[:_SHORT],
            *(found.state.value, found.origin.value, found.valid_from.isoformat()),
            found.valid_until.isoformat() if found.valid_until else "",
            _days_left(found),
        )
        for found in directory
    ]
    show("Keys", COLUMNS, rows, as_json=as_json)


@click.command(name="show")
@config_argument
@click.argument("reference", metavar="KEY")
@json_option
def show_key(config_file: Path, reference: str, as_json: bool) -> None:
    """Tell everything that is known of one key: NAME (its active version) or NAME/VERSION."""
    loaded = load(config_file.absolute())
    directory = _directory(loaded)
    facts = facts_of(loaded, directory, directory.find(reference, field="key"))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        show("Key", ("Attribute", "Value"), list(facts.items()), as_json=False)


def facts_of(loaded: Loaded, directory: KeyDirectory, key: Key) -> dict[str, str]:
    """Give what is known of a key, by name; what it does not have is left out."""
    others = [f"{other.id} ({other.state})" for other in directory if other.name == key.name]
    named = [
        f"grants[{number}]"
        for number, row in enumerate(loaded.config.grants)
        if key.name in row.keys
    ]
    blocks = StoredBlocks(loaded.file(loaded.config.key_blocks.directory))
    facts = {
        "key": key.id,
        "usage": key.usage.value,
        "algorithm": key.algorithm.value,
        "mode": key.mode.value,
        "check_value": key.check_value,
        "state": key.state.value,
        "origin": key.origin.value,
        "valid_from": key.valid_from.isoformat(),
        "valid_until": key.valid_until.isoformat() if key.valid_until else "",
        "days_left": _days_left(key),
        "exportable": "yes, kept as a key block" if blocks.get(key.id) else "no",
        "blocks_enciphered": _blocks_enciphered(loaded, key),
        "jwa": key.jwa or "",
        "versions": ", ".join(others),
        "named_in": ", ".join(named),
    }
    return {name: value for name, value in facts.items() if value}


def _directory(loaded: Loaded) -> KeyDirectory:
    """Read the key ring, though the configuration may name keys that are still to come."""
    return bootstrap.key_directory(keyring.load(bootstrap.ring_path(loaded)))


def _blocks_enciphered(loaded: Loaded, key: Key) -> str:
    """Say how many PIN blocks this host made under a TDES key; "" for none."""
    if not (loaded.file(loaded.config.state.directory) / BLOCK_COUNTS).exists():
        return ""
    counts = bootstrap.open_counts(loaded)
    try:
        return str(counts.total((key.name, key.version, key.check_value)) or "")
    finally:
        counts.close()


def _days_left(key: Key) -> str:
    """Say how many days a key has to its last one; "" for ever and for retired."""
    days = bootstrap.days_left(key, today=bootstrap.utc_today())
    return "" if days is None else str(days)
