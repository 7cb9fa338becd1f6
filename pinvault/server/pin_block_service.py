"""PinBlockService: each method reads its request, runs one use case, and writes the answer."""

from dataclasses import dataclass
from typing import Any

from pinvault.model.call import Call
from pinvault.model.pan import Pan
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.server.gate import Method
from pinvault.server.messages import read_source, read_target, write_key_use
from pinvault.v1 import pin_block_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class PinBlockService:
    """The service over its use cases."""

    encrypt_pin: EncryptPin
    encrypt_pin_change: EncryptPinChange

    def methods(self) -> tuple[Method[Any], ...]:
        """List what is served."""
        return (
            Method("PinBlockService.EncryptPin", pb.EncryptPinRequest, self.serve_encrypt_pin),
            Method(
                "PinBlockService.EncryptPinChange",
                pb.EncryptPinChangeRequest,
                self.serve_encrypt_pin_change,
            ),
        )

    def serve_encrypt_pin(self, call: Call, request: pb.EncryptPinRequest) -> pb.EncryptPinResponse:
        """Serve EncryptPin."""
        done = self.encrypt_pin(
            call,
            source=read_source(request.source, at="source"),
            target=read_target(request.target, at="target"),
        )
        reply = pb.EncryptPinResponse(
            source_key=write_key_use(done.source_key), target_key=write_key_use(done.target_key)
        )
        if isinstance(done.result, bytes):
            reply.pin_block = done.result
        else:
            reply.envelope = done.result
        return reply

    def serve_encrypt_pin_change(
        self, call: Call, request: pb.EncryptPinChangeRequest
    ) -> pb.EncryptPinChangeResponse:
        """Serve EncryptPinChange."""
        has_old = request.HasField("old_source")
        done = self.encrypt_pin_change(
            call,
            profile=request.profile,
            pan=Pan(request.pan),
            new_source=read_source(request.new_source, at="new_source"),
            old_source=read_source(request.old_source, at="old_source") if has_old else None,
        )
        return pb.EncryptPinChangeResponse(
            pin_field=done.pin_field,
            old_pin_field=done.old_pin_field,
            source_keys=[write_key_use(key) for key in done.source_keys],
            target_key=write_key_use(done.target_key),
        )
