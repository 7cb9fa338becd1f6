"""One contract for making keys and changing rings while a device serves, on both devices."""

import hashlib
from dataclasses import replace
from itertools import count

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsm.device import Algorithm, KeyBlockVersion, RsaPadding
from hsm.errors import (
    CheckValueMismatch,
    HsmConfigurationError,
    HsmDataRefused,
    HsmTimeout,
    InspectionFailed,
    KeyDuplicated,
    OperationNotPermitted,
    ProvisioningError,
    Severity,
    UnknownKey,
)
from hsm.keyring import CHECK_VALUE_DIGITS, Keyring, Origin, State
from tests.integration.conftest import der
from tests.integration.hsm.support import TDES_VALUE, spec

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
_numbers = count(1)


def named(usage, algorithm, mode, **more):
    """A specification with a name that no other test uses."""
    return spec(f"made-{next(_numbers)}", usage, algorithm, mode, **more)


def ring_of(device):
    return getattr(device, "_ring", None) or device._serving.keyring


def adopt(device, *entries, without=()):
    """Have the device serve its ring with these entries, each in the place of its former self."""
    known = {entry.id: entry for entry in (*ring_of(device).keys, *entries)}
    return device.adopt(
        Keyring(keys=tuple(each for each in known.values() if each.id not in without)), timeout=10
    )


def seal(device, value):
    return serialization.load_der_public_key(device.public_key("carrier/1")).encrypt(value, OAEP)


def unwrap(device, wrapped, wanted, *, check_value=None, key="carrier/1", timeout=5):
    return device.unwrap_secret(key, wrapped, wanted, check_value=check_value, timeout=timeout)


@pytest.fixture(autouse=True)
def _made_keys_are_retired(device):
    """Each test finds the keys that served before the first, and all others retired."""
    before = ring_of(device)
    yield
    known = {entry.id for entry in before.keys}
    made = (each for each in ring_of(device).keys if each.id not in known)
    retired = (replace(each, state=State.RETIRED) for each in made)
    device.adopt(Keyring(keys=(*before.keys, *retired)), timeout=10)


GENERATED = [
    ("P0", "TDES_2KEY", "E", None),
    ("P0", "TDES_3KEY", "D", None),
    ("P0", "AES_256", "B", None),
    ("D0", "AES_256", "B", None),
    ("K1", "AES_256", "B", None),
    ("K1", "TDES_3KEY", "E", None),
    ("B0", "AES_128", "X", None),
    ("E1", "TDES_2KEY", "X", None),
    ("M7", "HMAC_SHA256", "G", None),
    ("S0", "EC_P256", "S", None),
    ("K2", "RSA_2048", "D", "RSA-OAEP"),
]


@pytest.mark.parametrize(("usage", "algorithm", "mode", "jwa"), GENERATED)
def test_a_key_that_is_made_serves_once_its_ring_is_adopted(device, usage, algorithm, mode, jwa):
    wanted = named(usage, algorithm, mode, jwa=jwa)
    entry = device.generate(wanted, timeout=30)
    assert (entry.id, entry.origin, entry.state) == (
        *(f"{wanted.name}/1", Origin.GENERATED, State.ACTIVE),
    )
    assert len(entry.check_value) == CHECK_VALUE_DIGITS[entry.algorithm.family][-1]
    assert set(entry.check_value) != {"0"}
    with pytest.raises(UnknownKey):
        device.encipher(entry.id, bytes(16), timeout=5)
    assert entry.id not in {warning.key_id for warning in adopt(device, entry)}
    if usage == "P0" and algorithm.startswith("TDES") and mode == "E":
        enciphered = device.encipher(entry.id, bytes(8), timeout=5)
        assert enciphered[:3].hex().upper() == entry.check_value
    if usage == "K1" and mode == "B":
        mac = device.with_key_block_keys(
            entry.id, KeyBlockVersion.D, lambda keys: keys.mac(b"x"), opens=True, timeout=5
        )
        assert len(mac) == 16
    if jwa or usage == "S0":
        spki = device.public_key(entry.id)
        assert hashlib.sha256(spki).hexdigest().upper() == entry.check_value


