"""One mechanism of a token, as `HsmClient.get_mechanism_info` lists it."""

from dataclasses import dataclass
from os import linesep
from typing import Final

_SHOWN: Final = ("mechanismName", "mechanismValue", "minKeySize", "maxKeySize", "flags")


@dataclass(frozen=True, slots=True, repr=False)
class HsmMechInfo:
    """CK_MECHANISM_INFO (PKCS#11 v2.40 base, 3.6) as the token gives it, and the name.

    `mechanismValue` and `flags` are texts of eight or more hexadecimal digits after 0x. The key
    sizes are decimal texts, in bits or bytes as the mechanism has it.
    """

    mechanismName: str
    mechanismValueInt: int
    minKeySize: str
    maxKeySize: str
    flags: str

    @property
    def mechanismValue(self) -> str:
        """The CK_MECHANISM_TYPE as text."""
        return f"0x{self.mechanismValueInt:08x}"

    def details(self) -> str:
        """Every field in one line."""
        described = "".join(f"{name}:{getattr(self, name)} " for name in _SHOWN)
        return f"<HsmMechInfo: {described}>"

    def to_string(self) -> str:
        """Every field on a line of its own."""
        return linesep.join(f"{name}: {getattr(self, name)}" for name in _SHOWN)

    def __repr__(self) -> str:
        return f"<HsmMechInfo>:{self.mechanismName} ({self.mechanismValue})"
