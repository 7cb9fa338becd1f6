"""Every kind of the configuration becomes the profile that it says, and nothing else is one."""

from fractions import Fraction
from typing import Any

import msgspec
import pytest

from pinvault.config.profiles import ProfileSection
from pinvault.model import profiles
from pinvault.model.keys import Mode, Usage
from pinvault.model.profiles import (
    ContentKey,
    Derivation,
    DerivationHash,
    Encoding,
    IncomingProfile,
    JweAlgorithm,
    Padding,
    PinLength,
    Plaintext,
)

DERIVATION = {"hash": "SHA-512", "shared_info": "00ff", "content_key": "AES_128"}
DERIVED = Derivation(
    hash=DerivationHash.SHA_512, shared_info=b"\x00\xff", content_key=ContentKey.AES_128
)
DIGITS, ISO_0 = Plaintext.DIGITS, Plaintext.ISO_0_BLOCK

Row = tuple[dict[str, Any], type, dict[str, Any], tuple[Usage, Mode, bool]]

# The section, the profile, what it holds, and its key's usage and mode and whether it is bound.
KINDS: dict[str, Row] = {
    "sealed-jwe": (
        {},
        profiles.SealedJweProfile,
        {"max_age_s": 300, "clock_skew_s": 30, "bind_pan": True, "bind_caller": False},
        (Usage.D1, Mode.D, True),
    ),
    "sealed-jwe unbound": (
        {"bind_pan": False, "bind_caller": True, "max_age_s": 60},
        profiles.SealedJweProfile,
        {"bind_caller": True, "remember_s": 60},
        (Usage.D1, Mode.D, False),
    ),
    "sealed-jwe for a card": (
        {"bind_pan": False, "bind_card": True},
        profiles.SealedJweProfile,
        {"bind_pan": False, "bind_card": True},
        (Usage.D1, Mode.D, True),
    ),
    "jwe-in": (
        {"plaintext": "pin-json", "remember_s": 60},
        profiles.JweInProfile,
        {"plaintext": Plaintext.PIN_JSON, "remember_s": 60, "bind_pan": False},
        (Usage.D1, Mode.D, False),
    ),
    "sealed-rsa": (
        {"plaintext": "iso-0-block", "encoding": "hex-upper"},
        profiles.SealedRsaProfile,
        {"plaintext": ISO_0, "encoding": Encoding.HEX_UPPER, "remember_s": 86_400},
        (Usage.D1, Mode.D, True),
    ),
    "sealed-json": (
        {},
        profiles.SealedJsonProfile,
        {"remember_s": 86_400, "clock_skew_s": 0, "bind_caller": False},
        (Usage.D1, Mode.D, False),
    ),
    "sealed-aes-block": ({}, profiles.SealedAesBlockProfile, {}, (Usage.K0, Mode.D, False)),
    "sealed-aes-gcm": (
        {"plaintext": "iso-2-block", "content_key": "AES_128"},
        profiles.SealedAesGcmProfile,
        {"plaintext": Plaintext.ISO_2_BLOCK, "content_key": ContentKey.AES_128},
        (Usage.K0, Mode.D, False),
    ),
    "sealed-ecdh-block": (
        {"derivation": DERIVATION},
        profiles.SealedEcdhBlockProfile,
        {"derivation": DERIVED},
        (Usage.K3, Mode.X, True),
    ),
    "rsa-field": (
        {"padding": "PKCS1-v1_5", "plaintext": "iso-3-block", "encoding": "hex-lower"},
        profiles.RsaFieldProfile,
        {"padding": Padding.PKCS1_V1_5, "encoding": Encoding.HEX_LOWER},
        (Usage.D1, Mode.E, True),
    ),
    "rsa-json": (
        {"padding": "OAEP-SHA1"},
        profiles.RsaJsonProfile,
        {"padding": Padding.OAEP_SHA1},
        (Usage.D1, Mode.E, False),
    ),
    "jwe": (
        {"algorithm": "RSA1_5", "plaintext": "digits", "kid": "issuing-2026"},
        profiles.JweProfile,
        {"algorithm": JweAlgorithm.RSA1_5, "plaintext": DIGITS, "kid": "issuing-2026"},
        (Usage.D1, Mode.E, False),
    ),
    "rsa-aes-block": (
        {"padding": "PKCS1-v1_5"},
        profiles.RsaAesBlockProfile,
        {"padding": Padding.PKCS1_V1_5},
        (Usage.D1, Mode.E, False),
    ),
    "rsa-aes-gcm": (
        {"padding": "OAEP-SHA256", "plaintext": "iso-0-block"},
        profiles.RsaAesGcmProfile,
        {"padding": Padding.OAEP_SHA256, "content_key": ContentKey.AES_256},
        (Usage.D1, Mode.E, True),
    ),
    "rsa-aes-cbc": (
        {"padding": "OAEP-SHA1", "plaintext": "digits"},
        profiles.RsaAesCbcProfile,
        {"plaintext": DIGITS},
        (Usage.D1, Mode.E, False),
    ),
    "ecdh-block": (
        {"derivation": DERIVATION},
        profiles.EcdhBlockProfile,
        {"derivation": DERIVED},
        (Usage.K3, Mode.E, True),
    ),
}


def section(kind: str, **options: Any) -> Any:
    named = {"kind": kind.split()[0], "key": "pin-key"} | options
    return msgspec.convert(named, ProfileSection)


