"""Requests of PinBlockService as clients write them, and the service to send them to."""

import protovalidate
from google.protobuf.message import Message

from pinvault.model.dukpt import Dukpt
from pinvault.model.pan import Pan
from pinvault.model.pins import (
    EnvelopeSource,
    EnvelopeTarget,
    Format,
    PinBlockSource,
    PinBlockTarget,
    PinSource,
    PinTarget,
)
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.server.contract import Contract
from pinvault.server.messages import ALGORITHMS, FORMATS
from pinvault.server.pin_block_service import PinBlockService
from pinvault.v1 import pin_block_pb2
from pinvault.v1 import resources_pb2 as pb
from tests.support.batch import packed
from tests.unit.operations.support import (
    OTHER_PAN,
    PAN,
    World,
    call,
    envelope,
    ibm,
    offset_of,
    pvv_of,
    to_block,
    value,
    visa,
)

PIN, NEW = "7392", "6184"
NAMES = {form: name for name, form in FORMATS.items()}


def a_format(form: Format, pan: Pan | None) -> pb.PinBlockFormat:
    message = pb.PinBlockFormat()
    member = getattr(message, NAMES[form])
    member.SetInParent()
    if pan is not None:
        member.pan = pan.digits()
    return message


def a_dukpt(dukpt: Dukpt | None) -> pb.Dukpt | None:
    if dukpt is None:
        return None
    return pb.Dukpt(
        key_serial_number=dukpt.ksn, working_key_algorithm=ALGORITHMS[dukpt.working_key]
    )


def a_block(block: PinBlockSource) -> pb.PinBlockSource:
    return pb.PinBlockSource(
        key=block.key,
        format=a_format(block.format, block.pan),
        ciphertext=block.ciphertext,
        dukpt=a_dukpt(block.dukpt),
    )


def a_block_target(target: PinBlockTarget) -> pb.PinBlockTarget:
    return pb.PinBlockTarget(
        key=target.key, format=a_format(target.format, target.pan), dukpt=a_dukpt(target.dukpt)
    )


def a_source(source: PinSource) -> pb.PinSource:
    if isinstance(source, PinBlockSource):
        return pb.PinSource(pin_block=a_block(source))
    assert isinstance(source, EnvelopeSource)
    pan = source.pan.digits() if source.pan is not None else ""
    return pb.PinSource(
        envelope=pb.EnvelopeSource(profile=source.profile, pan=pan, ciphertext=source.ciphertext)
    )


def a_target(target: PinTarget) -> pb.PinTarget:
    if isinstance(target, PinBlockTarget):
        return pb.PinTarget(pin_block=a_block_target(target))
    assert isinstance(target, EnvelopeTarget)
    return pb.PinTarget(envelope=pb.EnvelopeTarget(profile=target.profile, pan=target.pan.digits()))


def a_visa_scheme(scheme: SchemeRef) -> pb.VisaPvvScheme:
    return pb.VisaPvvScheme(name=scheme.name, key_index=scheme.key_index)


def a_scheme(scheme: SchemeRef) -> pb.VerificationScheme:
    if scheme.key_index is None:
        return pb.VerificationScheme(ibm_3624=pb.Ibm3624Scheme(name=scheme.name))
    return pb.VerificationScheme(visa_pvv=a_visa_scheme(scheme))


def an_offset(value: ValueRef) -> pb.Ibm3624Offset:
    return pb.Ibm3624Offset(scheme=pb.Ibm3624Scheme(name=value.scheme.name), offset=value.digits)


def a_value(value: ValueRef) -> pb.VerificationValue:
    if value.scheme.key_index is None:
        return pb.VerificationValue(ibm_3624_offset=an_offset(value))
    return pb.VerificationValue(
        visa_pvv=pb.VisaPvv(scheme=a_visa_scheme(value.scheme), pvv=value.digits)
    )


def answer(world: World, request: Message) -> Message:
    """Send a request through the contract to its method; the answer must keep the contract."""
    methods = {each.request: each for each in PinBlockService(world.desk).methods()}
    method = methods[type(request)]
    read = Contract(max_bytes=65_536).read(
        request.SerializeToString(), method.request, max_bytes=method.max_bytes
    )
    reply = method.serve(call(method.name), read)
    protovalidate.validate(reply)
    return reply


def to_verify(world: World, digits: str = PIN) -> pin_block_pb2.VerifyPinRequest:
    return pin_block_pb2.VerifyPinRequest(
        source=a_source(world.block(digits=digits)),
        pan=PAN,
        verification_value=a_value(value(visa(), pvv_of(PIN))),
    )


def to_change(world: World, digits: str = PIN) -> pin_block_pb2.ChangeVerificationValueRequest:
    return pin_block_pb2.ChangeVerificationValueRequest(
        current_source=a_source(world.block(digits=digits)),
        new_source=a_source(envelope(NEW)),
        pan=PAN,
        verification_value=a_value(value(ibm(), offset_of(PIN))),
    )


def to_change_a_block(
    world: World, digits: str = PIN
) -> pin_block_pb2.ChangeVerificationValueRequest:
    request = to_change(world, digits)
    request.pin_block.CopyFrom(
        pin_block_pb2.ReferenceBlock(
            current=a_block(world.block(Format.ISO_4, under="zpk-aes/1", digits=PIN)),
            target=a_block_target(to_block()),
        )
    )
    return request


def to_generate(**members: object) -> pin_block_pb2.GeneratePinRequest:
    return pin_block_pb2.GeneratePinRequest(pan=PAN, **({"target": a_target(to_block())} | members))


def to_script(world: World, name: str = "m-chip") -> pin_block_pb2.EncryptPinChangeScriptRequest:
    current = name == "vsdc-current"
    return pin_block_pb2.EncryptPinChangeScriptRequest(
        script=name,
        pan=PAN,
        pan_sequence_number=7,
        application_cryptogram=bytes(range(8)),
        message_data=bytes.fromhex("8424000210"),
        new_source=a_source(envelope(NEW)),
        current_source=a_source(world.block()) if current else None,
    )


def to_batch(world: World) -> pin_block_pb2.TranslatePinBatchRequest:
    return pin_block_pb2.TranslatePinBatchRequest(
        source=pin_block_pb2.PinBlockColumn(key="zpk", format=pin_block_pb2.COLUMN_FORMAT_ISO_0),
        target=pin_block_pb2.PinBlockColumn(
            key="zpk-aes", format=pin_block_pb2.COLUMN_FORMAT_ISO_4
        ),
        pin_blocks=world.block().ciphertext + bytes(24),
        pans=packed(PAN) + packed(OTHER_PAN) + packed("12") + packed(PAN),
    )
