"""Where PINs come from and where they go, as the operations name them; ciphertext only.

Rules:
- A source or target names a key or a profile; it never holds a clear PIN.
- A format that is bound to a PAN carries the PAN; one that is not carries none.
"""

from dataclasses import dataclass, field
from enum import StrEnum, unique

from pinvault.model.dukpt import Dukpt
from pinvault.model.pan import Pan


@unique
class Format(StrEnum):
    """PIN block formats: those of ISO 9564-1:2017, clause 9.3, then the legacy ones."""

    ISO_0 = "ISO_0"
    ISO_1 = "ISO_1"
    ISO_2 = "ISO_2"
    ISO_3 = "ISO_3"
    ISO_4 = "ISO_4"
    OEM_1 = "OEM_1"
    ECI_2 = "ECI_2"
    ECI_3 = "ECI_3"
    VISA_2 = "VISA_2"
    VISA_3 = "VISA_3"
    VISA_4 = "VISA_4"
    PLUS = "PLUS"
    MASTERCARD_35 = "MASTERCARD_35"

    @property
    def block_bytes(self) -> int:
        """The size of a block in bytes, which is also the cipher's: 8 (TDES) or 16 (AES)."""
        return 16 if self is Format.ISO_4 else 8

    @property
    def is_legacy(self) -> bool:
        """Whether the standard does not know the format."""
        return not self.value.startswith("ISO_")

    @property
    def carries_pan(self) -> bool:
        """Whether the block is bound to a PAN."""
        return self in _BOUND

    @property
    def needs_pan_rate(self) -> bool:
        """Whether a caller could learn PINs by asking often for one PAN.

        What is deterministic lets a code book be built, and what the PAN is added to opens
        under some other PANs too, which tells of the digits that they overlay. Only formats 1
        and 4 do neither.
        """
        return self not in {Format.ISO_1, Format.ISO_4}


_BOUND = frozenset(
    {
        *(Format.ISO_0, Format.ISO_3, Format.ISO_4),
        *(Format.VISA_4, Format.PLUS, Format.MASTERCARD_35),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinBlockSource:
    """A PIN block of 8 or 16 bytes under the HSM's key `key`, or under one derived from it."""

    key: str
    format: Format
    pan: Pan | None
    ciphertext: bytes = field(repr=False)
    dukpt: Dukpt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeSource:
    """A sealed PIN in the encoding of the incoming profile; `pan` is what it was bound to."""

    profile: str
    pan: Pan | None
    ciphertext: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CardSource:
    """The stored PIN of a card of the PIN vault, by the card's id."""

    card_id: str

    @property
    def pan(self) -> None:
        """None: the card has a PAN of its own, and the call names it elsewhere."""
        return None


PinSource = PinBlockSource | EnvelopeSource | CardSource


@dataclass(frozen=True, slots=True, kw_only=True)
class PinBlockTarget:
    """A PIN block to be made under the HSM's key `key`."""

    key: str
    format: Format
    pan: Pan | None
    dukpt: Dukpt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeTarget:
    """An envelope to be made for the partner of the outgoing profile.

    Without a PAN it is for the card of the call, whose PAN is put in when it has been opened.
    """

    profile: str
    pan: Pan | None


PinTarget = PinBlockTarget | EnvelopeTarget
