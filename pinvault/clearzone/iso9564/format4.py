"""ISO 9564-1:2017 format 4 (9.3.6): a 16-byte PIN field and a 16-byte PAN field under AES.

The PIN field is control 4, length 4 to C, digits, fill A to the 16th nibble, then 8
random bytes. The PAN field is the PAN's length less twelve in one nibble, the PAN with
its check digit, and zeros. Enciphering runs twice, with the PAN field added modulo 2
between: `encipher` does that.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, join, split
from pinvault.clearzone.pin import Pin
from pinvault.model.pan import MIN_DIGITS as PAN_MIN_DIGITS
from pinvault.model.pan import Pan

RANDOM_BYTES = 8
_PAN_NIBBLES = 31


def pin_field(pin: Pin, random: bytes) -> bytes:
    """Give the clear 16-byte PIN field; `random` is its last 8 bytes.

    >>> pin_field(Pin(b"1234"), bytes.fromhex("0011223344556677")).hex().upper()
    '441234AAAAAAAAAA0011223344556677'
    """
    return join(b"4", pin, b"a" * DIGIT_NIBBLES) + random


def pan_field(pan: Pan) -> bytes:
    """Give the 16-byte PAN field.

    >>> pan_field(Pan("112233445566778899")).hex().upper()
    '61122334455667788990000000000000'
    """
    digits = pan.digits()
    return unhexlify(f"{len(digits) - PAN_MIN_DIGITS:x}" + digits.ljust(_PAN_NIBBLES, "0"))


def read_pin_field(field: bytes) -> Pin:
    """Read a clear 16-byte PIN field, or raise Malformed. Its last 8 bytes may be anything.

    >>> with read_pin_field(bytes.fromhex("441234AAAAAAAAAA0011223344556677")) as pin:
    ...     pin
    <PIN>
    """
    return split(field[:8], control=b"4", fill_alphabet=b"a")
