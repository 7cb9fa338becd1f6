"""A chip card, which opens issuer scripts by a second reading of EMV Book 2, on psec."""

import hashlib
from dataclasses import dataclass, field

from psec import des, mac

from pinvault.clearzone.iso9564.fields import xor

ZEROS, ONES = bytes(8), b"\xff" * 8
PADDING_2 = 2  # ISO 9797-1, padding method 2: 80, then zeros


@dataclass(frozen=True)
class Card:
    """A card of this PAN and sequence number, whose issuer has these master keys."""

    pan: str
    sequence: int = 0
    confidentiality: bytes = field(default=b"", repr=False)
    integrity: bytes = field(default=b"", repr=False)
    cryptograms: bytes = field(default=b"", repr=False)

    def block(self, enciphered: bytes, cryptogram: bytes, *, padding: str) -> bytes:
        """Decipher the command's data into the clear PIN block, or fail at its padding."""
        key = self.session_key(self.confidentiality, cryptogram)
        clear = des.decrypt_tdes_ecb(doubled(key), enciphered)
        match padding:
            case "none":
                assert len(clear) == 8
                return clear
            case "length":
                assert (clear[:1], clear[9:]) == (b"\x08", bytes.fromhex("80000000000000"))
                return clear[1:9]
        assert xor(clear[8:], enciphered[:8]) == bytes.fromhex("8000000000000000")
        assert len(clear) == 16
        return clear[:8]

    def mac(self, message: bytes, cryptogram: bytes) -> bytes:
        """Give the MAC of a command: ISO 9797-1 algorithm 3, 8 bytes."""
        key = self.session_key(self.integrity, cryptogram)
        return mac.generate_retail_mac(key[:8] * 3, key[8:] * 3, message, PADDING_2)

    def udk_half(self) -> bytes:
        """Give the half key of the Visa blocks: the end of the left half of the card's key."""
        left = self.key(self.cryptograms)[:8]
        return bytes(byte & 0xFE | (byte >> 1).bit_count() % 2 ^ 1 for byte in left[4:])

    def session_key(self, master: bytes, cryptogram: bytes) -> bytes:
        """Diversify the card's key by the cryptogram, third byte F0, then 0F (A1.3.1)."""
        halves = (cryptogram[:2] + third + cryptogram[3:] for third in (b"\xf0", b"\x0f"))
        return b"".join(des.encrypt_tdes_ecb(doubled(self.key(master)), half) for half in halves)

    def key(self, master: bytes) -> bytes:
        """Give the card's key: its number and the complement of that, enciphered (A1.4)."""
        number = self.number()
        both = (number, xor(number, ONES))
        return b"".join(des.encrypt_tdes_ecb(doubled(master), half) for half in both)

    def number(self) -> bytes:
        """Give 16 digits of PAN and sequence number: the last (option A) or hashed (option B)."""
        digits = f"{self.pan}{self.sequence:02d}"
        if len(self.pan) <= 16:
            return bytes.fromhex(f"{int(digits):016d}"[-16:])
        digest = hashlib.sha1(bytes.fromhex("0" * (len(digits) % 2) + digits)).hexdigest()
        found = [each for each in digest if each in "0123456789"]
        found += ["012345"["abcdef".index(each)] for each in digest if each in "abcdef"]
        return bytes.fromhex("".join(found[:16]))


def doubled(key: bytes) -> bytes:
    """Give a key of two parts in three, or as it is."""
    return (key * 2)[:24] if len(key) == 16 else key
