"""A zone at the other end of a key, played by psec, an independent implementation."""

import secrets
from typing import Literal

from psec import des, pinblock

Format = Literal["ISO_0", "ISO_1", "ISO_3", "ISO_4"]


def block(pin: str, *, pan: str, form: Format, key: bytes) -> bytes:
    """Encipher a PIN under a zone key as a terminal does."""
    if form == "ISO_4":
        return pinblock.encipher_pinblock_iso_4(key, pin, pan)
    return des.encrypt_tdes_ecb(key, clear_block(pin, pan=pan, form=form))


def clear_block(pin: str, *, pan: str, form: Format) -> bytes:
    """Give a clear 8-byte block."""
    if form == "ISO_0":
        return pinblock.encode_pinblock_iso_0(pin, pan)
    if form == "ISO_3":
        return pinblock.encode_pinblock_iso_3(pin, pan)
    assert form == "ISO_1"
    return bytes.fromhex(f"1{len(pin):x}{pin}" + secrets.token_hex(7)[: 14 - len(pin)])


def pin_of(ciphertext: bytes, *, pan: str, form: Format, key: bytes) -> str:
    """Read the PIN of a block as the other end does."""
    if form == "ISO_4":
        return pinblock.decipher_pinblock_iso_4(key, ciphertext, pan)
    clear = des.decrypt_tdes_ecb(key, ciphertext)
    if form == "ISO_1":
        text = clear.hex()
        assert text[0] == "1"
        return text[2 : 2 + int(text[1], 16)]
    if form == "ISO_3":
        return pinblock.decode_pinblock_iso_3(clear, pan)
    return pinblock.decode_pinblock_iso_0(clear, pan)
