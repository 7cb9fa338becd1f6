"""Attack: make any line fail with a PIN in the exception's text; read the answer and the log.

A fault is raised at every line that a call runs through, one call a line. The caller
learns a constant text, the log the exception's type and frames; neither holds the PIN.
"""

import io
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import pinvault
from pinvault.client.sealing import seal
from pinvault.model.errors import TEXTS
from pinvault.v1 import pin_block_pb2, resources_pb2
from tests.conftest import PAN
from tests.support import core, zone
from tests.support.leaks import found_in

PIN = "739148205617"
HOME = str(Path(pinvault.__file__).parent)
Line = tuple[str, int]
IDLE = ("try:", "return True", "return False", "return 0.0")
RELEASING = (".release()", "LOCK_UN", "._unlock()")


class Fault(Exception):
    """A fault that tells all."""


def lines_of(work: Callable[[], object]) -> list[Line]:
    """Give every line of the service that the work runs through, once, in order."""
    seen: dict[Line, None] = {}

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "line":
            seen[frame.f_code.co_filename, frame.f_lineno] = None
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return list(seen)


@contextmanager
def failing_at(line: Line) -> Iterator[None]:
    """Have a fault at the line, which must be reached."""
    reached = False

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal reached
        if frame.f_code.co_filename != line[0]:
            return trace if frame.f_code.co_filename.startswith(HOME) else None
        if event == "line" and frame.f_lineno == line[1] and not reached:
            reached = True
            raise Fault(f"the PIN is {PIN}, PAN {PAN}")
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)
    assert reached, line


def requests(built: core.Core) -> dict[str, Callable[[], bytes]]:
    """Ways to send the PIN; each makes its request anew, since envelopes are good once."""
    target = resources_pb2.PinTarget(
        pin_block=resources_pb2.PinBlockTarget(
            key="zpk-switch",
            format=resources_pb2.PinBlockFormat(iso_format_3=resources_pb2.IsoFormat3(pan=PAN)),
        )
    )

    def envelope() -> resources_pb2.PinSource:
        ciphertext = seal(PIN, key=built.sealing_key, pan=PAN, expires=int(time.time()) + 60)
        return resources_pb2.PinSource(
            envelope=resources_pb2.EnvelopeSource(
                profile="sealed-pin", ciphertext=ciphertext, pan=PAN
            )
        )

    def block() -> resources_pb2.PinSource:
        ciphertext = zone.block(PIN, pan=PAN, form="ISO_0", key=built.zone_keys["zpk-terminal"])
        return resources_pb2.PinSource(
            pin_block=resources_pb2.PinBlockSource(
                key="zpk-terminal",
                format=resources_pb2.PinBlockFormat(iso_format_0=resources_pb2.IsoFormat0(pan=PAN)),
                ciphertext=ciphertext,
            )
        )

    def encrypt(source: resources_pb2.PinSource) -> bytes:
        return pin_block_pb2.EncryptPinRequest(source=source, target=target).SerializeToString()

    return {"envelope": lambda: encrypt(envelope()), "block": lambda: encrypt(block())}


@pytest.mark.parametrize("way", ["envelope", "block"])
def test_no_fault_at_any_line_tells_the_pin(tmp_path: Path, way: str) -> None:
    log = io.StringIO()
    built = core.build(tmp_path, log, now=time.time)
    make = requests(built)[way]

    def call() -> core.FakeContext:
        context = core.FakeContext()
        answer = built.call("PinBlockService.EncryptPin", request, context)
        assert context.code is None or answer == b""
        return context

    request = make()
    lines = [line for line in lines_of(call) if not cannot_fail(line)]
    assert len(lines) > 150
    codes = set()
    for line in lines:
        request = make()
        context, answer = core.FakeContext(), b""
        with failing_at(line):
            answer = built.call("PinBlockService.EncryptPin", request, context)
        told = repr((context.code, context.details, context.trailers, answer)).encode()
        assert not found_in(told, PIN), line
        assert context.details in {"", *TEXTS.values()}, line
        codes.add(context.code)
    written = log.getvalue().encode()
    assert b"Fault" in written
    assert not found_in(written, PIN)
    assert PAN.encode() not in written
    assert "INTERNAL" in {code.name for code in codes if code is not None}


def cannot_fail(line: Line) -> bool:
    """Tell whether a fault at the line would be the test's own doing.

    So it is outside the outermost handler, where the call enters the service; at a bare `try:`
    and the return of a constant, which do nothing (nor does `finally` cover such a return);
    and at the release of a lock, which would stay locked.
    """
    source = Path(line[0]).read_text().splitlines()[line[1] - 1].strip()
    entering = ("return found", "found = self._handlers", "if found is not None or")
    if source in IDLE or any(each in source for each in RELEASING):
        return True
    return line[0].endswith("gate.py") and source.startswith(entering)
