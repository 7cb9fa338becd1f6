"""A PAN at rest: one AES block that opens for its owner alone, a card (see `model.cards.owner`).

Rules:
- The clear block leaves nothing open: fewer than one random block in 2^64 reads as a PAN, so a
  ciphertext that was damaged, or put to another owner, is found out.
- As format 4 binds a PIN to a PAN (ISO 9564-1:2017, 9.3.6), so this binds a PAN to its owner: with
  E for AES under the key and H for the binding of the owner, the ciphertext is E(E(clear) xor H).
  It is the tweakable block cipher of Liskov, Rivest and Wagner (CRYPTO 2002, theorem 1).
- Two cards of one PAN have different ciphertexts; one card has always the same under one key.
"""

import hashlib
from collections.abc import Callable

from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.pin import Malformed
from pinvault.model.pan import MAX_DIGITS, MIN_DIGITS, Pan

BLOCK_BYTES = 16
_CONTROL = "1"
_DIGIT_NIBBLES = slice(2, 2 + MAX_DIGITS)
_REDUNDANCY = "0" * (2 * BLOCK_BYTES - _DIGIT_NIBBLES.stop)
_CONTEXT = b"pinvault stored PAN v1 "


def encipher_pan(pan: Pan, *, owner: str, encipher: Callable[[bytes], bytes]) -> bytes:
    """Give the 16 bytes to store; `encipher` is AES-ECB of one block."""
    return encipher(xor(encipher(clear_block(pan)), binding(owner)))


def decipher_pan(ciphertext: bytes, *, owner: str, decipher: Callable[[bytes], bytes]) -> Pan:
    """Give the PAN that was enciphered for the owner, or raise Malformed."""
    if len(ciphertext) != BLOCK_BYTES:
        raise Malformed
    return read_clear_block(decipher(xor(decipher(ciphertext), binding(owner))))


def clear_block(pan: Pan) -> bytes:
    """Give the 16 bytes to encipher: control 1, the PAN's length less twelve, digits, fill, zeros.

    The digits take 19 nibbles, filled up with F; eleven nibbles of zeros follow.

    >>> clear_block(Pan("4000001234562000")).hex().upper()
    '144000001234562000FFF00000000000'
    >>> clear_block(Pan("400000123452")).hex().upper()
    '10400000123452FFFFFFF00000000000'
    """
    digits = pan.digits()
    length = f"{len(digits) - MIN_DIGITS:x}"
    return bytes.fromhex(_CONTROL + length + digits.ljust(MAX_DIGITS, "f") + _REDUNDANCY)


def read_clear_block(block: bytes) -> Pan:
    """Read what `clear_block` gave, or raise Malformed.

    >>> read_clear_block(bytes.fromhex("144000001234562000FFF00000000000")).digits()
    '4000001234562000'
    >>> read_clear_block(bytes.fromhex("144000001234562000FFF00000000001"))
    Traceback (most recent call last):
    pinvault.clearzone.pin.Malformed
    """
    try:
        pan = Pan(block.hex()[_DIGIT_NIBBLES].rstrip("f"))
    except ValueError:
        raise Malformed from None
    if clear_block(pan) != block:
        raise Malformed
    return pan


def binding(owner: str) -> bytes:
    """Give the 16 bytes that bind a PAN to its owner: the first of a SHA-256 of what tells it.

    >>> binding("card_jpgsyggggggggggggggggggggg").hex().upper()
    'E67DD8F2DEFBD9AA6D62DF78A6D8D362'
    """
    return hashlib.sha256(_CONTEXT + owner.encode()).digest()[:BLOCK_BYTES]
