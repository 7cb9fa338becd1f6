"""The envelope profiles of the configuration: a section a kind, and the model it becomes.

Rules:
- Incoming kinds fix no padding: it is that of the key, as the key ring says.
- CBC stands in outgoing kinds only, for partners who take nothing else. So does PKCS #1 v1.5, but
  for one kind, where it is a switch of its own with its name.
"""

from typing import Annotated, Literal, TypedDict

from msgspec import Meta

from pinvault.config.section import Name, Section
from pinvault.model.profiles import (
    ContentKey,
    Derivation,
    DerivationHash,
    EcdhBlockProfile,
    Encoding,
    JweAlgorithm,
    JweInProfile,
    JweProfile,
    Padding,
    PinLength,
    Plaintext,
    RsaAesBlockProfile,
    RsaAesCbcProfile,
    RsaAesGcmProfile,
    RsaFieldProfile,
    RsaJsonProfile,
    SealedAesBlockProfile,
    SealedAesGcmProfile,
    SealedEcdhBlockProfile,
    SealedJsonProfile,
    SealedJweProfile,
    SealedRsaProfile,
)

Oaep = Literal["OAEP-SHA1", "OAEP-SHA256"]
Hex = Annotated[str, Meta(pattern=r"^([0-9A-Fa-f]{2}){1,1024}\Z")]
KeyId = Annotated[str, Meta(pattern=r"^[!-~]{1,128}\Z")]


class PinLengthSection(Section, frozen=True):
    """PIN lengths in digits."""

    minimum: Annotated[int, Meta(ge=4, le=12)] = 4
    maximum: Annotated[int, Meta(ge=4, le=12)] = 12

    def to_model(self) -> PinLength:
        """Give the model's form."""
        return PinLength(minimum=self.minimum, maximum=self.maximum)


class Shared(TypedDict):
    """What every kind's model is given."""

    name: str
    key: str
    pin_length: PinLength


class Remembered(Shared):
    """What the model of an incoming kind without an expiry is given."""

    remember_s: int


class Kind(Section, frozen=True, kw_only=True, tag_field="kind"):
    """What every kind says."""

    key: Name
    pin_length: PinLengthSection = PinLengthSection()

    def shared(self, name: str) -> Shared:
        """Give the model's form of it."""
        return Shared(name=name, key=self.key, pin_length=self.pin_length.to_model())


class RememberedKind(Kind, frozen=True, kw_only=True):
    """What every incoming kind without an expiry says."""

    remember_s: Annotated[int, Meta(ge=60, le=2_678_400)] = 86_400

    def remembered(self, name: str) -> Remembered:
        """Give the model's form of it."""
        return Remembered(**self.shared(name), remember_s=self.remember_s)


class DerivationSection(Section, frozen=True, kw_only=True):
    """How a content key is derived from a shared secret."""

    hash: DerivationHash = DerivationHash.SHA_256
    shared_info: Hex
    content_key: ContentKey = ContentKey.AES_256

    def to_model(self) -> Derivation:
        """Give the model's form."""
        return Derivation(
            hash=self.hash,
            shared_info=bytes.fromhex(self.shared_info),
            content_key=self.content_key,
        )


class SealedJwe(Kind, frozen=True, kw_only=True, tag="sealed-jwe"):
    """Incoming: a compact JWE with nonce and expiry, as the client library seals it."""

    max_age_s: Annotated[int, Meta(ge=1, le=86_400)] = 300
    clock_skew_s: Annotated[int, Meta(ge=0, le=3600)] = 30
    bind_pan: bool = True
    bind_card: bool = False
    bind_caller: bool = False

    def to_model(self, name: str) -> SealedJweProfile:
        """Give the model's form; ValueError says what is wrong."""
        return SealedJweProfile(
            **self.shared(name),
            max_age_s=self.max_age_s,
            clock_skew_s=self.clock_skew_s,
            bind_pan=self.bind_pan,
            bind_card=self.bind_card,
            bind_caller=self.bind_caller,
        )


class JweIn(RememberedKind, frozen=True, kw_only=True, tag="jwe-in"):
    """Incoming: a compact JWE of a PIN alone."""

    plaintext: Plaintext

    def to_model(self, name: str) -> JweInProfile:
        """Give the model's form."""
        return JweInProfile(**self.remembered(name), plaintext=self.plaintext)


class SealedRsa(RememberedKind, frozen=True, kw_only=True, tag="sealed-rsa"):
    """Incoming: a PIN under RSA-OAEP, or under RSA and PKCS #1 v1.5 where that is switched on."""

    plaintext: Plaintext
    encoding: Encoding
    accept_pkcs1_v1_5: bool = False

    def to_model(self, name: str) -> SealedRsaProfile:
        """Give the model's form; ValueError says what is wrong."""
        return SealedRsaProfile(
            **self.remembered(name),
            plaintext=self.plaintext,
            encoding=self.encoding,
            accept_pkcs1_v1_5=self.accept_pkcs1_v1_5,
        )


class SealedJson(RememberedKind, frozen=True, kw_only=True, tag="sealed-json"):
    """Incoming: the JSON object of a nonce and a PIN under RSA-OAEP, in base64."""

    def to_model(self, name: str) -> SealedJsonProfile:
        """Give the model's form."""
        return SealedJsonProfile(**self.remembered(name))


