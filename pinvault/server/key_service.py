"""KeyService: what a caller may know of the keys that it may use."""

from dataclasses import dataclass
from typing import Any

from pinvault.model.call import Call
from pinvault.operations.keys import Keys
from pinvault.server.gate import Method
from pinvault.server.jwk import thumbprint, write_jwk
from pinvault.server.messages import read_usage, write_key, write_key_use
from pinvault.v1 import key_pb2 as pb


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyService:
    """The service over its use cases."""

    keys: Keys

    def methods(self) -> tuple[Method[Any], ...]:
        """List what is served."""
        return (
            Method("KeyService.ListKeys", pb.ListKeysRequest, self.serve_list_keys),
            Method("KeyService.GetKey", pb.GetKeyRequest, self.serve_get_key),
            Method("KeyService.GetPublicKey", pb.GetPublicKeyRequest, self.serve_get_public_key),
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
