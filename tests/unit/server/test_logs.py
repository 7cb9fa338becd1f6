"""The log: JSON lines, constant texts, and a redactor that removes and counts."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from pinvault.server.logs import REMOVED, Log, make_log
from pinvault.v1 import resources_pb2
from tests.support.leaks import without_chance


class Counted:
    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> None:
        self.number += 1


@pytest.fixture
def written() -> Iterator[tuple[Log, io.StringIO, Counted]]:
    stream, counted = io.StringIO(), Counted()
    before = logging.root.handlers[:], logging.root.level
    yield make_log(count=counted, stream=stream, worker=3), stream, counted
    logging.root.handlers[:], logging.root.level = before


def last(stream: io.StringIO) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stream.getvalue().splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "facts",
    [
        {"pin": "4831"},
        {"old_pin": "4831"},
        {"PAN": "x"},
        {"said": "PAN 4111111111111111 is bad"},
        {"said": "block 0412345678ABCDEF came"},
        {"said": "eyJhbGciOiJSU0EtT0FFUCJ9.abc.def.ghi.jkl"},
        {"number": 4111111111111111},
        {"raw": b"4831"},
        {"raw": bytearray(b"4831")},
        {"message": resources_pb2.IsoFormat0(pan="4111111111111111")},
        {"deep": {"list": ["fine", {"cvv2": "123"}]}},
        {"deep": ["4111111111111111"]},
    ],
    ids=range(12),
)
def test_secrets_are_removed_and_counted(
    written: tuple[Log, io.StringIO, Counted], facts: dict[str, Any]
) -> None:
    log, stream, counted = written
    log.info("something happened", **facts)
    assert counted.number == 1
    assert REMOVED in stream.getvalue()
    for secret in ("4831", "4111111111111111", "0412345678ABCDEF", "eyJ", '"123"'):
        assert secret not in stream.getvalue()


@pytest.mark.parametrize(
    "facts",
    [
        {"port": 8443, "ready": True, "load": 0.25, "none": None},
        {"call_id": "b5cf2f1f-4c5f-4088-a164-385dfc95d799"},
        {"key": "zpk-switch/1", "check_value": "A1B2C3"},
        {"at": "2026-11-22T08:06:57.118133Z"},
        {"frames": ["gate.py:131 _serve"]},
    ],
    ids=range(5),
)
def test_ordinary_facts_stay(
    written: tuple[Log, io.StringIO, Counted], facts: dict[str, Any]
) -> None:
    log, stream, counted = written
    log.info("something happened", **facts)
    assert counted.number == 0
    assert facts.items() <= last(stream).items()
    assert last(stream)["worker"] == 3


def fail() -> None:
    secret = "4831"
    raise ValueError(f"bad PIN {secret} of 4111111111111111")


def test_exceptions_are_told_by_type_and_frames(
    written: tuple[Log, io.StringIO, Counted],
) -> None:
    log, stream, counted = written
    try:
        fail()
    except ValueError as error:
        log.fault("it failed", error)
    assert last(stream)["error"] == "ValueError"
    assert last(stream)["frames"][-1].endswith(" fail")
    assert "4831" not in without_chance(stream.getvalue())
    assert counted.number == 0


def test_other_libraries_logs_come_without_their_text(
    written: tuple[Log, io.StringIO, Counted],
) -> None:
    _, stream, _ = written
    logging.getLogger("grpc._server").error("request was pin: 4831")
    try:
        fail()
    except ValueError:
        logging.getLogger("grpc._server").exception("with 4111111111111111")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["logger"] == second["logger"] == "grpc._server"
    assert second["error"] == "ValueError"
    assert "4831" not in without_chance(stream.getvalue())