class SealedAesBlock(RememberedKind, frozen=True, kw_only=True, tag="sealed-aes-block"):
    """Incoming: a format 4 block bound to a token, under an AES-256 key under RSA-OAEP."""

    def to_model(self, name: str) -> SealedAesBlockProfile:
        """Give the model's form."""
        return SealedAesBlockProfile(**self.remembered(name))


class SealedAesGcm(RememberedKind, frozen=True, kw_only=True, tag="sealed-aes-gcm"):
    """Incoming: a PIN in AES-GCM, the AES key under RSA-OAEP."""

    plaintext: Plaintext
    content_key: ContentKey = ContentKey.AES_256

    def to_model(self, name: str) -> SealedAesGcmProfile:
        """Give the model's form."""
        return SealedAesGcmProfile(
            **self.remembered(name), plaintext=self.plaintext, content_key=self.content_key
        )


class SealedEcdhBlock(RememberedKind, frozen=True, kw_only=True, tag="sealed-ecdh-block"):
    """Incoming: a format 4 block under a key agreed with our P-256 key."""

    derivation: DerivationSection

    def to_model(self, name: str) -> SealedEcdhBlockProfile:
        """Give the model's form."""
        return SealedEcdhBlockProfile(
            **self.remembered(name), derivation=self.derivation.to_model()
        )


class RsaField(Kind, frozen=True, kw_only=True, tag="rsa-field"):
    """Outgoing: a PIN as an RSA-enciphered text field."""

    padding: Padding
    plaintext: Plaintext
    encoding: Encoding

    def to_model(self, name: str) -> RsaFieldProfile:
        """Give the model's form."""
        return RsaFieldProfile(
            **self.shared(name),
            padding=self.padding,
            plaintext=self.plaintext,
            encoding=self.encoding,
        )


class RsaJson(Kind, frozen=True, kw_only=True, tag="rsa-json"):
    """Outgoing: the JSON object of a random nonce and a PIN under RSA-OAEP, in base64."""

    padding: Oaep

    def to_model(self, name: str) -> RsaJsonProfile:
        """Give the model's form."""
        return RsaJsonProfile(**self.shared(name), padding=Padding(self.padding))


class Jwe(Kind, frozen=True, kw_only=True, tag="jwe"):
    """Outgoing: a compact JWE in A256GCM."""

    algorithm: JweAlgorithm
    plaintext: Plaintext
    kid: KeyId | None = None

    def to_model(self, name: str) -> JweProfile:
        """Give the model's form."""
        return JweProfile(
            **self.shared(name),
            algorithm=self.algorithm,
            plaintext=self.plaintext,
            kid=self.kid,
        )


class RsaAesBlock(Kind, frozen=True, kw_only=True, tag="rsa-aes-block"):
    """Outgoing: a format 4 block bound to a random token, under an AES-256 key under RSA."""

    padding: Padding

    def to_model(self, name: str) -> RsaAesBlockProfile:
        """Give the model's form."""
        return RsaAesBlockProfile(**self.shared(name), padding=self.padding)


class RsaAes(Kind, frozen=True, kw_only=True):
    """What the outgoing kinds of a PIN under AES under RSA say."""

    padding: Padding
    plaintext: Plaintext
    content_key: ContentKey = ContentKey.AES_256


class RsaAesGcm(RsaAes, frozen=True, kw_only=True, tag="rsa-aes-gcm"):
    """Outgoing: a PIN in AES-GCM, the AES key under RSA."""

    def to_model(self, name: str) -> RsaAesGcmProfile:
        """Give the model's form."""
        return RsaAesGcmProfile(
            **self.shared(name),
            padding=self.padding,
            plaintext=self.plaintext,
            content_key=self.content_key,
        )


class RsaAesCbc(RsaAes, frozen=True, kw_only=True, tag="rsa-aes-cbc"):
    """Outgoing: a PIN in AES-CBC with PKCS #7 padding, the AES key under RSA."""

    def to_model(self, name: str) -> RsaAesCbcProfile:
        """Give the model's form."""
        return RsaAesCbcProfile(
            **self.shared(name),
            padding=self.padding,
            plaintext=self.plaintext,
            content_key=self.content_key,
        )


class EcdhBlock(Kind, frozen=True, kw_only=True, tag="ecdh-block"):
    """Outgoing: a format 4 block under a key agreed with the partner's P-256 key."""

    derivation: DerivationSection

    def to_model(self, name: str) -> EcdhBlockProfile:
        """Give the model's form."""
        return EcdhBlockProfile(**self.shared(name), derivation=self.derivation.to_model())


IncomingSection = (
    SealedJwe | JweIn | SealedRsa | SealedJson | SealedAesBlock | SealedAesGcm | SealedEcdhBlock
)
OutgoingSection = RsaField | RsaJson | Jwe | RsaAesBlock | RsaAesGcm | RsaAesCbc | EcdhBlock
ProfileSection = IncomingSection | OutgoingSection
"""PINs in envelopes: opened as an incoming profile says, made as an outgoing one says."""
