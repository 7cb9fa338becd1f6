"""The verbs that change keys: each asks what it should, is said once, and tells all of a key."""

from collections.abc import Callable
from datetime import date

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from google.protobuf.timestamp_pb2 import Timestamp
from protovalidate import Validator

from pinvault.client import (
    KeyUse,
    KeyVersion,
    PinvaultError,
    SealingKey,
    SealingKeyChanged,
    Vault,
    wrap,
)
from pinvault.client.keys import ExportedKey
from pinvault.v1 import key_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.unit.client.support import Away, Server, requests, vault

BLOCK = "D0112P0TD00E0000" + "5" * 96
DAY, NEXT_DAY = date(2024, 10, 3), date(2024, 10, 4)
MIDNIGHT, NEXT_MIDNIGHT = (Timestamp(seconds=86_400 * each) for each in (19_999, 20_000))
KEY = pb.Key(
    name="zpk-acme",
    version=3,
    usage=pb.KEY_USAGE_P0_PIN_ENCRYPTION,
    algorithm=resources_pb2.KEY_ALGORITHM_TDES_3KEY,
    mode_of_use=pb.KEY_MODE_OF_USE_D_DECIPHER,
    check_value="A1B2C3",
    state=pb.KEY_STATE_DECIPHER_ONLY,
    origin=pb.KEY_ORIGIN_IMPORTED,
    valid_from=MIDNIGHT,
    valid_until=NEXT_MIDNIGHT,
)
TOLD = KeyVersion(
    name="zpk-acme",
    version=3,
    usage="P0",
    algorithm="TDES_3KEY",
    mode_of_use="D",
    check_value="A1B2C3",
    state="DECIPHER_ONLY",
    origin="IMPORTED",
    valid_from=DAY,
    valid_until=DAY,
)
CRYPTOGRAM = {
    "usage": "P0",
    "algorithm": "TDES_3KEY",
    "mode_of_use": "D",
    "wrapping_key": "transport",
    "check_value": "A1B2C3",
}

# Verb, whether it may be said twice, the reply, and the call.
CALLS: tuple[tuple[str, bool, object, Callable[[Vault], object]], ...] = (
    ("GetKey", True, pb.GetKeyResponse(key=KEY), lambda v: v.keys.get("zpk-acme/3")),
    (
        "ImportKeyBlock",
        False,
        pb.ImportKeyBlockResponse(key=KEY),
        lambda v: v.keys.import_block("zpk-acme", BLOCK, kbpk="kbpk", valid_until=DAY),
    ),
    (
        "ExportKeyBlock",
        True,
        pb.ExportKeyBlockResponse(key_block=BLOCK, key=KEY),
        lambda v: v.keys.export_block("zpk-acme", kbpk="kbpk/2", version="D"),
    ),
    (
        "ImportKeyCryptogram",
        False,
        pb.ImportKeyCryptogramResponse(key=KEY),
        lambda v: v.keys.import_cryptogram("zpk-acme", bytes(256), **CRYPTOGRAM),
    ),
    (
        "RotateKey",
        False,
        pb.RotateKeyResponse(key=KEY, previous=KEY),
        lambda v: v.keys.rotate("zpk-acme/3", previous_until=DAY),
    ),
    (
        "RetireKey",
        False,
        pb.RetireKeyResponse(key=KEY),
        lambda v: v.keys.retire("zpk-acme/3", check_value="A1B2C3"),
    ),
)
EVERY_CALL = pytest.mark.parametrize(
    ("verb", "twice", "reply", "say"), CALLS, ids=[verb for verb, *_ in CALLS]
)


@EVERY_CALL
def test_a_request_keeps_the_contract(
    verb: str, twice: bool, reply: object, say: Callable[[Vault], object]
) -> None:
    server = Server(reply)
    told = say(vault(server))
    ((path, request),) = server.asked
    assert path == f"KeyService/{verb}"
    Validator().validate(request)
    assert TOLD in (told, getattr(told, "key", None))


@EVERY_CALL
def test_a_change_is_said_once(
    verb: str, twice: bool, reply: object, say: Callable[[Vault], object]
) -> None:
    server = Server(Away(), reply)
    if twice:
        say(vault(server))
    else:
        with pytest.raises(PinvaultError):
            say(vault(server))
    assert len(server.asked) == 1 + twice


