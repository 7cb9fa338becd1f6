"""The block that Eurocheque format 3 and Visa format 2 share: a PIN of 4 to 6 digits, and fill.

Nibbles: length 4 to 6, digits zero-filled on the right to six, nine nibbles of fill.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import nibbles_of
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import MIN_DIGITS, Malformed, Pin

FILL_NIBBLES = 9
_MAX_DIGITS = 6
_FILL = 1 + _MAX_DIGITS


def join(pin: Pin, fill: bytes) -> bytes:
    """Write the 8-byte block; `fill` is at least nine hex characters.

    Raise Malformed when the PIN has more than six digits.
    """
    digits = digits_of(pin)
    if len(digits) > _MAX_DIGITS:
        raise Malformed
    return unhexlify(b"%d" % len(digits) + digits.ljust(_MAX_DIGITS, b"0") + fill[:FILL_NIBBLES])


def split(block: bytes, *, fill_alphabet: bytes) -> Pin:
    """Read an 8-byte block, or raise Malformed; `Pin` is the judge of its digits."""
    nibbles = nibbles_of(block)
    length = int(nibbles[:1], 16)
    faults = not MIN_DIGITS <= length <= _MAX_DIGITS
    end = 1 + min(max(length, MIN_DIGITS), _MAX_DIGITS)
    digits, zeros, fill = nibbles[1:end], nibbles[end:_FILL], nibbles[_FILL:]
    faults |= bool(zeros.strip(b"0"))
    faults |= bool(fill.translate(None, fill_alphabet))
    if faults:
        raise Malformed
    return Pin(digits)
