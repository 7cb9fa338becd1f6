"""Keys of one turn in SoftHSM: what they may do, that they end, and that a loss is not noticed."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from hsm import derivation, provisioning
from hsm.device import Algorithm, Device, DeviceStatus, RsaPadding, Step
from hsm.errors import (
    HsmDataRefused,
    HsmError,
    OperationNotPermitted,
)
from hsm.keyring import Origin
from hsm.provisioning import ProvisioningError
from tests.integration.hsm.support import AES_VALUE, TDES_VALUE, cryptoki, raw_session, ring, spec
from tests.integration.hsm.test_inspection import findings_of, plant, template
from tests.integration.hsm.test_recovery import LOSSES

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
STEP = Step(Algorithm.AES_128, bytes(16))
PATH = (STEP, STEP, STEP)
PEER = ec.derive_private_key(7, ec.SECP256R1()).public_key()
POINT = PEER.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def ecb(value, data):
    return Cipher(algorithms.AES(value), modes.ECB()).encryptor().update(data)


def left_over(device):
    """Handles of the session objects that there are."""
    session = device._link._session
    return [each.handle for each in session.get_objects({Attribute.TOKEN: False})]


def wrap(device, value=bytes(32)):
    return serialization.load_der_public_key(device.public_key("transport/1")).encrypt(value, OAEP)


def unwrap(device, wrapped, work):
    return device.with_unwrapped(
        "transport/1",
        wrapped,
        work,
        padding=RsaPadding.OAEP_SHA1,
        algorithm=Algorithm.AES_256,
        timeout=5,
    )


def raise_lookup(cipher):
    raise LookupError


def never(cipher):
    raise AssertionError("work is never begun")


def test_nothing_is_left_of_a_turn(device):
    device.with_derived("bdk/1", PATH, lambda cipher: cipher.encipher(bytes(16)), timeout=5)
    unwrap(device, wrap(device), lambda cipher: cipher.decipher(bytes(16)))
    device.agree("agree/1", POINT, timeout=5)
    with pytest.raises(LookupError):
        device.with_derived("bdk/1", PATH, raise_lookup, timeout=5)
    with pytest.raises(LookupError):
        unwrap(device, wrap(device), raise_lookup)
    with pytest.raises(HsmDataRefused):
        unwrap(device, wrap(device, bytes(17)), never)
    assert left_over(device) == []


def test_nothing_is_left_of_a_path_that_breaks_off(device, monkeypatch):
    refused = {Attribute.CLASS: ObjectClass.PUBLIC_KEY}
    monkeypatch.setattr(derivation, "_at_the_end", lambda *_: refused)
    with pytest.raises(HsmError):
        device.with_derived("bdk/1", PATH, never, timeout=5)
    assert left_over(device) == []


def test_each_key_of_a_path_may_do_one_thing(device):
    seen = []

    def look(cipher):
        for each in device._link._session.get_objects({Attribute.TOKEN: False}):
            seen.append(
                (
                    each[Attribute.DERIVE],
                    each[Attribute.ENCRYPT],
                    each[Attribute.DECRYPT],
                    each[Attribute.ALLOWED_MECHANISMS],
                )
            )
            assert each[Attribute.SENSITIVE] is each[Attribute.PRIVATE] is True
            for never in ("EXTRACTABLE", "WRAP", "UNWRAP", "SIGN", "VERIFY", "COPYABLE"):
                assert each[Attribute[never]] is False

    device.with_derived("bdk/1", PATH, look, timeout=5)
    on_the_way = (True, False, False, {int(Mechanism.AES_ECB_ENCRYPT_DATA)})
    at_the_end = (False, True, True, {int(Mechanism.AES_ECB)})
    assert sorted(seen, key=str) == sorted([on_the_way, on_the_way, at_the_end], key=str)
    seen.clear()
    unwrap(device, wrap(device), look)
    mechanisms = {int(Mechanism.AES_ECB), int(Mechanism.AES_GCM)}
    assert seen == [(False, False, True, mechanisms)]


def test_a_cipher_is_of_no_use_after_its_turn(device):
    kept = device.with_derived("bdk/1", PATH, lambda cipher: cipher, timeout=5)
    with pytest.raises(OperationNotPermitted):
        kept.encipher(bytes(16))
    kept = unwrap(device, wrap(device), lambda cipher: cipher)
    with pytest.raises(OperationNotPermitted):
        kept.decipher(bytes(16))
    with pytest.raises(OperationNotPermitted):
        kept.open_gcm(iv=bytes(12), aad=b"", sealed=bytes(16))


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("method", ["derive", "unwrap", "agree"])
def test_a_loss_before_the_turn_is_not_noticed(device, every_role, lose, method):
    wrapped = wrap(device)
    lose(device, cryptoki(every_role.location))
    match method:
        case "derive":
            expected = ecb(ecb(AES_VALUE, bytes(16)), bytes(16))
            enciphered = device.with_derived(
                "bdk/1", (STEP,), lambda cipher: cipher.encipher(bytes(16)), timeout=5
            )
            assert enciphered == expected
        case "unwrap":
            assert len(unwrap(device, wrapped, lambda cipher: cipher.decipher(bytes(16)))) == 16
        case _:
            assert len(device.agree("agree/1", POINT, timeout=5)) == 32
    assert device.status is DeviceStatus.SERVING
    assert device.sealed_keys == frozenset()


@pytest.mark.parametrize("lose", LOSSES[:-1])
def test_a_loss_within_the_turn_repeats_it(device, every_role, lose):
    library, turns = cryptoki(every_role.location), []

    def work(cipher):
        turns.append(1)
        if len(turns) == 1:
            lose(device, library)
        return cipher.encipher(bytes(16))

    expected = ecb(ecb(AES_VALUE, bytes(16)), bytes(16))
    assert device.with_derived("bdk/1", (STEP,), work, timeout=5) == expected
    assert len(turns) == 2
    assert device.status is DeviceStatus.SERVING


def test_callers_in_many_threads_each_get_their_own(device):
    start = threading.Barrier(24)

    def work(number):
        start.wait(30)
        step = Step(Algorithm.AES_128, bytes([number] * 16))
        for _ in range(5):
            enciphered = device.with_derived(
                "bdk/1", (step,), lambda cipher: cipher.encipher(bytes(16)), timeout=30
            )
            assert enciphered == ecb(ecb(AES_VALUE, step.data), bytes(16))
            with pytest.raises(LookupError):
                device.with_derived("bdk/1", (step,), raise_lookup, timeout=30)

    with ThreadPoolExecutor(24) as pool:
        for done in [pool.submit(work, number) for number in range(24)]:
            done.result(30)
    assert left_over(device) == []


# What such keys show at the start


def test_a_derivation_check_value_tells_one_key_from_another(new_token):
    location = new_token()
    aes = spec("bdk", "B0", "AES_128", "X")
    entry = provisioning.import_secret(location, aes, AES_VALUE, check_value="D77F007724")
    child = ecb(AES_VALUE, bytes(16))
    assert entry.derivation_check_value == ecb(child, bytes(16))[:3].hex().upper()
    Device.open(location, ring(entry)).close()
    wrong = replace(entry, derivation_check_value="000000")
    assert set(findings_of(location, ring(wrong), entry.id)) == {"derivation check value"}
    device = Device.open(location, ring(wrong), inspect=False)
    assert device.sealed_keys == {"bdk/1"}
    device.close()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({Attribute.ENCRYPT: True}, {"ENCRYPT"}),
        (
            {
                Attribute.ENCRYPT: True,
                Attribute.DECRYPT: True,
                Attribute.ALLOWED_MECHANISMS: {
                    Mechanism.DES3_ECB_ENCRYPT_DATA,
                    Mechanism.DES3_CBC_ENCRYPT_DATA,
                    Mechanism.DES3_ECB,
                },
            },
            {
                *("ENCRYPT", "DECRYPT", "ALLOWED_MECHANISMS"),
                *("enciphering", "deciphering", "chaining (CBC)"),
            },
        ),
    ],
)
def test_a_deriving_key_that_does_more_is_named(new_token, changes, expected):
    location = new_token()
    made = provisioning.import_secret(location, spec("a", "E1", "TDES_2KEY", "X"), TDES_VALUE)
    entry = replace(made, name="smc")
    with raw_session(location) as session:
        plant(session, entry, TDES_VALUE, changes=changes)
    assert set(findings_of(location, ring(made, entry), entry.id)) == expected


def test_a_pin_key_that_derives_is_named(new_token):
    location = new_token()
    entry = provisioning.import_secret(location, spec("a", "P0", "TDES_2KEY", "E"), TDES_VALUE)
    other = replace(entry, name="zpk")
    mechanisms = {Mechanism.DES3_ECB, Mechanism.DES3_ECB_ENCRYPT_DATA}
    changes = {Attribute.DERIVE: True, Attribute.ALLOWED_MECHANISMS: mechanisms}
    with raw_session(location) as session:
        plant(session, other, TDES_VALUE, changes=changes)
    found = findings_of(location, ring(entry, other), other.id)
    assert set(found) == {"DERIVE", "ALLOWED_MECHANISMS", "deriving from it"}


def plant_rsa(session, entry, **changes):
    """An RSA pair in the role of `entry`, its private half changed."""
    session.generate_keypair(
        KeyType.RSA,
        2048,
        capabilities=MechanismFlag(0),
        public_template=template(entry, ObjectClass.PUBLIC_KEY),
        private_template={**template(entry, ObjectClass.PRIVATE_KEY), **changes["changes"]},
    )


ALL_RSA = {Mechanism.RSA_PKCS_OAEP, Mechanism.RSA_PKCS, Mechanism.RSA_X_509}


@pytest.mark.parametrize(
    ("usage", "changes", "expected"),
    [
        ("K0", {Attribute.DECRYPT: True}, {"DECRYPT", "deciphering"}),
        (
            "K0",
            {Attribute.ALLOWED_MECHANISMS: ALL_RSA},
            {"ALLOWED_MECHANISMS", "PKCS #1 v1.5"},
        ),
        ("D1", {Attribute.UNWRAP: True}, {"UNWRAP", "unwrapping with it"}),
    ],
)
def test_an_rsa_key_opens_either_keys_or_data(new_token, usage, changes, expected):
    location = new_token()
    entry = spec("pair", usage, "RSA_2048", "D", jwa="RSA-OAEP").entry(Origin.GENERATED)
    with raw_session(location) as session:
        plant_rsa(session, entry, changes=changes)
    found = set(findings_of(location, ring(entry), entry.id))
    assert found == expected | {"check value"}


def plant_ec(session, entry, private, **public):
    session.generate_keypair(
        KeyType.EC,
        None,
        capabilities=MechanismFlag(0),
        mechanism=Mechanism.EC_KEY_PAIR_GEN,
        public_template={
            Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1"),
            **template(entry, ObjectClass.PUBLIC_KEY),
            **({Attribute.LABEL: public["label"]} if public else {}),
        },
        private_template={**template(entry, ObjectClass.PRIVATE_KEY), **private},
    )


BOTH = {Attribute.ALLOWED_MECHANISMS: {Mechanism.ECDSA, Mechanism.ECDH1_DERIVE}}


@pytest.mark.parametrize(
    ("usage", "mode", "capability", "probe"),
    [("K3", "X", Attribute.SIGN, "signing"), ("S0", "S", Attribute.DERIVE, "deriving from it")],
)
def test_an_ec_key_signs_or_agrees(new_token, usage, mode, capability, probe):
    location = new_token()
    entry = spec("pair", usage, "EC_P256", mode).entry(Origin.GENERATED)
    with raw_session(location) as session:
        plant_ec(session, entry, {capability: True, **BOTH})
    expected = {capability.name, "ALLOWED_MECHANISMS", probe, "check value"}
    assert set(findings_of(location, ring(entry), entry.id)) == expected


def test_halves_of_an_agreement_that_are_strangers_are_named(new_token):
    location = new_token()
    entry = spec("pair", "K3", "EC_P256", "X").entry(Origin.GENERATED)
    theirs = provisioning.import_public_key(location, spec("b", "K3", "EC_P256", "E"), der(PEER))
    with raw_session(location) as session:
        plant_ec(session, entry, {}, label="elsewhere")
        session.create_object(
            {
                Attribute.CLASS: ObjectClass.PUBLIC_KEY,
                Attribute.KEY_TYPE: KeyType.EC,
                Attribute.EC_PARAMS: encode_named_curve_parameters("secp256r1"),
                Attribute.EC_POINT: b"\x04\x41" + POINT,
                **template(entry, ObjectClass.PUBLIC_KEY),
            }
        )
    mixed = replace(entry, check_value=theirs.check_value)
    found = findings_of(location, ring(mixed, theirs), entry.id)
    assert set(found) == {"LOCAL", "key pair"}


def test_an_aes_key_that_only_deciphers_is_imported(new_token):
    location = new_token()
    wanted = spec("aes", "P0", "AES_128", "D")
    with pytest.raises(ProvisioningError, match="only be imported"):
        provisioning.generate(location, wanted)
    with pytest.raises(ProvisioningError, match="missing or another"):
        provisioning.import_secret(location, wanted, AES_VALUE, check_value="D77F007725")
    assert provisioning.import_secret(location, wanted, AES_VALUE).check_value == "D77F007724"


def test_a_key_that_only_derives_shows_its_check_value(new_token):
    location = new_token()
    loaded = [
        provisioning.import_secret(location, spec("aes", "B0", "AES_128", "X"), AES_VALUE),
        provisioning.import_secret(location, spec("tdes", "E1", "TDES_2KEY", "X"), TDES_VALUE),
    ]
    assert [entry.check_value for entry in loaded] == ["D77F007724", "6FB1C8"]
    made = provisioning.generate(location, spec("made", "B0", "AES_256", "X"))
    wrong = replace(made, check_value="0" * 10)
    assert set(findings_of(location, ring(wrong, *loaded), made.id)) == {"check value"}
    Device.open(location, ring(made, *loaded)).close()


def test_a_partners_point_is_loaded_only_as_what_it_is(new_token):
    location = new_token()
    other_curve = ec.generate_private_key(ec.SECP384R1()).public_key()
    refused = [
        (spec("a", "K3", "EC_P256", "E"), der(other_curve), "another algorithm"),
        (spec("a", "D1", "RSA_2048", "E"), der(PEER), "another algorithm"),
        (spec("a", "K3", "EC_P256", "X"), der(PEER), "another algorithm"),
        (spec("a", "K3", "EC_P256", "E"), b"x", "malformed"),
    ]
    for wanted, spki, problem in refused:
        with pytest.raises(ProvisioningError, match=problem):
            provisioning.import_public_key(location, wanted, spki)
    made = provisioning.import_public_key(location, spec("a", "K3", "EC_P256", "E"), der(PEER))
    device = Device.open(location, ring(made))
    assert device.public_key("a/1") == der(PEER)
    device.close()


def der(public):
    return public.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
