"""The client seals PINs and nothing else, freshly each time, under the key that it was given."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import RSAKey

from pinvault.client.sealing import SealingKey, seal
from tests.conftest import PAN

EXPIRES = 1_770_000_120
CARD = "card_jpgsyggggggggggggggggggggg"


@pytest.fixture(scope="module")
def jwk() -> dict[str, str]:
    """A public key as joserfc, an independent implementation, writes it."""
    return RSAKey.generate_key(2048).as_dict(private=False)


@pytest.fixture(scope="module")
def key(jwk: dict[str, str]) -> SealingKey:
    return SealingKey.from_jwk(kid="pin-seal/1", alg="RSA-OAEP", n=jwk["n"], e=jwk["e"])


def test_the_public_key_is_that_of_the_jwk(jwk: dict[str, str], key: SealingKey) -> None:
    ours = key.public_key.public_numbers()
    theirs = RSAKey.import_key(jwk).public_key.public_numbers()
    assert (ours.n, ours.e) == (theirs.n, theirs.e)


def test_the_thumbprint_is_joserfcs(jwk: dict[str, str], key: SealingKey) -> None:
    assert key.thumbprint == RSAKey.import_key(jwk).thumbprint()


def test_the_thumbprint_is_that_of_the_standards_example() -> None:
    """RFC 7638, 3.1."""
    n = (
        "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJE"
        "CPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2Q"
        "vzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6"
        "WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
    )
    key = SealingKey.from_jwk(kid="2011-04-29", alg="RSA-OAEP-256", n=n, e="AQAB")
    assert key.thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


@pytest.mark.parametrize("alg", ["", "RSA1_5", "none", "rsa-oaep", "RSA-OAEP-384", "dir"])
def test_a_key_of_another_algorithm_is_not_sealed_with(jwk: dict[str, str], alg: str) -> None:
    with pytest.raises(ValueError):
        SealingKey.from_jwk(kid="pin-seal/1", alg=alg, n=jwk["n"], e=jwk["e"])


@given(text=st.text(max_size=16) | st.text("0123456789", max_size=16))
def test_only_4_to_12_digits_are_sealed_and_nothing_is_repeated(key: SealingKey, text: str) -> None:
    if 4 <= len(text) <= 12 and set(text) <= set("0123456789"):
        assert seal(text, key=key, pan=PAN, expires=EXPIRES)
    else:
        with pytest.raises(ValueError) as caught:
            seal(text, key=key, pan=PAN, expires=EXPIRES)
        assert str(caught.value) == "a PIN has 4 to 12 decimal digits"


@pytest.mark.parametrize(
    "text",
    ["\u0667\u0663\u0669\u0662", "\u00b2" * 4, "\uff17" * 4, "7392\n"],
    ids=["arabic", "superscript", "fullwidth", "newline"],
)
def test_what_only_looks_like_a_pin_is_not_sealed(key: SealingKey, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        seal(text, key=key, pan=None, expires=EXPIRES)
    assert str(caught.value) == "a PIN has 4 to 12 decimal digits"


def test_a_pin_is_sealed_for_a_pan_or_for_a_card(key: SealingKey) -> None:
    with pytest.raises(ValueError) as caught:
        seal("7392", key=key, pan=PAN, card=CARD, expires=EXPIRES)
    assert str(caught.value) == "a PIN is sealed for a PAN or for a card, not for both"


@pytest.mark.parametrize(
    "named", [{}, {"pan": PAN}, {"card": CARD}, {"card": CARD, "caller": "switch"}], ids=str
)
def test_an_envelope_names_whom_it_is_for_and_nobody_else(named: dict[str, str]) -> None:
    private = RSAKey.generate_key(2048)
    jwk = private.as_dict(private=False)
    key = SealingKey.from_jwk(kid="pin-seal/1", alg="RSA-OAEP", n=jwk["n"], e=jwk["e"])
    envelope = seal("7392", key=key, **({"pan": None} | named), expires=EXPIRES)
    opened = jwe.decrypt_compact(envelope, private, ["RSA-OAEP", "A256GCM"])
    assert opened.plaintext is not None
    content = json.loads(opened.plaintext)
    assert {name: content[name] for name in content.keys() - {"nonce"}} == {
        "pin": "7392",
        "exp": EXPIRES,
        **named,
    }


def parts_of(envelope: bytes) -> list[bytes]:
    return [
        base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)) for part in envelope.split(b".")
    ]


def test_an_envelope_is_a_compact_jwe_with_three_header_members(key: SealingKey) -> None:
    header, wrapped, iv, _, tag = parts_of(seal("7392", key=key, pan=PAN, expires=EXPIRES))
    assert json.loads(header) == {"alg": "RSA-OAEP", "enc": "A256GCM", "kid": "pin-seal/1"}
    assert (len(wrapped), len(iv), len(tag)) == (256, 12, 16)


def test_no_part_of_an_envelope_is_used_twice(key: SealingKey) -> None:
    envelopes = [parts_of(seal("7392", key=key, pan=PAN, expires=EXPIRES)) for _ in range(50)]
    for part in range(1, 5):
        assert len({envelope[part] for envelope in envelopes}) == 50


def test_an_envelope_with_a_pan_fits_the_contract(key: SealingKey) -> None:
    """128 to 8,192 bytes (EnvelopeSource.ciphertext), under the largest key too."""
    largest = rsa.generate_private_key(65537, 4096).public_key()
    wide = SealingKey(kid="k" * 63 + "/9999", alg="RSA-OAEP", thumbprint="", public_key=largest)
    for each in (key, wide):
        assert 128 <= len(seal("7" * 12, key=each, pan=PAN, expires=EXPIRES)) <= 8192


def test_a_key_shows_its_name_and_not_its_number(key: SealingKey) -> None:
    assert "pin-seal/1" in repr(key)
    assert "RSAPublicKey" not in repr(key)
