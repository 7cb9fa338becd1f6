"""Refusals name the field that is to blame by its path in the request, so that clients find it."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from pinvault.model.errors import Reason, Refusal
from pinvault.v1 import pin_block_pb2 as pb
from pinvault.v1 import resources_pb2
from tests.unit.operations.support import (
    PAN,
    World,
    ibm,
    to_block,
    value,
    visa,
)
from tests.unit.server.requests import (
    a_block,
    a_block_target,
    a_scheme,
    a_source,
    a_target,
    an_offset,
    answer,
    to_batch,
    to_change,
    to_change_a_block,
    to_generate,
    to_script,
    to_verify,
)


@dataclass(frozen=True)
class Fault:
    """What is done to a good request, and what it is told."""

    request: Callable[[World], Message]
    reason: Reason
    field: str
    spoil: Callable[[Message], object]


def a_translation(world: World) -> pb.TranslatePinRequest:
    return pb.TranslatePinRequest(
        source=a_block(world.block()), target=a_block_target(to_block("zpk-e"))
    )


def an_encryption(world: World) -> pb.EncryptPinRequest:
    return pb.EncryptPinRequest(source=a_source(world.block()), target=a_target(to_block()))


def a_generation(world: World) -> pb.GenerateVerificationValueRequest:
    return pb.GenerateVerificationValueRequest(
        source=a_source(world.block()), pan=PAN, scheme=a_scheme(visa())
    )


def a_pin_change(world: World) -> pb.EncryptPinChangeRequest:
    source = a_source(world.block())
    return pb.EncryptPinChangeRequest(
        profile="partner", pan=PAN, new_source=source, old_source=source
    )


def a_current_script(world: World) -> pb.EncryptPinChangeScriptRequest:
    request = to_script(world, "vsdc-current")
    request.current_source.CopyFrom(request.new_source)
    return request


def random_pin(_: World) -> pb.GeneratePinRequest:
    return to_generate(random=pb.RandomPin(length=4))


def natural_pin(_: World) -> pb.GeneratePinRequest:
    return to_generate(ibm_3624_natural=a_scheme(ibm()).ibm_3624)


def pin_of_an_offset(_: World) -> pb.GeneratePinRequest:
    return to_generate(ibm_3624_offset=an_offset(value(ibm())))


FORMAT_1 = resources_pb2.PinBlockFormat(iso_format_1=resources_pb2.IsoFormat1())
CARD = resources_pb2.PinSource(card=resources_pb2.CardSource(card_id="card_" + "g" * 26))


def put(path: str, content: object) -> Callable[[Message], None]:
    """Put a value at a path of a request."""

    def spoil(request: Message) -> None:
        *way, last = path.split(".")
        at = request
        for name in way:
            at = getattr(at, name)
        if isinstance(content, Message):
            getattr(at, last).CopyFrom(content)
        else:
            setattr(at, last, content)

    return spoil


def fault(
    request: Callable[[World], Message],
    reason: Reason,
    field: str,
    content: object,
    *,
    at: str = "",
) -> object:
    """A request that is spoiled at `field`, or at another place that `field` is told for."""
    made = Fault(request, reason, field, put(at or field, content))
    name = f"{request.__name__} {field}"
    return pytest.param(made, id=name)


FAULTS = [
    fault(an_encryption, Reason.KEY_UNKNOWN, "source.pin_block.key", "zpk-x"),
    fault(an_encryption, Reason.KEY_UNKNOWN, "target.pin_block.key", "zpk-x"),
    *(
        fault(request, Reason.NOT_SUPPORTED, f"{at}.card", CARD, at=at)
        for request, at in (
            (an_encryption, "source"),
            (a_pin_change, "new_source"),
            (a_pin_change, "old_source"),
            (to_verify, "source"),
            (a_generation, "source"),
            (to_change, "current_source"),
            (to_change, "new_source"),
            (to_script, "new_source"),
            (a_current_script, "current_source"),
        )
    ),
    fault(
        an_encryption,
        Reason.TRANSLATION_FORBIDDEN,
        "target.pin_block.format",
        FORMAT_1,
    ),
    fault(a_translation, Reason.KEY_UNKNOWN, "source.key", "zpk-x"),
    fault(a_translation, Reason.KEY_UNKNOWN, "target.key", "zpk-x"),
    fault(a_translation, Reason.FORMAT_KEY_MISMATCH, "source.ciphertext", bytes(16)),
    fault(a_translation, Reason.TRANSLATION_FORBIDDEN, "target.format", FORMAT_1),
    fault(to_batch, Reason.KEY_UNKNOWN, "source.key", "zpk-x"),
    fault(to_batch, Reason.KEY_UNKNOWN, "target.key", "zpk-x"),
    fault(to_batch, Reason.FORMAT_KEY_MISMATCH, "source.format", pb.COLUMN_FORMAT_ISO_4),
    fault(to_batch, Reason.BATCH_INVALID, "pin_blocks", bytes(9)),
    fault(to_batch, Reason.BATCH_INVALID, "pans", bytes(9)),
    fault(
        to_batch,
        Reason.TRANSLATION_FORBIDDEN,
        "target.format",
        pb.PinBlockColumn(key="zpk", format=pb.COLUMN_FORMAT_ISO_1),
        at="target",
    ),
    fault(
        to_verify,
        Reason.SCHEME_UNKNOWN,
        "verification_value.visa_pvv.scheme.name",
        "visa-x",
    ),
    fault(
        to_verify,
        Reason.SCHEME_UNKNOWN,
        "verification_value.visa_pvv.scheme.key_index",
        6,
    ),
    fault(
        to_change,
        Reason.SCHEME_MISMATCH,
        "verification_value.ibm_3624_offset.offset",
        "00000",
    ),
    fault(to_change, Reason.KEY_UNKNOWN, "current_source.pin_block.key", "zpk-x"),
    fault(to_change_a_block, Reason.KEY_UNKNOWN, "pin_block.current.key", "zpk-x"),
    fault(to_change_a_block, Reason.KEY_UNKNOWN, "pin_block.target.key", "zpk-x"),
    fault(
        to_change_a_block,
        Reason.TRANSLATION_FORBIDDEN,
        "pin_block.target.format",
        FORMAT_1,
    ),
    fault(a_generation, Reason.SCHEME_UNKNOWN, "scheme.visa_pvv.name", "visa-x"),
    fault(a_generation, Reason.SCHEME_UNKNOWN, "scheme.visa_pvv.key_index", 6),
    fault(random_pin, Reason.KEY_UNKNOWN, "target.pin_block.key", "zpk-x"),
    fault(natural_pin, Reason.SCHEME_UNKNOWN, "ibm_3624_natural.name", "ibm-x"),
    fault(pin_of_an_offset, Reason.SCHEME_UNKNOWN, "ibm_3624_offset.scheme.name", "ibm-x"),
    fault(pin_of_an_offset, Reason.SCHEME_MISMATCH, "ibm_3624_offset.offset", "00000"),
    fault(to_script, Reason.SCHEME_UNKNOWN, "script", "m-chip-x"),
    fault(to_script, Reason.SCHEME_MISMATCH, "current_source", "vsdc-current", at="script"),
    fault(to_script, Reason.PROFILE_UNKNOWN, "new_source.envelope.profile", "sealed-x"),
]


@pytest.mark.parametrize("given", FAULTS)
def test_a_refusal_names_its_place_in_the_request(world: World, given: Fault) -> None:
    request = given.request(world)
    given.spoil(request)
    world.device.calls.clear()
    with pytest.raises(Refusal) as caught:
        answer(world, request)
    assert caught.value.reason is given.reason
    assert is_place(request.DESCRIPTOR, given.field)
    assert caught.value.field == given.field
    assert world.is_untouched()


def is_place(message: Descriptor | None, path: str) -> bool:
    """Whether a path of names leads to a field of a message."""
    for name in path.split("."):
        found: FieldDescriptor | None = message.fields_by_name.get(name) if message else None
        if found is None:
            return False
        message = found.message_type
    return True
