"""What the gRPC core says on standard error: handshakes are found, the rest is told apart."""

import os
import subprocess
import sys
import textwrap

import pytest

from pinvault.server.core_log import cause_of, source_of

HANDSHAKE = (
    b"I1122 07:14:26.253501    3288 ssl_transport_security.cc:2563] Handshake failed with error "
    b"SSL_ERROR_SSL: error:100000c0:SSL routines:OPENSSL_internal:%s: more\n"
)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (HANDSHAKE % b"PEER_DID_NOT_RETURN_A_CERTIFICATE", "no-certificate"),
        (HANDSHAKE % b"CERTIFICATE_VERIFY_FAILED", "foreign-certificate"),
        (HANDSHAKE % b"WRONG_VERSION_NUMBER", "handshake-failed"),
        (b"I1122 07:14:26.253501 3288 chttp2.cc:1] all is well\n", None),
        (b'{"event": "worker serves"}\n', None),
    ],
    ids=["none", "foreign", "other", "info", "json"],
)
def test_causes_of_refused_handshakes(line: bytes, cause: str | None) -> None:
    assert cause_of(line) == cause


def test_lines_of_the_core_are_known_by_severity_and_source() -> None:
    line = b"E1122 07:14:26.253501    3288 chttp2.cc:12] something with data\n"
    assert source_of(line) == ("E", "chttp2.cc:12")
    assert source_of(b"Traceback (most recent call last):\n") is None


def test_what_is_written_to_descriptor_2_is_sorted() -> None:
    program = textwrap.dedent(
        """
        import os, sys, time
        from pinvault.server import core_log
        keep = os.dup(2)
        told = []
        core_log.watch(refused=told.append, other=lambda *source: told.append(source), keep=keep)
        os.write(2, HANDSHAKE)
        os.write(2, b"W1122 07:14:26.253501 3288 log.cc:102] careful 4111111111111111\\n")
        os.write(2, b"I1122 07:14:26.253501 3288 log.cc:103] nothing\\n")
        os.write(2, b"a line of somebody else\\n")
        while len(told) < 2: time.sleep(0.01)
        time.sleep(0.1)
        print(told)
        """
    ).replace("HANDSHAKE", repr(HANDSHAKE % b"CERTIFICATE_VERIFY_FAILED"))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout.strip() == "['foreign-certificate', ('W', 'log.cc:102')]"
    assert done.stderr == "a line of somebody else\n"
