"""Verification values of PINs, the PIN verification key staying in the HSM.

Rules:
- Keys, tables and layouts come with the method, from reviewed configuration.
- A PIN that cannot be right is a mismatch, not an error.
"""

from collections.abc import Callable
from dataclasses import dataclass

from hsm.device import Device
from pinvault.clearzone.parcels import Method, OffsetMethod, PvvReference, ValueReference
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import ibm3624, pvv
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.verification import PinOffset, Pvv


@dataclass(frozen=True, slots=True)
class Values:
    """Computes and compares verification values under keys of one HSM."""

    device: Device

    def of(self, pin: Pin, method: Method, *, pan: Pan, deadline: Deadline) -> Pvv | PinOffset:
        """Give the PIN's verification value; Malformed when it has not the scheme's length."""
        encipher = self._under(method, deadline)
        if isinstance(method, OffsetMethod):
            return ibm3624.offset(pin, pan=pan, scheme=method.scheme, encipher=encipher)
        return pvv.pvv(pin, pan=pan, key_index=method.key_index, encipher=encipher)

    def match(self, pin: Pin, reference: ValueReference, *, pan: Pan, deadline: Deadline) -> bool:
        """Tell whether the PIN has this verification value."""
        encipher = self._under(reference.method, deadline)
        if isinstance(reference, PvvReference):
            return pvv.verify(pin, value=reference.value, pan=pan, encipher=encipher)
        return ibm3624.verify(
            pin,
            offset=reference.value,
            pan=pan,
            scheme=reference.method.scheme,
            encipher=encipher,
        )

    def natural_pin(self, method: OffsetMethod, *, pan: Pan, deadline: Deadline) -> Pin:
        """Give the card's natural PIN."""
        encipher = self._under(method, deadline)
        return ibm3624.natural_pin(pan=pan, scheme=method.scheme, encipher=encipher)

    def pin_from_offset(
        self, method: OffsetMethod, value: PinOffset, *, pan: Pan, deadline: Deadline
    ) -> Pin:
        """Give the card's PIN of this offset."""
        encipher = self._under(method, deadline)
        return ibm3624.pin_from_offset(value, pan=pan, scheme=method.scheme, encipher=encipher)

    def _under(self, method: Method, deadline: Deadline) -> Callable[[bytes], bytes]:
        key_id = method.key.id
        return lambda block: self.device.encipher(key_id, block, timeout=deadline.remaining())
