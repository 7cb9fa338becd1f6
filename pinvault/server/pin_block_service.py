"""PinBlockService: each method reads its request, runs one use case, and writes the answer."""

from dataclasses import dataclass
from typing import Any, Final

from pinvault.model.batch import ItemStatus
from pinvault.model.call import Call
from pinvault.model.pan import Pan
from pinvault.model.references import SchemeRef, ValueRef
from pinvault.operations.change_verification_value import BlockReference, ChangeVerificationValue
from pinvault.operations.desk import Desk
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.encrypt_pin_change_script import EncryptPinChangeScript
from pinvault.operations.generate_pin import GeneratePin
from pinvault.operations.generate_verification_value import GenerateVerificationValue
from pinvault.operations.translate_pin import TranslatePin
from pinvault.operations.translate_pin_batch import Column, TranslatePinBatch
from pinvault.operations.verify_pin import VerifyPin
from pinvault.server import messages
from pinvault.server.gate import Method
from pinvault.v1 import pin_block_pb2 as pb

BATCH_BYTES: Final = 300_000
"""A batch of 10,000: blocks of 16 bytes, PANs of 10, and the two columns."""
_STATUSES: Final = bytes.maketrans(
    bytes(ItemStatus),
    bytes(
        pb.TranslatePinBatchStatus.Value(f"TRANSLATE_PIN_BATCH_STATUS_{status.name}")
        for status in ItemStatus
    ),
)
"""From the numbers of `ItemStatus` to those of the contract, where no item ends as zero."""


