"""Hexadecimal, text and bytes, one into another. Text is ASCII.

Rules:
- What cannot be converted is an HsmError that does not repeat it.
- No hexadecimal is the empty *text*, as in py-hsm; no bytes have no hexadecimal.
"""

from binascii import unhexlify

from hsm.pyhsm.hsmerror import HsmError


def bytes_to_hex(b: bytes | bytearray) -> str:
    """At least one byte in lower-case hexadecimal, two digits a byte.

    >>> bytes_to_hex(b"\\x00\\xc0")
    '00c0'
    """
    _require(b, bytes, bytearray)
    if not b:
        raise HsmError("bytes_to_hex: b must not be empty")
    return b.hex()


def hex_to_bytes(hex_str: str) -> bytes | str:
    """The bytes of an even number of hexadecimal digits of either case; "" for "".

    >>> hex_to_bytes("00C0"), hex_to_bytes("")
    (b'\\x00\\xc0', '')
    """
    _require(hex_str, str)
    if not hex_str:
        return ""
    try:
        return unhexlify(hex_str)
    except ValueError:
        pass
    raise HsmError("hex_to_bytes: hex_str must be pairs of hexadecimal digits")


def str_to_bytes(s: str | bytes) -> bytes:
    """Text in ASCII; anything but text is given back as it is.

    >>> str_to_bytes("label"), str_to_bytes(b"label")
    (b'label', b'label')
    """
    if not isinstance(s, str):
        return s
    if not s.isascii():
        raise HsmError("str_to_bytes: s must be ASCII")
    return s.encode("ascii")


def bytes_to_str(b: bytes | bytearray) -> str:
    """Bytes of ASCII as text.

    >>> bytes_to_str(b"label")
    'label'
    """
    _require(b, bytes, bytearray)
    if not b.isascii():
        raise HsmError("bytes_to_str: b must be ASCII")
    return b.decode("ascii")


def _require(value: object, *kinds: type) -> None:
    if not isinstance(value, kinds):
        raise HsmError(f"the argument must be {' or '.join(kind.__name__ for kind in kinds)}")
