"""`pinvault key import|export`: keys that come from partners and go to them.

Rules:
- What comes is read from a file or standard input, never from the argument list, where other
  users of the host and the shell's history could see it.
- Nothing of a key block is ever told again, but where it is what was asked for.
"""

from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import click
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from hsm import keyring
from pinvault import bootstrap
from pinvault.cli.common import config_argument, json_option
from pinvault.cli.key.desk import (
    TIMEOUT_S,
    KeyDesk,
    NotDone,
    attribute_options,
    key_desk,
    tell,
    wanted_key,
)
from pinvault.config import load
from pinvault.model.custody import WantedKey
from pinvault.model.keys import Key

LARGEST = 16_384
"""The most that is read of what comes, in bytes."""


@click.command(name="import")
@config_argument
@click.argument("name")
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--kbpk", metavar="KEY", help="FILE is a key block under this protection key.")
@click.option("--cryptogram", metavar="KEY", help="FILE is a key under this RSA key, hex or raw.")
@click.option("--public", is_flag=True, help="FILE is a partner's public key, PEM or DER.")
@click.option("--check-value", help="The check value of a cryptogram's key, as told.")
@attribute_options
@json_option
def import_key(
    config_file: Path,
    name: str,
    file: BinaryIO,
    kbpk: str | None,
    cryptogram: str | None,
    public: bool,
    check_value: str | None,
    previous_until: date | None,
    as_json: bool,
    **attributes: Any,
) -> None:
    """Bring a partner's key into the token, from FILE or standard input.

    Say which it is: --kbpk (an X9.143 key block), --cryptogram (RSA-OAEP) or --public.
    """
    if sum(map(bool, (kbpk, cryptogram, public))) != 1:
        raise click.UsageError("say --kbpk, --cryptogram or --public, one of them")
    if bool(cryptogram) is not bool(check_value):
        raise click.UsageError("--check-value, as the partner told it, goes with --cryptogram")
    content = file.read(LARGEST + 1)
    if not content.strip() or len(content) > LARGEST:
        raise NotDone(f"there is nothing to import, or more than {LARGEST} bytes of it")
    with key_desk(config_file, makes=name) as desk:
        wanted = wanted_key(desk.custody, name, **attributes)
        work = _Import(desk, wanted, content, previous_until)
        if kbpk:
            made = desk.act("Key.Import", lambda: work.block(kbpk), _alone)
        elif cryptogram:
            told = (check_value or "").strip().upper()
            made = desk.act("Key.Import", lambda: work.cryptogram(cryptogram, told), _alone)
        else:
            made = desk.act("Key.Import", work.public, _alone)
    tell("Imported", made, as_json=as_json)


def _alone(key: Key) -> tuple[Key]:
    return (key,)


class _Import:
    """One import: what comes, and what it shall become."""

    def __init__(
        self, desk: KeyDesk, wanted: WantedKey, content: bytes, previous_until: date | None
    ) -> None:
        self._custody = desk.custody
        self._wanted = wanted
        self._content = content
        self._previous_until = previous_until

    def block(self, kbpk: str) -> Key:
        """Import a key block: one line of ASCII."""
        try:
            block = self._content.decode("ascii").strip()
        except UnicodeDecodeError:
            raise NotDone("a key block is text of printable ASCII characters") from None
        return self._custody.import_block(
            self._wanted,
            block,
            kbpk=kbpk,
            previous_until=self._previous_until,
            timeout=TIMEOUT_S,
        )

    def cryptogram(self, wrapping: str, check_value: str) -> Key:
        """Import a key under our RSA key: raw bytes, or hex digits."""
        try:
            wrapped = bytes.fromhex(self._content.decode("ascii"))
        except ValueError:
            wrapped = self._content
        return self._custody.import_cryptogram(
            self._wanted,
            wrapped,
            wrapping=wrapping,
            check_value=check_value,
            previous_until=self._previous_until,
            timeout=TIMEOUT_S,
        )

    def public(self) -> Key:
        """Import a partner's public key."""
        is_pem = b"-----BEGIN" in self._content
        read = load_pem_public_key if is_pem else load_der_public_key
        try:
            spki = read(self._content).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except ValueError:
            raise NotDone("this is no public key in PEM or DER") from None
        return self._custody.load_public(
            self._wanted, spki, previous_until=self._previous_until, timeout=TIMEOUT_S
        )


@click.command(name="export")
@config_argument
@click.argument("reference", metavar="KEY")
@click.option("--kbpk", metavar="KEY", help="Print a key block under this protection key.")
@click.option(
    "--form",
    type=click.Choice(["B", "D", "E"]),
    default="D",
    show_default=True,
    help="Key block version: B under TDES, D or E under AES.",
)
@click.option("--public", is_flag=True, help="Print the public half of a key pair, as PEM.")
def export_key(
    config_file: Path, reference: str, kbpk: str | None, form: str, public: bool
) -> None:
    """Print an exportable key as an X9.143 key block, or the public half of a key pair."""
    if bool(kbpk) == public:
        raise click.UsageError("say --kbpk or --public, one of them")
    if kbpk is None:
        click.echo(_public_half(config_file, reference), nl=False)
        return
    with key_desk(config_file) as desk:
        key = desk.find(reference)
        exported = desk.act(
            "Key.Export",
            lambda: desk.custody.export_block(key.id, kbpk=kbpk, version=form, timeout=TIMEOUT_S),
            lambda exported: (exported.key,),
            about=(key,),
        )
    click.echo(exported.block)


def _public_half(config_file: Path, reference: str) -> str:
    """Give the SubjectPublicKeyInfo in PEM. It is no secret, and its going out is not recorded."""
    loaded = load(config_file.absolute())
    ring = keyring.load(bootstrap.ring_path(loaded))
    key = bootstrap.key_directory(ring).find(reference, field="key")
    device = bootstrap.open_device(loaded, ring)
    try:
        spki = device.public_key(key.id)
    finally:
        device.close()
    pem = load_der_public_key(spki).public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()
