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

from pinvault.client.errors import PinvaultError, SealingKeyChanged
from pinvault.client.sealing import SealingKey, seal
from pinvault.client.values import (
    EncryptedPin,
    EncryptedPinChange,
    KeyUse,
    PinBlock,
    SealedPin,
    ToEnvelope,
    ToPinBlock,
)
from pinvault.client.vault import Vault, connect

__all__ = [
    "EncryptedPin",
    "EncryptedPinChange",
    "KeyUse",
    "PinBlock",
    "PinvaultError",
    "SealedPin",
    "SealingKey",
    "SealingKeyChanged",
    "ToEnvelope",
    "ToPinBlock",
    "Vault",
    "connect",
    "seal",
]
