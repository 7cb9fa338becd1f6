"""Envelope profiles: named, reviewed ways to seal a PIN, chosen by name and never guessed.

Rules:
- A profile fixes everything that steers the computation: key, padding, plaintext form, text
  encoding, lifetimes, PIN length. A call can only name it.
- It says of itself which way it goes (`incoming`), which key it needs (`usage`, `mode`), and
  whether what it seals is `bound` to the PAN of the call.
- Raw RSA has no name here, so it cannot be configured: four digits under a deterministic
  cipher are a code book. What a partner may demand of us is more than what we accept:
  CBC has a name for the way out only, and PKCS #1 v1.5 comes in by a profile that says so.
"""

from pinvault.model.profiles.incoming import (
    IncomingProfile,
    JweInProfile,
    RememberedProfile,
    SealedAesBlockProfile,
    SealedAesGcmProfile,
    SealedEcdhBlockProfile,
    SealedJsonProfile,
    SealedJweProfile,
    SealedRsaProfile,
)
from pinvault.model.profiles.outgoing import (
    EcdhBlockProfile,
    JweProfile,
    OutgoingProfile,
    RsaAesBlockProfile,
    RsaAesCbcProfile,
    RsaAesGcmProfile,
    RsaFieldProfile,
    RsaJsonProfile,
)
from pinvault.model.profiles.words import (
    ANY_LENGTH,
    ContentKey,
    Derivation,
    DerivationHash,
    Encoding,
    JweAlgorithm,
    Padding,
    PinLength,
    Plaintext,
)

__all__ = [
    "ANY_LENGTH",
    "ContentKey",
    "Derivation",
    "DerivationHash",
    "EcdhBlockProfile",
    "Encoding",
    "IncomingProfile",
    "JweAlgorithm",
    "JweInProfile",
    "JweProfile",
    "OutgoingProfile",
    "Padding",
    "PinLength",
    "Plaintext",
    "Profile",
    "RememberedProfile",
    "RsaAesBlockProfile",
    "RsaAesCbcProfile",
    "RsaAesGcmProfile",
    "RsaFieldProfile",
    "RsaJsonProfile",
    "SealedAesBlockProfile",
    "SealedAesGcmProfile",
    "SealedEcdhBlockProfile",
    "SealedJsonProfile",
    "SealedJweProfile",
    "SealedRsaProfile",
]

Profile = IncomingProfile | OutgoingProfile
