"""The edge as a process: connections that come slowly or badly, certificates, its admin port."""

import json
import signal
import socket
import ssl
import time
import uuid
from collections.abc import Iterator

import httpx
import pytest

from pinvault.development.edge import RunningEdge
from pinvault.development.server import RunningServer
from tests.conftest import PAN
from tests.support.leaks import without_chance

SECRET = "4831"
PATH = "/ibis/card/set-pin"


@pytest.fixture(scope="module")
def edge(server: RunningServer) -> Iterator[RunningEdge]:
    with RunningEdge(server) as running:
        yield running


@pytest.fixture(scope="module")
def client(edge: RunningEdge) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=edge.url("issuers"), verify=edge.tls()) as opened:
        yield opened


def raw(edge: RunningEdge, client: str | None = "issuer") -> ssl.SSLSocket:
    plain = socket.create_connection(("localhost", edge.ports["issuers"]), timeout=10)
    return edge.tls(client).wrap_socket(plain, server_hostname="localhost")


def all_of(connection: ssl.SSLSocket) -> bytes:
    found = b""
    while piece := connection.recv(65_536):
        found += piece
    return found


def written_of(edge: RunningEdge, request_id: str) -> str:
    """Give the log when it tells of a request, which is after its answer."""
    for _ in range(100):
        written = edge.log.read_text()
        if request_id in written:
            return written
        time.sleep(0.05)
    raise AssertionError("it was not logged")


def test_the_description_of_the_api_is_served(client: httpx.Client) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.json()["openapi"]) == (200, "3.1.0")
    assert PATH in answer.json()["paths"]
    assert "server" not in answer.headers


def test_the_admin_port_tells_that_it_is_ready(edge: RunningEdge) -> None:
    base = edge.url("admin")
    assert httpx.get(f"{base}/healthz").text == "alive\n"
    assert httpx.get(f"{base}/readyz").text == "ready\n"
    assert "pinvault_edge_requests_total" in httpx.get(f"{base}/metrics").text
    assert httpx.get(f"{base}/openapi.json").status_code == 404


@pytest.mark.parametrize("name", [None, "foreign"])
def test_without_a_certificate_of_the_ca_nothing_is_heard(
    edge: RunningEdge, name: str | None
) -> None:
    try:
        with raw(edge, name) as connection:
            connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n")
            heard = connection.recv(1)
    except (ssl.SSLError, ConnectionError):
        heard = b""
    assert heard == b""


def test_a_certificate_of_another_name_is_refused(edge: RunningEdge) -> None:
    with httpx.Client(base_url=edge.url("issuers"), verify=edge.tls("card-app")) as other:
        assert other.post(PATH, json={}).status_code == 401


def test_a_head_that_comes_slowly_ends_the_connection(edge: RunningEdge) -> None:
    began = time.monotonic()
    with raw(edge) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(6):
            time.sleep(0.3)
            try:
                connection.sendall(b"x-a: b\r\n")
            except OSError:
                break
        assert all_of(connection) == b""
    assert time.monotonic() - began < 5


def test_silence_ends_the_connection(edge: RunningEdge) -> None:
    with raw(edge) as connection:
        assert all_of(connection) == b""


def test_a_body_that_comes_slowly_is_refused(edge: RunningEdge) -> None:
    with raw(edge) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n"
        connection.sendall(head.encode() + b'{"pin": "')
        answer = all_of(connection)
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"connection: close" in answer


def test_a_huge_body_is_refused_and_not_drained(edge: RunningEdge) -> None:
    with raw(edge) as connection:
        head = f"POST {PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000000\r\n\r\n"
        connection.sendall(head.encode() + b"4" * 32_768)
        assert all_of(connection).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n x: folded\r\nno-colon\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: odd\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"a" * 40_000 + b"\r\n\r\n",
        b"4831 HELLO\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["nul", "folded", "bytes", "lengths", "coding", "long", "nonsense", "http2"],
)
def test_what_is_no_request_is_refused(edge: RunningEdge, request_head: bytes) -> None:
    with raw(edge) as connection:
        connection.sendall(request_head)
        answer = all_of(connection)
    assert answer.split(b" ")[1][:1] in {b"4", b"5"}
    assert b"4831" not in answer


def test_nothing_of_a_request_is_logged(edge: RunningEdge, client: httpx.Client) -> None:
    body = {"cFiCardId": "icrd_575fma7wGFKTgSx537PMcO", "pin": SECRET}
    headers = {"x-connectfi-token": "not-the-token-4831"}
    answer = client.post(f"{PATH}?pin={SECRET}", json=body, headers=headers)
    assert answer.status_code == 401
    written = written_of(edge, answer.headers["x-request-id"])
    assert SECRET not in without_chance(written)
    assert not any(line["level"] == "error" for line in edge.lines())


def test_who_guesses_is_not_heard_for_a_while(edge: RunningEdge) -> None:
    path = "/card-management/api/v1/card/changePin"
    headers = [{"authorization": f"Bearer {number}"} for number in range(40)]
    with httpx.Client(base_url=edge.url("public")) as stranger:
        told = [stranger.post(path, headers=each) for each in headers]
        assert [answer.status_code for answer in told[:30]] == [401] * 30
        assert told[-1].status_code == 429
        assert int(told[-1].headers["retry-after"]) >= 1
        right = {"authorization": "Bearer development-interswitch-token"}
        assert stranger.post(path, headers=right).status_code == 429


def test_it_ends_when_it_is_told(server: RunningServer) -> None:
    with RunningEdge(server) as running:
        assert running.process is not None
        with httpx.Client(base_url=running.url("issuers"), verify=running.tls()) as kept_alive:
            assert kept_alive.get("/openapi.json").status_code == 200
            running.process.send_signal(signal.SIGTERM)
            assert running.process.wait(10) == 0
    assert json.loads(running.log.read_text().splitlines()[-1])["event"] == "the edge has stopped"


def test_a_clear_pin_goes_in_sealed(
    server: RunningServer, edge: RunningEdge, client: httpx.Client
) -> None:
    external = f"icrd_{uuid.uuid4().hex[:8]}z"
    with server.connect() as vault:
        card = vault.cards.register(
            program="debit",
            pan=PAN,
            expiry="2812",
            status="ACTIVE",
            sequence_number="777",
            external_id=external,
        )
        headers = {"x-connectfi-token": "development-connectfi-token"}
        body = {"cFiCardId": external, "pin": SECRET}
        answer = client.post(PATH, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (200, "0"), answer.text
        sealed = vault.seal(SECRET, card=card.card_id, profile="sealed-card")
        assert vault.cards.check_pin(card.card_id, sealed)
    assert SECRET not in without_chance(edge.log.read_text())
