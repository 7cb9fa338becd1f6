"""Attack: with the service's own HSM login, have the service take another object for its key.

A thief can put objects of its own into the token, under any label and id, but can neither remove
those of the service nor have one trusted. So a name stands for two objects, and then for no key.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, Session
from pkcs11.exceptions import PKCS11Error

from hsm import attributes
from hsm import token as tokens
from hsm.device import Device
from hsm.errors import InspectionFailed, KeySealed, return_value
from hsm.inspection import inspect
from hsm.module import Library
from tests.integration.hsm.support import cryptoki
from tests.integration.hsm.test_recovery import close_all_sessions
from tests.support.every_role import NAMES, Service, service, value_of
from tests.support.thief import PUBLIC, SECRET, TROJAN, Thief, session_of

KEY = "p0-tdes-e/1"
OTHER_KEY = "p0-aes-b/1"
ROLES = ("p0-tdes-e", "p0-aes-b", "m7-hmac-g", "s0-ec-s", "k3-ec-e")


@pytest.fixture
def served() -> Iterator[Service]:
    with service(ROLES) as made:
        yield made


def impostor(session: Session, key_id: str, **changes: object) -> Any:
    """Put a known TDES key into the token, with the label and the id of a service key."""
    return session.create_object(
        {
            Attribute.CLASS: SECRET,
            Attribute.KEY_TYPE: KeyType.DES2,
            Attribute.VALUE: value_of(NAMES["p0-tdes-b"]),
            Attribute.TOKEN: True,
            Attribute.LABEL: key_id,
            Attribute.ID: key_id.encode(),
            Attribute.ENCRYPT: True,
            **{Attribute[name]: value for name, value in changes.items()},
        }
    )


def test_no_key_can_be_removed_to_make_room(served: Service) -> None:
    with served.token() as token, session_of(token) as session:
        for entry in served.keyring.keys:
            for each in list(session.get_objects({Attribute.LABEL: entry.id})):
                with pytest.raises(PKCS11Error) as refused:
                    each.destroy()
                assert return_value(refused.value).name == "CKR_ACTION_PROHIBITED"
        assert inspect(session, served.keyring) == ()


def test_an_object_under_the_name_of_any_key_is_named(served: Service) -> None:
    """Beside a secret key it is a second one; beside others, no such object is foreseen."""
    with served.token() as token, session_of(token) as session:
        for entry in served.keyring.keys:
            impostor(session, entry.id)
        found = inspect(session, served.keyring)
    told = {(each.key_id, each.attribute) for each in found}
    for entry in served.keyring.keys:
        is_secret = entry.role.operative is SECRET
        assert (entry.id, "SECRET_KEY objects" if is_secret else "object") in told


def test_a_running_service_never_takes_an_object_for_its_key(served: Service) -> None:
    """While it holds the handle it goes on with its own key; then it has none, not the other."""
    device = Device.open(served.location, served.keyring)
    try:
        before = device.encipher(KEY, bytes(8), timeout=5)
        with session_of(device._link._session.token) as session:
            impostor(session, KEY)
        assert device.encipher(KEY, bytes(8), timeout=5) == before
        close_all_sessions(device, cryptoki(served.location))
        with pytest.raises(KeySealed):
            device.encipher(KEY, bytes(8), timeout=5)
        assert device.sealed_keys == {KEY}
        assert device.encipher(OTHER_KEY, bytes(16), timeout=5)
    finally:
        device.close()
    with pytest.raises(InspectionFailed, match=f"{KEY}: SECRET_KEY objects is 2"):
        Device.open(served.location, served.keyring)


@pytest.mark.parametrize("trusted", [True, False])
def test_not_even_a_key_that_the_officer_trusts_takes_one_out(
    served: Service, trusted: bool
) -> None:
    """The security officer alone can make a wrapping key trusted: that lifts WRAP_WITH_TRUSTED,
    and gets a key whose template says no more; EXTRACTABLE keeps the service's."""
    _by_the_officer(served, trusted=trusted)
    with served.token() as token, session_of(token) as session:
        template = {Attribute.EXTRACTABLE: True, Attribute.WRAP_WITH_TRUSTED: True}
        loose = impostor(session, "loose", TOKEN=False, **{k.name: v for k, v in template.items()})
        thief = Thief.choose(session, "trojan", NAMES["p0-aes-b"].family)
        if trusted:
            assert thief.carry_off(loose, thief.key) == value_of(NAMES["p0-tdes-b"])
        else:
            assert _refusal(thief, loose) == "CKR_KEY_NOT_WRAPPABLE"
        for entry in served.keyring.keys:
            if entry.role.operative is not PUBLIC:
                kept = Thief.choose(session, entry.id, entry.algorithm.family)
                assert _refusal(thief, kept.key) == "CKR_KEY_UNEXTRACTABLE"
        strangers = [each for each in inspect(session, served.keyring) if each.key_id == "trojan"]
    assert ("TRUSTED" in {each.attribute for each in strangers}) is trusted


def _refusal(thief: Thief, key: Any) -> str:
    with pytest.raises(PKCS11Error) as refused:
        thief.carry_off(key, thief.key)
    return return_value(refused.value).name


def _by_the_officer(served: Service, *, trusted: bool) -> None:
    """Have a known wrapping key made by the security officer, who sees public objects alone."""
    library = Library.load(served.location.module)
    token = tokens.find(library, served.location)
    pin = served.location.pin_file.with_name("so.pin").read_text().strip()
    session = token.open(rw=True, so_pin=pin, attribute_mapper=attributes.mapper())
    session.create_object(
        {
            Attribute.CLASS: SECRET,
            Attribute.KEY_TYPE: KeyType.AES,
            Attribute.VALUE: TROJAN,
            Attribute.TOKEN: True,
            Attribute.PRIVATE: False,
            Attribute.LABEL: "trojan",
            Attribute.ID: b"trojan",
            Attribute.WRAP: True,
            Attribute.TRUSTED: trusted,
        }
    )
    session.close()
    library.close()
