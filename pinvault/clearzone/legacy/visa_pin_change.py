"""Visa's blocks that carry a new PIN to a card (payShield formats 41 and 42, EMV scripts).

Format 41 is the PIN field of format 0 (0, length, digits, F to the end), added modulo 2 to
0000 0000 and half a key that only card and issuer know. Format 42 adds the current PIN to
that, its digits zero-filled on the right to 16 nibbles; current PINs that differ only in
zeros at the end give the same block.

`udk_half` is the rightmost 4 of the 8 bytes of "UDK-A", the left part of the card's unique
key for application cryptograms.
"""

from binascii import unhexlify

from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, FIELD_BYTES, join, split, xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin

UDK_HALF_BYTES = 4


def encode(pin: Pin, *, udk_half: bytes) -> bytes:
    """Give the clear 8-byte block of format 41.

    >>> encode(Pin(b"1234"), udk_half=bytes.fromhex("89ABCDEF")).hex().upper()
    '041234FF76543210'
    """
    return xor(join(b"0", pin, b"f" * DIGIT_NIBBLES), _key_field(udk_half))


def decode(block: bytes, *, udk_half: bytes) -> Pin:
    """Read a clear 8-byte block of format 41, or raise Malformed.

    >>> with decode(bytes.fromhex("041234FF76543210"), udk_half=bytes.fromhex("89ABCDEF")) as pin:
    ...     pin
    <PIN>
    """
    return split(xor(block, _key_field(udk_half)), control=b"0", fill_alphabet=b"f")


def encode_with_current(pin: Pin, *, current: Pin, udk_half: bytes) -> bytes:
    """Give the clear 8-byte block of format 42.

    >>> half = bytes.fromhex("89ABCDEF")
    >>> encode_with_current(Pin(b"1234"), current=Pin(b"987654"), udk_half=half).hex().upper()
    '9C6460FF76543210'
    """
    return xor(encode(pin, udk_half=udk_half), _current_field(current))


def decode_with_current(block: bytes, *, current: Pin, udk_half: bytes) -> Pin:
    """Read a clear 8-byte block of format 42, or raise Malformed.

    >>> block, half = bytes.fromhex("9C6460FF76543210"), bytes.fromhex("89ABCDEF")
    >>> with decode_with_current(block, current=Pin(b"987654"), udk_half=half) as pin:
    ...     pin
    <PIN>
    """
    return decode(xor(block, _current_field(current)), udk_half=udk_half)


def _key_field(udk_half: bytes) -> bytes:
    return bytes(FIELD_BYTES - UDK_HALF_BYTES) + udk_half


def _current_field(current: Pin) -> bytes:
    return unhexlify(digits_of(current).ljust(2 * FIELD_BYTES, b"0"))
