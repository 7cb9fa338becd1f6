"""What a caller gives: where a PIN comes from, where it goes, and how it is verified.

Rules:
- Plain values without protobuf. Ciphertexts, PANs, key serial numbers, PVVs and offsets are
  left out of every repr.
- What is wrong with a value is the server's to say, so that it is said in one place.
"""

from dataclasses import dataclass, field
from typing import Literal

IsoFormat = Literal["ISO_0", "ISO_1", "ISO_3", "ISO_4"]
LegacyFormat = Literal[
    "OEM_1", "ECI_2", "ECI_3", "VISA_2", "VISA_3", "VISA_4", "PLUS", "MASTERCARD_35"
]
Format = IsoFormat | LegacyFormat
WorkingKey = Literal["TDES_2KEY", "TDES_3KEY", "AES_128", "AES_192", "AES_256"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dukpt:
    """The DUKPT transaction of a PIN block (ANSI X9.24-3): used up by the call.

    `key_serial_number` has 10 bytes under a TDES base derivation key and 12 under an AES one.
    """

    key_serial_number: bytes = field(repr=False)
    working_key: WorkingKey


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedPin:
    """A PIN sealed for one call: used up by it, whatever its outcome.

    `seal` makes those of the profile `sealed-jwe`; for the other incoming profiles, give
    the envelope in the encoding of its profile.
    """

    profile: str
    ciphertext: bytes = field(repr=False)
    pan: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinBlock:
    """A PIN block under a key of the server: 8 bytes (TDES) or 16 (AES, ISO_4).

    `pan` is the PAN of 12 to 19 digits for the formats that are bound to one. With `dukpt`,
    `key` names the base derivation key.
    """

    key: str
    format: Format
    ciphertext: bytes = field(repr=False)
    pan: str | None = field(default=None, repr=False)
    dukpt: Dukpt | None = None


@dataclass(frozen=True, slots=True)
class StoredCard:
    """The PIN that the server keeps of a card, whose program must reveal; never a current PIN.

    Outside `cards` each use counts as a reveal.
    """

    card_id: str


Source = SealedPin | PinBlock | StoredCard


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPinBlock:
    """Ask for a PIN block under a key of the server; a PIN never goes out in a legacy format."""

    key: str
    format: IsoFormat
    pan: str | None = field(default=None, repr=False)
    dukpt: Dukpt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToEnvelope:
    """Ask for an envelope for the partner of a profile."""

    profile: str
    pan: str = field(repr=False)


Target = ToPinBlock | ToEnvelope


@dataclass(frozen=True, slots=True, kw_only=True)
class PinColumn:
    """The key and format that all PIN blocks of a batch come or go under."""

    key: str
    format: IsoFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedPins:
    """The PIN blocks of a batch without gaps and, where a format is bound to one, their PANs.

    A PAN has 10 bytes: two digits a byte from the left, filled with F.
    """

    pin_blocks: bytes = field(repr=False)
    pans: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisaPvvScheme:
    """Visa PVV by a scheme of the server; `key_index` (PVKI) is the card's, 0 to 6."""

    name: str
    key_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ibm3624Scheme:
    """IBM 3624 with PIN offset by a scheme of the server."""

    name: str


Scheme = VisaPvvScheme | Ibm3624Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class VisaPvv:
    """A card's PVV of four digits; `scheme` is the scheme's name."""

    scheme: str
    key_index: int
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ibm3624Offset:
    """A card's PIN offset, as many digits as the scheme checks; `scheme` is the scheme's name."""

    scheme: str
    value: str = field(repr=False)


VerificationValue = VisaPvv | Ibm3624Offset


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A PIN block that the issuer keeps to compare with, and the block to keep in its place."""

    current: PinBlock
    to: ToPinBlock


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomPin:
    """A PIN of so many random digits, 4 to 12."""

    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NaturalPin:
    """The natural PIN of a card by an IBM 3624 scheme, whose name is given."""

    scheme: str
