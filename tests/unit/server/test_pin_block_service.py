"""PinBlockService: what each method answers is in the contract, whole, and names its keys."""

import re

import pytest

from pinvault.model.batch import ItemStatus
from pinvault.model.pins import Format
from pinvault.server.pin_block_service import PinBlockService
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.unit.operations.support import (
    PAN,
    World,
    envelope,
    ibm,
    offset_of,
    partner_reads,
    pin_of,
    pvv_of,
    to_block,
    to_partner,
    value,
    visa,
)
from tests.unit.server.requests import (
    NEW,
    PIN,
    a_block,
    a_block_target,
    a_scheme,
    a_source,
    a_target,
    a_value,
    an_offset,
    answer,
    to_batch,
    to_change,
    to_change_a_block,
    to_generate,
    to_script,
    to_verify,
)

WRONG = "7393"
MATCH, MISMATCH = (resources_pb2.PIN_VERIFICATION_MATCH, resources_pb2.PIN_VERIFICATION_MISMATCH)


def uses(*keys: resources_pb2.KeyUse) -> list[str]:
    assert all(re.fullmatch("[0-9A-F]{6}", each.check_value) for each in keys)
    return [f"{each.name}/{each.version}" for each in keys]


# Answers


def test_encrypt_pin(world: World) -> None:
    target = to_block("zpk-aes", Format.ISO_4)
    reply = answer(
        world, pb.EncryptPinRequest(source=a_source(envelope(PIN)), target=a_target(target))
    )
    assert world.pin_in(reply.pin_block, target, "zpk-aes/1") == PIN
    assert uses(reply.source_key, reply.target_key) == ["pin-seal/10", "zpk-aes/1"]
    reply = answer(
        world,
        pb.EncryptPinRequest(source=a_source(world.block()), target=a_target(to_partner())),
    )
    assert partner_reads(reply.envelope) == PIN


@pytest.mark.parametrize("old", [PIN, None])
def test_encrypt_pin_change(world: World, old: str | None) -> None:
    request = pb.EncryptPinChangeRequest(
        profile="partner", pan=PAN, new_source=a_source(envelope(NEW))
    )
    if old is not None:
        request.old_source.CopyFrom(a_source(world.block(digits=old)))
    reply = answer(world, request)
    assert partner_reads(reply.pin_field) == NEW
    assert (partner_reads(reply.old_pin_field) if old else reply.old_pin_field or None) == old
    assert uses(*reply.source_keys) == ["pin-seal/10", "zpk/3"][: 1 if old is None else 2]
    assert uses(reply.target_key) == ["partner/1"]


def test_translate_pin(world: World) -> None:
    target = to_block("zpk-aes", Format.ISO_4)
    reply = answer(
        world,
        pb.TranslatePinRequest(
            source=a_block(world.block(Format.ISO_3)), target=a_block_target(target)
        ),
    )
    assert world.pin_in(reply.pin_block, target, "zpk-aes/1") == PIN
    assert uses(reply.source_key, reply.target_key) == ["zpk/3", "zpk-aes/1"]


def test_translate_pin_batch(world: World) -> None:
    reply = answer(world, to_batch(world))
    assert list(reply.statuses) == [
        pb.TRANSLATE_PIN_BATCH_STATUS_DONE,
        pb.TRANSLATE_PIN_BATCH_STATUS_REFUSED,
        pb.TRANSLATE_PIN_BATCH_STATUS_PAN_MALFORMED,
        pb.TRANSLATE_PIN_BATCH_STATUS_ACCOUNT_REPEATED,
    ]
    target = to_block("zpk-aes", Format.ISO_4)
    assert world.pin_in(reply.pin_blocks[:16], target, "zpk-aes/1") == PIN
    assert reply.pin_blocks[16:] == bytes(48)
    assert uses(reply.source_key, reply.target_key) == ["zpk/3", "zpk-aes/1"]


def test_every_status_of_an_item_has_a_number_of_its_own_in_the_contract() -> None:
    numbers = {number for name, number in pb.TranslatePinBatchStatus.items() if number}
    assert len(numbers) == len(ItemStatus)


