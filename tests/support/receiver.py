"""Receivers of messages on loopback: plain or under TLS, well-behaved or not."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pinvault.development.certificates import Authority, write_pair

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of the specification's examples
OTHER_SECRET = "whsec_" + "Ab12" * 8


@dataclass(frozen=True)
class Received:
    line: str
    headers: dict[str, str]
    body: str


Answer = Callable[[socket.socket], None]


def says(status: str, *headers: str, body: bytes = b"") -> Answer:
    """Answer every request in the same way."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""])
    return lambda connection: connection.sendall(head.encode() + body)


def says_in_turn(*answers: Answer) -> Answer:
    """Answer requests one after the other; the last again and again."""
    left = list(answers)
    return lambda connection: (left.pop(0) if len(left) > 1 else left[0])(connection)


class Receiver:
    """Listens, keeps what it got, and answers as it is told."""

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        port: int = 0,
    ) -> None:
        self.answer = answer or says("204 No Content")
        self.received: list[Received] = []
        self.connections = 0
        self._tls = tls
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)  # ends accept
        self._listening.close()

    def ids(self) -> list[str]:
        return [each.headers["webhook-id"] for each in self.received]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as closing:
            closing.callback(connection.close)
            connection.settimeout(20)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                closing.callback(connection.close)
            with connection.makefile("rb") as reading:
                line = reading.readline().decode().strip()
                pairs = iter(lambda: reading.readline().decode().strip(), "")
                headers = {
                    name.lower(): value
                    for name, _, value in (pair.partition(": ") for pair in pairs)
                }
                body = reading.read(int(headers.get("content-length", "0"))).decode()
            if line and len(body) == int(headers.get("content-length", "0")):  # not cut short
                self.received.append(Received(line, headers, body))
            self.answer(connection)


@dataclass(frozen=True)
class Trust:
    """A private CA, and the server side of a certificate of it for localhost."""

    ca_file: Path
    server: ssl.SSLContext

    @classmethod
    def make(cls, folder: Path) -> "Trust":
        authority = Authority.make("Receivers")
        (folder / "ca.pem").write_bytes(authority.pem())
        write_pair(folder, "receiver", authority.issue_server("receiver"))
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(folder / "receiver.pem", folder / "receiver.key")
        return cls(folder / "ca.pem", server)


def write_secret(path: Path, secret: str = SECRET, *, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(secret + "\n")
    path.chmod(mode)
    return path
