"""What the operations hand to the clear zone and get back: ciphertext, keys and rules, no PIN.

Rules:
- What a parcel names has been resolved and granted before it comes here.
- A sealed parcel is to be opened; one to make is to be filled.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pinvault.model.dukpt import Dukpt
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import IncomingProfile, OutgoingProfile
from pinvault.model.verification import Ibm3624Scheme, PinOffset, Pvv, VisaPvvScheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """The DUKPT transaction of a block; a TDES base key comes with its variant."""

    dukpt: Dukpt
    variant: Key | None = None


@dataclass(frozen=True, slots=True)
class StoredOf:
    """Whose PIN a block of our own store holds: a card's, and the card's program."""

    card_id: str
    program: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBlock:
    """A PIN block of 8 or 16 bytes, with the key that deciphers it or leads to that.

    `choosable` tells that this server would make such a block of a PIN that a caller seals,
    `stored` of whose card it is where it comes from our own store.
    """

    key: Key
    format: Format
    pan: Pan | None
    ciphertext: bytes = field(repr=False)
    transaction: Transaction | None = None
    choosable: bool = False
    stored: StoredOf | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedEnvelope:
    """A sealed PIN, with the key versions that may open it, by `name/version`.

    `card_id` is the card of the call in the PIN vault, empty where it has none.
    """

    profile: IncomingProfile
    keys: Mapping[str, Key]
    pan: Pan | None
    caller: str
    ciphertext: bytes = field(repr=False)
    card_id: str = ""


Sealed = SealedBlock | SealedEnvelope


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockToMake:
    """A PIN block to be made, with the key that enciphers it or leads to that.

    `reopens` tells that a key of this server could decipher it again.
    """

    key: Key
    format: Format
    pan: Pan | None
    transaction: Transaction | None = None
    reopens: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvelopeToMake:
    """An envelope to be made for a partner, with the partner's key."""

    key: Key
    profile: OutgoingProfile
    pan: Pan | None


ToMake = BlockToMake | EnvelopeToMake


@dataclass(frozen=True, slots=True, kw_only=True)
class PvvMethod:
    """A Visa PVV under the PIN verification key of one index."""

    scheme: VisaPvvScheme
    key: Key
    key_index: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetMethod:
    """An IBM 3624 offset under one PIN verification key."""

    scheme: Ibm3624Scheme
    key: Key


Method = PvvMethod | OffsetMethod


@dataclass(frozen=True, slots=True, kw_only=True)
class PvvReference:
    """A PVV to verify a PIN with."""

    method: PvvMethod
    value: Pvv


@dataclass(frozen=True, slots=True, kw_only=True)
class OffsetReference:
    """An offset to verify a PIN with."""

    method: OffsetMethod
    value: PinOffset


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentNonce:
    """What has been used up in opening a source, and until when (Unix seconds) that counts.

    `nonce` is the SHA-256, 32 bytes, of an envelope's nonce or of a key and its serial number.
    """

    nonce: bytes
    until: float
    is_ksn: bool


ValueReference = PvvReference | OffsetReference
Reference = ValueReference | SealedBlock


def is_bound(source: Sealed) -> bool:
    """Whether a source tells whose PIN it is: for another PAN or card, it does not open."""
    if isinstance(source, SealedBlock):
        return source.format.carries_pan
    return source.profile.bound
