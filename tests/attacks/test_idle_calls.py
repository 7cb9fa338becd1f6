"""Attack: open calls, send nothing, and hold every thread of the server.

gRPC gives a call a thread before its message has come. A caller without a grant must not
get to keep one at all, and one with a grant for no longer than it takes to send a message.
"""

import threading
import time
from collections.abc import Callable, Iterator

import grpc
import pytest

from pinvault.audit.tail import newest
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer

THREADS = 4
METHOD = "/pinvault.v1.KeyService/ListKeys"


@pytest.fixture
def small(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    with RunningServer(make_environment(Settings(threads=THREADS))) as running:
        yield running


def idle(server: RunningServer, client: str, count: int) -> list[grpc.Call]:
    """Open calls whose message never comes."""
    tls = server.environment.tls
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(),
        (tls / f"{client}.key").read_bytes(),
        (tls / f"{client}.pem").read_bytes(),
    )
    channel = grpc.secure_channel(f"localhost:{server.port}", credentials)
    never = threading.Event()

    def nothing() -> Iterator[bytes]:
        never.wait(30)
        yield b""

    calls = [channel.stream_unary(METHOD).future(nothing(), timeout=30) for _ in range(count)]
    time.sleep(0.3)
    return calls


@pytest.mark.parametrize("client", ["anonymous", "nobody", "card-app"])
def test_others_are_served_while_somebody_sends_nothing(small: RunningServer, client: str) -> None:
    calls = idle(small, client, 3 * THREADS)
    try:
        with small.connect(timeout_s=8) as vault:
            for _ in range(5):
                assert vault.list_keys()
    finally:
        for call in calls:
            call.cancel()


def test_a_call_without_a_message_is_ended_and_recorded(small: RunningServer) -> None:
    (call,) = idle(small, "card-app", 1)
    began = time.monotonic()
    assert call.code() is grpc.StatusCode.CANCELLED
    assert time.monotonic() - began < 5
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        found = [t.entry for t in newest(small.environment.root / "audit", count=50)]
        if any(entry.cause == "no-message" for entry in found):
            break
        time.sleep(0.05)
    (record,) = [entry for entry in found if entry.cause == "no-message"]
    assert record.outcome == "REQUEST_MALFORMED"
    assert record.caller == "spiffe://pinvault.test/card-app"
