"""KeyService: what a caller may know of the keys that it may use, and may change of them."""

from dataclasses import dataclass
from typing import Any

from pinvault.model.call import Call
from pinvault.operations.export_key_block import ExportKeyBlock
from pinvault.operations.import_key_block import ImportKeyBlock
from pinvault.operations.import_key_cryptogram import ImportKeyCryptogram
from pinvault.operations.key_desk import KeyDesk
from pinvault.operations.keys import Keys
from pinvault.operations.retire_key import RetireKey
from pinvault.operations.rotate_key import RotateKey
from pinvault.server.gate import Method
from pinvault.server.jwk import thumbprint, write_jwk
from pinvault.server.messages import (
    KEY_BLOCK_VERSIONS,
    read_attributes,
    read_last_day,
    read_usage,
    write_key,
    write_key_use,
)
from pinvault.v1 import key_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyService:
    """The service over what its use cases stand on."""

    keys: Keys
    desk: KeyDesk

    def methods(self) -> tuple[Method[Any], ...]:
        """List what is served."""
        return (
            Method("KeyService.ListKeys", pb.ListKeysRequest, self.serve_list_keys),
            Method("KeyService.GetKey", pb.GetKeyRequest, self.serve_get_key),
            Method("KeyService.GetPublicKey", pb.GetPublicKeyRequest, self.serve_get_public_key),
            Method(
                "KeyService.ImportKeyBlock", pb.ImportKeyBlockRequest, self.serve_import_key_block
            ),
            Method(
                "KeyService.ExportKeyBlock", pb.ExportKeyBlockRequest, self.serve_export_key_block
            ),
            Method(
                "KeyService.ImportKeyCryptogram",
                pb.ImportKeyCryptogramRequest,
                self.serve_import_key_cryptogram,
            ),
            Method("KeyService.RotateKey", pb.RotateKeyRequest, self.serve_rotate_key),
            Method("KeyService.RetireKey", pb.RetireKeyRequest, self.serve_retire_key),
        )

    def serve_list_keys(self, call: Call, request: pb.ListKeysRequest) -> pb.ListKeysResponse:
        """Serve ListKeys."""
        page = self.keys.list(
            call,
            usage=read_usage(request.usage),
            page_size=request.page_size,
            after=request.page_token,
        )
        return pb.ListKeysResponse(
            keys=[write_key(key) for key in page.keys], next_page_token=page.next_page_token
        )

    def serve_get_key(self, call: Call, request: pb.GetKeyRequest) -> pb.GetKeyResponse:
        """Serve GetKey."""
        return pb.GetKeyResponse(key=write_key(self.keys.get(call, reference=request.key)))

    def serve_get_public_key(
        self, call: Call, request: pb.GetPublicKeyRequest
    ) -> pb.GetPublicKeyResponse:
        """Serve GetPublicKey."""
        found = self.keys.public_key(call, name=request.key)
        jwks = [write_jwk(f.spki, kid=f.key.id, alg=f.key.jwa) for f in found]
        return pb.GetPublicKeyResponse(
            jwks=pb.JsonWebKeySet(keys=jwks),
            key=write_key_use(found[0].key),
            thumbprint=thumbprint(jwks[0]),
        )

    def serve_import_key_block(
        self, call: Call, request: pb.ImportKeyBlockRequest
    ) -> pb.ImportKeyBlockResponse:
        """Serve ImportKeyBlock."""
        key = ImportKeyBlock(self.desk)(
            call,
            name=request.name,
            block=request.key_block,
            kbpk=request.kbpk,
            valid_until=read_last_day(request, "valid_until"),
            previous_until=read_last_day(request, "previous_until"),
        )
        return pb.ImportKeyBlockResponse(key=write_key(key))

    def serve_export_key_block(
        self, call: Call, request: pb.ExportKeyBlockRequest
    ) -> pb.ExportKeyBlockResponse:
        """Serve ExportKeyBlock."""
        exported = ExportKeyBlock(self.desk)(
            call,
            reference=request.key,
            kbpk=request.kbpk,
            version=KEY_BLOCK_VERSIONS[request.version],
        )
        return pb.ExportKeyBlockResponse(key_block=exported.block, key=write_key(exported.key))

    def serve_import_key_cryptogram(
        self, call: Call, request: pb.ImportKeyCryptogramRequest
    ) -> pb.ImportKeyCryptogramResponse:
        """Serve ImportKeyCryptogram."""
        key = ImportKeyCryptogram(self.desk)(
            call,
            name=request.name,
            attributes=read_attributes(request),
            wrapped=request.wrapped_key,
            wrapping_key=request.wrapping_key,
            check_value=request.check_value,
            valid_until=read_last_day(request, "valid_until"),
            previous_until=read_last_day(request, "previous_until"),
        )
        return pb.ImportKeyCryptogramResponse(key=write_key(key))

    def serve_rotate_key(self, call: Call, request: pb.RotateKeyRequest) -> pb.RotateKeyResponse:
        """Serve RotateKey."""
        rotated = RotateKey(self.desk)(
            call,
            reference=request.key,
            exportable=request.exportable if request.HasField("exportable") else None,
            valid_until=read_last_day(request, "valid_until"),
            previous_until=read_last_day(request, "previous_until"),
        )
        return pb.RotateKeyResponse(
            key=write_key(rotated.key), previous=write_key(rotated.previous)
        )

    def serve_retire_key(self, call: Call, request: pb.RetireKeyRequest) -> pb.RetireKeyResponse:
        """Serve RetireKey."""
        key = RetireKey(self.desk)(call, reference=request.key, check_value=request.check_value)
        return pb.RetireKeyResponse(key=write_key(key))
