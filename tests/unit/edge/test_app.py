"""How the edge is put together from its files: what fits, what does not, and what is told of it."""

import json
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

from pinvault.cli.edge import edge
from pinvault.cli.faults import told
from pinvault.client import PinvaultError
from pinvault.development.certificates import Authority, write_pair
from pinvault.edge import facts
from pinvault.edge.admin import ASK_EVERY_S, Readiness
from pinvault.edge.files import EdgeError
from tests.unit.edge.test_credentials import sha256
from tests.unit.edge.test_settings import DIALECT, GOOD


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    authority = Authority.make("test CA")
    write_pair(tmp_path, "edge", authority.issue_client("edge", spiffe=None))
    (tmp_path / "ca.pem").write_bytes(authority.pem())
    secret = tmp_path / "connectfi.toml"
    secret.touch(mode=0o600)
    secret.write_text(
        f'[[caller]]\nname = "a"\nprograms = ["debit"]\ntoken_sha256 = "{sha256("x")}"\n'
    )
    (tmp_path / "edge.toml").write_text(GOOD)
    return tmp_path


def checked(folder: Path) -> Any:
    return CliRunner().invoke(edge, ["check", str(folder / "edge.toml")])


def test_check_says_what_would_be_served(folder: Path) -> None:
    result = checked(folder)
    assert (result.exit_code, result.exception) == (0, None)
    assert "good: 1 listeners, 1 dialects, 2 paths" in result.output


def test_help_is_given_for_nothing() -> None:
    assert "check" in CliRunner().invoke(edge, ["--help"]).output


SPOILED = {
    "credentials": (lambda folder: (folder / "connectfi.toml").chmod(0o644), "chmod 0600"),
    "key": (lambda folder: (folder / "edge.key").chmod(0o644), "chmod 0600"),
    "ca": (lambda folder: (folder / "ca.pem").unlink(), "correct its path"),
    "same-path": (
        lambda folder: (folder / "edge.toml").write_text(GOOD + DIALECT.replace("acme", "b")),
        "dialects.b: has a path that another has there: give it a base_path",
    ),
    "facts": (
        lambda folder: (folder / "edge.toml").write_text(GOOD + 'facts_file = "ca.pem"\n'),
        "is not JSON",
    ),
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_what_does_not_fit_is_told_before_anything_listens(folder: Path, spoiled: str) -> None:
    spoil, text = SPOILED[spoiled]
    spoil(folder)
    error = checked(folder).exception
    assert isinstance(error, EdgeError)
    assert text in str(told(error))


def test_facts_of_a_card_stand_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"defaults": {"a": 1, "b": 2}, "cards": {"c": {"b": 3}}}))
    found = facts.load(path)
    assert found.of("c") == {"a": 1, "b": 3}
    assert found.of("other") == found.of(None) == {"a": 1, "b": 2}
    assert facts.load(None).of("c") == {}


@pytest.mark.parametrize("text", ["", "[]", '{"cards": []}', '{"card": {}}', "\udcff"])
def test_facts_that_are_none_are_told_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "facts.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(EdgeError, match=r"see edge\.example\.toml"):
        facts.load(path)


def test_readiness_is_asked_of_the_server_now_and_then() -> None:
    class Vault:
        """A server that is away, or not."""

        asked, is_away = 0, False

        def sealing_key(self, *, refresh: bool) -> None:
            self.asked += refresh
            if self.is_away:
                raise PinvaultError(grpc.StatusCode.UNAVAILABLE, "", "away")

    vault: Any = Vault()
    now = [0.0]
    readiness = Readiness(vault, now=lambda: now[0])
    assert [readiness.look(), readiness.look()] == [True, True]
    assert vault.asked == 1
    vault.is_away = True
    now[0] = ASK_EVERY_S
    assert not readiness.look()
