"""Whatever goes wrong is an HsmError, and tells no one what the arguments were."""

import inspect
import traceback
from collections.abc import Callable
from enum import Enum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.pyhsm.hsmclient import HsmClient
from hsm.pyhsm.hsmenums import HsmAttribute, HsmMech, HsmSymKeyType
from hsm.pyhsm.hsmerror import HsmError

SECRET = "4711-secret"
AES_GCM = 0x1087
METHODS = {
    name: method
    for name, method in inspect.getmembers(HsmClient, inspect.isfunction)
    if not name.startswith("_")
}
WITHOUT_A_SESSION = {
    *("open_session", "close_session", "close", "logout"),
    *("get_slot_count", "get_token_count", "get_slot_info", "get_mechanism_info"),
}
PARAMETERS = [
    pytest.param(name, parameter.name, id=f"{name}-{parameter.name}")
    for name in sorted(METHODS)
    for parameter in inspect.signature(METHODS[name]).parameters.values()
    if parameter.name != "self"
]


VALUES = (1, "label", b"value", HsmSymKeyType.AES, HsmAttribute.LABEL)


class Foreign(Enum):
    """No parameter takes one of these."""

    MEMBER = SECRET


def a_value(parameter: inspect.Parameter) -> object:
    """Something of the right type for a parameter without a default."""
    kind = parameter.annotation
    taken = {kind, *getattr(kind, "__args__", ())}
    return next(value for value in VALUES if type(value) in taken)


def arguments(name: str) -> dict[str, object]:
    """The least that a method can be called with."""
    parameters = inspect.signature(METHODS[name]).parameters.values()
    return {
        parameter.name: a_value(parameter)
        for parameter in parameters
        if parameter.default is inspect.Parameter.empty and parameter.name != "self"
    }


def is_discreet(error: BaseException) -> bool:
    """Whether nothing of the arguments is in what is printed, nor in what is chained."""
    chained = error.__cause__ or error.__context__
    printed = "".join(traceback.format_exception_only(error)) + repr(error) + str(vars(error))
    return chained is None and SECRET not in printed


def refusal(call: Callable[[], object]) -> HsmError | None:
    """The refusal of a call; None when it succeeds."""
    try:
        call()
    except HsmError as error:
        return error
    return None


@pytest.mark.parametrize(("name", "parameter"), PARAMETERS)
def test_an_argument_of_another_type_is_refused(client, name, parameter):
    with pytest.raises(HsmError, match=f"{parameter} must be of type") as caught:
        getattr(client, name)(**{**arguments(name), parameter: Foreign.MEMBER})
    assert is_discreet(caught.value)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [
        *[("sign", "data"), ("verify", "signature"), ("encrypt", "data"), ("decrypt", "data")],
        *[("digest", "data"), ("seed_random", "seed"), ("create_secret_key", "key_label")],
        *[("import_data_object", "value"), ("import_rsa_public_key", "modulus")],
        *[("get_object_handle", "label"), ("unwrap_secret_key", "key_data")],
    ],
)
def test_an_empty_argument_is_refused(client, name, parameter):
    given = arguments(name)
    with pytest.raises(HsmError, match=f"{parameter} must not be empty"):
        getattr(client, name)(**{**given, parameter: type(given[parameter])()})


@pytest.mark.parametrize("name", sorted(set(METHODS) - WITHOUT_A_SESSION))
def test_nothing_else_works_without_a_session(at, name):
    other = HsmClient(pkcs11_lib=at.module)
    with pytest.raises(HsmError, match=r"open_session|must have") as caught:
        getattr(other, name)(**arguments(name))
    assert is_discreet(caught.value)