def test_a_key_that_is_made_twice_is_one_key(device):
    wanted = named("P0", "AES_128", "E")
    first = device.generate(wanted, timeout=5)
    assert device.generate(wanted, timeout=5) == first
    adopt(device, first)
    with pytest.raises(ProvisioningError, match="the key ring has"):
        device.generate(wanted, timeout=5)
    adopt(device, replace(first, state=State.RETIRED))
    with pytest.raises(ProvisioningError, match="the key ring has"):
        device.generate(wanted, timeout=5)


def test_another_object_under_the_id_is_refused(device):
    wanted = named("P0", "AES_128", "E")
    device.generate(wanted, timeout=5)
    others = (
        replace(wanted, mode=type(wanted.mode)("B")),
        replace(wanted, algorithm=Algorithm.TDES_2KEY),
        replace(wanted, destroyable=True),
    )
    for other in others:
        with pytest.raises(ProvisioningError, match="another object"):
            device.generate(other, timeout=5)
    with pytest.raises(ProvisioningError, match="another object"):
        device.load_secret(wanted, b"16 bytes of key.", check_value=None, timeout=5)


def test_what_no_ring_could_hold_is_refused(device):
    refused = [
        (named("P0", "AES_128", "D"), "only be imported"),
        (named("V1", "TDES_2KEY", "E"), "no role"),
        (named("D1", "RSA_2048", "E"), "cannot be generated"),
        (named("K2", "RSA_2048", "D"), "lacks its JWA name"),
    ]
    for wanted, problem in refused:
        with pytest.raises(HsmConfigurationError, match=problem):
            device.generate(wanted, timeout=5)


def test_a_secret_is_loaded_with_the_check_value_that_was_promised(device):
    wanted, value = named("P0", "TDES_2KEY", "D"), bytes.fromhex("AABBCCDDEEFF00112233445566778899")
    with pytest.raises(CheckValueMismatch):
        device.load_secret(wanted, value, check_value="C4F0A5", timeout=5)
    for malformed in ("", "C4", "C4F0A4C4F0", "c4f0a4"):
        with pytest.raises(CheckValueMismatch):
            device.load_secret(wanted, value, check_value=malformed, timeout=5)
    entry = device.load_secret(wanted, value, check_value="C4F0A4", timeout=5)
    assert (entry.check_value, entry.origin) == ("C4F0A4", Origin.IMPORTED)
    assert device.load_secret(wanted, value, check_value=None, timeout=5) == entry
    adopt(device, entry)
    assert device.decipher(entry.id, bytes(8), timeout=5)[:3].hex().upper() == (
        entry.decipher_check_value
    )


@pytest.mark.parametrize("mode", ["E", "D", "B"])
def test_an_aes_check_value_may_be_promised_short_or_long(device, mode):
    value = bytes([ord(mode)] * 16)
    entry = device.load_secret(named("P0", "AES_128", mode), value, check_value=None, timeout=5)
    wanted = named("P0", "AES_128", mode)
    for promised in (entry.check_value, entry.check_value[:6]):
        again = device.load_secret(wanted, value, check_value=promised, timeout=5)
        assert again.check_value == entry.check_value
    with pytest.raises(CheckValueMismatch):
        device.load_secret(wanted, value, check_value=entry.check_value[:8], timeout=5)


def test_a_value_that_the_ring_has_does_not_come_in_again(device):
    with pytest.raises(KeyDuplicated) as caught:
        device.load_secret(named("V1", "TDES_2KEY", "C"), TDES_VALUE, check_value=None, timeout=5)
    assert caught.value.facts["other"] in {"tdes-e/1", "tdes-d/1"}
    with pytest.raises(KeyDuplicated):
        device.load_public(named("D1", "RSA_2048", "E"), device.public_key("partner/1"), timeout=5)
    with pytest.raises(KeyDuplicated):
        unwrap(device, seal(device, TDES_VALUE), named("P0", "TDES_2KEY", "D"))


