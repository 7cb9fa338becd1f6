"""What a server is for: the methods that an acquiring one does not even have.

Rules:
- An HSM that serves acquirers does not support functions that set, change, generate or reveal
  PINs (PCI PIN 29-4.2), so an acquiring server does not register them.
"""

from enum import StrEnum, unique

ACQUIRING = frozenset(
    {
        "PinBlockService.EncryptPin",
        "PinBlockService.TranslatePin",
        "PinBlockService.TranslatePinBatch",
        "PinBlockService.VerifyPin",
        "KeyService.ListKeys",
        "KeyService.GetKey",
        "KeyService.GetPublicKey",
        "KeyService.ImportKeyBlock",
        "KeyService.ExportKeyBlock",
        "KeyService.ImportKeyCryptogram",
        "KeyService.RotateKey",
        "KeyService.RetireKey",
    }
)


@unique
class Role(StrEnum):
    """The profile that a server runs under."""

    ISSUING = "issuing"
    ACQUIRING = "acquiring"

    def serves(self, method: str) -> bool:
        """Whether a server of this role has a method, by `Service.Method`."""
        return self is Role.ISSUING or method in ACQUIRING
