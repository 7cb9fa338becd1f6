"""Keys made in SoftHSM beside a device that serves: what a broken-off attempt leaves, and what not.

The orders themselves are under the contract of `tests/integration/test_provisioning_contract.py`.
"""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from pkcs11 import Attribute, Mechanism, ObjectClass
from pkcs11.exceptions import DeviceError, FunctionFailed, PKCS11Error

from hsm import orders, provisioning, token
from hsm.device import Device, DeviceStatus, KeyBlockVersion
from hsm.errors import CheckValueMismatch, HsmDataRefused, ProvisioningError
from hsm.keyring import Keyring, Origin, State
from hsm.probes import unbound
from tests.integration.hsm.support import (
    AES_VALUE,
    cryptoki,
    put,
    raw_session,
    spec,
)
from tests.integration.hsm.test_recovery import LOSSES

OAEP = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), label=None)
AES = spec("new", "P0", "AES_256", "B")


def works(device):
    return device.encipher("zpk/1", bytes(8), timeout=5)[:3].hex().upper() == "6FB1C8"


def named(device, name):
    """Classes of the token's objects with a name, whatever their version."""
    session = device._link._session
    found = session.get_objects({Attribute.TOKEN: True})
    return sorted(
        each[Attribute.CLASS].name for each in found if each[Attribute.LABEL].startswith(f"{name}/")
    )


def passing(device):
    return list(device._link._session.get_objects({Attribute.TOKEN: False}))


def seal(device, value):
    return serialization.load_der_public_key(device.public_key("carrier/1")).encrypt(value, OAEP)


def widened(device, *entries):
    return Keyring(keys=(*device._serving.keyring.keys, *entries))


def test_a_session_beside_another_shares_its_login_and_leaves_it(small):
    main = small._link._session
    for _ in range(3):
        beside = token.open_beside(main)
        assert len(list(beside.get_objects({Attribute.PRIVATE: True}))) == 4
        token.close_session(beside)
        assert len(list(main.get_objects({Attribute.PRIVATE: True}))) == 4
    assert works(small)
    assert small._link._session is main


def test_no_order_costs_the_device_its_session(small):
    main = small._link._session
    small.generate(AES, timeout=5)
    small.load_secret(
        spec("in", "P0", "AES_128", "D"), AES_VALUE[::-1], check_value=None, timeout=5
    )
    wrapped = seal(small, bytes(range(32)))
    made = small.unwrap_secret(
        "carrier/1", wrapped, spec("got", "P0", "AES_256", "E"), check_value=None, timeout=5
    )
    small.adopt(widened(small, made), timeout=5)
    assert small._link._session is main
    assert passing(small) == []


def test_what_was_loaded_passes_the_inspection_of_a_start(small):
    location = small._link._location
    entries = [
        small.unwrap_secret(
            "carrier/1",
            seal(small, bytes(range(number, number + length))),
            spec(f"got-{number}", usage, algorithm, mode),
            check_value=None,
            timeout=5,
        )
        for number, (usage, algorithm, mode, length) in enumerate(
            (
                ("P0", "AES_192", "D", 24),
                ("P0", "TDES_3KEY", "D", 24),
                ("K1", "TDES_2KEY", "D", 16),
                ("M7", "HMAC_SHA256", "G", 32),
            )
        )
    ]
    keyring = widened(small, *entries)
    small.close()
    reopened = Device.open(location, keyring)
    assert reopened.warnings == ()
    assert reopened.sealed_keys == frozenset()
    assert len(reopened.decipher("got-0/1", bytes(16), timeout=5)) == 16
    reopened.close()


@pytest.mark.parametrize("promised", ["000000", "ABCDEF0123"])
def test_nothing_stays_of_a_key_that_is_not_as_promised(small, promised):
    for attempt in (
        lambda: small.load_secret(AES, bytes(range(32)), check_value=promised, timeout=5),
        lambda: small.unwrap_secret(
            "carrier/1", seal(small, bytes(range(32))), AES, check_value=promised, timeout=5
        ),
    ):
        with pytest.raises(CheckValueMismatch):
            attempt()
    with pytest.raises(HsmDataRefused):
        small.unwrap_secret(
            "carrier/1", seal(small, bytes(range(16))), AES, check_value=None, timeout=5
        )
    assert named(small, "new") == passing(small) == []


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize("order", ["generate", "load", "unwrap", "adopt"])
def test_a_loss_before_an_order_is_not_noticed(small, lose, order):
    wrapped = seal(small, bytes(range(32)))
    before = small.generate(spec("before", "P0", "AES_128", "E"), timeout=5)
    lose(small, cryptoki(small._link._location))
    match order:
        case "generate":
            small.generate(AES, timeout=5)
        case "load":
            small.load_secret(AES, bytes(range(32)), check_value=None, timeout=5)
        case "unwrap":
            small.unwrap_secret("carrier/1", wrapped, AES, check_value=None, timeout=5)
        case _:
            small.adopt(widened(small, before), timeout=5)
            assert len(small.encipher("before/1", bytes(16), timeout=5)) == 16
    assert named(small, "new") == ([] if order == "adopt" else ["SECRET_KEY"])
    assert works(small)
    assert small.status is DeviceStatus.SERVING


