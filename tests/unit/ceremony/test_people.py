"""Proofs of identity: whose they are, and that nothing else is one."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from pinvault.ceremony.people import (
    Certificate,
    Custodian,
    NotProved,
    Passphrase,
    has_signed,
    hash_passphrase,
    prove,
    require_phc,
)
from tests.unit.ceremony import support
from tests.unit.ceremony.support import ANNA, BEN, NOW, ScriptedTerminal, certificate, phc, save

STATEMENT = b"pinvault key ceremony v1\nidentify: Anna\n"


def proved(custodian: Custodian, *answers: str, others: tuple[Custodian, ...] = ()) -> str:
    terminal = ScriptedTerminal(list(answers))
    return prove(custodian, (custodian, *others), STATEMENT, terminal, now=lambda: NOW)


def test_a_passphrase_proves_its_owner() -> None:
    anna = Custodian(name="Anna", means=Passphrase(phc(ANNA)))
    assert proved(anna, ANNA) == ""
    for wrong in ("", ANNA + " ", ANNA.upper(), BEN):
        with pytest.raises(NotProved):
            proved(anna, wrong)


def test_letters_have_one_spelling() -> None:
    composed, apart = "caf\u00e9 caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301 cafe\u0301"
    assert Passphrase(phc(composed)).fits(apart)


def test_a_passphrase_of_two_custodians_proves_neither() -> None:
    """Another salt makes another hash, so this shows only when it is typed."""
    anna = Custodian(name="Anna", means=Passphrase(phc(ANNA, 1)))
    ben = Custodian(name="Ben", means=Passphrase(phc(ANNA, 2)))
    for first, second in ((anna, ben), (ben, anna)):
        with pytest.raises(NotProved):
            proved(first, ANNA, others=(second,))


def test_what_is_no_text_proves_nothing() -> None:
    class Noise(ScriptedTerminal):
        def hidden(self, prompt: str) -> bytearray:
            return bytearray(b"\xff\xfe")

    anna = Custodian(name="Anna", means=Passphrase(phc(ANNA)))
    with pytest.raises(NotProved):
        prove(anna, (anna,), STATEMENT, Noise([]), now=lambda: NOW)


def test_short_passphrases_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 12"):
        hash_passphrase("elevenchars", salt=bytes(16))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        phc(ANNA)[:-1],
        phc(ANNA) + "=",
        phc(ANNA).replace("ln=14", "ln=13"),
        phc(ANNA).replace("ln=14", "ln=21"),
        phc(ANNA).replace("r=8", "r=1"),
        phc(ANNA).replace("$scrypt", "$bcrypt"),
    ],
)
def test_hashes_of_another_make_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="passphrase hash"):
        require_phc(text)


KEYS = {
    "rsa": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ec": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


@pytest.mark.parametrize("kind", KEYS)
def test_a_private_key_proves_its_certificate(tmp_path: Path, kind: str) -> None:
    save(tmp_path, "anna", KEYS[kind])
    leaf = certificate(KEYS[kind])
    anna = Custodian(name="Anna", means=Certificate(leaf))
    signature = bytes.fromhex(proved(anna, str(tmp_path / "anna.key")))
    assert has_signed(leaf, STATEMENT, signature)
    assert not has_signed(leaf, STATEMENT + b" ", signature)
    assert not has_signed(leaf, STATEMENT, signature[:-1] + bytes([signature[-1] ^ 1]))


def test_an_enciphered_file_asks_for_its_passphrase(tmp_path: Path) -> None:
    save(tmp_path, "anna", KEYS["ec"], password=b"of the file")
    anna = Custodian(name="Anna", means=Certificate(certificate(KEYS["ec"])))
    file = str(tmp_path / "anna.key")
    assert proved(anna, file, "of the file")
    with pytest.raises(NotProved):
        proved(anna, file, "of another file")


def test_what_is_not_the_custodians_key_proves_nothing(tmp_path: Path) -> None:
    save(tmp_path, "ben", KEYS["ed25519"])
    anna = Custodian(name="Anna", means=Certificate(certificate(KEYS["ec"])))
    (tmp_path / "noise").write_text("noise")
    for file in ("ben.key", "ben.pem", "noise", "nowhere", ""):
        with pytest.raises(NotProved):
            proved(anna, str(tmp_path / file))


@pytest.mark.parametrize("start", [NOW - timedelta(days=31), NOW + timedelta(days=1)])
def test_a_certificate_out_of_its_time_proves_nothing(tmp_path: Path, start: object) -> None:
    save(tmp_path, "anna", KEYS["ec"])
    leaf = certificate(KEYS["ec"], start=start)  # type: ignore[arg-type]
    with pytest.raises(NotProved):
        proved(Custodian(name="Anna", means=Certificate(leaf)), str(tmp_path / "anna.key"))


def test_nothing_typed_is_shown(tmp_path: Path) -> None:
    anna = Custodian(name="Anna", means=Passphrase(support.phc(ANNA)))
    terminal = ScriptedTerminal([ANNA])
    prove(anna, (anna,), STATEMENT, terminal, now=lambda: NOW)
    assert terminal.shown == []
