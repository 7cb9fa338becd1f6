"""One attempt, with real receivers on loopback: what is sent, and what becomes of it."""

import asyncio
import email.utils
import socket
import ssl
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from pinvault.notify.delivery import Courier, Outcome, Verdict
from pinvault.notify.endpoints import Endpoint
from pinvault.notify.guard import read_network, read_url
from tests.support.receiver import (
    OTHER_SECRET,
    SECRET,
    Answer,
    Receiver,
    Trust,
    says,
    write_secret,
)

BODY = '{"type":"pin.set","data":{"card_id":"card_g"}}'
LOOPBACK = (read_network("127.0.0.0/8"), read_network("::1/128"))


@pytest.fixture(scope="module")
def trust(tmp_path_factory: pytest.TempPathFactory) -> Trust:
    return Trust.make(tmp_path_factory.mktemp("trust"))


@pytest.fixture
def secrets(tmp_path: Path) -> tuple[Path, Path]:
    return write_secret(tmp_path / "new"), write_secret(tmp_path / "old", OTHER_SECRET)


def deliver(
    url: str, secrets: tuple[Path, ...], *, ca_file: Path | None = None, timeout_s: float = 10.0
) -> Outcome:
    endpoint = Endpoint(
        name="core",
        target=read_url(url),
        secret_files=secrets,
        programs=frozenset(),
        events=frozenset(),
        private=LOOPBACK,
        ca_file=ca_file,
        timeout_s=timeout_s,
    )
    return asyncio.run(Courier.of(endpoint, now=time.time).deliver("msg_1", BODY))


def deliver_plainly(answer: Answer, secrets: tuple[Path, ...], timeout_s: float = 10.0) -> Outcome:
    with Receiver(answer) as receiver:
        return deliver(f"http://localhost:{receiver.port}/", secrets, timeout_s=timeout_s)


def test_a_message_arrives_signed_over_tls(trust: Trust, secrets: tuple[Path, Path]) -> None:
    with Receiver(tls=trust.server) as receiver:
        url = f"https://localhost:{receiver.port}/hooks?a=b"
        outcome = deliver(url, secrets, ca_file=trust.ca_file)
        assert outcome == Outcome(Verdict.DELIVERED, "status-204")
        (got,) = receiver.received
    assert got.line == "POST /hooks?a=b HTTP/1.1"
    assert got.body == BODY
    assert got.headers["host"] == f"localhost:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    assert set(got.headers) == {
        *("host", "content-type", "content-length", "connection", "user-agent"),
        *("webhook-id", "webhook-timestamp", "webhook-signature"),
    }
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(got.body, got.headers)


