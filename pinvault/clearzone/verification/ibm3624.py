"""IBM 3624 with PIN offset: a natural PIN from the PAN, and the difference that a choice makes.

Rules:
- The natural PIN is the first n digits of the enciphered, decimalised validation block.
- The offset is the PIN minus the natural PIN, digit by digit modulo 10 without borrows.
- Of the n digits of the difference the last m are the offset, m being the check length
  (IBM CCA, PIN-calculation methods); the scheme fixes n and m, which are most often equal.
"""

import hmac
from binascii import hexlify

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.verification import Encipher
from pinvault.model.pan import Pan
from pinvault.model.verification import Ibm3624Scheme, PinOffset

_ZERO = ord("0")


def natural_pin(*, pan: Pan, scheme: Ibm3624Scheme, encipher: Encipher) -> Pin:
    """Give the PIN of an offset of zeros, with the scheme's PIN length."""
    cryptogram = encipher(scheme.validation.block(pan))
    return Pin(decimalise(cryptogram, scheme.decimalisation_table)[: scheme.pin_length])


def offset(pin: Pin, *, pan: Pan, scheme: Ibm3624Scheme, encipher: Encipher) -> PinOffset:
    """Give the offset of a PIN; Malformed when it has not the scheme's length."""
    digits = digits_of(pin)
    with natural_pin(pan=pan, scheme=scheme, encipher=encipher) as natural:
        # Only now, so that the HSM is asked as often for a PIN of another length.
        if len(digits) != scheme.pin_length:
            raise Malformed
        pairs = zip(digits, digits_of(natural), strict=True)
        difference = bytes((left - right) % 10 + _ZERO for left, right in pairs)
    return PinOffset(value=difference[-scheme.check_length :].decode())


def pin_from_offset(
    offset: PinOffset, *, pan: Pan, scheme: Ibm3624Scheme, encipher: Encipher
) -> Pin:
    """Give the PIN that has this offset; its digits before the offset are the natural PIN's.

    ValueError, before anything is enciphered, when the offset has not the check length.
    """
    if len(offset.value) != scheme.check_length:
        raise ValueError("the offset has not as many digits as the scheme checks")
    addend = offset.value.rjust(scheme.pin_length, "0").encode()
    with natural_pin(pan=pan, scheme=scheme, encipher=encipher) as natural:
        pairs = zip(digits_of(natural), addend, strict=True)
        return Pin(bytes((left + right - 2 * _ZERO) % 10 + _ZERO for left, right in pairs))


def verify(
    pin: Pin, *, offset: PinOffset, pan: Pan, scheme: Ibm3624Scheme, encipher: Encipher
) -> bool:
    """Tell whether the PIN has the scheme's length and this offset.

    ValueError as in `pin_from_offset`.
    """
    with pin_from_offset(offset, pan=pan, scheme=scheme, encipher=encipher) as right:
        checked = slice(-scheme.check_length, None)
        fits = len(digits_of(pin)) == scheme.pin_length
        return fits & hmac.compare_digest(digits_of(pin)[checked], digits_of(right)[checked])


def decimalise(cryptogram: bytes, table: str) -> bytes:
    """Replace each of the 16 hex digits of a cryptogram by the table's; give ASCII digits.

    >>> decimalise(bytes.fromhex("E5C1BD67B66AE7C6"), "8351296477461538")
    b'3913656466643416'
    """
    return hexlify(cryptogram).translate(bytes.maketrans(b"0123456789abcdef", table.encode()))
