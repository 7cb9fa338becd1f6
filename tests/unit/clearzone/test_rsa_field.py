"""A partner's field is what the partner's own pages say that it is."""

import re

import pytest
from cryptography.hazmat.primitives.asymmetric import padding

from pinvault.model.profiles import Encoding, Padding, Plaintext, RsaFieldProfile
from tests.unit.clearzone.other_ends import PARTNER, made, private_key

WRITTEN = {
    Encoding.HEX_LOWER: "[0-9a-f]{512}",
    Encoding.HEX_UPPER: "[0-9A-F]{512}",
    Encoding.BASE64: "[A-Za-z0-9+/]{342}==",
}


def profile(plaintext: Plaintext, encoding: Encoding) -> RsaFieldProfile:
    return RsaFieldProfile(
        name="partner",
        key="partner",
        padding=Padding.PKCS1_V1_5,
        plaintext=plaintext,
        encoding=encoding,
    )


@pytest.mark.parametrize("encoding", Encoding)
def test_every_encoding_has_one_length_and_one_alphabet(encoding: Encoding) -> None:
    text = made("739205184627", profile(Plaintext.DIGITS, encoding))
    assert re.fullmatch(WRITTEN[encoding], text)


def test_interswitch_reads_lower_case_hex_of_rsa_of_the_hex_text_of_the_digits() -> None:
    """The vendor's own example: 1234 is first written as 31323334."""
    text = made("1234", profile(Plaintext.HEX_OF_DIGITS, Encoding.HEX_LOWER))
    plain = private_key(PARTNER.id).decrypt(bytes.fromhex(text), padding.PKCS1v15())
    assert plain == b"31323334"


def test_a_block_is_enciphered_as_its_eight_bytes() -> None:
    text = made("1234", profile(Plaintext.ISO_0_BLOCK, Encoding.HEX_UPPER), pan="4000001234562000")
    plain = private_key(PARTNER.id).decrypt(bytes.fromhex(text), padding.PKCS1v15())
    assert plain.hex().upper() == "041234FEDCBA9DFF"