@given(
    mechanism=st.integers(-1, 2**65) | st.integers(0, 0x2200) | st.sampled_from(list(HsmMech)),
    handle=st.integers(-1, 2**65) | st.integers(0, 8),
    data=st.binary(min_size=1, max_size=64),
    iv=st.binary(max_size=64),
)
def test_no_mechanism_and_no_handle_raises_anything_else(client, mechanism, handle, data, iv):
    calls = (
        lambda: client.sign(handle, data, mechanism, len(iv)),
        lambda: client.verify(handle, data, iv or b"\x00", mechanism, len(iv)),
        lambda: client.encrypt(handle, data, mechanism, iv),
        lambda: client.decrypt(handle, data, mechanism, iv),
        lambda: client.digest(data, mechanism),
        lambda: client.wrap_key(handle, handle, mechanism, iv),
        lambda: client.unwrap_secret_key(handle, mechanism, iv, "u", data, token=False),
        lambda: client.get_attribute_value(handle),
        lambda: client.destroy_object(handle),
    )
    assert all(map(is_discreet, filter(None, map(refusal, calls))))


@given(bits=st.integers(-(2**65), 2**65))
def test_no_length_raises_anything_else(client, bits):
    def make():
        client.create_secret_key("length", key_size_in_bits=bits, token=False, overwrite=True)

    refused = refusal(make)
    assert bits // 8 in (16, 24, 32) if refused is None else is_discreet(refused)


@pytest.mark.parametrize(
    "pin",
    [SECRET, SECRET.encode(), SECRET + "\udcff", SECRET.encode() + b"\xff", "", b""],
    ids=["text", "bytes", "no Unicode", "no UTF-8", "empty text", "no bytes"],
)
def test_a_refused_pin_is_not_told(client, at, pin):
    client.logout()
    for attempt in (
        lambda: client.login(pin),
        lambda: HsmClient(slot=at.slot, pin=pin, pkcs11_lib=at.module),
    ):
        with pytest.raises(HsmError) as caught:
            attempt()
        assert is_discreet(caught.value)
    client.login(at.pin)
    for old, new in ((pin, at.pin), (at.pin, SECRET + "\udcff")):
        with pytest.raises(HsmError) as caught:
            client.set_pin(old, new)
        assert is_discreet(caught.value)


@pytest.mark.parametrize("path", ["/nowhere/libpyhsm.so", __file__])
def test_what_is_no_library_is_refused(path):
    with pytest.raises(HsmError, match="PKCS#11 module"):
        HsmClient(pkcs11_lib=path)


def test_an_unknown_slot_is_refused_with_the_way_out(client):
    other = client.slotNumber + 1
    with pytest.raises(HsmError, match="slotNumber of get_slot_info"):
        client.get_mechanism_info(other)


def test_a_second_login_is_refused_with_the_way_out(client, at):
    with pytest.raises(HsmError, match=r"CKR_USER_ALREADY_LOGGED_IN; .*share the client"):
        at.client()
    assert client.generate_random()


def test_a_second_session_is_refused(client, at):
    with pytest.raises(HsmError, match="close_session"):
        client.open_session(at.slot)


def test_a_label_that_is_taken_stays(client):
    key = client.create_secret_key("taken", token=False)
    with pytest.raises(HsmError, match="overwrite"):
        client.create_secret_key("taken", token=False)
    assert client.get_object_handle("taken") == key


def test_what_is_refused_here_destroys_nothing(client):
    def kept(**more):
        return {"key_label": "kept", "token": False, "overwrite": True, **more}

    key = client.create_secret_key(**kept())
    wrapped = {"wrap_key_handle": key, "wrap_key_iv": b"", "key_data": bytes(40)}
    aes = {"key_type": HsmSymKeyType.AES, "clear_key_data": bytes(16)}
    for call in (
        lambda: client.create_secret_key(**kept(key_size_in_bits=-8)),
        lambda: client.unwrap_secret_key(**kept(wrap_key_mech=AES_GCM, **wrapped)),
        lambda: client.unwrap_secret_key(**kept(wrap_key_mech=1, key_size_in_bits=-8, **wrapped)),
        lambda: client.unwrap_private_key(**kept(wrap_key_mechanism=AES_GCM, **wrapped)),
        lambda: client.import_secret_key(**kept(key_size_in_bits=256, **aes)),
        lambda: client.create_rsa_key_pair("kept", "k\xe9pt", overwrite=True),
        lambda: client.create_rsa_key_pair("kept", "other", key_length=-1, overwrite=True),
    ):
        assert refusal(call)
        assert client.get_object_handle("kept") == key
