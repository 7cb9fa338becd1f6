"""A clear zone of the PIN vault with known keys, and what a program has it store."""

from dataclasses import dataclass

from pinvault.clearzone.card_zone import CardZone, Made, Recipe
from pinvault.clearzone.parcels import (
    BlockToMake,
    OffsetMethod,
    OffsetReference,
    PvvMethod,
    PvvReference,
    Reference,
    SealedBlock,
    SealedEnvelope,
)
from pinvault.client.sealing import seal
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import SealedJweProfile
from pinvault.model.verification import (
    Ibm3624Scheme,
    PinOffset,
    Pvv,
    ValidationLayout,
    VisaPvvScheme,
)
from pinvault.policy.limits import Nonces
from tests.support import blocks
from tests.support.software_device import SoftwareDevice, held, key
from tests.unit.clearzone.support import (
    KEYS,
    NOW,
    QUANTUM_S,
    SEAL,
    TDES_VALUE,
    ZPK,
    World,
    private_key,
    sealing_key,
)

PAN, OTHER_PAN = "4000001234562000", "5555555551234567"
CARD, OTHER_CARD = "card_jpgsyggggggggggggggggggggg", "card_jpgsyggggggggggggggggggggh"

PAN_STORE, NEXT_STORE = (key("pan-store", "D0", "AES_256", "B", version=n) for n in (1, 2))
REFERENCE = key("pin-reference", "P0", "AES_256", "B")
REVEAL = key("pin-reveal", "P0", "AES_256", "B")
PVK = key("pvk", "V2", "TDES_2KEY", "C")
OFFSETS = key("offset", "V1", "TDES_2KEY", "C")
GONE = key("gone", "P0", "AES_256", "B")

VISA = PvvMethod(scheme=VisaPvvScheme(name="visa", keys={1: PVK.name}), key=PVK, key_index=1)
IBM = OffsetMethod(
    scheme=Ibm3624Scheme(
        name="ibm",
        key=OFFSETS.name,
        decimalisation_table="0123456789012345",
        validation=ValidationLayout(template="{last16}"),
        check_length=4,
        pin_length=4,
    ),
    key=OFFSETS,
)
BOUND = SealedJweProfile(name="sealed-card", key=SEAL.name, bind_pan=False, bind_card=True)


def block_under(under: object, pan: str = PAN) -> BlockToMake:
    return BlockToMake(key=under, format=Format.ISO_4, pan=Pan(pan))  # type: ignore[arg-type]


RECIPES = {
    "PVV": Recipe(verification=VISA, reveal=None),
    "offset": Recipe(verification=IBM, reveal=None),
    "reference": Recipe(verification=block_under(REFERENCE), reveal=None),
    "offset and reveal": Recipe(verification=IBM, reveal=block_under(REVEAL)),
    "reference and reveal": Recipe(verification=block_under(REFERENCE), reveal=block_under(REVEAL)),
}


def stored(made: Made | None, recipe: Recipe) -> Reference:
    """Give what a recipe made as an operation has it from the store."""
    assert made is not None
    if isinstance(made.value, Pvv):
        return PvvReference(method=VISA, value=made.value)
    if isinstance(made.value, PinOffset):
        return OffsetReference(method=IBM, value=made.value)
    assert isinstance(recipe.verification, BlockToMake)
    return stored_block(made.reference, recipe.verification)


def stored_block(ciphertext: bytes | None, made_as: BlockToMake | None) -> SealedBlock:
    """Give a stored block as an operation has it from the store."""
    assert ciphertext is not None
    assert made_as is not None
    return SealedBlock(
        key=made_as.key, format=made_as.format, pan=made_as.pan, ciphertext=ciphertext
    )


def sealed(pin: str, *, card: str = CARD, of: str = CARD, expires: int = NOW + 120):
    """A PIN sealed for a card, in a call for the card `of`."""
    ciphertext = seal(pin, key=sealing_key(SEAL), pan=None, card=card, expires=expires)
    return SealedEnvelope(
        profile=BOUND, keys=KEYS, pan=None, caller="switch", ciphertext=ciphertext, card_id=of
    )


@dataclass
class Room:
    """The zone of the PIN vault, and the world it stands in."""

    world: World

    def __post_init__(self) -> None:
        self.zone = CardZone(
            self.device,
            spend=Nonces(self.world.table).spend,
            now=lambda: self.world.clock.now,
            quantum_s=QUANTUM_S,
        )

    @property
    def device(self) -> SoftwareDevice:
        return self.world.device

    def block(self, pin: str, pan: str = PAN) -> SealedBlock:
        """A PIN as a switch sends it, in format 0."""
        made = blocks.encipher(self.device, pin, under=ZPK, form=Format.ISO_0, pan=Pan(pan))
        return SealedBlock(key=ZPK, format=Format.ISO_0, pan=Pan(pan), ciphertext=made)

    def reference(self, pin: str, recipe: Recipe) -> Reference:
        """What is stored of a PIN."""
        made = self.zone.make(self.block(pin), recipe, Pan(PAN), self.world.terms)
        return stored(made.result, recipe)


def card_device() -> SoftwareDevice:
    """A device with a sealing key, a zone key and the keys of the store."""
    values = {
        PAN_STORE: bytes(range(32)),
        NEXT_STORE: bytes(range(1, 33)),
        REFERENCE: bytes(range(2, 34)),
        REVEAL: bytes(range(3, 35)),
        PVK: bytes.fromhex("0123456789ABCDEFFEDCBA9876543210"),
        OFFSETS: bytes.fromhex("FEDCBA98765432100123456789ABCDEF"),
        ZPK: TDES_VALUE,
    }
    symmetric = (held(each, value) for each, value in values.items())
    return SoftwareDevice([*symmetric, *(held(k, private_key(k.id)) for k in KEYS.values())])