@pytest.mark.parametrize(("digits", "result"), [(PIN, MATCH), (WRONG, MISMATCH)])
def test_verify_pin(world: World, digits: str, result: int) -> None:
    by_value = answer(world, to_verify(world, digits))
    assert by_value.result == result
    assert uses(by_value.source_key, by_value.reference_key) == ["zpk/3", "pvk/1"]
    request = to_verify(world, digits)
    request.pin_block.CopyFrom(a_block(world.block(Format.ISO_4, under="zpk-aes/1")))
    by_block = answer(world, request)
    assert by_block.result == result
    assert uses(by_block.source_key, by_block.reference_key) == ["zpk/3", "zpk-aes/1"]


@pytest.mark.parametrize(
    ("scheme", "digits", "under"),
    [(visa(2), pvv_of(PIN, index=2), "pvk-make/1"), (ibm(), offset_of(PIN), "offset/1")],
    ids=["PVV", "offset"],
)
def test_generate_verification_value(world: World, scheme, digits: str, under: str) -> None:
    reply = answer(
        world,
        pb.GenerateVerificationValueRequest(
            source=a_source(world.block()), pan=PAN, scheme=a_scheme(scheme)
        ),
    )
    assert reply.verification_value == a_value(value(scheme, digits))
    assert uses(reply.source_key, reply.verification_key) == ["zpk/3", under]


def test_change_verification_value(world: World) -> None:
    reply = answer(world, to_change(world))
    assert reply.result == MATCH
    assert reply.verification_value == a_value(value(ibm(), offset_of(NEW)))
    assert uses(*reply.source_keys, *reply.reference_keys) == ["zpk/3", "pin-seal/10", "offset/1"]
    reply = answer(world, to_change_a_block(world))
    assert reply.result == MATCH
    assert world.pin_in(reply.pin_block, to_block(), "zpk/3") == NEW
    assert uses(*reply.reference_keys) == ["zpk-aes/1", "zpk/3"]


@pytest.mark.parametrize("request_of", [to_change, to_change_a_block])
def test_a_change_after_a_wrong_pin_gives_nothing_new(world: World, request_of) -> None:
    reply = answer(world, request_of(world, WRONG))
    assert reply.result == MISMATCH
    assert reply.WhichOneof("new_reference") is None


def test_generate_pin(world: World) -> None:
    reply = answer(world, to_generate(random=pb.RandomPin(length=6), scheme=a_scheme(visa())))
    digits = world.pin_in(reply.pin_block, to_block(), "zpk/3")
    assert len(digits) == 6
    assert reply.verification_value == a_value(value(visa(), pvv_of(digits)))
    assert uses(reply.target_key, *reply.verification_keys) == ["zpk/3", "pvk/1"]
    natural = a_scheme(ibm()).ibm_3624
    reply = answer(world, to_generate(ibm_3624_natural=natural, target=a_target(to_partner())))
    assert partner_reads(reply.envelope) == pin_of("0000")
    assert not reply.HasField("verification_value")
    offset = an_offset(value(ibm(), "1234"))
    reply = answer(world, to_generate(ibm_3624_offset=offset, scheme=a_scheme(ibm())))
    assert world.pin_in(reply.pin_block, to_block(), "zpk/3") == pin_of("1234")
    assert reply.verification_value == a_value(value(ibm(), "1234"))
    assert uses(*reply.verification_keys) == ["offset/1", "offset/1"]


def test_encrypt_pin_change_script(world: World) -> None:
    reply = answer(world, to_script(world))
    assert (len(reply.enciphered_pin), len(reply.mac)) == (8, 8)
    assert uses(*reply.source_keys) == ["pin-seal/10"]
    assert uses(*reply.script_keys) == ["imk-smc/1", "imk-smi/1"]
    reply = answer(world, to_script(world, "vsdc-current"))
    assert len(reply.enciphered_pin) == 16
    assert uses(*reply.source_keys) == ["pin-seal/10", "zpk/3"]
    assert uses(*reply.script_keys) == ["imk-smc/1", "imk-smi/1", "imk-ac/1"]


def test_every_rpc_of_the_contract_is_served_under_its_name(world: World) -> None:
    rpcs = pb.DESCRIPTOR.services_by_name["PinBlockService"].methods
    served = {each.name: each.request.DESCRIPTOR for each in PinBlockService(world.desk).methods()}
    assert served == {f"PinBlockService.{rpc.name}": rpc.input_type for rpc in rpcs}
