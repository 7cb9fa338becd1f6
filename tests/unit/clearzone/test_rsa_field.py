"""A partner's field opens with the partner's private key, in every form that a profile may name."""

import base64
import itertools
import re

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from pinvault.clearzone.envelope.rsa_field import make_field
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.profiles import Encoding, Padding, Plaintext, RsaFieldProfile
from tests.support.software_device import SoftwareDevice
from tests.unit.clearzone.support import PARTNER, make_device, private_key

DIGITS = "739205184627"

# What each word of a profile means to the partner, written out anew.
OPENING = {
    Padding.PKCS1_V1_5: padding.PKCS1v15(),
    Padding.OAEP_SHA1: padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None),
    Padding.OAEP_SHA256: padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None),
}
READING = {
    Encoding.HEX_LOWER: bytes.fromhex,
    Encoding.HEX_UPPER: bytes.fromhex,
    Encoding.BASE64: lambda text: base64.b64decode(text, validate=True),
}
WRITTEN = {
    Encoding.HEX_LOWER: "[0-9a-f]{512}",
    Encoding.HEX_UPPER: "[0-9A-F]{512}",
    Encoding.BASE64: "[A-Za-z0-9+/]{342}==",
}
UNDERSTOOD = {
    Plaintext.DIGITS: lambda plain: plain.decode(),
    Plaintext.HEX_OF_DIGITS: lambda plain: bytes.fromhex(plain.decode()).decode(),
}


def profile(how: Padding, plaintext: Plaintext, encoding: Encoding) -> RsaFieldProfile:
    return RsaFieldProfile(
        name="partner", key="partner", padding=how, plaintext=plaintext, encoding=encoding
    )


def field_of(device: SoftwareDevice, digits: str, form: RsaFieldProfile) -> str:
    with Pin(digits.encode()) as pin:
        return make_field(
            pin, profile=form, key_id=PARTNER.id, device=device, deadline=Deadline.after(60)
        )


@pytest.fixture(scope="module")
def device() -> SoftwareDevice:
    return make_device()


@pytest.mark.parametrize("length", [4, 6, 12])
@pytest.mark.parametrize(
    ("how", "plaintext", "encoding"), list(itertools.product(Padding, Plaintext, Encoding))
)
def test_every_form_opens_to_the_pin(
    device: SoftwareDevice, how: Padding, plaintext: Plaintext, encoding: Encoding, length: int
) -> None:
    made = field_of(device, DIGITS[:length], profile(how, plaintext, encoding))
    assert re.fullmatch(WRITTEN[encoding], made)
    plain = private_key(PARTNER.id).decrypt(READING[encoding](made), OPENING[how])
    assert UNDERSTOOD[plaintext](plain) == DIGITS[:length]


@pytest.mark.parametrize("how", Padding)
def test_two_fields_of_one_pin_differ(device: SoftwareDevice, how: Padding) -> None:
    form = profile(how, Plaintext.DIGITS, Encoding.BASE64)
    assert len({field_of(device, DIGITS[:4], form) for _ in range(10)}) == 10


def test_interswitch_reads_lower_case_hex_of_rsa_of_the_hex_text_of_the_digits(
    device: SoftwareDevice,
) -> None:
    """The vendor's own example: 1234 is first written as 31323334."""
    interswitch = profile(Padding.PKCS1_V1_5, Plaintext.HEX_OF_DIGITS, Encoding.HEX_LOWER)
    made = field_of(device, "1234", interswitch)
    assert re.fullmatch("[0-9a-f]{512}", made)
    plain = private_key(PARTNER.id).decrypt(bytes.fromhex(made), padding.PKCS1v15())
    assert plain == b"31323334"