def test_a_secret_has_the_length_of_its_algorithm(device):
    for length in (0, 8, 15, 17, 24, 32):
        with pytest.raises(ProvisioningError, match="another length"):
            device.load_secret(
                named("P0", "AES_128", "E"), bytes(length), check_value=None, timeout=5
            )
    with pytest.raises(ProvisioningError, match="only a secret key"):
        device.load_secret(named("D1", "RSA_2048", "E"), bytes(256), check_value=None, timeout=5)


def test_a_partners_public_key_is_loaded(device):
    partner = rsa.generate_private_key(65537, 2048)
    point = ec.generate_private_key(ec.SECP256R1()).public_key()
    wanted = named("D1", "RSA_2048", "E")
    for spki in (b"", b"x", der(point)):
        with pytest.raises(ProvisioningError):
            device.load_public(wanted, spki, timeout=5)
    entry = device.load_public(wanted, der(partner.public_key()), timeout=5)
    assert device.load_public(wanted, der(partner.public_key()), timeout=5) == entry
    theirs = device.load_public(named("K3", "EC_P256", "E"), der(point), timeout=5)
    adopt(device, entry, theirs)
    assert device.public_key(entry.id) == der(partner.public_key())
    assert device.public_key(theirs.id) == der(point)
    sealed = device.rsa_encrypt(entry.id, b"x", padding=RsaPadding.OAEP_SHA1, timeout=5)
    assert partner.decrypt(sealed, OAEP) == b"x"


WRAPPED = [
    ("P0", "AES_128", "E"),
    ("P0", "AES_192", "B"),
    ("P0", "AES_256", "D"),
    ("P0", "TDES_2KEY", "B"),
    ("P0", "TDES_3KEY", "D"),
    ("D0", "AES_128", "B"),
    ("K1", "AES_256", "D"),
    ("M7", "HMAC_SHA256", "G"),
]


@pytest.mark.parametrize(("usage", "algorithm", "mode"), WRAPPED)
def test_a_wrapped_key_stays_and_serves(device, usage, algorithm, mode):
    length = Algorithm(algorithm).bits // 8
    value = bytes(range(next(_numbers), next(_numbers) + length))[:length]
    loaded = device.load_secret(named(usage, algorithm, mode), value, check_value=None, timeout=5)
    wanted, wrapped = named(usage, algorithm, mode), seal(device, value)
    with pytest.raises(CheckValueMismatch):
        unwrap(device, wrapped, wanted, check_value="000000")
    entry = unwrap(device, wrapped, wanted, check_value=loaded.check_value[:6])
    assert entry == replace(loaded, name=entry.name)
    assert unwrap(device, seal(device, value), wanted) == entry
    adopt(device, entry, loaded)
    if mode in "EB" and usage == "P0":
        expected = device.encipher(loaded.id, bytes(16), timeout=5)
        assert device.encipher(entry.id, bytes(16), timeout=5) == expected


@pytest.mark.parametrize("algorithm", ["AES_128", "AES_192", "TDES_2KEY"])
def test_every_bad_wrapped_key_has_one_face(device, partner, algorithm):
    length = Algorithm(algorithm).bits // 8
    wanted = named("P0", algorithm, "E")
    bad = [
        *(b"", bytes(256), b"\x01" * 255, b"\x01" * 257, b"\xff" * 256),
        partner.public_key().encrypt(bytes(length), OAEP),
        *(seal(device, bytes(n)) for n in (0, 15, 16, 17, 24, 32, 33) if n != length),
    ]
    faces = set()
    for wrapped in bad:
        with pytest.raises(HsmDataRefused) as caught:
            unwrap(device, wrapped, wanted)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        faces.add((str(caught.value), caught.value.args))
    assert len(faces) == 1
    assert unwrap(device, seal(device, bytes(range(length))), wanted)


