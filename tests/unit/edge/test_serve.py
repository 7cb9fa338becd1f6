"""The sockets of the edge."""

import socket

import pytest

from pinvault.edge.serve import _bound


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_does_not_wait_for_its_head_to_be_seen(host: str) -> None:
    with _bound(host, 0) as bound, socket.create_connection(bound.getsockname()[:2]) as client:
        taken, _ = bound.accept()
        with taken:
            assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            taken.sendall(b"done")
        assert client.recv(4) == b"done"
