"""`pinvault key …`: look at keys, change them, move them, and hold key ceremonies.

Every change goes through the service's own key custody, in a process of its own; a server that
runs beside it takes the new key ring by itself.
"""

import click

from pinvault.cli.key.blocks import export_key, import_key
from pinvault.cli.key.ceremony import ceremony, ceremony_passphrase
from pinvault.cli.key.change import destroy, generate, retire, rotate
from pinvault.cli.key.look import list_keys, show_key
from pinvault.cli.key.transcripts import verify_transcript


@click.group()
def key() -> None:
    """Look at keys and change them; values are never shown, since they are never known."""


for command in (
    *(list_keys, show_key),
    *(generate, rotate, retire, destroy),
    *(import_key, export_key),
    *(ceremony, ceremony_passphrase, verify_transcript),
):
    key.add_command(command)
