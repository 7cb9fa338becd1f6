"""The Python SDK of pinvault: what a calling service needs, and nothing of the core.

    from pinvault.client import connect

    with connect("pinvault.internal:8443", ca=…, certificate=…, private_key=…) as vault:
        change = vault.encrypt_pin_change(
            profile="interswitch",
            pan=pan,
            new_pin=vault.seal(new_pin, pan=pan),
            old_pin=vault.seal(old_pin, pan=pan),
        )
        body = {"pin": change.pin_field, "oldPin": change.old_pin_field, …}

A PIN is sealed where it is entered, as early as can be; only the envelope travels.
"""

from pinvault.client.answers import (
    ChangedValue,
    EncryptedPin,
    EncryptedPinChange,
    GeneratedPin,
    GeneratedValue,
    ItemStatus,
    KeyUse,
    PinChangeScript,
    TranslatedPin,
    TranslatedPins,
    VerifiedPin,
)
from pinvault.client.card_values import (
    Card,
    CardNumber,
    ControlToken,
    ControlTokenUse,
    CreatedSession,
    ExternalId,
    IssuedPin,
    OpenedSession,
    PinState,
    PinVerdict,
    PlacedPin,
    RevealedPin,
)
from pinvault.client.cards import Cards
from pinvault.client.errors import PinvaultError, SealingKeyChanged
from pinvault.client.keys import ExportedKey, Keys, KeyVersion, RotatedKey
from pinvault.client.reveal import NotRevealed, RevealKey
from pinvault.client.sealing import SealingKey, seal, wrap
from pinvault.client.values import (
    Dukpt,
    Ibm3624Offset,
    Ibm3624Scheme,
    NaturalPin,
    PackedPins,
    PinBlock,
    PinColumn,
    RandomPin,
    SealedPin,
    StoredBlock,
    StoredCard,
    ToEnvelope,
    ToPinBlock,
    VisaPvv,
    VisaPvvScheme,
)
from pinvault.client.vault import Vault, connect

__all__ = [
    "Card",
    "CardNumber",
    "Cards",
    "ChangedValue",
    "ControlToken",
    "ControlTokenUse",
    "CreatedSession",
    "Dukpt",
    "EncryptedPin",
    "EncryptedPinChange",
    "ExportedKey",
    "ExternalId",
    "GeneratedPin",
    "GeneratedValue",
    "Ibm3624Offset",
    "Ibm3624Scheme",
    "IssuedPin",
    "ItemStatus",
    "KeyUse",
    "KeyVersion",
    "Keys",
    "NaturalPin",
    "NotRevealed",
    "OpenedSession",
    "PackedPins",
    "PinBlock",
    "PinChangeScript",
    "PinColumn",
    "PinState",
    "PinVerdict",
    "PinvaultError",
    "PlacedPin",
    "RandomPin",
    "RevealKey",
    "RevealedPin",
    "RotatedKey",
    "SealedPin",
    "SealingKey",
    "SealingKeyChanged",
    "StoredBlock",
    "StoredCard",
    "ToEnvelope",
    "ToPinBlock",
    "TranslatedPin",
    "TranslatedPins",
    "Vault",
    "VerifiedPin",
    "VisaPvv",
    "VisaPvvScheme",
    "connect",
    "seal",
    "wrap",
]
