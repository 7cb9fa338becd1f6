"""The TLS of a listener, by files that are followed.

Rules:
- TLS 1.2 at least. With a CA for clients, one without its certificate does not get past the
  handshake.
- A new certificate and key are taken by the next handshake; unreadable ones leave the old in force.
  Another CA for clients needs a restart.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pinvault.edge.files import EdgeError, read_bytes
from pinvault.edge.log import Log
from pinvault.edge.settings import Listener, Loaded


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: the chain, its private key, and the CA of clients where they show certificates."""

    certificate: Path
    private_key: Path
    client_ca: Path | None

    @classmethod
    def of(cls, loaded: Loaded, listener: Listener) -> Self | None:
        """Name the files of a listener; None for plain HTTP."""
        if listener.certificate_file is None or listener.private_key_file is None:
            return None
        ca = listener.client_ca_file
        return cls(
            certificate=loaded.file(listener.certificate_file),
            private_key=loaded.file(listener.private_key_file),
            client_ca=loaded.file(ca) if ca is not None else None,
        )

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Tell one state of the pair from another."""
        stats = (path.stat() for path in (self.certificate, self.private_key))
        return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)


class Tls:
    """The context of a listener, and the files behind it."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self.context = _context(files)
        self._seen = files.stamp()

    def follow(self, log: Log) -> None:
        """Take the files again, if they changed and fit together."""
        try:
            stamp = self._files.stamp()
            if stamp == self._seen:
                return
            _context(self._files)
            self.context.load_cert_chain(self._files.certificate, self._files.private_key)
        except (OSError, EdgeError) as error:
            log.fault("certificate files not usable, the old ones stay", error)
            return
        self._seen = stamp
        log.info("certificate files reloaded")


def _context(files: TlsFiles) -> ssl.SSLContext:
    for path, is_secret in ((files.certificate, False), (files.private_key, True)):
        read_bytes(path, secret=is_secret)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.private_key, password=_none)
        if files.client_ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=read_bytes(files.client_ca).decode("ascii"))
    except (ssl.SSLError, ValueError):
        text = "is no PEM chain, or not of this key and CA: see the listener's three files"
        raise EdgeError(files.certificate, "", text) from None
    return context


def _none() -> str:
    """Say that there is no password; without this OpenSSL would ask the terminal."""
    return ""
