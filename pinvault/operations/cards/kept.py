"""What is kept of PINs: which keys and methods make it, and how it is opened again.

Rules:
- The active version of a key makes; what is stored names the version that opens it.
- Who writes to the store does not choose what opens a row: it opens under versions of the store's
  own key for that purpose, and of no other key.
- What verifies a PIN is told by its row, not by the program of today: `pvv:SCHEME:INDEX@KEY`,
  `offset:SCHEME@KEY`, or `block`. KEY is the version that made the value, `name/version`, and
  compares with it as long as its state lets it: a rotation breaks no PIN.
- Only a program that reveals has a block kept to give its PIN out. The reference block of a program
  without a scheme is deciphered in the zone to compare, and never leaves it in another form.
"""

from dataclasses import replace

from pinvault.clearzone.card_zone import Made, Recipe
from pinvault.clearzone.parcels import (
    BlockToMake,
    Method,
    OffsetMethod,
    PvvMethod,
    Reference,
    SealedBlock,
    StoredOf,
)
from pinvault.model.cards import PinUse, Program
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Key, Usage
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.operations.cards.desk import CardDesk, KnownCard, require_status
from pinvault.operations.route import DECIPHERING, ENCIPHERING
from pinvault.operations.schemes import GENERATING, VERIFYING
from pinvault.store import pins
from pinvault.store.pins import PinMaterial, StoredPin

_BLOCK = "block"


def opening_key(desk: CardDesk, key_id: str, name: str, usage: Usage) -> Key:
    """Give the version of the key `name` that a stored ciphertext names, or refuse."""
    key = desk.router.keys.get(key_id)
    if key is None or key.name != name:
        raise Refusal(Reason.KEY_STATE)
    desk.router.require(key, usage, DECIPHERING, enciphers=False, at="")
    return key


def making_key(desk: CardDesk, name: str, usage: Usage) -> Key:
    """Give the active version of a key of what is stored, or refuse."""
    key = desk.router.keys.find(name, field="")
    desk.router.require(key, usage, ENCIPHERING, enciphers=True, at="")
    return key


def recipe(desk: CardDesk, program: Program, pan: Pan) -> Recipe:
    """Give what is to be kept of a new PIN."""
    if program.scheme is not None:
        verification: Method | BlockToMake = desk.schemes.method(program.scheme, GENERATING, at="")
    else:
        verification = _block(desk, desk.keys.reference, pan)
    reveal = _block(desk, desk.keys.reveal, pan) if program.reveal else None
    return Recipe(verification=verification, reveal=reveal)


def keys_of(wanted: Recipe) -> tuple[Key, ...]:
    """Give the keys of what is kept."""
    reveal = () if wanted.reveal is None else (wanted.reveal.key,)
    return (wanted.verification.key, *reveal)


def material(wanted: Recipe, made: Made) -> PinMaterial:
    """Give the row of what was made."""
    verification = wanted.verification
    return PinMaterial(
        method=_word(verification),
        value=None if made.value is None else made.value.value,
        reference=made.reference,
        reference_key=verification.key.id if isinstance(verification, BlockToMake) else None,
        reveal=made.reveal,
        reveal_key=None if wanted.reveal is None else wanted.reveal.key.id,
    )


def reference(desk: CardDesk, pin: StoredPin, pan: Pan) -> Reference:
    """Give what a PIN is to be compared with, or refuse."""
    kind, _, made = pin.method.partition(":")
    if kind == _BLOCK:
        return _sealed(desk, pin.reference_key, desk.keys.reference, pin.reference, pan)
    named, _, version = made.partition("@")
    name, _, index = named.partition(":")
    scheme = SchemeRef(name=name, key_index=int(index) if index else None)
    value = ValueRef(scheme=scheme, digits=pin.value or "")
    return desk.schemes.reference(value, VERIFYING, at="", version=version)


def key_of(known: Reference) -> Key:
    """Give the key that a PIN is compared under."""
    return known.key if isinstance(known, SealedBlock) else known.method.key


def to_reveal(desk: CardDesk, pin: StoredPin, pan: Pan | None) -> SealedBlock:
    """Give the block that a PIN can be had from, or refuse."""
    if pin.reveal is None:
        raise Refusal(Reason.PIN_NOT_REVEALABLE)
    return _sealed(desk, pin.reveal_key, desk.keys.reveal, pin.reveal, pan)


def for_source(desk: CardDesk, known: KnownCard, pan_index: bytes, *, at: str) -> SealedBlock:
    """Give a stored PIN to take, for the PAN of this index, which is put in later; or refuse."""
    require_status(known, PinUse.REVEAL)
    if known.card.pan_index != pan_index:
        raise Refusal(Reason.PAN_MISMATCH)
    pin = desk.read(lambda db: pins.get_pin(db, known.card.id))
    if pin is None:
        raise Refusal(Reason.PIN_NOT_SET, field=at)
    if not known.program.reveal:
        raise Refusal(Reason.PIN_NOT_REVEALABLE, field=at)
    whose = StoredOf(known.card.id, known.program.name)
    return replace(to_reveal(desk, pin, None), choosable=True, stored=whose)


def _word(verification: Method | BlockToMake) -> str:
    match verification:
        case PvvMethod():
            scheme, key = verification.scheme, verification.key
            return f"pvv:{scheme.name}:{verification.key_index}@{key.id}"
        case OffsetMethod():
            return f"offset:{verification.scheme.name}@{verification.key.id}"
        case BlockToMake():
            return _BLOCK


def _block(desk: CardDesk, name: str | None, pan: Pan) -> BlockToMake:
    key = making_key(desk, name or "", Usage.P0)
    return BlockToMake(key=key, format=Format.ISO_4, pan=pan, reopens=True)


def _sealed(
    desk: CardDesk, key_id: str | None, name: str | None, ciphertext: bytes | None, pan: Pan | None
) -> SealedBlock:
    key = opening_key(desk, key_id or "", name or "", Usage.P0)
    return SealedBlock(key=key, format=Format.ISO_4, pan=pan, ciphertext=ciphertext or b"")
