"""Every published vector of `verification.json`, run through the code that it is about."""

from collections.abc import Mapping
from typing import Any

import pytest
from psec import des

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.verification import Encipher, ibm3624, pvv
from pinvault.model.pan import Pan
from pinvault.model.verification import Ibm3624Scheme, PinOffset, Pvv, ValidationLayout
from tests.support.published import Fields, Published

PUBLISHED = Published("verification.json")
VECTORS, RUNNERS, runs = PUBLISHED.vectors, PUBLISHED.runners, PUBLISHED.runs


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    PUBLISHED.run(vector)


def test_every_category_has_vectors_and_each_names_its_source() -> None:
    assert {vector["category"] for vector in VECTORS} == {"pvv", "ibm3624"}
    assert all(vector["source"] for vector in VECTORS)
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS)


def test_no_runner_waits_for_vectors_that_are_gone() -> None:
    assert set(RUNNERS) == {vector["operation"] for vector in VECTORS}


@runs("visa_pvv")
def _(given: Fields, expect: Fields) -> None:
    how = {"pan": Pan(given["pan"]), "encipher": cipher(given)}
    value = Pvv(value=expect["pvv"], key_index=int(given["pvki"]))
    assert pvv.pvv(pin_of(given), key_index=value.key_index, **how) == value
    assert pvv.verify(pin_of(given), value=value, **how)


@runs("pin_from_offset")
def _(given: Fields, expect: Fields) -> None:
    offset = PinOffset(value=given["offset"])
    how = everything(given, digits=len(offset.value))
    assert read(ibm3624.pin_from_offset(offset, **how)) == expect["pin"]
    assert ibm3624.offset(pin_of(expect), **how) == offset
    assert ibm3624.verify(pin_of(expect), offset=offset, **how)


@runs("offset")
def _(given: Fields, expect: Fields) -> None:
    offset = PinOffset(value=expect["offset"])
    how = everything(given, digits=len(offset.value))
    assert ibm3624.offset(pin_of(given), **how) == offset
    assert ibm3624.verify(pin_of(given), offset=offset, **how)


@runs("natural_and_offset")
def _(given: Fields, expect: Fields) -> None:
    how = everything(given, digits=len(expect["offset"]))
    cryptogram = how["encipher"](bytes.fromhex(given["validation_block"]))
    assert cryptogram.hex().upper() == expect["encrypted_validation"]
    assert read(ibm3624.natural_pin(**how)) == expect["natural_pin"]
    assert ibm3624.offset(pin_of(given), **how) == PinOffset(value=expect["offset"])


@runs("decimalize")
def _(given: Fields, expect: Fields) -> None:
    table = scheme(given, length := int(given["length"])).decimalisation_table
    decimal = ibm3624.decimalise(bytes.fromhex(given["encrypted_validation"]), table)
    assert decimal[:length].decode() == expect["intermediate_pin"]


def everything(given: Fields, digits: int) -> dict[str, Any]:
    """Give what the functions of IBM 3624 need, once the layout has been seen to make the block."""
    form, pan = scheme(given, digits), pan_of(given)
    assert form.validation.block(pan).hex().upper() == given["validation_block"]
    return {"pan": pan, "scheme": form, "encipher": cipher(given)}


def scheme(given: Fields, digits: int) -> Ibm3624Scheme:
    """Put a vector's parameters into a scheme; its validation data are all of a PAN, padded."""
    return Ibm3624Scheme(
        name="vector",
        key="pvk",
        decimalisation_table=given["decimalization_table"],
        validation=ValidationLayout(
            template=given.get("validation_data_field", "{first16}"), pad=given.get("pad", "F")
        ),
        check_length=digits,
        pin_length=digits,
    )


def pan_of(given: Fields) -> Pan:
    if "account12" in given:
        return Pan(given["account12"] + "0")
    return Pan(given.get("validation_data", given["validation_block"].rstrip("F")))


def cipher(given: Fields) -> Encipher:
    key = (bytes.fromhex(given["pvk"]) * 3)[:24]  # single and double length as triple
    return lambda block: des.encrypt_tdes_ecb(key, block)


def pin_of(given: Fields) -> Pin:
    return Pin(given["pin"].encode())


def read(pin: Pin) -> str:
    with pin:
        return digits_of(pin).decode()
