"""The certificates of a listener: followed when they change, kept when the new ones are bad."""

import io
import os
from pathlib import Path

import pytest

from pinvault.development.certificates import Authority, write_pair
from pinvault.edge.files import EdgeError
from pinvault.edge.log import make_log
from pinvault.edge.tls import Tls, TlsFiles


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.make("test CA")


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    write_pair(tmp_path, "a", authority.issue_server("a"))
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    return TlsFiles(
        certificate=tmp_path / "a.pem",
        private_key=tmp_path / "a.key",
        client_ca=tmp_path / "ca.pem",
    )


def touched(files: TlsFiles) -> None:
    os.utime(files.certificate, ns=(1, 1))


def test_new_files_are_taken_once(files: TlsFiles, authority: Authority) -> None:
    stream = io.StringIO()
    log, tls = make_log(stream), Tls(files)
    write_pair(files.certificate.parent, "a", authority.issue_server("b"))
    touched(files)
    for _ in range(3):
        tls.follow(log)
    assert stream.getvalue().count("certificate files reloaded") == 1


def test_bad_files_leave_the_old_in_force(files: TlsFiles) -> None:
    stream = io.StringIO()
    log, tls = make_log(stream), Tls(files)
    for spoil in (lambda: files.certificate.write_text("x"), files.certificate.unlink):
        spoil()
        tls.follow(log)
    assert stream.getvalue().count("the old ones stay") == 2
    assert "reloaded" not in stream.getvalue()


MISTAKES = {
    "no-pem": lambda files: files.certificate.write_text("x"),
    "no-ca": lambda files: files.client_ca.write_text("x"),
    "empty-ca": lambda files: files.client_ca.write_text(""),
    "open-key": lambda files: files.private_key.chmod(0o644),
    "no-key": lambda files: files.private_key.unlink(),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_told_at_the_start(files: TlsFiles, mistake: str) -> None:
    MISTAKES[mistake](files)
    with pytest.raises(EdgeError, match=r"see the listener's|chmod 0600|correct its path"):
        Tls(files)


def test_another_key_is_told(files: TlsFiles, authority: Authority) -> None:
    _, key = authority.issue_server("b")
    files.private_key.write_bytes(key)
    with pytest.raises(EdgeError, match="not of this key"):
        Tls(files)
