"""The parts that formats share: the PIN field's nibbles and the PAN field of formats 0 and 3.

A PIN field (ISO 9564-1:2017, 9.3) is 16 nibbles: control, length, digits, fill.
"""

from binascii import hexlify, unhexlify

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import MAX_DIGITS, MIN_DIGITS, Malformed, Pin
from pinvault.model.pan import Pan

FIELD_BYTES = 8
DIGIT_NIBBLES = 14


def xor(left: bytes, right: bytes) -> bytes:
    """Add two fields of the same length modulo 2; raise Malformed when the lengths differ.

    >>> xor(bytes.fromhex("0F0F"), bytes.fromhex("00FF")).hex().upper()
    '0FF0'
    """
    width = len(left)
    if len(right) != width:
        raise Malformed
    return (int.from_bytes(left) ^ int.from_bytes(right)).to_bytes(width)


def pan_field(pan: Pan) -> bytes:
    """Give the 8-byte PAN field of formats 0 and 3 (ISO 9564-1:2017, 9.3.2.3).

    It is 0000 and the twelve digits before the check digit. A PAN with fewer than twelve
    digits before its check digit is padded with zeros on the left.

    >>> pan_field(Pan("4000001234562000")).hex().upper()
    '0000000123456200'
    >>> pan_field(Pan("400000123452")).hex().upper()
    '0000040000012345'
    """
    return unhexlify("0000" + pan.account())


def nibbles_of(field: bytes) -> bytes:
    """Give the 16 nibbles of an 8-byte field as lower-case hex, or raise Malformed.

    >>> nibbles_of(bytes.fromhex("041234FEDCBA9DFF"))
    b'041234fedcba9dff'
    """
    if len(field) != FIELD_BYTES:
        raise Malformed
    return hexlify(field)


def join(control: bytes, pin: Pin, fill: bytes) -> bytes:
    """Write the 8-byte PIN field: control nibble, length, digits, and fill to the end.

    `control` is one lower-case hex character and `fill` at least ten.
    """
    digits = digits_of(pin)
    return unhexlify(control + b"%x" % len(digits) + digits + fill[: DIGIT_NIBBLES - len(digits)])


def split(field: bytes, *, control: bytes, fill_alphabet: bytes) -> Pin:
    """Read an 8-byte PIN field, or raise Malformed when any nibble is not what the format says.

    Every nibble is looked at before the verdict, so that the time does not tell
    which one was wrong.
    """
    nibbles = nibbles_of(field)
    length = int(nibbles[1:2], 16)
    faults = nibbles[:1] != control
    faults |= not MIN_DIGITS <= length <= MAX_DIGITS
    length = min(max(length, MIN_DIGITS), MAX_DIGITS)
    digits, fill = nibbles[2 : 2 + length], nibbles[2 + length :]
    faults |= not digits.isdigit()
    faults |= bool(fill.translate(None, fill_alphabet))
    if faults:
        raise Malformed
    return Pin(digits)
