"""Calls are repeated only when they may be, only while the server is away, within one deadline."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from pinvault.client.channel import ATTEMPTS, Connection, Several, open_channel
from pinvault.client.errors import PinvaultError
from tests.unit.client.support import Away, Server

GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
CODES = tuple(grpc.StatusCode)


def call(server: Server, *, repeatable: bool, timeout_s: float = 5.0) -> object:
    connection = Connection(server, timeout_s=timeout_s, sleep=lambda _: None)
    return connection.call(server.unary_unary("/a/b"), None, repeatable=repeatable)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)
@pytest.mark.parametrize("repeatable", [True, False], ids=["repeatable", "once"])
def test_a_call_is_repeated_when_it_may_be_and_the_server_is_away(
    code: grpc.StatusCode, repeatable: bool
) -> None:
    server = Server(Away(code), "reply")
    if repeatable and code in GONE:
        assert call(server, repeatable=repeatable) == "reply"
    else:
        with pytest.raises(PinvaultError) as failed:
            call(server, repeatable=repeatable)
        assert failed.value.code is code
        assert len(server.asked) == 1


def test_a_server_that_stays_away_is_asked_three_times() -> None:
    server = Server(*[Away()] * ATTEMPTS, "too late")
    with pytest.raises(PinvaultError):
        call(server, repeatable=True)
    assert len(server.asked) == ATTEMPTS == 3


def test_all_attempts_share_one_deadline() -> None:
    server = Server(Away(), Away(), "reply")
    call(server, repeatable=True, timeout_s=2.0)
    assert 2.0 >= server.timeouts[0] >= server.timeouts[1] >= server.timeouts[2] > 1.0


def test_there_is_no_pause_that_the_deadline_has_no_room_for() -> None:
    server, began = Server(Away(), "reply"), time.monotonic()
    with pytest.raises(PinvaultError):
        call(server, repeatable=True, timeout_s=0.04)
    assert len(server.asked) == 1
    assert time.monotonic() - began < 1


# --- several channels


def test_several_channels_take_turns() -> None:
    servers = [Server(*["reply"] * 4) for _ in range(3)]
    several = Several(servers)
    connection = Connection(several, timeout_s=5.0)
    method = several.unary_unary("/a/b")
    for _ in range(12):
        assert connection.call(method, None, repeatable=False) == "reply"
    assert [len(server.asked) for server in servers] == [4, 4, 4]


def test_what_one_server_cannot_take_is_repeated_on_the_next() -> None:
    away, there = Server(Away()), Server("reply")
    several = Several([away, there])
    connection = Connection(several, timeout_s=5.0, sleep=lambda _: None)
    assert connection.call(several.unary_unary("/a/b"), None, repeatable=True) == "reply"
    assert (len(away.asked), len(there.asked)) == (1, 1)


def test_all_of_them_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Server] = []
    monkeypatch.setattr(Server, "close", lambda self: closed.append(self))
    servers = [Server(), Server()]
    Several(servers).close()
    assert closed == servers


def test_there_is_no_client_without_a_channel() -> None:
    with pytest.raises(ValueError, match="at least one"):
        open_channel("localhost:1", ca=b"", certificate=b"", private_key=b"", channels=0)


# --- files and errors


@pytest.mark.parametrize("kind", [str, Path])
def test_a_file_is_named_by_a_path_or_a_text(kind: Callable[[Path], Any], tmp_path: Path) -> None:
    pem = tmp_path / "a.pem"
    pem.write_bytes(b"not read here")
    file = kind(pem)
    open_channel("localhost:1", ca=file, certificate=file, private_key=file).close()


def test_an_error_tells_the_field_the_wait_and_the_call() -> None:
    error = PinvaultError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "PAN_RATE_EXCEEDED",
        "The rate is used up.",
        "call-1",
        {"pan": "a rule"},
        1.5,
    )
    told = "PAN_RATE_EXCEEDED: The rate is used up; pan: a rule; retry after 1.5 s; call id call-1"
    assert str(error) == told
