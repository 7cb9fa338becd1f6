"""The listening side: mTLS credentials that follow their files, and the server's limits.

Rules:
- A client without a certificate of the client CA does not get past the handshake.
- New files are taken at the next handshake; unreadable ones leave the old in force.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import grpc

from pinvault.server.logs import Log

HARD_MESSAGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the server's chain, its private key, and the CA of the clients."""

    certificate: Path
    private_key: Path
    client_ca: Path

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Tell one state of the files from another."""
        stats = (path.stat() for path in (self.certificate, self.private_key, self.client_ca))
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)

    def read(self) -> grpc.ServerCertificateConfiguration:
        """Read the files."""
        pair = (self.private_key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], self.client_ca.read_bytes())


def credentials(files: TlsFiles, log: Log) -> grpc.ServerCredentials:
    """Give credentials that require a client certificate and follow the files."""
    seen = [files.stamp()]

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        try:
            stamp = files.stamp()
            if stamp == seen[0]:
                return None
            fresh = files.read()
        except OSError as error:
            log.fault("certificate files not readable, the old ones stay", error)
            return None
        seen[0] = stamp
        log.info("certificate files reloaded")
        return fresh

    # gRPC takes None as "unchanged"; its type stubs do not say so.
    follow = cast("Callable[[], grpc.ServerCertificateConfiguration]", fetch)
    return grpc.dynamic_ssl_server_credentials(
        files.read(), follow, require_client_authentication=True
    )


def options(*, max_connection_age_s: int) -> list[tuple[str, int]]:
    """Give the channel options: one port for all workers, bounds on messages, pings and ages."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", HARD_MESSAGE_BYTES),
        ("grpc.max_send_message_length", HARD_MESSAGE_BYTES),
        ("grpc.max_metadata_size", 16 * 1024),
        ("grpc.keepalive_time_ms", 30_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
        ("grpc.max_connection_age_ms", max_connection_age_s * 1000),
        ("grpc.max_connection_age_grace_ms", 10_000),
    ]
