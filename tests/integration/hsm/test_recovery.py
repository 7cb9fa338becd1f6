"""Recovery: what was lost is found again, and never is one key taken for another."""

import ctypes
import shutil
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding
from pkcs11 import Attribute
from pkcs11.exceptions import PinExpired

from hsm import keys, provisioning, token
from hsm.device import Device, DeviceStatus, RsaPadding
from hsm.errors import (
    HsmDataRefused,
    HsmLoginFailed,
    HsmUnavailable,
    KeySealed,
    OperationNotPermitted,
    UnknownKey,
)
from hsm.keyring import Keyring, State
from hsm.pauses import FIRST_PAUSE, LONGEST_PAUSE
from tests.integration.hsm.support import (
    TDES_VALUE,
    cryptoki,
    put,
    raw_session,
    ring,
    spec,
    use,
)

OTHER_VALUE = bytes.fromhex("AABBCCDDEEFF00112233445566778899")
KNOWN = bytes.fromhex("6FB1C8")


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def works(device, key="tdes-e/1"):
    return device.encipher(key, bytes(8), timeout=5)[:3] == KNOWN


def close_all_sessions(device, library):
    slot = device._link._session.token.slot.slot_id
    assert library.C_CloseAllSessions(ctypes.c_ulong(slot)) == 0


def logout(device, library):
    assert library.C_Logout(ctypes.c_ulong(device._link._session.handle)) == 0


def close_session(device, library):
    assert library.C_CloseSession(ctypes.c_ulong(device._link._session.handle)) == 0


def finalize(device, library):
    assert library.C_Finalize(None) == 0


def finalize_politely(device, library):
    device._link._library.close()


LOSSES = [close_all_sessions, logout, close_session, finalize, finalize_politely]


@pytest.mark.parametrize("lose", LOSSES)
@pytest.mark.parametrize(
    "method", ["encipher", "rsa_decrypt", "open_pkcs1", "mac", "sign", "random", "probe"]
)
def test_a_loss_is_not_noticed_by_the_caller(device, every_role, lose, method):
    lose(device, cryptoki(every_role.location))
    match method:
        case "encipher":
            assert works(device)
        case "rsa_decrypt":
            with pytest.raises(HsmDataRefused):
                device.rsa_decrypt("seal/1", bytes(256), padding=RsaPadding.OAEP_SHA1, timeout=5)
        case "open_pkcs1":
            opening, by = device.rsa_decrypt, {"padding": RsaPadding.PKCS1_V1_5, "timeout": 5}
            public = serialization.load_der_public_key(device.public_key("pkcs1/1"))
            assert opening("pkcs1/1", public.encrypt(b"7392", padding.PKCS1v15()), **by) == b"7392"
            with pytest.raises(HsmDataRefused):
                opening("pkcs1/1", bytes(256), **by)
        case "mac":
            assert len(device.mac("mac/1", b"x", timeout=5)) == 32
        case "sign":
            assert len(device.sign("sign/1", bytes(32), timeout=5)) == 64
        case "random":
            assert len(device.random(8, timeout=5)) == 8
        case _:
            device.probe()
    assert works(device)
    assert device.status is DeviceStatus.SERVING
    assert device.sealed_keys == frozenset()


def lost_token(new_token):
    location = new_token()
    entries = [
        provisioning.import_secret(
            location, spec(name, "P0", "TDES_2KEY", "E", destroyable=True), TDES_VALUE
        )
        for name in ("first", "second")
    ]
    return location, ring(*entries)


def replace_key(device, key_id, value):
    """Destroy a key's object under the device and put another with the same id in its place."""
    session = device._link._session
    read_write = session.token.open(rw=True, attribute_mapper=token.attributes.mapper())
    (found,) = read_write.get_objects({Attribute.LABEL: key_id})
    found.destroy()
    if value is not None:
        put(read_write, device._serving.entries[key_id], {Attribute.VALUE: value})
    read_write.close()


def test_a_replaced_key_is_found_again_when_it_is_the_same(new_token):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring)
    replace_key(device, "first/1", TDES_VALUE)
    assert works(device, "first/1")
    device.close()


def test_a_swapped_key_is_refused_and_never_used_again(new_token, clock):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring, clock=clock)
    replace_key(device, "first/1", OTHER_VALUE)
    for _ in range(3):
        with pytest.raises(KeySealed) as caught:
            device.encipher("first/1", bytes(8), timeout=5)
        assert caught.value.facts["key"] == "first/1"
        clock.now += 10 * LONGEST_PAUSE
    replace_key(device, "first/1", TDES_VALUE)
    with pytest.raises(KeySealed):
        device.encipher("first/1", bytes(8), timeout=5)
    assert works(device, "second/1")
    assert device.status is DeviceStatus.SERVING
    assert device.sealed_keys == {"first/1"}
    device.close()


def test_a_swapped_key_with_weaker_attributes_is_refused(new_token):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring)
    replace_key(device, "first/1", None)
    session = device._link._session.token.open(rw=True, attribute_mapper=token.attributes.mapper())
    weaker = {Attribute.VALUE: TDES_VALUE, Attribute.DECRYPT: True}
    put(session, device._serving.entries["first/1"], weaker)
    session.close()
    with pytest.raises(KeySealed):
        device.encipher("first/1", bytes(8), timeout=5)
    device.close()


