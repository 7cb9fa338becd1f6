"""Attack: find a PIN through the decimalisation table (Bond and Zielinski, UCAM-CL-TR-560).

Whoever may choose the table finds a PIN of four digits in some 25 tries in place of 5,000. Here
no call can bring a table, the configuration refuses the tables that the attack needs, and what
is left to choose, the offset, tells of one PIN a try, as guessing does.
"""

import random
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
from google.protobuf import message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from msgspec import ValidationError, convert
from protovalidate import Validator

from pinvault.config.verification import Ibm3624
from pinvault.policy.limits import parse_rate
from pinvault.policy.translation import Permission
from pinvault.v1 import key_pb2, pin_block_pb2
from tests.support.attack import PAN, attacker, generate_value, matches, offset, pb, verify
from tests.support.core import Setting

IDENTITY = "0123456789012345"
LIMIT = 10
Naive = Callable[[str, str], bool]


def lopsided(digits: set[str]) -> str:
    """Give the table that maps these digits to 1 and all others to 0."""
    return "".join("1" if each in digits else "0" for each in IDENTITY)


def naive(natural: str) -> Naive:
    """Stand in for a service that takes the table from the call: does the PIN match by it?"""
    return lambda pin, table: pin == "".join(table[int(digit)] for digit in natural)


def find(asks: Naive) -> tuple[str, int]:
    """Find the natural PIN: which digits are in it, then where each of them is."""
    tries, found = 0, ["?"] * 4
    for digit in IDENTITY[:10]:
        table, tries = lopsided({digit}), tries + 1
        if asks("0000", table):
            continue
        free = [at for at in range(4) if found[at] == "?"]
        for marks in product("01", repeat=len(free)):
            if "1" not in marks:
                continue
            places = dict(zip(free, marks, strict=True))
            tries += 1
            if asks("".join(places.get(at, "0") for at in range(4)), table):
                for at, mark in places.items():
                    found[at] = digit if mark == "1" else found[at]
                break
    return "".join(found), tries


def test_the_attack_is_real_against_a_service_that_takes_a_table() -> None:
    rng = random.Random(2003)
    naturals = [f"{rng.randrange(10_000):04}" for _ in range(300)]
    found = [find(naive(natural)) for natural in naturals]
    assert [pin for pin, _ in found] == naturals
    tries = [count for _, count in found]
    assert max(tries) <= 36
    assert sum(tries) / len(tries) < 30


@pytest.mark.parametrize("digits", range(1, 10))
def test_the_configuration_refuses_the_tables_of_the_attack(digits: int) -> None:
    section = {"kind": "ibm-3624", "key": "offset", "validation": "{last16}"}
    table = lopsided(set(IDENTITY[:digits]))
    with pytest.raises(ValueError, match="8 different digits, each at most 4 times"):
        convert(section | {"decimalisation_table": table}, Ibm3624).to_model("ibm")
    convert(section | {"decimalisation_table": IDENTITY}, Ibm3624).to_model("ibm")


@pytest.mark.parametrize("table", ["", "0" * 15, "0" * 17, "012345678901234A", "\u0660" * 16])
def test_a_table_has_sixteen_decimal_digits(table: str) -> None:
    section = {"kind": "ibm-3624", "key": "offset", "validation": "{last16}"}
    with pytest.raises((ValueError, ValidationError)):
        convert(section | {"decimalisation_table": table}, Ibm3624).to_model("ibm")


# What a caller of a verifying method can say at all: every leaf of its request. A new one fails
# here until somebody has asked whether it steers a computation.
CAN_SAY = {
    *("key", "key_index", "key_serial_number", "working_key_algorithm", "name", "profile"),
    *("pan", "ciphertext", "card_id", "pvv", "offset", "length", "script"),
    *("pan_sequence_number", "application_cryptogram", "message_data"),
    *("format", "pin_blocks", "pans"),
}


