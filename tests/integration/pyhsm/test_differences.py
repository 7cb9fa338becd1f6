"""Every difference from py-hsm that docs/py-hsm.md tells, seen to be so; and that it tells all of
those that are tested here.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest
from pkcs11 import ObjectClass

from hsm.pyhsm import _raw
from hsm.pyhsm.convert import hex_to_bytes
from hsm.pyhsm.eccurveoids import EcCurveOids
from hsm.pyhsm.eccurves import EcCurves
from hsm.pyhsm.hsmclient import HsmClient
from hsm.pyhsm.hsmenums import (
    HsmAttribute,
    HsmMech,
    HsmSession,
    HsmSymKeyGen,
    HsmSymKeyType,
    HsmUser,
)
from hsm.pyhsm.hsmerror import HsmError
from hsm.pyhsm.hsmobject import HsmObject

DOCUMENT = Path(__file__).parents[3] / "docs" / "py-hsm.md"
CHECKS: dict[str, Callable[..., None]] = {}
DES3 = HsmSymKeyGen.DES3
AES = HsmSymKeyType.AES


def difference(row: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """The check of the row that begins so."""

    def register(check: Callable[..., None]) -> Callable[..., None]:
        CHECKS[row] = check
        return check

    return register


def rows() -> list[str]:
    """The first column of the table."""
    table = DOCUMENT.read_text().split("\n|---|---|---|\n")[1]
    return [line.split(" | ")[0].removeprefix("| ") for line in table.strip().splitlines()]


def aes(client, label, **more):
    return client.create_secret_key(label, token=False, overwrite=True, **more)


@difference("Errors")
def errors(client, at):
    with pytest.raises(HsmError, match="CKR_OBJECT_HANDLE_INVALID"):
        client.sign(4711, b"data", HsmMech.AES_CMAC)
    with pytest.raises(HsmError):
        hex_to_bytes("zz")
    with pytest.raises(TypeError):
        client.sign(unknown=1)


@difference("Threads")
def threads(client, at):
    def digest():
        for _ in range(50):
            client.digest(b"data", HsmMech.SHA256)
            done.append(client.generate_random(16))

    done: list[bytes] = []
    callers = [Thread(target=digest) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(set(done)) == 200


@difference("`verify` of a wrong signature")
def wrong_signature(client, at):
    key = aes(client, "mac")
    for wrong in (bytes(16), bytes(3)):
        assert client.verify(key, b"data", wrong, HsmMech.AES_CMAC) is False


@difference("`open_session` of another type than `ReadWrite`")
def session_types(client, at):
    other = HsmClient(pkcs11_lib=at.module)
    for session_type in HsmSession:
        if session_type is not HsmSession.ReadWrite:
            with pytest.raises(HsmError, match="ReadWrite"):
                other.open_session(at.slot, session_type=session_type)


@difference("`open_session` for a security officer")
def security_officer(client, at):
    other = HsmClient(pkcs11_lib=at.module)
    other.open_session(at.slot, user_type=HsmUser.SecurityOfficer)
    other.close_session()


@difference("`login` that is refused")
def refused_login(client, at):
    client.logout()
    with pytest.raises(HsmError, match="CKR_PIN_INCORRECT"):
        client.login("wrong")
    with pytest.raises(HsmError, match="login"):
        client.find_objects()
    client.login(at.pin)


@difference("`logout` at the end of a `with` without a login")
def no_logout(client, at):
    other = HsmClient(pkcs11_lib=at.module)
    other.open_session(at.slot)
    other.close_session()
    other.open_session(at.slot)
    with pytest.raises(HsmError, match="CKR_USER_NOT_LOGGED_IN"):
        other.logout()
    other.close_session()


@difference("`close_all_sessions`")
def all_sessions(client, at):
    other = HsmClient(pkcs11_lib=at.module)
    other.open_session(at.slot)
    client.close_all_sessions(at.slot)
    assert (client.sessionHandle, other.sessionHandle > 0) == (0, True)
    other.close_session()
    client.open_session(at.slot)
    client.login(at.pin)
    with pytest.raises(HsmError, match="own"):
        client.close_all_sessions(at.slot + 1)


@difference("`sessionCount` of a slot")
def session_count(client, at):
    assert {slot.sessionCount for slot in client.get_slot_info()} == {"18446744073709551615"}


@difference("`serialNumber` of a slot")
def serial_number(client, at):
    assert max(len(slot.serialNumber) for slot in client.get_slot_info()) == 16


@difference("`mechanismName`")
def mechanism_name(client, at):
    names = {mechanism.mechanismName for mechanism in client.get_mechanism_info(at.slot)}
    assert names >= {"CKM_SHA256", "CKM_DES_ECB"}


@difference("`find_objects`")
def many_objects(client, at):
    wanted = _raw.template(ObjectClass.DATA, token=False, value=b"1")
    made = [client._active().session.create_object(dict(wanted)) for _ in range(2001)]
    assert len(client.find_objects()) >= 2001
    for each in made:
        each.destroy()


@difference("Labels that are not ASCII")
def labels(client, at):
    key = aes(client, "plain", modifiable=True)
    client.set_attribute_value(key, HsmAttribute.LABEL, "é".encode())
    assert client.get_object(key, fast_load=True).label == "é"
    with pytest.raises(HsmError, match="ASCII"):
        aes(client, "é")


@difference("`HsmObject` read with `fast_load`")
def fast_load(client, at):
    key = aes(client, "readable", sensitive=False)
    fast, full = client.get_object(key, fast_load=True), client.get_object(key)
    assert (fast.value, len(full.value), fast.label) == ("", 32, full.label)
    assert full.value.hex() in full.to_string()
    assert full.value.hex() not in full.details() + repr(full) + str(full)


@difference("`HsmObject` of an unknown class or key type")
def unknown_types(client, at):
    number = _raw.packed(0x80000001)
    vendor = SimpleNamespace(get_attribute_value=lambda *_: number)
    found = HsmObject.read(vendor, 1, fast_load=True)
    assert found.class_ == found.keyType == number


@difference("`HsmObject.to_string`")
def every_name(client, at):
    text = client.get_object(aes(client, "aes")).to_string()
    names = [line.split(":")[0] for line in text.splitlines()]
    assert len(names) == len(set(names)) == 47
    assert {"CKA_PRIME_2", "CKA_EXPONENT_2", "CKA_EC_POINT"} < set(names)


@difference("`HsmSlot`, `HsmMechInfo`, `HsmObject`")
def made_by_the_client(client, at):
    with pytest.raises(TypeError):
        HsmObject(client, 1, False)


@difference("The default `iv`")
def default_vector(client, at):
    for iv in (b"", b"\x00"):
        assert _raw.vector(_raw.mechanism(HsmMech.AES_ECB), iv) is None
    key = aes(client, "aes")
    assert client.encrypt(key, bytes(16), HsmMech.AES_ECB, b"") == client.encrypt(
        key, bytes(16), HsmMech.AES_ECB
    )
    with pytest.raises(HsmError, match="CKR_ARGUMENTS_BAD"):
        client.encrypt(key, bytes(16), HsmMech.AES_CBC)


@difference("Mechanisms with a structure for a parameter")
def structured(client, at):
    key = aes(client, "aes")
    for number in (0x1086, 0x1087, 0x1088, 0x0D, 0x1054, 0x1050, 0x1051, 0x1104, 0x1105):
        for act in (client.encrypt, client.decrypt):
            with pytest.raises(HsmError, match="cannot carry"):
                act(key, bytes(16), number, bytes(48))
        with pytest.raises(HsmError, match="cannot carry"):
            client.sign(key, bytes(16), number)


@difference("`HsmMech`")
def more_mechanisms(client, at):
    for name in ("AES_KEY_WRAP", "AES_KEY_WRAP_PAD", *(f"SHA{n}_RSA_PKCS_PSS" for n in (224, 512))):
        assert _raw.name(HsmMech[name].value) == f"CKM_{name}"


@difference("Length of a DES key")
def des_length(client, at):
    assert client.encrypt(aes(client, "des3", key_type=DES3), bytes(8), HsmMech.DES3_ECB)


@difference("`unwrap_secret_key` on SoftHSM")
def unwrap_again(client, at):
    wrapping, wrapped = aes(client, "wrapping"), aes(client, "wrapped", key_size_in_bits=128)
    data = client.wrap_key(wrapped, wrapping, HsmMech.AES_KEY_WRAP, b"")
    how = (wrapping, HsmMech.AES_KEY_WRAP, b"")
    for bits in (128, 256):
        label = f"of {bits} bits"
        assert client.unwrap_secret_key(*how, label, data, key_size_in_bits=bits, token=False)


@difference("Keys that are not `modifiable`, unwrapped on SoftHSM")
def unmodifiable(client, at):
    wrapping = aes(client, "wrapping")
    data = client.wrap_key(aes(client, "wrapped"), wrapping, HsmMech.AES_KEY_WRAP, b"")
    key = client.unwrap_secret_key(
        wrapping, HsmMech.AES_KEY_WRAP, b"", "fixed", data, modifiable=False, token=False
    )
    with pytest.raises(HsmError, match="modifiable=False"):
        client.set_attribute_value(key, HsmAttribute.LABEL, b"other")


@difference("`wrap_key` and `unwrap_…` by AES_CBC_PAD on SoftHSM")
def no_cbc_pad(client, at):
    key = aes(client, "aes")
    with pytest.raises(HsmError, match="AES_KEY_WRAP_PAD"):
        client.wrap_key(key, key, HsmMech.AES_CBC_PAD, bytes(16))
    with pytest.raises(HsmError, match="AES_KEY_WRAP_PAD"):
        client.unwrap_secret_key(key, HsmMech.AES_CBC_PAD, bytes(16), "no", bytes(48), token=False)


@difference("`wrap_key_iv` of 16 bytes for AES_KEY_WRAP on SoftHSM")
def no_vector_for_key_wrap(client, at):
    key = aes(client, "aes")
    with pytest.raises(HsmError, match="wrap_key: CKR_ARGUMENTS_BAD"):
        client.wrap_key(key, key, HsmMech.AES_KEY_WRAP, os.urandom(16))


@difference("`import_secret_key` on SoftHSM")
def import_in_the_clear(client, at):
    key = client.import_secret_key("in", AES, bytes(16), token=False, overwrite=True)
    assert client.get_attribute_value(key, HsmAttribute.LOCAL) == b"\x00"
    with pytest.raises(HsmError, match="key_size_in_bits"):
        client.import_secret_key("out", AES, bytes(16), 256, token=False)


@difference("`import_data_object`")
def data_object(client, at):
    kept = client.import_data_object("data", b"value", token=False)
    assert client.get_attribute_value(kept, HsmAttribute.VALUE) == b"value"
    with pytest.raises(HsmError, match="CKR_ATTRIBUTE_TYPE_INVALID"):
        client.import_data_object("with an id", b"value", b"1", token=False)


@difference("Ids of a pair on a curve when only the public key's is given")
def one_id(client, at):
    pair = client.create_ecc_key_pair("id public", "id private", public_key_id=b"1", token=False)
    assert [client.get_attribute_value(key, HsmAttribute.ID) for key in pair] == [b"1", b"1"]


@difference("A label of a pair that is taken")
def taken_label(client, at):
    public, private = client.create_ecc_key_pair("first", "second", token=False)
    with pytest.raises(HsmError, match="overwrite"):
        client.create_ecc_key_pair("third", "second", token=False)
    assert client.does_object_exist(public)
    again = client.create_ecc_key_pair("first", "second", token=False, overwrite=True)
    assert not client.does_object_exist(public)
    assert not client.does_object_exist(private)
    assert client.get_object_handle("second") == again[1]


@difference("`EcCurveOids.sect233k1` and `K233`")
def right_identifier(client, at):
    assert EcCurveOids.K233 is EcCurveOids.sect233k1 is not EcCurveOids.sect193r2


@difference("`EcCurves`")
def prime_fields(client, at):
    assert not {"sect233k1", "K233", "playreadyp160"} & set(EcCurves.__members__)


def test_the_document_tells_what_is_tested_and_no_more():
    assert rows() == list(CHECKS)


@pytest.mark.parametrize("row", CHECKS)
def test_it_is_as_told(client, at, row):
    CHECKS[row](client, at)
