"""Verification values under keys of an HSM, against psec: one call each, in time."""

from contextlib import suppress

import psec.pin
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.errors import HsmUnavailable
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import (
    Method,
    OffsetMethod,
    OffsetReference,
    PvvMethod,
    PvvReference,
    ValueReference,
)
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.values import Values
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.verification import (
    Ibm3624Scheme,
    PinOffset,
    Pvv,
    ValidationLayout,
    VisaPvvScheme,
)
from tests.conftest import PAN
from tests.support.software_device import SoftwareDevice, held, key

PVK, OTHER_PVK = (key(name, "V2", "TDES_3KEY", "C") for name in ("pvk", "pvk-other"))
OFFSETS = key("offset", "V1", "TDES_3KEY", "C")
SECRETS = {
    PVK: bytes.fromhex("0123456789ABCDEFFEDCBA98765432100123456789ABCDEF"),
    OTHER_PVK: bytes.fromhex("13345779133457799BBCDFF11334577913345779133457F1"),
    OFFSETS: bytes.fromhex("FEDCBA98765432100123456789ABCDEFFEDCBA9876543210"),
}
TABLE = "0123456789012345"
VISA = VisaPvvScheme(name="visa", keys={1: PVK.name, 2: OTHER_PVK.name})
bounded = settings(max_examples=50)

pans = st.text("0123456789", min_size=16, max_size=19)
lengths = st.integers(min_value=4, max_value=12)


def scheme(digits: int = 4) -> Ibm3624Scheme:
    return Ibm3624Scheme(
        name="ibm",
        key=OFFSETS.name,
        decimalisation_table=TABLE,
        validation=ValidationLayout(template="{first16}"),
        check_length=digits,
        pin_length=digits,
    )


def pvv(index: int = 1) -> PvvMethod:
    return PvvMethod(scheme=VISA, key={1: PVK, 2: OTHER_PVK}[index], key_index=index)


def offset(digits: int = 4) -> OffsetMethod:
    return OffsetMethod(scheme=scheme(digits), key=OFFSETS)


@pytest.fixture(scope="module")
def device() -> SoftwareDevice:
    return SoftwareDevice(held(each, secret) for each, secret in SECRETS.items())


def of(device: SoftwareDevice, digits: str, method: Method, pan: str = PAN) -> Pvv | PinOffset:
    return Values(device).of(
        Pin(digits.encode()), method, pan=Pan(pan), deadline=Deadline.after(60)
    )


def match(device: SoftwareDevice, digits: str, reference: ValueReference, pan: str = PAN) -> bool:
    return Values(device).match(
        Pin(digits.encode()), reference, pan=Pan(pan), deadline=Deadline.after(60)
    )


@bounded
@given(digits=st.text("0123456789", min_size=4, max_size=12), pan=pans)
@pytest.mark.parametrize("index", [1, 2])
def test_a_pvv_is_that_of_its_keys_index(
    device: SoftwareDevice, index: int, digits: str, pan: str
) -> None:
    method = pvv(index)
    expected = psec.pin.generate_visa_pvv(SECRETS[method.key], str(index), digits[:4], pan)
    made = of(device, digits, method, pan)
    assert made == Pvv(value=expected, key_index=index)
    assert match(device, digits, PvvReference(method=method, value=made), pan)


@bounded
@given(data=st.data(), length=lengths, pan=pans)
def test_offset_and_pin_lead_to_each_other(
    device: SoftwareDevice, data: st.DataObject, length: int, pan: str
) -> None:
    digits = data.draw(st.text("0123456789", min_size=length, max_size=length))
    method = offset(length)
    expected = psec.pin.generate_ibm3624_offset(SECRETS[OFFSETS], TABLE, digits, pan, 0, 16, "F")
    made = of(device, digits, method, pan)
    assert made == PinOffset(value=expected)
    assert match(device, digits, OffsetReference(method=method, value=made), pan)
    values, how = Values(device), {"pan": Pan(pan), "deadline": Deadline.after(60)}
    with values.pin_from_offset(method, made, **how) as pin:
        assert digits_of(pin).decode() == digits
    zeros = psec.pin.generate_ibm3624_pin(SECRETS[OFFSETS], TABLE, "0" * length, pan, 0, 16, "F")
    with values.natural_pin(method, **how) as natural:
        assert digits_of(natural).decode() == zeros


@bounded
@given(digits=st.text("0123456789", min_size=4, max_size=4), step=st.integers(1, 9999))
def test_another_value_is_not_the_pins(device: SoftwareDevice, digits: str, step: int) -> None:
    for method in (pvv(), offset()):
        made = of(device, digits, method)
        other = f"{(int(made.value) + step) % 10_000:04d}"
        reference = (
            PvvReference(method=method, value=Pvv(value=other, key_index=1))
            if isinstance(method, PvvMethod)
            else OffsetReference(method=method, value=PinOffset(value=other))
        )
        assert not match(device, digits, reference)


def test_a_pin_of_another_length_has_no_offset_and_matches_none(device: SoftwareDevice) -> None:
    """The HSM is asked as often, so that the time tells nothing."""
    made = of(device, "7392", offset())
    assert isinstance(made, PinOffset)
    for use in (
        lambda: of(device, "73920", offset()),
        lambda: match(device, "73920", OffsetReference(method=offset(), value=made)),
    ):
        device.calls.clear()
        with suppress(Malformed):
            assert use() is False
        assert device.calls == {"encipher": 1}


@pytest.mark.parametrize("method", [pvv(), offset()], ids=["PVV", "offset"])
def test_each_value_is_one_call_of_the_hsm(device: SoftwareDevice, method: Method) -> None:
    device.calls.clear()
    of(device, "7392", method)
    assert device.calls == {"encipher": 1}


@pytest.mark.parametrize("method", [pvv(), offset()], ids=["PVV", "offset"])
def test_nothing_starts_after_the_deadline(device: SoftwareDevice, method: Method) -> None:
    device.calls.clear()
    with pytest.raises(Refusal) as caught:
        Values(device).of(Pin(b"7392"), method, pan=Pan(PAN), deadline=Deadline.after(-1))
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert not device.calls


def test_an_hsm_that_is_away_is_not_hidden(device: SoftwareDevice) -> None:
    device.failure = HsmUnavailable
    try:
        with pytest.raises(HsmUnavailable):
            of(device, "7392", pvv())
    finally:
        device.failure = None
