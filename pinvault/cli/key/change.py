"""`pinvault key generate|rotate|retire|destroy`: the life of keys that the token makes itself.

Rules:
- `generate` makes the first version of a name, `rotate` the next one, of what the ring says.
- What ends a key asks for its check value; a wrong one changes nothing.
"""

from datetime import date
from pathlib import Path
from typing import Any

import click

from hsm import keyring, provisioning
from pinvault import bootstrap
from pinvault.cli.common import config_argument, json_option
from pinvault.cli.key.desk import (
    TIMEOUT_S,
    NotDone,
    attribute_options,
    day_option,
    key_desk,
    require_check_value,
    tell,
    wanted_key,
)
from pinvault.cli.key.first import make_own_key, own_key
from pinvault.config import Loaded, load
from pinvault.model.custody import Exportability
from pinvault.model.keys import Key, State, Usage

check_value_option = click.option(
    "--check-value", help="The key's check value, for programs; people are asked."
)


@click.command()
@config_argument
@click.argument("name")
@attribute_options
@click.option(
    "--exportability",
    type=click.Choice([word.value for word in Exportability]),
    default=Exportability.N.value,
    show_default=True,
    help="E or S: may leave in a key block. Drawn outside the token, so only with clear_keys.",
)
@json_option
def generate(
    config_file: Path,
    name: str,
    exportability: str,
    as_json: bool,
    previous_until: date | None,
    **attributes: Any,
) -> None:
    """Make the first version of a key in the token, and enter it in the key ring.

    The service's own keys need no attributes, and are made before anything else.
    """
    loaded = load(config_file.absolute())
    own = own_key(loaded, name)
    if own is not None:
        tell("Generated", make_own_key(loaded, own), as_json=as_json)
        return
    with key_desk(config_file, makes=name) as desk:
        wanted = wanted_key(desk.custody, name, **attributes)
        if desk.custody.directory().versions(name):
            raise NotDone(f"{name} has a version already: rotate it")
        key = desk.act(
            "Key.Generate",
            lambda: desk.custody.generate(
                wanted,
                exportability=Exportability(exportability),
                previous_until=previous_until,
                timeout=TIMEOUT_S,
            ),
            lambda key: (key,),
        )
    tell("Generated", key, as_json=as_json)


@click.command()
@config_argument
@click.argument("reference", metavar="KEY")
@day_option("--valid-until", "The last day on which the new version is valid.")
@day_option("--previous-until", "The last day on which the version before deciphers.")
@click.option(
    "--exportable/--not-exportable",
    default=None,
    help="Whether the new version may leave; as the one before if left out.",
)
@check_value_option
@json_option
def rotate(
    config_file: Path,
    reference: str,
    valid_until: date | None,
    previous_until: date | None,
    exportable: bool | None,
    check_value: str | None,
    as_json: bool,
) -> None:
    """Make the next version of a key; the one before deciphers only from now on.

    NAME/VERSION rotates while that version is the active one, so it can be said twice.
    """
    with key_desk(config_file, makes=reference.partition("/")[0]) as desk:
        active = desk.find(reference)
        require_check_value(active, check_value, to="rotate")
        rotated = desk.act(
            "Key.Rotate",
            lambda: desk.custody.rotate(
                active.id,
                exportable=exportable,
                valid_until=valid_until,
                previous_until=previous_until,
                timeout=TIMEOUT_S,
            ),
            lambda rotated: (rotated.key, rotated.previous),
            about=(active,),
        )
    tell("Rotated", rotated.key, rotated.previous, as_json=as_json)


@click.command()
@config_argument
@click.argument("reference", metavar="KEY")
@click.option("--lose-rows", is_flag=True, help="Even if rows of the store need it.")
@check_value_option
@json_option
def retire(
    config_file: Path, reference: str, lose_rows: bool, check_value: str | None, as_json: bool
) -> None:
    """Retire a version for good: nothing is enciphered or deciphered under it any more."""
    with key_desk(config_file) as desk:
        found = desk.find(reference)
        if not lose_rows:
            _require_no_rows(desk.loaded, found)
        require_check_value(found, check_value, to="retire")
        key = desk.act(
            "Key.Retire",
            lambda: desk.custody.retire(found.id, check_value=found.check_value),
            lambda key: (key,),
            about=(found,),
        )
    tell("Retired", key, as_json=as_json)


def _require_no_rows(loaded: Loaded, key: Key) -> None:
    """Refuse to retire what rows of the store open under, and what verifies their PINs."""
    verifies = loaded.config.store is not None and key.usage in (Usage.V1, Usage.V2)
    if not verifies and key.name not in loaded.store_keys():
        return
    from pinvault.bootstrap.reencrypt import rows_under  # SQL takes long to import

    rows = rows_under(loaded, key)
    if rows:
        told = " and ".join(f"{count:,} rows of {column}" for column, count in rows.items())
        first = "have these PINs set anew" if verifies else "run pinvault reencrypt first"
        raise NotDone(f"{told} open under {key.id} alone: {first}")


@click.command()
@config_argument
@click.argument("reference", metavar="KEY")
@check_value_option
@json_option
def destroy(config_file: Path, reference: str, check_value: str | None, as_json: bool) -> None:
    """Destroy a retired key in the token, where its ring entry says destroyable."""
    with key_desk(config_file) as desk:
        key, loaded = desk.find(reference), desk.loaded
        if key.state is not State.RETIRED:
            raise NotDone(f"{key.id} is {key.state}: retire it first")
        require_check_value(key, check_value, to="destroy")
        desk.log.record("Key.Destroy", "BEGUN", keys=(key,))
    entry = keyring.load(bootstrap.ring_path(loaded)).entry(key.id)
    provisioning.destroy(bootstrap.location(loaded), entry)
    with key_desk(config_file) as desk:
        desk.log.record("Key.Destroy", "OK", keys=(key,))
    tell("Destroyed", key, as_json=as_json)