def test_the_name_is_what_the_certificate_must_be_of(trust: Trust, secrets) -> None:
    """It is one for localhost and 127.0.0.1; SNI names the host and never the address."""
    names: list[str | None] = []

    def note(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        names.append(name)

    trust.server.sni_callback = note
    with Receiver(tls=trust.server) as receiver:
        for host, cause in (
            ("localhost", "status-204"),
            ("127.0.0.1", "status-204"),
            ("127.0.0.2", "connect"),
        ):
            url = f"https://{host}:{receiver.port}/"
            assert deliver(url, secrets, ca_file=trust.ca_file).cause == cause
    with Receiver(host="127.0.0.2", tls=trust.server) as receiver:
        url = f"https://127.0.0.2:{receiver.port}/"
        assert deliver(url, secrets, ca_file=trust.ca_file).cause == "tls"
        assert not receiver.received
    assert names == ["localhost", None, None]


def test_a_receiver_that_nobody_vouches_for_gets_nothing(trust: Trust, secrets) -> None:
    with Receiver(tls=trust.server) as receiver:
        outcome = deliver(f"https://localhost:{receiver.port}/", secrets)
        assert outcome == Outcome(Verdict.FAILED, "tls")
        assert not receiver.received


def test_the_next_address_is_tried_when_one_cannot_be_connected_to(secrets) -> None:
    """localhost is ::1 first, where nobody listens."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["::1", "127.0.0.3", "127.0.0.1"]

    with Receiver() as receiver:
        endpoint = Endpoint(
            name="core",
            target=read_url(f"http://localhost:{receiver.port}/"),
            secret_files=secrets,
            programs=frozenset(),
            events=frozenset(),
            private=LOOPBACK,
        )
        courier = Courier.of(endpoint, now=time.time)
        courier._resolve = resolve
        assert asyncio.run(courier.deliver("msg_1", BODY)).verdict is Verdict.DELIVERED
        assert receiver.ids() == ["msg_1"]


STATUSES = {
    "200 OK": Verdict.DELIVERED,
    "202 Accepted": Verdict.DELIVERED,
    "299 Fine": Verdict.DELIVERED,
    "300 Choices": Verdict.FAILED,
    "304 Not Modified": Verdict.FAILED,
    "400 Bad Request": Verdict.FAILED,
    "404 Not Found": Verdict.FAILED,
    "410 Gone": Verdict.GIVEN_UP,
    "429 Too Many Requests": Verdict.FAILED,
    "500 Internal Server Error": Verdict.FAILED,
    "503 Service Unavailable": Verdict.FAILED,
}


@pytest.mark.parametrize("status", STATUSES)
def test_what_each_status_means(status: str, secrets) -> None:
    outcome = deliver_plainly(says(status), secrets)
    assert outcome == Outcome(STATUSES[status], f"status-{status[:3]}")


@pytest.mark.parametrize(
    ("asked", "least", "most"),
    [
        ("120", 120, 120),
        ("0", 0, 0),
        pytest.param(
            email.utils.formatdate(time.time() + 3600, usegmt=True), 3000, 3600, id="in an hour"
        ),
        (email.utils.formatdate(0, usegmt=True), 0, 0),
        ("9" * 400, 999_999_999, 999_999_999),
        ("-5", 0, 0),
        ("soon", 0, 0),
        ("Mon, 99 Foo 0000", 0, 0),
    ],
)
def test_what_a_receiver_asks_for_is_heard(asked: str, least: float, most: float, secrets) -> None:
    for status in ("429 Too Many Requests", "503 Service Unavailable"):
        outcome = deliver_plainly(says(status, f"Retry-After: {asked}"), secrets)
        assert outcome.verdict is Verdict.FAILED
        assert least <= outcome.retry_after_s <= most


def drip(head: bytes) -> Answer:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(b"x")
            time.sleep(0.02)

    return answer


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 500 No\r\n")
    while True:
        connection.sendall(b"X-More: " + b"x" * 65_536 + b"\r\n")


SLOW = {
    "a head in drops": drip(b"HTTP/1.1 200 OK\r\nX: "),
    "interim answers for ever": drip(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nX: "),
    "no answer": silent,
}


@pytest.mark.parametrize("name", SLOW)
def test_the_whole_attempt_has_its_time(name: str, secrets) -> None:
    began = time.monotonic()
    outcome = deliver_plainly(SLOW[name], secrets, timeout_s=0.3)
    assert outcome == Outcome(Verdict.FAILED, "timeout")
    assert time.monotonic() - began < 2


def test_a_handshake_that_does_not_end_has_it_too(secrets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        url = f"https://localhost:{mute.getsockname()[1]}/"
        assert deliver(url, secrets, timeout_s=0.3).cause in {"timeout", "connect"}


def test_names_that_take_for_ever_have_it_too(secrets, monkeypatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2) or [])
    began = time.monotonic()
    assert deliver("https://slow.example/", secrets, timeout_s=0.2).cause == "timeout"
    assert time.monotonic() - began < 1.5


def test_of_an_answer_the_head_is_enough(secrets) -> None:
    """A body is not waited for, however long it says it is."""
    began = time.monotonic()
    endless_body = drip(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
    assert deliver_plainly(endless_body, secrets).verdict is Verdict.DELIVERED
    assert time.monotonic() - began < 2


BROKEN = {
    "a head without end": (endless, {"answer", "connection-lost"}),
    "no HTTP": (lambda connection: connection.sendall(b"SSH-2.0-x\r\n\r\n"), {"answer"}),
    "nothing": (lambda connection: connection.close(), {"answer"}),
    "half a head": (lambda connection: connection.sendall(b"HTTP/1.1 200"), {"answer"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_answer_is_a_failure(name: str, secrets) -> None:
    answer, causes = BROKEN[name]
    outcome = deliver_plainly(answer, secrets)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.cause in causes


def test_nobody_there_is_a_failure(secrets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    assert deliver(f"http://localhost:{port}/", secrets) == Outcome(Verdict.FAILED, "connect")
    outcome = deliver("https://nowhere.invalid/", secrets)
    assert outcome == Outcome(Verdict.FAILED, "name-unknown")


def test_the_environment_leads_nowhere(secrets, monkeypatch, tmp_path) -> None:
    """Proxies, netrc and a log of TLS keys are all offered, and none is used."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login somebody password something\n")
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
        outcome = deliver(f"http://localhost:{receiver.port}/", secrets)
        assert outcome.verdict is Verdict.DELIVERED
        assert not proxy.connections
        assert "authorization" not in receiver.received[0].headers
    assert not (tmp_path / "keys").exists()
