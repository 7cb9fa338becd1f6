"""PIN blocks under the keys of any device, made and read by the clear zone's own cipher."""

from typing import Any

from pinvault.clearzone.encipher import BlockCipher, read
from pinvault.clearzone.parcels import BlockToMake, SealedBlock
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format


def encipher(device: Any, pin: str, *, under: Key, form: Format, pan: Pan | None) -> bytes:
    target = BlockToMake(key=under, format=form, pan=pan)
    return BlockCipher(device).encipher(Pin(pin.encode()), target, Deadline.after(60))


def decipher(device: Any, block: bytes, *, under: Key, form: Format, pan: Pan | None) -> Pin:
    source = SealedBlock(key=under, format=form, pan=pan, ciphertext=block)
    return read(BlockCipher(device).decipher(source, Deadline.after(60)), form, pan)
