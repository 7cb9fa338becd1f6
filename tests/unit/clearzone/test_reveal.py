"""A PIN disclosed for a one-time key: joserfc opens it, and nobody else's key does."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from pinvault.clearzone.envelope import p256
from pinvault.clearzone.envelope.reveal import agreed_key, make_reveal
from pinvault.clearzone.envelope.text import unbase64url
from pinvault.clearzone.envelope.timed import TimedDevice
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from tests.support.software_device import SoftwareDevice

CARD = "card_jpgsyggggggggggggggggggggg"
EXPIRES = 1_770_000_060
RECIPIENT = ec.generate_private_key(ec.SECP256R1())
ALGORITHMS = ["ECDH-ES", "A256GCM"]


def point_of(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def revealed(pin: str = "7392", device: SoftwareDevice | None = None) -> str:
    return make_reveal(
        Pin(pin.encode()),
        recipient=point_of(RECIPIENT),
        card_id=CARD,
        expires=EXPIRES,
        hsm=TimedDevice(device or SoftwareDevice([]), Deadline.after(60)),
    )


@pytest.mark.parametrize("length", range(4, 13))
def test_joserfc_opens_it(length: int) -> None:
    pin = "739205184627"[:length]
    opened = jwe.decrypt_compact(revealed(pin), ECKey.import_key(RECIPIENT), ALGORITHMS)
    assert opened.plaintext is not None
    assert json.loads(opened.plaintext) == {"pin": pin, "card": CARD, "exp": EXPIRES}


def test_the_header_says_what_the_key_was_agreed_with() -> None:
    protected, encrypted_key, iv, _, tag = map(unbase64url, revealed().encode().split(b"."))
    header = json.loads(protected)
    assert header.keys() == {"alg", "enc", "epk", "apv"}
    assert (header["alg"], header["enc"]) == ("ECDH-ES", "A256GCM")
    assert header["epk"].keys() == {"kty", "crv", "x", "y"}
    assert (header["epk"]["kty"], header["epk"]["crv"]) == ("EC", "P-256")
    assert unbase64url(header["apv"].encode()) == CARD.encode()
    assert (len(encrypted_key), len(iv), len(tag)) == (0, 12, 16)


def test_its_length_does_not_tell_the_pins() -> None:
    assert len({len(revealed("739205184627"[:length])) for length in range(4, 13)}) == 1


def test_no_ephemeral_key_and_no_vector_is_used_twice_and_both_are_the_hsms() -> None:
    device = SoftwareDevice([])
    made = [revealed(device=device).split(".") for _ in range(20)]
    assert all(len({parts[place] for parts in made}) == 20 for place in (0, 2))
    assert device.calls == {"random": 40}
    for each in (device, SoftwareDevice([])):
        each.draw = bytes
    assert revealed(device=device) == revealed(device=device)


@pytest.mark.parametrize("part", [0, 2, 3, 4])
def test_every_byte_matters(part: int) -> None:
    key, parts = ECKey.import_key(RECIPIENT), revealed().split(".")
    for place in range(0, len(parts[part]) - 1, 3):
        text = parts[part]
        changed = [*parts]
        changed[part] = text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
        with pytest.raises((JoseError, ValueError, KeyError)):
            jwe.decrypt_compact(".".join(changed), key, ALGORITHMS)


def test_another_key_opens_nothing() -> None:
    stranger = ECKey.import_key(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(JoseError):
        jwe.decrypt_compact(revealed(), stranger, ALGORITHMS)


def test_the_derivation_is_that_of_the_standards_example() -> None:
    """RFC 7518, appendix C: Z, and the key of Alice and Bob."""
    shared = bytes.fromhex("9e56d91d817135d372834283bf84269cfb316ea3da806a48f6daa7798cfe90c4")
    made = agreed_key(shared, algorithm="A128GCM", apu=b"Alice", apv=b"Bob", key_bytes=16)
    assert made == unbase64url(b"VqqN6vgjbSBcIijNcacQGg")


# Points


def test_a_point_of_the_curve_passes() -> None:
    p256.require_point(point_of(RECIPIENT))


def compressed() -> bytes:
    return RECIPIENT.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def hybrid() -> bytes:
    point = point_of(RECIPIENT)
    return bytes([6 + (point[-1] & 1)]) + point[1:]


NO_POINTS = {
    "empty": lambda: b"",
    "infinity": lambda: b"\x00",
    "infinity filled up": lambda: bytes(65),
    "the origin": lambda: b"\x04" + bytes(64),
    "compressed": compressed,
    "compressed and filled up": lambda: compressed() + bytes(32),
    "hybrid": hybrid,
    "off the curve": lambda: point_of(RECIPIENT)[:-1] + bytes([point_of(RECIPIENT)[-1] ^ 1]),
    "coordinates above the field": lambda: b"\x04" + b"\xff" * 64,
    "of another curve": lambda: point_of(ec.generate_private_key(ec.SECP256K1())),
    "one byte short": lambda: point_of(RECIPIENT)[:-1],
    "one byte long": lambda: point_of(RECIPIENT) + b"\x00",
    "without its first byte": lambda: point_of(RECIPIENT)[1:],
    "in DER": lambda: RECIPIENT.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ),
}


@pytest.mark.parametrize("name", NO_POINTS)
def test_what_is_no_point_is_refused(name: str) -> None:
    with pytest.raises(ValueError) as caught:
        p256.require_point(NO_POINTS[name]())
    assert point_of(RECIPIENT).hex()[:16] not in str(caught.value)