@pytest.mark.parametrize("fault", [DeviceError, FunctionFailed])
@pytest.mark.parametrize("wanted", [AES, spec("new", "D1", "RSA_2048", "D", jwa="RSA-OAEP")])
def test_a_key_whose_making_was_not_answered_is_made_once(small, monkeypatch, fault, wanted):
    original, answers = orders._generate, [fault]

    def unanswered(session, entry, *changes):
        made = original(session, entry, *changes)
        if answers and not changes:
            raise answers.pop()
        return made

    monkeypatch.setattr(orders, "_generate", unanswered)
    entry = small.generate(wanted, timeout=30)
    classes = ["SECRET_KEY"] if wanted is AES else ["PRIVATE_KEY", "PUBLIC_KEY"]
    assert named(small, "new") == classes
    small.adopt(widened(small, entry), timeout=5)
    assert small.sealed_keys == frozenset()


def test_a_token_that_refuses_to_make_a_key_goes_on_serving(small, monkeypatch):
    for fault in (FunctionFailed, PKCS11Error):

        def refuse(session, entry, fault=fault):
            raise fault

        monkeypatch.setattr(orders, "_generate", refuse)
        with pytest.raises(ProvisioningError, match="refused to make the key") as caught:
            small.generate(AES, timeout=5)
        assert caught.value.__context__ is None or isinstance(
            caught.value.__context__, HsmDataRefused
        )
    assert works(small)
    assert small.status is DeviceStatus.SERVING


ALMOST = {
    "DECRYPT": {Attribute.DECRYPT: False},
    "EXTRACTABLE": {Attribute.EXTRACTABLE: True},
    "MODIFIABLE": {Attribute.MODIFIABLE: True},
    "DESTROYABLE": {Attribute.DESTROYABLE: True},
    "ALLOWED_MECHANISMS": {Attribute.ALLOWED_MECHANISMS: {Mechanism.AES_ECB, Mechanism.AES_CBC}},
    "check value": {Attribute.VALUE: bytes(32)},
}
"""What an object under the id of an order may differ in, and how the refusal names it."""


@pytest.mark.parametrize(("differs", "changes"), ALMOST.items(), ids=ALMOST)
def test_an_orphan_that_is_not_exactly_the_key_is_refused(small, differs, changes):
    value = bytes(range(32))
    beside = token.open_beside(small._link._session)
    put(beside, AES.entry(Origin.IMPORTED), {Attribute.VALUE: value, **changes})
    token.close_session(beside)
    with pytest.raises(ProvisioningError, match="another object has the id") as caught:
        small.load_secret(AES, value, check_value=None, timeout=5)
    assert differs in caught.value.facts["differs"].split(", ")
    assert caught.value.facts["remedy"]


def test_an_orphan_that_was_not_made_here_is_no_generated_key(small):
    small.load_secret(AES, bytes(range(32)), check_value=None, timeout=5)
    with pytest.raises(ProvisioningError) as caught:
        small.generate(AES, timeout=5)
    assert "LOCAL" in caught.value.facts["differs"]


def test_a_padding_that_the_token_does_not_know_leaves_no_pair(small):
    """SoftHSM lists OAEP and knows it with SHA-1 alone; a pair that is there stays there."""
    for usage in ("D1", "K0", "K2"):
        wanted = spec("new", usage, "RSA_2048", "D", jwa="RSA-OAEP-256")
        with pytest.raises(ProvisioningError, match="does not open with this padding") as caught:
            small.generate(wanted, timeout=30)
        assert caught.value.facts["remedy"] == "use RSA-OAEP"
    assert named(small, "new") == passing(small) == []