@pytest.mark.parametrize("kind", KINDS)
def test_a_section_becomes_its_profile(kind: str) -> None:
    options, model, values, (usage, mode, bound) = KINDS[kind]
    made = section(kind, **options, pin_length={"minimum": 4, "maximum": 6}).to_model("partner")
    assert type(made) is model
    assert (made.name, made.key) == ("partner", "pin-key")
    assert made.pin_length == PinLength(minimum=4, maximum=6)
    assert {name: getattr(made, name) for name in values} == values
    assert (made.usage, made.mode, made.bound) == (usage, mode, bound)
    assert made.incoming == isinstance(made, IncomingProfile) == (mode is not Mode.E)


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_is_known_and_those_without_default_are_needed(kind: str) -> None:
    options = KINDS[kind][0]
    with pytest.raises(msgspec.ValidationError, match="unknown field"):
        section(kind, **options, passphrase="x")
    for name in options:
        rest = {other: value for other, value in options.items() if other != name}
        if name in {"padding", "plaintext", "encoding", "algorithm", "derivation"}:
            with pytest.raises(msgspec.ValidationError, match=name):
                section(kind, **rest)
        else:
            section(kind, **rest)


def test_every_kind_has_a_row() -> None:
    models = {row[1] for row in KINDS.values()}
    named = {getattr(profiles, name) for name in profiles.__all__ if name.endswith("Profile")}
    bases = {profiles.IncomingProfile, profiles.OutgoingProfile, profiles.RememberedProfile}
    assert models == {each for each in named if isinstance(each, type)} - bases


MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "CBC coming in": ("sealed-aes-cbc", {"plaintext": "digits"}, "kind"),
    "RSA1_5 coming in": ("jwe-in", {"plaintext": "digits", "algorithm": "RSA1_5"}, "algorithm"),
    "padding coming in": (
        "sealed-rsa",
        {"plaintext": "digits", "encoding": "base64", "padding": "PKCS1-v1_5"},
        "padding",
    ),
    "PKCS #1 v1.5 of JSON": ("rsa-json", {"padding": "PKCS1-v1_5"}, "padding"),
    "raw RSA": ("rsa-aes-block", {"padding": "none"}, "padding"),
    "remembered for no time": ("sealed-json", {"remember_s": 0}, "remember_s"),
    "remembered too long": ("sealed-json", {"remember_s": 3_000_000}, "remember_s"),
    "format 4 in RSA": ("jwe-in", {"plaintext": "iso-4-block"}, "plaintext"),
    "AES-192": ("sealed-aes-gcm", {"plaintext": "digits", "content_key": "AES_192"}, "content_key"),
    "no shared information": ("ecdh-block", {"derivation": {}}, "derivation"),
    "half a byte": ("ecdh-block", {"derivation": {"shared_info": "0"}}, "shared_info"),
    "no hex": ("ecdh-block", {"derivation": {"shared_info": "zz"}}, "shared_info"),
    "SHA-1": ("ecdh-block", {"derivation": DERIVATION | {"hash": "SHA-1"}}, "hash"),
    "kid with a space": (
        "jwe",
        {"algorithm": "RSA-OAEP", "plaintext": "digits", "kid": "our key"},
        "kid",
    ),
    "PIN of three digits": ("sealed-json", {"pin_length": {"minimum": 3}}, "minimum"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_by_its_place(name: str) -> None:
    kind, options, place = MISTAKES[name]
    with pytest.raises(msgspec.ValidationError, match=place):
        section(kind, **options)


# PKCS #1 v1.5 coming in


def pkcs1(plaintext: str, minimum: int, maximum: int, **options: Any) -> Any:
    options = {"encoding": "hex-lower", "accept_pkcs1_v1_5": True} | options
    lengths = {"minimum": minimum, "maximum": maximum}
    made = section("sealed-rsa", plaintext=plaintext, pin_length=lengths, **options)
    return made.to_model("interswitch-in")


@pytest.mark.parametrize("plaintext", Plaintext)
@pytest.mark.parametrize("digits", range(4, 13))
def test_pkcs1_comes_in_where_random_plaintexts_pass_less_than_once_in_2_to_the_60(
    plaintext: Plaintext, digits: int
) -> None:
    chances = {
        Plaintext.HEX_OF_DIGITS: Fraction(10, 256**2) ** digits,
        Plaintext.DIGITS: Fraction(10, 256) ** digits,
    }
    # 00 02 before a number below the modulus, which has its highest bit; one place of the zero.
    chance = Fraction(1, 2**15) * Fraction(1, 256) * chances.get(plaintext, 1)
    if chance < Fraction(1, 2**60):
        made = pkcs1(plaintext, digits, digits)
        assert made.accept_pkcs1_v1_5
        assert (made.bound, made.usage, made.mode) == (False, Usage.D1, Mode.D)
    else:
        with pytest.raises(ValueError, match="fixed"):
            pkcs1(plaintext, digits, digits)


@pytest.mark.parametrize("plaintext", ["hex-of-digits", "digits"])
def test_pkcs1_comes_in_with_one_length_alone(plaintext: str) -> None:
    for minimum, maximum in ((4, 12), (4, 5), (8, 12), (11, 12)):
        with pytest.raises(ValueError, match="of one length"):
            pkcs1(plaintext, minimum, maximum)
        assert not pkcs1(plaintext, minimum, maximum, accept_pkcs1_v1_5=False).accept_pkcs1_v1_5


def test_pkcs1_is_switched_on_by_nothing_else() -> None:
    quiet = {"plaintext": "hex-of-digits", "encoding": "hex-lower"}
    assert not section("sealed-rsa", **quiet).to_model("in").accept_pkcs1_v1_5
    for kind, (options, _, _, (_, mode, _)) in KINDS.items():
        if mode is Mode.D and kind != "sealed-rsa":
            with pytest.raises(msgspec.ValidationError, match="accept_pkcs1_v1_5"):
                section(kind, **options, accept_pkcs1_v1_5=True)
