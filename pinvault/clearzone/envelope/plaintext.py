"""A PIN as the plaintext of an envelope: digits in some spelling, or a clear PIN block.

Rules:
- What is read is exactly what is written; a form fixes every character of it.
- Blocks are those of ISO 9564-1:2017, 9.3, 8 bytes long; random fill comes from the HSM.
"""

import re
from typing import assert_never

import msgspec

from pinvault.clearzone.envelope.text import members
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.iso9564 import format0, format1, format2, format3
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import MAX_DIGITS, MIN_DIGITS, Malformed, Pin
from pinvault.model.pan import Pan
from pinvault.model.profiles import Plaintext

_JSON_PIN = re.compile(rb'"([0-9]{%d,%d})"' % (MIN_DIGITS, MAX_DIGITS))
_HEX_PIN = re.compile(rb"(?:3[0-9]){%d,%d}" % (MIN_DIGITS, MAX_DIGITS))


class _PinJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pin: msgspec.Raw

    def __repr__(self) -> str:
        return "<PIN in JSON>"


def json_pin(raw: msgspec.Raw) -> Pin:
    """Read the JSON text of a PIN, digits in quotes and no escapes, or raise Malformed."""
    match = _JSON_PIN.fullmatch(bytes(raw))
    if match is None:
        raise Malformed
    return Pin(match[1])


def write_plaintext(pin: Pin, form: Plaintext, *, pan: Pan | None, hsm: TimedDevice) -> bytes:
    """Give the plaintext: 4 to 24 bytes, or the 8 of a block; `pan` is for formats 0 and 3."""
    match form:
        case Plaintext.DIGITS:
            return digits_of(pin)
        case Plaintext.HEX_OF_DIGITS:
            return digits_of(pin).hex().encode()
        case Plaintext.PIN_JSON:
            return b'{"pin":"%b"}' % digits_of(pin)
        case Plaintext.ISO_0_BLOCK:
            return format0.encode(pin, needed(pan))
        case Plaintext.ISO_1_BLOCK:
            return format1.encode(pin, hsm.random(format1.RANDOM_BYTES))
        case Plaintext.ISO_2_BLOCK:
            return format2.encode(pin)
        case Plaintext.ISO_3_BLOCK:
            return format3.encode(pin, needed(pan), format3.draw_fill(hsm.random))
        case _:
            assert_never(form)


def read_plaintext(plain: bytes, form: Plaintext, pan: Pan | None) -> Pin:
    """Read a plaintext, or raise Malformed."""
    match form:
        case Plaintext.DIGITS:
            return Pin(plain)
        case Plaintext.HEX_OF_DIGITS:
            if _HEX_PIN.fullmatch(plain) is None:
                raise Malformed
            return Pin(plain[1::2])
        case Plaintext.PIN_JSON:
            return json_pin(members(plain, _PinJson).pin)
        case Plaintext.ISO_0_BLOCK:
            return format0.decode(plain, needed(pan))
        case Plaintext.ISO_1_BLOCK:
            return format1.decode(plain)
        case Plaintext.ISO_2_BLOCK:
            return format2.decode(plain)
        case Plaintext.ISO_3_BLOCK:
            return format3.decode(plain, needed(pan))
        case _:
            assert_never(form)


def needed(pan: Pan | None) -> Pan:
    """Give the PAN of what is bound to one; the floors above have seen to it."""
    if pan is None:
        raise ValueError("the profile is bound to a PAN, and none was given")
    return pan