def test_half_a_pair_and_two_keys_are_no_key(small):
    wanted = spec("new", "D1", "RSA_2048", "D", jwa="RSA-OAEP")
    beside = token.open_beside(small._link._session)
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    beside.create_object(
        {
            Attribute.CLASS: ObjectClass.PUBLIC_KEY,
            Attribute.KEY_TYPE: 0,
            Attribute.MODULUS: numbers.n.to_bytes(256, "big"),
            Attribute.PUBLIC_EXPONENT: b"\x01\x00\x01",
            **orders.template(wanted.entry(Origin.GENERATED), ObjectClass.PUBLIC_KEY),
        }
    )
    twice = spec("twice", "P0", "AES_256", "B")
    for _ in range(2):
        put(beside, twice.entry(Origin.IMPORTED), {Attribute.VALUE: bytes(range(32))})
    token.close_session(beside)
    with pytest.raises(ProvisioningError, match="taken by other objects"):
        small.generate(wanted, timeout=30)
    with pytest.raises(ProvisioningError, match="taken by other objects"):
        small.load_secret(twice, bytes(range(32)), check_value=None, timeout=5)
    assert named(small, "new") == ["PUBLIC_KEY"]


def test_the_keys_of_a_key_block_do_one_thing_each_and_end(small):
    seen = []

    def look(keys):
        for key in passing(small):
            loose = unbound(key, ObjectClass.SECRET_KEY)
            seen.append((key[Attribute.ALLOWED_MECHANISMS], _capabilities(loose)))
            assert key[Attribute.SENSITIVE] is True
            assert key[Attribute.EXTRACTABLE] is False
        return keys

    for opens, may in ((True, "decrypt"), (False, "encrypt")):
        kept = small.with_key_block_keys("kbpk/1", KeyBlockVersion.D, look, opens=opens, timeout=5)
        assert sorted(seen, key=str) == sorted(
            [({int(Mechanism.AES_CBC)}, {may}), ({int(Mechanism.AES_CMAC)}, {"sign"})], key=str
        )
        with pytest.raises(Exception, match="its turn is over"):
            kept.mac(b"x")
        seen.clear()
    assert passing(small) == []


def _capabilities(key):
    """What a secret key does when it is asked for everything by every mechanism of this kind."""
    block = bytes(16)
    attempts = {
        "encrypt": lambda: key.encrypt(block, mechanism=Mechanism.AES_CBC, mechanism_param=block),
        "decrypt": lambda: key.decrypt(block, mechanism=Mechanism.AES_CBC, mechanism_param=block),
        "ecb": lambda: key.encrypt(block, mechanism=Mechanism.AES_ECB),
        "sign": lambda: key.sign(block, mechanism=Mechanism.AES_CMAC),
        "value": lambda: key[Attribute.VALUE],
        "copy": lambda: key.copy({Attribute.TOKEN: False}),
    }
    done = set()
    for name, attempt in attempts.items():
        try:
            attempt()
        except PKCS11Error:
            continue
        done.add(name)
    return done


def test_only_a_retired_key_that_may_be_destroyed_is_destroyed(new_token):
    location = new_token()
    made = [
        provisioning.generate(location, spec("sym", "P0", "AES_256", "B", destroyable=True)),
        provisioning.generate(
            location, spec("pair", "D1", "RSA_2048", "D", jwa="RSA-OAEP", destroyable=True)
        ),
    ]
    lasting = provisioning.generate(location, spec("lasting", "P0", "AES_256", "B"))
    for entry, problem in (
        (made[0], "still in use"),
        (replace(made[0], state=State.DECIPHER_ONLY), "still in use"),
        (replace(lasting, state=State.RETIRED), "indestructible"),
    ):
        with pytest.raises(ProvisioningError, match=problem) as caught:
            provisioning.destroy(location, entry)
        assert caught.value.facts["remedy"]
    other = replace(made[0], state=State.RETIRED, check_value="0" * 10)
    with pytest.raises(ProvisioningError, match="another key"):
        provisioning.destroy(location, other)
    for entry in made:
        for _ in range(2):
            provisioning.destroy(location, replace(entry, state=State.RETIRED))
    with raw_session(location) as session:
        left = [each[Attribute.LABEL] for each in session.get_objects({Attribute.TOKEN: True})]
    assert left == ["lasting/1"]
    lied = replace(lasting, state=State.RETIRED, destroyable=True)
    with pytest.raises(ProvisioningError, match="the token refused"):
        provisioning.destroy(location, lied)