def leaves(message: Descriptor, seen: frozenset[str] = frozenset()) -> Iterator[FieldDescriptor]:
    for field in message.fields:
        if field.message_type is None:
            yield field
        elif field.message_type.full_name not in seen:
            yield from leaves(field.message_type, seen | {message.full_name})


def requests() -> list[Descriptor]:
    service = pin_block_pb2.DESCRIPTOR.services_by_name["PinBlockService"]
    return [method.input_type for method in service.methods]


@pytest.mark.parametrize("request_type", requests(), ids=lambda each: each.name)
def test_no_call_has_a_place_for_a_table_or_a_layout(request_type: Descriptor) -> None:
    said = {field.name for field in leaves(request_type)}
    assert said <= CAN_SAY
    assert not any(field.type == FieldDescriptor.TYPE_GROUP for field in leaves(request_type))


@pytest.mark.parametrize("request_type", requests(), ids=lambda each: each.name)
def test_no_string_but_a_pan_takes_the_sixteen_digits_of_a_table(request_type: Descriptor) -> None:
    validator = Validator()
    for field in leaves(request_type):
        if field.type != FieldDescriptor.TYPE_STRING or field.name == "pan":
            continue
        for table in (IDENTITY, lopsided({"1"}), "8351296477461538"):
            message = message_factory.GetMessageClass(field.containing_type)()
            setattr(message, field.name, table)
            broken = validator.collect_violations(message)
            assert any(field.name == rule.proto.field.elements[0].field_name for rule in broken)


def test_keys_have_no_such_place_either() -> None:
    service = key_pb2.DESCRIPTOR.services_by_name["KeyService"]
    said = {field.name for method in service.methods for field in leaves(method.input_type)}
    telling = {"key", "usage", "page_size", "page_token", "name"}
    changing = {"key_block", "kbpk", "version", "algorithm", "mode_of_use", "exportable"}
    wrapped = {"wrapping_key", "wrapped_key", "check_value"}
    assert said <= telling | changing | wrapped | {"seconds", "nanos"}


def test_the_offset_tells_of_one_pin_a_try(tmp_path: Path) -> None:
    """PIN and offset are free, and only their difference counts: 10,000 candidates, one a try."""
    leave = frozenset({Permission.CHOSEN_PIN_TO_OFFSET})
    someone = attacker(tmp_path, Setting(translations=leave))
    made = someone.ask("GenerateVerificationValue", generate_value(someone.sealed("0000"), "ibm"))
    value = pb.GenerateVerificationValueResponse.FromString(made.answer).verification_value
    natural = [-int(digit) % 10 for digit in value.ibm_3624_offset.offset]
    rng = random.Random(560)
    for _ in range(150):
        pin, shift = ([rng.randrange(10) for _ in range(4)] for _ in range(2))
        if rng.random() < 0.5:
            pin = [(digit + by) % 10 for digit, by in zip(natural, shift, strict=True)]
        difference = [(digit - by) % 10 for digit, by in zip(pin, shift, strict=True)]
        block = someone.block("".join(map(str, pin)))
        told = someone.ask("VerifyPin", verify(block, offset("".join(map(str, shift)))))
        assert matches(told) is (difference == natural)
        assert told.hsm == (("decipher", 1), ("encipher", 1))


def test_tries_by_way_of_the_offset_end_at_the_rate(tmp_path: Path) -> None:
    someone = attacker(tmp_path, Setting(per_pan=parse_rate(f"{LIMIT}/h")))
    stolen = someone.block("7392")
    told = [someone.ask("VerifyPin", verify(stolen, offset(f"{n:04}"))) for n in range(60)]
    assert [each.reason for each in told[:LIMIT]] == ["OK"] * LIMIT
    assert {(each.reason, each.hsm) for each in told[LIMIT:]} == {("PAN_RATE_EXCEEDED", ())}
    assert PAN.encode() not in b"".join(each.answer for each in told)