def test_only_a_transport_key_loads_and_it_does_nothing_else(device):
    wanted = named("P0", "AES_128", "E")
    for key in ("transport/1", "seal/1", "partner/1", "kbpk/1"):
        with pytest.raises(OperationNotPermitted):
            unwrap(device, bytes(256), wanted, key=key)
    with pytest.raises(UnknownKey):
        unwrap(device, bytes(256), wanted, key="none/1")
    with pytest.raises(OperationNotPermitted):
        device.with_unwrapped(
            "carrier/1",
            seal(device, bytes(16)),
            lambda cipher: cipher.decipher(bytes(16)),
            padding=RsaPadding.OAEP_SHA1,
            algorithm=Algorithm.AES_128,
            timeout=5,
        )
    with pytest.raises(OperationNotPermitted):
        device.rsa_decrypt("carrier/1", bytes(256), padding=RsaPadding.OAEP_SHA1, timeout=5)


def test_a_state_takes_effect_at_once(device):
    entry = device.generate(named("P0", "AES_128", "B"), timeout=5)
    adopt(device, entry)
    block = device.encipher(entry.id, bytes(16), timeout=5)
    adopt(device, replace(entry, state=State.DECIPHER_ONLY))
    with pytest.raises(OperationNotPermitted):
        device.encipher(entry.id, bytes(16), timeout=5)
    assert device.decipher(entry.id, block, timeout=5) == bytes(16)
    adopt(device, replace(entry, state=State.RETIRED))
    with pytest.raises(UnknownKey):
        device.decipher(entry.id, block, timeout=5)
    adopt(device, entry)
    assert device.encipher(entry.id, bytes(16), timeout=5) == block


def test_a_ring_that_the_token_contradicts_changes_nothing(device):
    entry = device.generate(named("P0", "TDES_2KEY", "E"), timeout=5)
    absent = replace(entry, name="absent")
    wrong = replace(entry, check_value="000000")
    before = ring_of(device)
    for bad, attribute in ((absent, "SECRET_KEY objects"), (wrong, "check value")):
        with pytest.raises(InspectionFailed) as caught:
            adopt(device, bad, replace(before.entry("tdes-e/1"), state=State.RETIRED))
        found = {each.key_id: each.attribute for each in caught.value.findings}
        assert found[bad.id] == attribute
        assert ring_of(device) is before
        assert device.encipher("tdes-e/1", bytes(8), timeout=5)[:3].hex().upper() == "6FB1C8"
        with pytest.raises(UnknownKey):
            device.encipher(bad.id, bytes(8), timeout=5)


def test_a_key_for_keys_that_no_ring_names_is_refused_and_one_that_leaves_is_told_of(device):
    entry = device.generate(named("K1", "AES_128", "B"), timeout=5)
    with pytest.raises(InspectionFailed) as caught:
        adopt(device)
    assert {each.key_id for each in caught.value.findings if each.severity is Severity.STOP} == {
        entry.id
    }
    adopt(device, entry)
    told = adopt(device, without={entry.id})
    assert {(each.key_id, each.attribute) for each in told} >= {(entry.id, "DERIVE")}
    assert {each.severity for each in told} == {Severity.WARNING}
    with pytest.raises(InspectionFailed):
        adopt(device)
    adopt(device, replace(entry, state=State.RETIRED))
    assert entry.id not in {warning.key_id for warning in adopt(device)}


def test_spent_time_starts_nothing(device):
    wanted = named("P0", "AES_128", "E")
    for attempt in (
        lambda: device.generate(wanted, timeout=0),
        lambda: device.load_secret(wanted, bytes(16), check_value=None, timeout=0),
        lambda: unwrap(device, bytes(256), wanted, timeout=-1),
        lambda: device.adopt(ring_of(device), timeout=0),
    ):
        with pytest.raises(HsmTimeout):
            attempt()
