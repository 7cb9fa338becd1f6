"""The examples published with py-hsm that open and close: slots, sessions, logins, kept keys."""

import os

import pytest

from hsm.pyhsm.hsmclient import HsmClient
from hsm.pyhsm.hsmenums import HsmKeyType, HsmObjectType, HsmSession, HsmSymKeyGen, HsmUser
from hsm.pyhsm.hsmerror import HsmError


def test_login_and_logout(at):
    c = HsmClient(pkcs11_lib=at.module)
    c.open_session(slot=at.slot)
    assert c.sessionHandle
    assert (c.slotNumber, c.tokenSerialNumber) == (at.slot, "")
    c.login(pin=at.pin)
    assert c.find_objects() == []
    c.logout()
    c.login(pin=at.pin.encode())
    c.close_session()
    c.logout()
    assert c.sessionHandle == 0
    c.open_session(slot=at.slot)
    c.login(pin=at.pin)
    c.close_all_sessions(at.slot)
    c.close()


def test_list_slots(at):
    with HsmClient(pkcs11_lib=at.module) as c:
        assert c.get_slot_count() == c.get_token_count() == len(c.get_slot_info()) == 2
        found = {slot.slotNumber: slot for slot in c.get_slot_info()}[str(at.slot)]
    text = found.to_string()
    assert f"slotNumber: {at.slot}{os.linesep}label: pyhsm{os.linesep}" in text
    assert text.count(os.linesep) == 8
    assert len(found.serialNumber) == 16
    assert found.details().startswith("<HsmSlot: slotNumber:")
    assert str(found) == f"<HsmSlot>:{at.slot}"


@pytest.mark.parametrize(
    ("key_type", "bits", "expected"),
    [
        ("AES", 128, HsmKeyType.AES),
        ("AES", 256, HsmKeyType.AES),
        ("DES2", 128, HsmKeyType.DES2),
        ("DES3", 192, HsmKeyType.DES3),
    ],
)
def test_generate_a_key_and_list_it(at, key_type, bits, expected):
    with HsmClient(slot=at.slot, pin=at.pin, pkcs11_lib=at.module) as c:
        handle = c.create_secret_key(
            key_label=f"{key_type}-{bits}",
            key_type=HsmSymKeyGen[key_type],
            key_size_in_bits=bits,
            wrap=False,
            unwrap=False,
            encrypt=True,
            decrypt=True,
            sign=False,
            verify=False,
            derive=False,
            extractable=False,
            modifiable=False,
            overwrite=True,
            private=True,
            token=True,
        )
    with HsmClient(slot=at.slot, pin=at.pin, pkcs11_lib=at.module) as c:
        (found,) = c.get_objects(fast_load=True)
        assert (found.label, found.keyType) == (f"{key_type}-{bits}", expected)
        assert found.class_ is HsmObjectType.SECRET_KEY
        assert (found.encrypt, found.wrap, found.sign, found.extractable) == (True, *[False] * 3)
        assert (found.token, found.private, found.sensitive, found.modifiable) == (
            *[True] * 3,
            False,
        )
        assert (found.local, found.neverExtractable, found.alwaysSensitive) == (True, True, True)
        assert len(found.id) == 16
        text = c.get_object(found.handle).to_string()
        assert f"CKA_LABEL: {found.label}{os.linesep}" in text
        assert f"CKA_VALUE: {os.linesep}" in text
        assert f"label:{found.label} keyType:HsmKeyType" in found.details()
        assert repr(found) == f"<HsmObject handle:{found.handle} label:{found.label} >"
        c.destroy_object(handle=found.handle)
        assert not c.does_object_exist(found.handle)
        assert c.find_objects() == []
    assert isinstance(handle, int)


def test_a_security_officer(at):
    with HsmClient(pkcs11_lib=at.module) as c:
        c.open_session(at.slot, HsmUser.SecurityOfficer, HsmSession.ReadWrite)
        c.login(at.officers_pin)
        assert c.userType is HsmUser.SecurityOfficer
        with pytest.raises(HsmError, match="CKR_"):
            c.create_secret_key("not for officers")


def test_a_new_pin(at):
    new = "another-4711"
    with at.client() as c:
        c.set_pin(at.pin, new)
    with HsmClient(at.slot, new, at.module) as c:
        c.set_pin(new.encode(), at.pin.encode())
    with at.client() as c:
        assert c.find_objects() == []
