"""Which of the server's keys a client seals under, asked of the server and kept for a while.

Rules:
- A key is kept for ten minutes, so that a rotation is followed.
- Where thumbprints are pinned, it is the newest key that is one of them, or none.
"""

import threading
import time
from collections.abc import Collection

from pinvault.client.channel import Connection
from pinvault.client.errors import PinvaultError, SealingKeyChanged
from pinvault.client.sealing import ALGORITHMS, SealingKey
from pinvault.v1 import key_pb2, key_pb2_grpc

MAX_AGE_S = 600.0


class SealingKeys:
    """The sealing key of one server. Safe to use from any number of threads."""

    def __init__(
        self, connection: Connection, *, name: str, thumbprints: Collection[str] = ()
    ) -> None:
        self._connection = connection
        self._stub = key_pb2_grpc.KeyServiceStub(connection.channel)
        self._name = name
        self._thumbprints = frozenset(thumbprints)
        self._key: SealingKey | None = None
        self._fetched_at = 0.0
        self._fetching = threading.Lock()

    def current(self, *, refresh: bool = False) -> SealingKey:
        """Give the key; SealingKeyChanged when the server offers no pinned one."""
        with self._fetching:
            age = time.monotonic() - self._fetched_at
            if self._key is None or refresh or age > MAX_AGE_S:
                try:
                    self._key = self._fetch()
                except PinvaultError:
                    if self._key is None or refresh:
                        raise  # a key that was good ten minutes ago still is, most likely
                self._fetched_at = time.monotonic()
            return self._key

    def _fetch(self) -> SealingKey:
        request = key_pb2.GetPublicKeyRequest(key=self._name)
        reply = self._connection.call(self._stub.GetPublicKey, request, repeatable=True)
        offered = [
            SealingKey.from_jwk(kid=jwk.kid, alg=jwk.alg, n=jwk.n, e=jwk.e)
            for jwk in reply.jwks.keys
            if jwk.alg in ALGORITHMS
        ]
        for key in offered:  # newest first
            if not self._thumbprints or key.thumbprint in self._thumbprints:
                return key
        raise SealingKeyChanged(offered=tuple(key.thumbprint for key in offered))