@dataclass(frozen=True, slots=True)
class PinBlockService:
    """The service over what its use cases stand on."""

    desk: Desk

    def methods(self) -> tuple[Method[Any], ...]:
        """List what there is to serve."""
        return (
            Method("PinBlockService.EncryptPin", pb.EncryptPinRequest, self.encrypt_pin),
            Method(
                "PinBlockService.EncryptPinChange",
                pb.EncryptPinChangeRequest,
                self.encrypt_pin_change,
            ),
            Method("PinBlockService.TranslatePin", pb.TranslatePinRequest, self.translate_pin),
            Method(
                "PinBlockService.TranslatePinBatch",
                pb.TranslatePinBatchRequest,
                self.translate_pin_batch,
                max_bytes=BATCH_BYTES,
            ),
            Method("PinBlockService.VerifyPin", pb.VerifyPinRequest, self.verify_pin),
            Method(
                "PinBlockService.GenerateVerificationValue",
                pb.GenerateVerificationValueRequest,
                self.generate_verification_value,
            ),
            Method(
                "PinBlockService.ChangeVerificationValue",
                pb.ChangeVerificationValueRequest,
                self.change_verification_value,
            ),
            Method("PinBlockService.GeneratePin", pb.GeneratePinRequest, self.generate_pin),
            Method(
                "PinBlockService.EncryptPinChangeScript",
                pb.EncryptPinChangeScriptRequest,
                self.encrypt_pin_change_script,
            ),
        )

    def encrypt_pin(self, call: Call, request: pb.EncryptPinRequest) -> pb.EncryptPinResponse:
        """Serve EncryptPin."""
        done = EncryptPin(self.desk)(
            call,
            source=messages.read_source(request.source, at="source"),
            target=messages.read_target(request.target, at="target"),
        )
        reply = pb.EncryptPinResponse(
            source_key=messages.write_key_use(done.source_key),
            target_key=messages.write_key_use(done.target_key),
        )
        if isinstance(done.result, bytes):
            reply.pin_block = done.result
        else:
            reply.envelope = done.result
        return reply

    def encrypt_pin_change(
        self, call: Call, request: pb.EncryptPinChangeRequest
    ) -> pb.EncryptPinChangeResponse:
        """Serve EncryptPinChange."""
        old = None
        if request.HasField("old_source"):
            old = messages.read_source(request.old_source, at="old_source")
        done = EncryptPinChange(self.desk)(
            call,
            profile=request.profile,
            pan=Pan(request.pan),
            new_source=messages.read_source(request.new_source, at="new_source"),
            old_source=old,
        )
        return pb.EncryptPinChangeResponse(
            pin_field=done.pin_field,
            old_pin_field=done.old_pin_field,
            source_keys=messages.write_key_uses(done.source_keys),
            target_key=messages.write_key_use(done.target_key),
        )

    def translate_pin(self, call: Call, request: pb.TranslatePinRequest) -> pb.TranslatePinResponse:
        """Serve TranslatePin."""
        done = TranslatePin(self.desk)(
            call,
            source=messages.read_block_source(request.source, at="source"),
            target=messages.read_block_target(request.target, at="target"),
        )
        return pb.TranslatePinResponse(
            pin_block=done.pin_block,
            source_key=messages.write_key_use(done.source_key),
            target_key=messages.write_key_use(done.target_key),
        )

    def translate_pin_batch(
        self, call: Call, request: pb.TranslatePinBatchRequest
    ) -> pb.TranslatePinBatchResponse:
        """Serve TranslatePinBatch."""
        source, target = (
            Column(key=column.key, format=messages.COLUMN_FORMATS[column.format])
            for column in (request.source, request.target)
        )
        done = TranslatePinBatch(self.desk)(
            call, source=source, target=target, pin_blocks=request.pin_blocks, pans=request.pans
        )
        return pb.TranslatePinBatchResponse(
            statuses=done.statuses.translate(_STATUSES),
            pin_blocks=done.pin_blocks,
            source_key=messages.write_key_use(done.source_key),
            target_key=messages.write_key_use(done.target_key),
        )

    def verify_pin(self, call: Call, request: pb.VerifyPinRequest) -> pb.VerifyPinResponse:
        """Serve VerifyPin."""
        by_block = request.WhichOneof("reference") == "pin_block"
        done = VerifyPin(self.desk)(
            call,
            source=messages.read_source(request.source, at="source"),
            pan=Pan(request.pan),
            reference=(
                messages.read_block_source(request.pin_block, at="pin_block")
                if by_block
                else messages.read_value(request.verification_value)
            ),
        )
        return pb.VerifyPinResponse(
            result=messages.write_result(matches=done.matches),
            source_key=messages.write_key_use(done.source_key),
            reference_key=messages.write_key_use(done.reference_key),
        )

    def generate_verification_value(
        self, call: Call, request: pb.GenerateVerificationValueRequest
    ) -> pb.GenerateVerificationValueResponse:
        """Serve GenerateVerificationValue."""
        scheme = messages.read_scheme(request.scheme)
        done = GenerateVerificationValue(self.desk)(
            call,
            source=messages.read_source(request.source, at="source"),
            pan=Pan(request.pan),
            scheme=scheme,
        )
        return pb.GenerateVerificationValueResponse(
            verification_value=messages.write_value(done.value, scheme=scheme.name),
            source_key=messages.write_key_use(done.source_key),
            verification_key=messages.write_key_use(done.verification_key),
        )

    def change_verification_value(
        self, call: Call, request: pb.ChangeVerificationValueRequest
    ) -> pb.ChangeVerificationValueResponse:
        """Serve ChangeVerificationValue."""
        done = ChangeVerificationValue(self.desk)(
            call,
            current_source=messages.read_source(request.current_source, at="current_source"),
            new_source=messages.read_source(request.new_source, at="new_source"),
            pan=Pan(request.pan),
            reference=_read_reference(request),
        )
        reply = pb.ChangeVerificationValueResponse(
            result=messages.write_result(matches=done.made is not None),
            source_keys=messages.write_key_uses(done.source_keys),
            reference_keys=messages.write_key_uses(done.reference_keys),
        )
        if isinstance(done.made, bytes):
            reply.pin_block = done.made
        elif done.made is not None:
            scheme = messages.read_value(request.verification_value).scheme
            value = messages.write_value(done.made, scheme=scheme.name)
            reply.verification_value.CopyFrom(value)
        return reply

    def generate_pin(self, call: Call, request: pb.GeneratePinRequest) -> pb.GeneratePinResponse:
        """Serve GeneratePin."""
        scheme = messages.read_scheme(request.scheme) if request.HasField("scheme") else None
        done = GeneratePin(self.desk)(
            call,
            pan=Pan(request.pan),
            method=_read_method(request),
            target=messages.read_target(request.target, at="target"),
            scheme=scheme,
        )
        reply = pb.GeneratePinResponse(
            target_key=messages.write_key_use(done.target_key),
            verification_keys=messages.write_key_uses(done.verification_keys),
        )
        if isinstance(done.result, bytes):
            reply.pin_block = done.result
        else:
            reply.envelope = done.result
        if done.value is not None and scheme is not None:
            value = messages.write_value(done.value, scheme=scheme.name)
            reply.verification_value.CopyFrom(value)
        return reply

    def encrypt_pin_change_script(
        self, call: Call, request: pb.EncryptPinChangeScriptRequest
    ) -> pb.EncryptPinChangeScriptResponse:
        """Serve EncryptPinChangeScript."""
        current = None
        if request.HasField("current_source"):
            current = messages.read_source(request.current_source, at="current_source")
        done = EncryptPinChangeScript(self.desk)(
            call,
            script=request.script,
            pan=Pan(request.pan),
            sequence=request.pan_sequence_number,
            cryptogram=request.application_cryptogram,
            message=request.message_data,
            new_source=messages.read_source(request.new_source, at="new_source"),
            current_source=current,
        )
        return pb.EncryptPinChangeScriptResponse(
            enciphered_pin=done.enciphered_pin,
            mac=done.mac,
            source_keys=messages.write_key_uses(done.source_keys),
            script_keys=messages.write_key_uses(done.script_keys),
        )


def _read_reference(request: pb.ChangeVerificationValueRequest) -> ValueRef | BlockReference:
    if request.WhichOneof("reference") == "verification_value":
        return messages.read_value(request.verification_value)
    block = request.pin_block
    return BlockReference(
        current=messages.read_block_source(block.current, at="pin_block.current"),
        target=messages.read_block_target(block.target, at="pin_block.target"),
    )


def _read_method(request: pb.GeneratePinRequest) -> int | SchemeRef | ValueRef:
    match request.WhichOneof("method"):
        case "random":
            return request.random.length
        case "ibm_3624_natural":
            return SchemeRef(name=request.ibm_3624_natural.name)
        case _:
            return messages.read_offset(request.ibm_3624_offset)
