"""Turns PINs into enciphered PIN blocks and back, the cipher running in the HSM.

Rules:
- Formats 0, 1 and 3 are one TDES-ECB block (ISO 9564-1:2017, 9.3.2 to 9.3.5).
- Format 4 is two AES-ECB blocks with the PAN field added between them (9.3.6), so
  that the random half of the PIN field covers the PIN before the PAN is added.
- Random fill comes from the HSM.
"""

from hsm.device import Device
from pinvault.clearzone.iso9564 import format0, format1, format3, format4
from pinvault.clearzone.iso9564.fields import DIGIT_NIBBLES, xor
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.pins import Format


class BlockCipher:
    """Enciphers and deciphers PIN blocks under keys of one HSM."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def encipher(
        self,
        pin: Pin,
        *,
        key_id: str,
        block_format: Format,
        pan: Pan | None,
        deadline: Deadline,
    ) -> bytes:
        """Give the PIN block: 8 bytes for formats 0, 1 and 3, 16 for format 4."""
        if block_format is Format.ISO_4:
            random = self._random(format4.RANDOM_BYTES, deadline)
            inner = self._ecb(key_id, format4.pin_field(pin, random), deadline)
            return self._ecb(key_id, xor(inner, format4.pan_field(_bound(pan))), deadline)
        return self._ecb(key_id, self._clear_block(pin, block_format, pan, deadline), deadline)

    def decipher(
        self,
        block: bytes,
        *,
        key_id: str,
        block_format: Format,
        pan: Pan | None,
        deadline: Deadline,
    ) -> Pin:
        """Open a PIN block of 8 or 16 bytes, or raise Malformed."""
        clear = self._device.decipher(key_id, block, timeout=deadline.remaining())
        match block_format:
            case Format.ISO_0:
                return format0.decode(clear, _bound(pan))
            case Format.ISO_1:
                return format1.decode(clear)
            case Format.ISO_3:
                return format3.decode(clear, _bound(pan))
            case Format.ISO_4:
                inner = xor(clear, format4.pan_field(_bound(pan)))
                field = self._device.decipher(key_id, inner, timeout=deadline.remaining())
                return format4.read_pin_field(field)

    def _clear_block(
        self,
        pin: Pin,
        block_format: Format,
        pan: Pan | None,
        deadline: Deadline,
    ) -> bytes:
        if block_format is Format.ISO_1:
            return format1.encode(pin, self._random(format1.RANDOM_BYTES, deadline))
        if block_format is Format.ISO_3:
            return format3.encode(pin, _bound(pan), self._letters(deadline))
        return format0.encode(pin, _bound(pan))

    def _letters(self, deadline: Deadline) -> bytes:
        """Draw the fill of format 3 until there is enough of it."""
        fill = b""
        while len(fill) < DIGIT_NIBBLES:
            fill += format3.fill_from(self._random(format3.RANDOM_BYTES, deadline))
        return fill

    def _ecb(self, key_id: str, block: bytes, deadline: Deadline) -> bytes:
        return self._device.encipher(key_id, block, timeout=deadline.remaining())

    def _random(self, length: int, deadline: Deadline) -> bytes:
        return self._device.random(length, timeout=deadline.remaining())


def _bound(pan: Pan | None) -> Pan:
    """Give the PAN of a format that is bound to one; the floors above have seen to it."""
    if pan is None:
        raise ValueError("the format is bound to a PAN, and none was given")
    return pan