def test_every_verb_of_the_contract_has_a_method() -> None:
    verbs = {method.name for method in pb.DESCRIPTOR.services_by_name["KeyService"].methods}
    assert {verb for verb, *_ in CALLS} == verbs - {"ListKeys", "GetPublicKey"}


def test_what_is_given_reaches_the_request() -> None:
    server = Server(*(reply for _, _, reply, _ in CALLS[1:5]))
    keys = vault(server).keys
    keys.import_block("zpk", BLOCK, kbpk="kbpk", valid_until=NEXT_DAY, previous_until=DAY)
    keys.export_block("zpk/2", kbpk="kbpk/7", version="E")
    keys.import_cryptogram("zpk", b"w" * 256, valid_until=DAY, **CRYPTOGRAM)
    keys.rotate("zpk", exportable=False, valid_until=DAY)
    assert requests(server) == [
        pb.ImportKeyBlockRequest(
            name="zpk",
            key_block=BLOCK,
            kbpk="kbpk",
            valid_until=Timestamp(seconds=86_400 * 20_001),
            previous_until=NEXT_MIDNIGHT,
        ),
        pb.ExportKeyBlockRequest(key="zpk/2", kbpk="kbpk/7", version=pb.KEY_BLOCK_VERSION_E),
        pb.ImportKeyCryptogramRequest(
            name="zpk",
            usage=pb.KEY_USAGE_P0_PIN_ENCRYPTION,
            algorithm=resources_pb2.KEY_ALGORITHM_TDES_3KEY,
            mode_of_use=pb.KEY_MODE_OF_USE_D_DECIPHER,
            wrapping_key="transport",
            wrapped_key=b"w" * 256,
            check_value="A1B2C3",
            valid_until=NEXT_MIDNIGHT,
        ),
        pb.RotateKeyRequest(key="zpk", exportable=False, valid_until=NEXT_MIDNIGHT),
    ]


def test_words_that_are_none_are_the_server_s_to_refuse() -> None:
    server = Server(pb.ImportKeyCryptogramResponse(key=KEY))
    wrong = {**CRYPTOGRAM, "usage": "P9", "algorithm": "DES", "mode_of_use": "Q"}
    vault(server).keys.import_cryptogram("zpk", bytes(256), **wrong)
    (request,) = requests(server)
    assert (request.usage, request.algorithm, request.mode_of_use) == (0, 0, 0)


def test_a_key_without_an_end_has_none() -> None:
    endless = pb.Key()
    endless.CopyFrom(KEY)
    endless.ClearField("valid_until")
    told = vault(Server(pb.GetKeyResponse(key=endless))).keys.get("zpk-acme")
    assert (told.valid_until, told.id) == (None, "zpk-acme/3")
    assert told.use == KeyUse(name="zpk-acme", version=3, check_value="A1B2C3")


def test_a_repr_shows_no_key_block() -> None:
    assert BLOCK not in repr(ExportedKey(key_block=BLOCK, key=TOLD))


@pytest.mark.parametrize(("alg", "digest"), [("RSA-OAEP", "SHA1"), ("RSA-OAEP-256", "SHA256")])
def test_a_key_is_wrapped_with_the_hash_that_the_server_names(alg: str, digest: str) -> None:
    private = rsa.generate_private_key(65537, 2048)
    under = SealingKey(kid="transport/1", alg=alg, thumbprint="", public_key=private.public_key())
    algorithm = getattr(hashes, digest)()
    oaep = padding.OAEP(padding.MGF1(algorithm), algorithm, None)
    assert private.decrypt(wrap(b"k" * 24, under), oaep) == b"k" * 24


def test_a_wrapping_key_can_be_pinned() -> None:
    modulus = "sBTz0Nc" * 48 + "sBTz0N"
    jwk = pb.JsonWebKey(
        kty="RSA", use="enc", alg="RSA-OAEP", kid="transport/1", n=modulus, e="AQAB"
    )
    reply = pb.GetPublicKeyResponse(jwks=pb.JsonWebKeySet(keys=[jwk]))
    found = vault(Server(reply)).keys.wrapping_key("transport")
    assert found.kid == "transport/1"
    again = vault(Server(reply)).keys.wrapping_key("transport", thumbprints=[found.thumbprint])
    assert again == found
    with pytest.raises(SealingKeyChanged):
        vault(Server(reply)).keys.wrapping_key("transport", thumbprints=["another"])
