"""Each verb asks what it should, repeats only what it may, and shows nothing in a repr."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
from protovalidate import Validator

from pinvault import client
from pinvault.client import (
    Dukpt,
    Ibm3624Offset,
    Ibm3624Scheme,
    ItemStatus,
    NaturalPin,
    PackedPins,
    PinBlock,
    PinColumn,
    PinvaultError,
    RandomPin,
    SealedPin,
    StoredBlock,
    ToEnvelope,
    ToPinBlock,
    Vault,
    VisaPvv,
    VisaPvvScheme,
)
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.conftest import PAN
from tests.unit.client.support import Away, Server, reply_to, requests, vault

BLOCK = PinBlock(key="zpk", format="ISO_3", ciphertext=b"\xc5" * 8, pan=PAN)
DUKPT = Dukpt(key_serial_number=b"\xd7" * 12, working_key="AES_128")
ONCE = replace(BLOCK, dukpt=DUKPT)
SEALED = SealedPin(profile="sealed-pin", ciphertext=b"\xe3" * 128, pan=PAN)
TO = ToPinBlock(key="zpk", format="ISO_3", pan=PAN)
TO_ONCE = replace(TO, dukpt=DUKPT)
OUT = ToEnvelope(profile="partner", pan=PAN)
PVV = VisaPvv(scheme="visa", key_index=0, value="8642")
OFFSET = Ibm3624Offset(scheme="ibm", value="9753")
VISA = VisaPvvScheme(name="visa", key_index=6)
IBM = Ibm3624Scheme(name="ibm")
COLUMN = PinColumn(key="zpk", format="ISO_3")
SCRIPT = {
    "script": "mchip",
    "pan": PAN,
    "application_cryptogram": bytes(8),
    "message_data": bytes.fromhex("8424000210"),
}

# Verb, whether it may be said twice, and the call.
CALLS: tuple[tuple[str, bool, Callable[[Vault], object]], ...] = (
    ("EncryptPin", True, lambda v: v.encrypt_pin(BLOCK, to=TO)),
    ("EncryptPin", True, lambda v: v.encrypt_pin(BLOCK, to=OUT)),
    ("EncryptPin", False, lambda v: v.encrypt_pin(SEALED, to=TO)),
    ("EncryptPin", False, lambda v: v.encrypt_pin(BLOCK, to=TO_ONCE)),
    (
        "EncryptPinChange",
        True,
        lambda v: v.encrypt_pin_change(profile="p", pan=PAN, new_pin=BLOCK, old_pin=None),
    ),
    (
        "EncryptPinChange",
        False,
        lambda v: v.encrypt_pin_change(profile="p", pan=PAN, new_pin=BLOCK, old_pin=SEALED),
    ),
    ("TranslatePin", True, lambda v: v.translate_pin(BLOCK, to=TO)),
    ("TranslatePin", False, lambda v: v.translate_pin(ONCE, to=TO)),
    ("TranslatePin", False, lambda v: v.translate_pin(BLOCK, to=TO_ONCE)),
    (
        "TranslatePinBatch",
        True,
        lambda v: v.translate_pins([(PAN, bytes(8))], source=COLUMN, to=COLUMN),
    ),
    ("VerifyPin", True, lambda v: v.verify_pin(BLOCK, pan=PAN, reference=PVV)),
    ("VerifyPin", True, lambda v: v.verify_pin(BLOCK, pan=PAN, reference=BLOCK)),
    ("VerifyPin", False, lambda v: v.verify_pin(SEALED, pan=PAN, reference=OFFSET)),
    ("VerifyPin", False, lambda v: v.verify_pin(BLOCK, pan=PAN, reference=ONCE)),
    (
        "GenerateVerificationValue",
        True,
        lambda v: v.generate_verification_value(BLOCK, pan=PAN, scheme=VISA),
    ),
    (
        "GenerateVerificationValue",
        False,
        lambda v: v.generate_verification_value(ONCE, pan=PAN, scheme=IBM),
    ),
    (
        "ChangeVerificationValue",
        True,
        lambda v: v.change_verification_value(
            pan=PAN, current_pin=BLOCK, new_pin=BLOCK, reference=PVV
        ),
    ),
    (
        "ChangeVerificationValue",
        False,
        lambda v: v.change_verification_value(
            pan=PAN, current_pin=BLOCK, new_pin=SEALED, reference=OFFSET
        ),
    ),
    (
        "ChangeVerificationValue",
        False,
        lambda v: v.change_verification_value(
            pan=PAN,
            current_pin=BLOCK,
            new_pin=BLOCK,
            reference=StoredBlock(current=BLOCK, to=TO_ONCE),
        ),
    ),
    (
        "GeneratePin",
        False,
        lambda v: v.generate_pin(pan=PAN, method=RandomPin(length=4), to=TO, scheme=VISA),
    ),
    (
        "GeneratePin",
        False,
        lambda v: v.generate_pin(pan=PAN, method=NaturalPin(scheme="ibm"), to=OUT),
    ),
    ("GeneratePin", False, lambda v: v.generate_pin(pan=PAN, method=OFFSET, to=OUT)),
    (
        "EncryptPinChangeScript",
        True,
        lambda v: v.encrypt_pin_change_script(**SCRIPT, new_pin=BLOCK),
    ),
    (
        "EncryptPinChangeScript",
        False,
        lambda v: v.encrypt_pin_change_script(**SCRIPT, new_pin=BLOCK, current_pin=SEALED),
    ),
)
EVERY_CALL = pytest.mark.parametrize(
    ("verb", "twice", "say"), CALLS, ids=[f"{at}-{verb}" for at, (verb, _, _) in enumerate(CALLS)]
)


@EVERY_CALL
def test_a_request_keeps_the_contract(
    verb: str, twice: bool, say: Callable[[Vault], object]
) -> None:
    server = Server(reply_to(verb))
    say(vault(server))
    ((path, request),) = server.asked
    assert path == f"PinBlockService/{verb}"
    Validator().validate(request)


@EVERY_CALL
def test_only_what_uses_nothing_up_is_said_twice(
    verb: str, twice: bool, say: Callable[[Vault], object]
) -> None:
    server = Server(Away(), reply_to(verb))
    if twice:
        say(vault(server))
        assert len(server.asked) == 2
    else:
        with pytest.raises(PinvaultError):
            say(vault(server))
        assert len(server.asked) == 1


def test_every_verb_of_the_contract_has_a_method() -> None:
    verbs = {method.name for method in pb.DESCRIPTOR.services_by_name["PinBlockService"].methods}
    assert {verb for verb, _, _ in CALLS} == verbs


def test_a_wrong_pin_is_false_and_a_right_one_true() -> None:
    match, mismatch = resources_pb2.PIN_VERIFICATION_MATCH, resources_pb2.PIN_VERIFICATION_MISMATCH
    server = Server(*(pb.VerifyPinResponse(result=result) for result in (match, mismatch)))
    with vault(server) as opened:
        assert opened.verify_pin(BLOCK, pan=PAN, reference=PVV)
        assert not opened.verify_pin(BLOCK, pan=PAN, reference=PVV)
    changed = Server(*(pb.ChangeVerificationValueResponse(result=r) for r in (match, mismatch)))
    ask = {"pan": PAN, "current_pin": BLOCK, "new_pin": BLOCK, "reference": PVV}
    with vault(changed) as opened:
        assert opened.change_verification_value(**ask)
        wrong = opened.change_verification_value(**ask)
    assert not wrong
    assert (wrong.value, wrong.pin_block) == (None, None)


def test_a_batch_gives_a_status_an_item() -> None:
    reply = pb.TranslatePinBatchResponse(statuses=bytes([1, 2, 3, 4]), pin_blocks=b"A" * 32)
    server = Server(reply)
    done = vault(server).translate_pins(
        PackedPins(pin_blocks=bytes(32), pans=bytes(40)), source=COLUMN, to=COLUMN
    )
    assert done.statuses == tuple(ItemStatus)
    assert done.pin_blocks == (b"A" * 8, None, None, None)
    (request,) = requests(server)
    assert (request.pin_blocks, request.pans) == (bytes(32), bytes(40))


SECRETS = (PAN, "8642", "9753", "\\xc5", "\\xd7", "\\xe3")


@pytest.mark.parametrize(
    "shown",
    [
        *(BLOCK, ONCE, SEALED, TO, TO_ONCE, OUT, PVV, OFFSET, DUKPT),
        StoredBlock(current=ONCE, to=TO),
        PackedPins(pin_blocks=b"\xc5" * 8, pans=b"\xd7" * 10),
    ],
    ids=lambda shown: type(shown).__name__,
)
def test_a_repr_shows_no_ciphertext_pan_or_value(shown: object) -> None:
    assert not [secret for secret in SECRETS if secret in repr(shown)]


def answers() -> list[type[Any]]:
    found = [getattr(client, name) for name in client.__all__]
    return [each for each in found if is_dataclass(each) and "answers" in each.__module__]


@pytest.mark.parametrize("answer", answers(), ids=lambda answer: answer.__name__)
def test_an_answers_repr_shows_names_check_values_and_macs(answer: type[Any]) -> None:
    """A MAC goes over the wire in the clear; everything else that is made is left out."""
    made = {"pin_block", "envelope", "pin_field", "old_pin_field", "pin_blocks", "enciphered_pin"}
    for each in fields(answer):
        assert each.repr is (each.name not in made)
