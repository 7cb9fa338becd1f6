"""One slot with a token in it, as `HsmClient.get_slot_info` lists it."""

from dataclasses import dataclass, fields
from os import linesep


@dataclass(frozen=True, slots=True, repr=False)
class HsmSlot:
    """Texts all: `slotNumber` is the decimal CK_SLOT_ID, the versions are major.minor.

    `sessionCount` is CK_UNAVAILABLE_INFORMATION: python-pkcs11 does not tell it.
    """

    slotNumber: str
    label: str
    manufacturer: str
    model: str
    serialNumber: str
    sessionCount: str
    hardwareVersion: str
    firmwareVersion: str

    def details(self) -> str:
        """Every field in one line."""
        described = "".join(f"{name}:{value} " for name, value in self._items())
        return f"<HsmSlot: {described}>"

    def to_string(self) -> str:
        """Every field on a line of its own."""
        return "".join(f"{name}: {value}{linesep}" for name, value in self._items())

    def _items(self) -> list[tuple[str, str]]:
        return [(field.name, getattr(self, field.name)) for field in fields(self)]

    def __repr__(self) -> str:
        return f"<HsmSlot>:{self.slotNumber}"