def test_a_lost_key_is_sealed_while_others_serve_and_serves_when_it_is_back(new_token, clock):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring, clock=clock)
    replace_key(device, "first/1", None)
    for _ in range(3):
        with pytest.raises(KeySealed):
            device.encipher("first/1", bytes(8), timeout=5)
        assert works(device, "second/1")
    device.probe()
    device.probe()
    assert device.status is DeviceStatus.SERVING
    session = device._link._session.token.open(rw=True, attribute_mapper=token.attributes.mapper())
    put(session, device._serving.entries["first/1"], {Attribute.VALUE: TDES_VALUE})
    session.close()
    with pytest.raises(KeySealed):
        device.encipher("first/1", bytes(8), timeout=5)
    clock.now += LONGEST_PAUSE
    assert works(device, "first/1")
    assert device.sealed_keys == frozenset()
    device.close()


def test_a_lost_token_opens_the_breaker_until_it_is_back(new_token, clock, token_folder):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring, clock=clock)
    tokens = token_folder / "fresh" / "tokens"
    shutil.move(tokens, token_folder / "elsewhere")
    tokens.mkdir()
    with pytest.raises(HsmUnavailable):
        device.encipher("first/1", bytes(8), timeout=5)
    assert device.status is DeviceStatus.DOWN
    tokens.rmdir()
    shutil.move(token_folder / "elsewhere", tokens)
    with pytest.raises(HsmUnavailable):
        device.encipher("first/1", bytes(8), timeout=5)
    clock.now += LONGEST_PAUSE
    assert works(device, "first/1")
    assert works(device, "second/1")
    assert device.status is DeviceStatus.SERVING
    device.close()


def test_the_pauses_of_a_lost_device_stay_short(new_token, clock, token_folder):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring, clock=clock)
    shutil.move(token_folder / "fresh" / "tokens", token_folder / "elsewhere")
    pauses = []
    for _ in range(3):
        with pytest.raises(HsmUnavailable):
            device.probe()
        pauses.append(device._link._breaker._until - clock.now)
        clock.now = device._link._breaker._until
    assert pauses == [FIRST_PAUSE] * 3
    device.close()


@pytest.fixture
def logins(monkeypatch):
    """How often a session was opened with a login."""
    opened = []
    original = token.open_session

    def counting(*arguments, **options):
        opened.append(1)
        return original(*arguments, **options)

    monkeypatch.setattr(token, "open_session", counting)
    return opened


def test_a_wrong_pin_stops_the_start_at_the_first_try(new_token, logins):
    location, keyring = lost_token(new_token)
    logins.clear()
    location.pin_file.write_text("wrong-pin\n")
    with pytest.raises(HsmLoginFailed) as caught:
        Device.open(location, keyring)
    assert caught.value.facts["reason"] == "CKR_PIN_INCORRECT"
    assert "wrong-pin" not in str(caught.value)
    assert len(logins) == 1


def test_a_wrong_pin_in_recovery_is_final(new_token, clock, logins):
    location, keyring = lost_token(new_token)
    device = Device.open(location, keyring, clock=clock)
    right = location.pin_file.read_text()
    location.pin_file.write_text("wrong-pin\n")
    finalize_politely(device, None)
    logins.clear()
    for _ in range(3):
        with pytest.raises(HsmUnavailable):
            device.encipher("first/1", bytes(8), timeout=5)
        clock.now += 10 * LONGEST_PAUSE
    location.pin_file.write_text(right)
    with pytest.raises(HsmUnavailable):
        device.probe()
    assert len(logins) == 1
    assert device.status is DeviceStatus.DOWN
    device.close()


def test_a_login_that_expires_under_a_call_is_final_too(device, monkeypatch, logins):
    def expired(*_, **__):
        raise PinExpired

    logins.clear()
    monkeypatch.setattr(keys, "apply", expired)
    for _ in range(2):
        with pytest.raises(HsmUnavailable, match="refused the login"):
            device.encipher("tdes-e/1", bytes(8), timeout=5)
    assert device.status is DeviceStatus.DOWN
    assert logins == []


@pytest.mark.parametrize("state", [State.DECIPHER_ONLY, State.RETIRED])
def test_a_key_past_its_active_life_enciphers_no_more(every_role, monkeypatch, state):
    use(monkeypatch, every_role.token)
    keyring = Keyring(
        keys=tuple(
            replace(key, state=state) if key.name == "tdes3-b" else key
            for key in every_role.keyring.keys
        )
    )
    device = Device.open(every_role.location, keyring)
    refused = UnknownKey if state is State.RETIRED else OperationNotPermitted
    with pytest.raises(refused):
        device.encipher("tdes3-b/1", bytes(8), timeout=5)
    if state is State.DECIPHER_ONLY:
        assert len(device.decipher("tdes3-b/1", bytes(8), timeout=5)) == 8
    device.close()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda path: path.chmod(0o640), "can be read by others"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("\n"), "is empty"),
    ],
)
def test_a_careless_pin_file_is_refused(new_token, spoil, problem):
    location, keyring = lost_token(new_token)
    spoil(location.pin_file)
    with pytest.raises(HsmLoginFailed, match=problem) as caught:
        Device.open(location, keyring)
    assert caught.value.facts["pin_file"] == str(location.pin_file)


def test_a_call_that_takes_too_long_shows_as_hung(device, clock, monkeypatch):
    device._turns._clock = clock
    monkeypatch.setattr(
        device._turns._lane, "_busy_since", clock.now - device._turns._hang_after - 1
    )
    assert device.status is DeviceStatus.HUNG
    with pytest.raises(HsmUnavailable):
        device.probe()
    monkeypatch.undo()


def test_planting_needs_the_same_login(every_role, device):
    device.close()
    with raw_session(every_role.location) as session:
        assert len(list(session.get_objects({Attribute.LABEL: "tdes-e/1"}))) == 1
