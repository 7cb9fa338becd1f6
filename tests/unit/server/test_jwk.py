"""Public keys as JSON Web Keys, against a library that reads them, and the standard's example."""

import base64
import hashlib
import json

import protovalidate
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from joserfc.jwk import import_key

from pinvault.model.errors import Reason, Refusal
from pinvault.server.jwk import thumbprint, write_jwk
from pinvault.server.key_service import KeyService
from pinvault.v1 import key_pb2
from tests.unit.operations.support import BY_ID, World, call, rsa_key, secret_of


def spki_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def members(jwk: key_pb2.JsonWebKey) -> dict[str, str]:
    return {field.name: content for field, content in jwk.ListFields()}


def private_number(number: int, curve: ec.EllipticCurve | None = None) -> bytes:
    return spki_of(ec.derive_private_key(number, curve or ec.SECP256R1()))


def with_a_short_coordinate() -> bytes:
    """A P-256 key one of whose coordinates begins with a zero byte."""
    for number in range(1, 5000):
        point = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
        if min(point.x, point.y) < 1 << 248:
            return private_number(number)
    raise AssertionError("one in 128 has one")


@pytest.mark.parametrize(
    "spki",
    [private_number(1), private_number(2**200 + 7), with_a_short_coordinate()],
    ids=["generator", "large", "short coordinate"],
)
def test_a_p256_key_reads_as_itself(spki: bytes) -> None:
    jwk = write_jwk(spki, kid="pin-agree/1", alg=None)
    protovalidate.validate(jwk)
    assert members(jwk).keys() == {"kty", "use", "alg", "kid", "crv", "x", "y"}
    assert (jwk.kty, jwk.use, jwk.alg, jwk.crv) == ("EC", "enc", "ECDH-ES", "P-256")
    assert (len(jwk.x), len(jwk.y)) == (43, 43)
    read = import_key(members(jwk), "EC")
    assert read.as_der(private=False) == spki
    assert thumbprint(jwk) == read.thumbprint()


@pytest.mark.parametrize("alg", ["RSA-OAEP", "RSA-OAEP-256"])
def test_an_rsa_key_reads_as_itself(alg: str) -> None:
    spki = spki_of(rsa_key("pin-seal/10"))
    jwk = write_jwk(spki, kid="pin-seal/10", alg=alg)
    protovalidate.validate(jwk)
    assert members(jwk).keys() == {"kty", "use", "alg", "kid", "n", "e"}
    assert jwk.alg == alg
    read = import_key(members(jwk), "RSA")
    assert read.as_der(private=False) == spki
    assert thumbprint(jwk) == read.thumbprint()


def test_a_thumbprint_covers_what_makes_the_key_and_nothing_else() -> None:
    jwk = write_jwk(private_number(7), kid="pin-agree/1", alg=None)
    other = write_jwk(private_number(7), kid="pin-agree/2", alg=None)
    assert thumbprint(jwk) == thumbprint(other)
    required = json.dumps(
        {"crv": "P-256", "kty": "EC", "x": jwk.x, "y": jwk.y}, separators=(",", ":")
    )
    digest = hashlib.sha256(required.encode()).digest()
    assert thumbprint(jwk) == base64.urlsafe_b64encode(digest).decode().rstrip("=")


@pytest.mark.parametrize(
    "spki",
    [private_number(7, ec.SECP384R1()), spki_of(rsa_key("pin-seal/10"))],
    ids=["another curve", "RSA without an algorithm"],
)
def test_what_no_client_can_seal_under_has_no_jwk(spki: bytes) -> None:
    with pytest.raises(TypeError):
        write_jwk(spki, kid="key/1", alg=None)


# GetPublicKey


@pytest.fixture
def service(tmp_path) -> KeyService:
    return KeyService(keys=World(tmp_path).key_service, desk=None)  # type: ignore[arg-type]


def test_the_key_of_an_agreement_is_given_as_it_is_in_the_token(service: KeyService) -> None:
    request = key_pb2.GetPublicKeyRequest(key="pin-agree")
    reply = service.serve_get_public_key(call("KeyService.GetPublicKey"), request)
    protovalidate.validate(reply)
    private = secret_of(BY_ID["pin-agree/1"])
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert list(reply.jwks.keys) == [write_jwk(spki_of(private), kid="pin-agree/1", alg=None)]
    assert (reply.key.name, reply.key.version) == ("pin-agree", 1)
    assert reply.thumbprint == thumbprint(reply.jwks.keys[0])


def test_sealing_keys_come_active_first_each_with_its_algorithm(service: KeyService) -> None:
    request = key_pb2.GetPublicKeyRequest(key="pin-seal")
    reply = service.serve_get_public_key(call("KeyService.GetPublicKey"), request)
    protovalidate.validate(reply)
    assert [each.kid for each in reply.jwks.keys] == ["pin-seal/10", "pin-seal/9"]
    assert {each.alg for each in reply.jwks.keys} == {"RSA-OAEP"}
    assert reply.key.version == 10


@pytest.mark.parametrize("name", ["partner", "zpk", "index", "bdk", "imk-smc", "pvk"])
def test_no_other_key_has_a_public_half_to_seal_under(service: KeyService, name: str) -> None:
    request = key_pb2.GetPublicKeyRequest(key=name)
    with pytest.raises(Refusal) as caught:
        service.serve_get_public_key(call("KeyService.GetPublicKey"), request)
    assert (caught.value.reason, caught.value.field) == (Reason.KEY_USAGE_MISMATCH, "key")
