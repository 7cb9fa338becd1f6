"""Visa PIN verification value (PVV): four digits of an enciphered PIN, PAN and key index.

Rules:
- The transformed security parameter is 16 digits: the eleven of the PAN before its check digit,
  the key index (PVKI), and the first four of the PIN. Digits after the fourth do not count.
- The cryptogram is decimalised by two scans: first its digits 0 to 9, then its letters, A as 0
  to F as 5; the first four found are the PVV.
"""

import hmac
from binascii import hexlify, unhexlify

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import Encipher
from pinvault.model.pan import Pan
from pinvault.model.verification import Pvv

PVV_DIGITS = 4
_DIGITS, _LETTERS = b"0123456789", b"abcdef"
_LETTERS_AS_DIGITS = bytes.maketrans(_LETTERS, b"012345")


def pvv(pin: Pin, *, pan: Pan, key_index: int, encipher: Encipher) -> Pvv:
    """Give the PVV of a PIN; `key_index` is 0 to 6."""
    parameter = pan.digits()[-12:-1].encode() + b"%d" % key_index + digits_of(pin)[:PVV_DIGITS]
    return Pvv(value=decimalise(encipher(unhexlify(parameter))), key_index=key_index)


def verify(pin: Pin, *, value: Pvv, pan: Pan, encipher: Encipher) -> bool:
    """Tell whether the PIN has this PVV. One in 10,000 wrong PINs has it too."""
    made = pvv(pin, pan=pan, key_index=value.key_index, encipher=encipher)
    return hmac.compare_digest(made.value, value.value)


def decimalise(cryptogram: bytes) -> str:
    """Give the four digits of an 8-byte cryptogram.

    >>> decimalise(bytes.fromhex("AB1C2DE3F4567890"))
    '1234'
    >>> decimalise(bytes.fromhex("FA7BCDEFABCDEFA9"))
    '7950'
    """
    nibbles = hexlify(cryptogram)
    found = nibbles.translate(None, _LETTERS) + nibbles.translate(_LETTERS_AS_DIGITS, _DIGITS)
    return found[:PVV_DIGITS].decode()
