"""Turns PINs into enciphered PIN blocks and back, the cipher running in the HSM.

Rules:
- Every format but one is a single TDES-ECB block (ISO 9564-1:2017, 9.3.2 to 9.3.5).
- Format 4 is two AES-ECB blocks with the PAN field added between them (9.3.6), so
  that the random half of the PIN field covers the PIN before the PAN is added.
- Under DUKPT the working key lives for one turn: inside the HSM when it is derived from an
  AES key, in this process when from a TDES one (see `dukpt.tdes`).
- Random fill comes from the HSM.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from hsm.device import Device, KeyCipher
from pinvault.clearzone.dukpt import aes, tdes
from pinvault.clearzone.iso9564 import format0, format1, format3, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import eci2, eci3, mastercard35, oem1, visa2, visa3, visa4
from pinvault.clearzone.parcels import BlockToMake, SealedBlock, Transaction
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format

UNBOUND: Mapping[Format, Callable[[bytes], Pin]] = MappingProxyType(
    {
        Format.ISO_1: format1.decode,
        Format.OEM_1: oem1.decode,
        Format.ECI_2: eci2.decode,
        Format.ECI_3: eci3.decode,
        Format.VISA_2: visa2.decode,
        Format.VISA_3: visa3.decode,
    }
)
BOUND: Mapping[Format, Callable[[bytes, Pan], Pin]] = MappingProxyType(
    {
        Format.ISO_0: format0.decode,
        Format.ISO_3: format3.decode,
        Format.VISA_4: visa4.decode,
        Format.PLUS: visa4.decode,
        Format.MASTERCARD_35: mastercard35.decode,
    }
)


class _HeldKey:
    """A key of the HSM as a cipher."""

    __slots__ = ("_deadline", "_device", "_key_id")

    def __init__(self, device: Device, key_id: str, deadline: Deadline) -> None:
        self._device, self._key_id, self._deadline = device, key_id, deadline

    def encipher(self, blocks: bytes) -> bytes:
        return self._device.encipher(self._key_id, blocks, timeout=self._deadline.remaining())

    def decipher(self, blocks: bytes) -> bytes:
        return self._device.decipher(self._key_id, blocks, timeout=self._deadline.remaining())


class BlockCipher:
    """Enciphers and deciphers PIN blocks under keys of one HSM."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def encipher(self, pin: Pin, target: BlockToMake, deadline: Deadline) -> bytes:
        """Give the PIN block: 16 bytes for format 4, 8 for the others.

        ValueError for a format that a PIN may not go out in; the policy has seen to it.
        """
        pan = target.pan
        match target.format:
            case Format.ISO_0:
                clear = format0.encode(pin, _bound(pan))
            case Format.ISO_1:
                clear = format1.encode(pin, self._random(format1.RANDOM_BYTES, deadline))
            case Format.ISO_3:
                clear = format3.encode(
                    pin, _bound(pan), format3.draw_fill(partial(self._random, deadline=deadline))
                )
            case Format.ISO_4:
                clear = format4.pin_field(pin, self._random(format4.RANDOM_BYTES, deadline))
            case _:
                raise ValueError("a PIN does not go out in this format")
        second = format4.pan_field(_bound(pan)) if target.format is Format.ISO_4 else None

        def work(cipher: KeyCipher) -> bytes:
            block = cipher.encipher(clear)
            return block if second is None else cipher.encipher(xor(block, second))

        return self._under(target.key, target.transaction, work, deadline)

    def decipher(self, source: SealedBlock, deadline: Deadline) -> bytes:
        """Give what `read` reads: the clear block, or the PIN field of format 4."""
        second = format4.pan_field(_bound(source.pan)) if source.format is Format.ISO_4 else None

        def work(cipher: KeyCipher) -> bytes:
            clear = cipher.decipher(source.ciphertext)
            return clear if second is None else cipher.decipher(xor(clear, second))

        return self._under(source.key, source.transaction, work, deadline)

    def _under(
        self,
        key: Key,
        transaction: Transaction | None,
        work: Callable[[KeyCipher], bytes],
        deadline: Deadline,
    ) -> bytes:
        """Do the work under the key, or under the working key of its transaction."""
        if transaction is None:
            return work(_HeldKey(self._device, key.id, deadline))
        ksn, variant = transaction.dukpt.ksn, transaction.variant
        if variant is None:
            path = aes.path_to_pin_key(
                ksn, base=key.algorithm, working_key=transaction.dukpt.working_key
            )
            return self._device.with_derived(key.id, path, work, timeout=deadline.remaining())
        left, right = (_HeldKey(self._device, half.id, deadline) for half in (key, variant))
        with tdes.pin_key(
            ksn, encipher_left=left.encipher, encipher_right=right.encipher
        ) as working_key:
            return work(working_key)

    def _random(self, length: int, deadline: Deadline) -> bytes:
        return self._device.random(length, timeout=deadline.remaining())


def read(clear: bytes, block_format: Format, pan: Pan | None) -> Pin:
    """Read what `decipher` gave, or raise Malformed."""
    if block_format is Format.ISO_4:
        return format4.read_pin_field(clear)
    bound = BOUND.get(block_format)
    return UNBOUND[block_format](clear) if bound is None else bound(clear, _bound(pan))


def _bound(pan: Pan | None) -> Pan:
    """Give the PAN of a format that is bound to one; the floors above have seen to it."""
    if pan is None:
        raise ValueError("the format is bound to a PAN, and none was given")
    return pan
