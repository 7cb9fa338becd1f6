"""Makes the RSA-enciphered PIN field of a partner: padded, in the HSM, as the profile says.

Rules:
- The padding is random (PKCS#1 v1.5 or OAEP, RFC 8017), so two fields of one PIN differ.
- The plaintext is the ASCII digits, or the lower-case hex text of those bytes, as
  Interswitch's `pin` and `oldPin` want it.
"""

import base64
from collections.abc import Mapping
from typing import assert_never

from hsm.device import Device, RsaPadding
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.profiles import Encoding, Padding, Plaintext, RsaFieldProfile

PADDINGS: Mapping[Padding, RsaPadding] = {
    Padding.PKCS1_V1_5: RsaPadding.PKCS1_V1_5,
    Padding.OAEP_SHA1: RsaPadding.OAEP_SHA1,
    Padding.OAEP_SHA256: RsaPadding.OAEP_SHA256,
}


def make_field(
    pin: Pin, *, profile: RsaFieldProfile, key_id: str, device: Device, deadline: Deadline
) -> str:
    """Give the field's text: 512 hex characters for RSA-2048, or base64."""
    ciphertext = device.rsa_encrypt(
        key_id,
        _plaintext(pin, profile.plaintext),
        padding=PADDINGS[profile.padding],
        timeout=deadline.remaining(),
    )
    return write(ciphertext, profile.encoding)


def _plaintext(pin: Pin, form: Plaintext) -> bytes:
    digits = digits_of(pin)
    return digits.hex().encode() if form is Plaintext.HEX_OF_DIGITS else digits


def write(ciphertext: bytes, encoding: Encoding) -> str:
    """Write a ciphertext as text.

    >>> write(b"\\xab\\x01", Encoding.HEX_LOWER), write(b"\\xab\\x01", Encoding.HEX_UPPER)
    ('ab01', 'AB01')
    >>> write(b"\\xab\\x01", Encoding.BASE64)
    'qwE='
    """
    match encoding:
        case Encoding.HEX_LOWER:
            return ciphertext.hex()
        case Encoding.HEX_UPPER:
            return ciphertext.hex().upper()
        case Encoding.BASE64:
            return base64.b64encode(ciphertext).decode()
        case _:
            assert_never(encoding)
