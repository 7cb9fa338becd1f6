"""A server that is not there: it answers what it is told, and keeps what it was asked."""

from collections.abc import Callable, Iterable
from typing import Any

import grpc

from pinvault.client import Vault
from pinvault.v1 import pin_block_pb2 as pb


class Away(grpc.RpcError):
    """A call that failed with a code and nothing else."""

    def __init__(self, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "away"

    def trailing_metadata(self) -> tuple[()]:
        return ()


class Server:
    """A channel whose calls end one after the other as `ends` says: with a reply, or raised."""

    def __init__(self, *ends: Any) -> None:
        self.ends = list(ends)
        self.asked: list[tuple[str, Any]] = []
        self.timeouts: list[float] = []

    def unary_unary(self, path: str, *_: object, **__: object) -> Callable[..., Any]:
        def call(request: Any, *, timeout: float) -> Any:
            self.asked.append((path.removeprefix("/pinvault.v1."), request))
            self.timeouts.append(timeout)
            end = self.ends.pop(0)
            if isinstance(end, Exception):
                raise end
            return end

        return call

    def close(self) -> None:
        """Nothing is open."""


def vault(server: Server, *, timeout_s: float = 5.0) -> Vault:
    return Vault(
        server,
        sealing_profile="sealed-pin",
        sealing_key="pin-seal",
        thumbprints=(),
        timeout_s=timeout_s,
    )


def reply_to(verb: str) -> Any:
    """An answer of a verb, with nothing in it."""
    return getattr(pb, f"{verb}Response")()


def requests(server: Server) -> Iterable[Any]:
    return [request for _, request in server.asked]
