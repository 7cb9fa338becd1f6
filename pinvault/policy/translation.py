"""Which PIN block format may become which: PCI PIN requirement 3-3 as a table.

Rules:
- A block that is bound to a PAN never becomes one that is not, and keeps its PAN.
- Format 1 becomes what is bound to a PAN, block or partner's envelope, only where a grant
  allows it: the block does not say whose PIN it is, so whoever may do this may give a PIN any PAN.
- From AES to TDES is a step down, and only where a grant allows it.
- The offset of a PIN that somebody has chosen tells the natural PIN of the card, so an envelope,
  which anybody can seal, and a block that this server makes of one, become an offset only where
  a grant allows it.
- Legacy formats come in where a grant names them, and nothing becomes one. Format 2 is
  for the chip of a card: it is no source, and no target but of a PIN change script.
"""

from enum import StrEnum, unique
from types import MappingProxyType

from pinvault.model.errors import Reason, Refusal
from pinvault.model.pins import Format


@unique
class Permission(StrEnum):
    """What a step needs besides the formats being granted."""

    NONE = "none"
    ISO_1_TO_PAN = "iso-1-to-pan"
    AES_TO_TDES = "aes-to-tdes"
    CHOSEN_PIN_TO_OFFSET = "chosen-pin-to-offset"
    BLOCK_TO_REVEAL = "block-to-reveal"


_0, _1, _3, _4 = Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4

# From, to: what it needs. What is not in the table is forbidden.
MATRIX = MappingProxyType(
    {
        (_0, _0): Permission.NONE,
        (_0, _3): Permission.NONE,
        (_0, _4): Permission.NONE,
        (_3, _0): Permission.NONE,
        (_3, _3): Permission.NONE,
        (_3, _4): Permission.NONE,
        (_4, _0): Permission.AES_TO_TDES,
        (_4, _3): Permission.AES_TO_TDES,
        (_4, _4): Permission.NONE,
        (_1, _1): Permission.NONE,
        (_1, _0): Permission.ISO_1_TO_PAN,
        (_1, _3): Permission.ISO_1_TO_PAN,
        (_1, _4): Permission.ISO_1_TO_PAN,
        **{
            (legacy, bound): Permission.NONE
            for legacy in Format
            if legacy.is_legacy
            for bound in (_0, _3, _4)
        },
    }
)
SOURCES = frozenset(source for source, _ in MATRIX)
TARGETS = frozenset(target for _, target in MATRIX)


def permission_for(source: Format, target: Format, *, at: str) -> Permission:
    """Give what the translation needs, or refuse it; `at` is the target's field in the request."""
    permission = MATRIX.get((source, target))
    if permission is None:
        raise Refusal(Reason.TRANSLATION_FORBIDDEN, field=f"{at}.format")
    return permission
