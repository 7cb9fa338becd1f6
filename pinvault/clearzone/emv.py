"""The data and MAC of an issuer script that changes the PIN in a card's chip (EMV Book 2).

Rules:
- Card keys and session keys are derived inside the HSM, for one turn (A1.4 option A, A1.3.1).
  The one card key whose value is needed here, half of it, is that of the Visa blocks.
- The MAC is ISO 9797-1 algorithm 3 over the command and the enciphered PIN (9.2.1).
- What is padded is never the digits: every plaintext is a whole PIN block.
"""

import hashlib
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from hsm.device import Algorithm, Device, KeyCipher, Step
from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import visa_pin_change
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile

BLOCK_BYTES: Final = 8
_DIGITS: Final = 16
_PAD: Final = b"\x80"
_BLOCK_LENGTH: Final = b"\x08"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptToMake:
    """A script with its keys, for one card and one transaction.

    `sequence` is the PAN sequence number, 0 to 99; `cryptogram` the ARQC, 8 bytes; `message`
    what the MAC covers before the enciphered PIN.
    """

    profile: ScriptProfile
    confidentiality: Key
    integrity: Key
    cryptograms: Key | None
    pan: Pan
    sequence: int
    cryptogram: bytes = field(repr=False)
    message: bytes = field(repr=False)

    @property
    def keys(self) -> tuple[Key, ...]:
        """The issuer master keys: confidentiality, integrity, and that of cryptograms."""
        both = (self.confidentiality, self.integrity)
        return both if self.cryptograms is None else (*both, self.cryptograms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The enciphered PIN data, 8 or 16 bytes, and the MAC of 8 bytes."""

    enciphered_pin: bytes = field(repr=False)
    mac: bytes


def make_script(
    new: Pin, current: Pin | None, to_make: ScriptToMake, *, device: Device, deadline: Deadline
) -> Script:
    """Make a script. `current` is given for the block that needs it, and for no other."""
    card = card_data(to_make.pan, to_make.sequence)
    block = _clear_block(new, current, to_make, card, device, deadline)
    path = (_card_step(card), _session_step(to_make.cryptogram))
    enciphered = device.with_derived(
        to_make.confidentiality.id,
        path,
        partial(_encipher, block=block, padding=to_make.profile.padding),
        timeout=deadline.remaining(),
    )
    mac = _mac(to_make, card, to_make.message + enciphered, device, deadline)
    return Script(enciphered_pin=enciphered, mac=mac)


def card_data(pan: Pan, sequence: int) -> bytes:
    """Give what a card's keys are derived from: 8 bytes of its PAN and sequence number.

    Up to 16 digits it is option A of EMV Book 2, A1.4.1; above, option B (A1.4.2): the digits
    of a SHA-1 digest, by the two scans that a PVV takes.

    >>> card_data(Pan("5555555551234567"), 1).hex()
    '5555555123456701'
    >>> card_data(Pan("5060990000000151002"), 0).hex()
    '9905364458661555'
    """
    digits = f"{pan.digits()}{sequence:02}"
    if len(pan.digits()) <= _DIGITS:
        return bytes.fromhex(digits[-_DIGITS:].rjust(_DIGITS, "0"))
    even = digits.rjust(len(digits) + len(digits) % 2, "0")
    digest = hashlib.sha1(bytes.fromhex(even), usedforsecurity=False).hexdigest()
    numbers = "".join(nibble for nibble in digest if nibble.isdigit())
    letters = "".join(str(int(nibble, 16) - 10) for nibble in digest if nibble.isalpha())
    return bytes.fromhex((numbers + letters)[:_DIGITS])


def _card_step(card: bytes) -> Step:
    """Derive a card key from a master key."""
    return Step(Algorithm.TDES_2KEY, card + xor(card, b"\xff" * BLOCK_BYTES))


def _session_step(cryptogram: bytes) -> Step:
    """Derive a session key from a card key (the common session key derivation, A1.3.1)."""
    return Step(
        Algorithm.TDES_2KEY, _diversified(cryptogram, 0xF0) + _diversified(cryptogram, 0x0F)
    )


def _diversified(cryptogram: bytes, third: int) -> bytes:
    return cryptogram[:2] + bytes((third,)) + cryptogram[3:]


def _clear_block(
    new: Pin,
    current: Pin | None,
    to_make: ScriptToMake,
    card: bytes,
    device: Device,
    deadline: Deadline,
) -> bytes:
    if to_make.cryptograms is None:
        return format2.encode(new)
    left = device.encipher(to_make.cryptograms.id, card, timeout=deadline.remaining())
    udk_half = _odd_parity(left[visa_pin_change.UDK_HALF_BYTES :])
    if to_make.profile.block is ScriptBlock.VISA:
        return visa_pin_change.encode(new, udk_half=udk_half)
    if current is None:
        raise ValueError("the block needs the current PIN, and none was given")
    return visa_pin_change.encode_with_current(new, current=current, udk_half=udk_half)


def _encipher(cipher: KeyCipher, *, block: bytes, padding: ScriptPadding) -> bytes:
    match padding:
        case ScriptPadding.NONE:
            return cipher.encipher(block)
        case ScriptPadding.LENGTH:
            return cipher.encipher(_padded(_BLOCK_LENGTH + block))
        case ScriptPadding.CHAINED:
            first = cipher.encipher(block)
            return first + cipher.encipher(xor(first, _padded(b"")))


def _mac(
    to_make: ScriptToMake, card: bytes, message: bytes, device: Device, deadline: Deadline
) -> bytes:
    """Give the MAC: single DES under the left half for all blocks but the last, TDES for that."""
    padded = _padded(message)
    left = _diversified(to_make.cryptogram, 0xF0)
    single = Step(Algorithm.TDES_3KEY, left * 3)
    key_id, to_card = to_make.integrity.id, _card_step(card)
    state = device.with_derived(
        key_id,
        (to_card, single),
        partial(_chain, message=padded[:-BLOCK_BYTES]),
        timeout=deadline.remaining(),
    )
    last = xor(state, padded[-BLOCK_BYTES:])
    return device.with_derived(
        key_id,
        (to_card, _session_step(to_make.cryptogram)),
        lambda cipher: cipher.encipher(last),
        timeout=deadline.remaining(),
    )


def _chain(cipher: KeyCipher, *, message: bytes) -> bytes:
    """Give the last block of CBC from zeros; zeros when there is none."""
    state = bytes(BLOCK_BYTES)
    for start in range(0, len(message), BLOCK_BYTES):
        state = cipher.encipher(xor(state, message[start : start + BLOCK_BYTES]))
    return state


def _padded(message: bytes) -> bytes:
    """Pad to whole blocks with 80 and zeros (ISO 9797-1, padding method 2)."""
    marked = message + _PAD
    return marked + bytes(-len(marked) % BLOCK_BYTES)


def _odd_parity(key: bytes) -> bytes:
    """Set each byte's last bit so that its ones are odd in number, as a card key is loaded."""
    return bytes(byte ^ ((byte.bit_count() + 1) & 1) for byte in key)
