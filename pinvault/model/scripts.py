"""Script profiles: how an issuer's PIN change scripts are made, as the configuration says.

Rules:
- Keys, block layout and padding are the profile's; a call can only name it.
"""

from dataclasses import dataclass
from enum import StrEnum, unique


@unique
class ScriptBlock(StrEnum):
    """The clear PIN block that a card expects (payShield codes 34, 41 and 42)."""

    ISO_2 = "iso-2"
    VISA = "visa"
    VISA_WITH_CURRENT = "visa-with-current"


@unique
class ScriptPadding(StrEnum):
    """How the block is padded and enciphered under the session key.

    NONE: the block alone, in ECB (M/Chip). LENGTH: 08, the block, 80 and zeros, in ECB (Visa).
    CHAINED: the block, 80 and zeros, in CBC from zeros (Common Core Definitions).
    """

    NONE = "none"
    LENGTH = "length"
    CHAINED = "chained"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptProfile:
    """A profile with the names of its issuer master keys.

    `cryptograms` is the key of application cryptograms (usage E0), which the Visa blocks need;
    `confidentiality` has usage E1 and `integrity` E2.
    """

    name: str
    block: ScriptBlock
    padding: ScriptPadding
    confidentiality: str
    integrity: str
    cryptograms: str | None = None

    def __post_init__(self) -> None:
        if (self.block is ScriptBlock.ISO_2) != (self.cryptograms is None):
            raise ValueError(
                "name the key of application cryptograms for a Visa block, and for no other"
            )
