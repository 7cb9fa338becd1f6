"""`pinvault key …` on a token: a whole installation from nothing, and the life of its keys."""

import json
import re
import time
from datetime import date
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from hsm.vocabulary import Algorithm
from pinvault.cli.key import key as key_group
from pinvault.client import ToPinBlock
from pinvault.development.environment import check_value
from pinvault.development.server import RunningServer
from tests.support import install as support
from tests.support.install import Install, at_a_terminal, install

PAN = "4111111111111111"
P0 = ("--usage", "P0", "--algorithm", "TDES_3KEY", "--mode", "E")
K1 = ("--usage", "K1", "--algorithm", "AES_256", "--mode", "B")
K2 = ("--usage", "K2", "--algorithm", "RSA_2048", "--mode", "D", "--jwa", "RSA-OAEP")


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """An installation without a key, in production mode."""
    return install(tmp_path_factory.mktemp("bare") / "pinvault", mode="production")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """An installation that has the keys which its configuration names, and keys for keys."""
    made = install(tmp_path_factory.mktemp("installed") / "pinvault")
    made.good(
        *support.OWN_KEYS,
        ("generate", "key-storage", *K1),
        ("generate", "kbpk-partner", *K1),
        ("generate", "key-transport", *K2),
        ("generate", "zpk-out", *P0, "--exportability", "E", "--destroyable"),
        ("generate", "pvk", "--usage", "V2", "--algorithm", "TDES_2KEY", "--mode", "C"),
    )
    return made


def test_an_installation_comes_up_from_an_empty_token(bare: Install) -> None:
    """The commands of docs/ceremony.md, in their order, as an operator types them."""
    check = ["config", "check", str(bare.config)]
    before = bare.spoken(check, ["key", "generate", str(bare.config), "zpk-switch", *P0])
    assert [told.code for told in before] == [2, 2]
    assert all("there is no key ring yet" in told.err for told in before)
    bare.key("generate", "index")
    made = bare.ring()["index/1"].check_value
    (bare.root / "keyring.toml").unlink()  # as if it had been interrupted: the key is taken over
    bare.good(*support.OWN_KEYS)
    assert bare.ring()["index/1"].check_value == made
    seal = ("--usage", "D1", "--algorithm", "RSA_2048", "--mode", "D", "--jwa", "RSA-OAEP")
    (half_way,) = bare.spoken(check)
    assert (half_way.code, "pin-seal" in half_way.err) == (2, True)
    bare.good(
        ("generate", "key-storage", *K1),
        ("generate", "pin-seal", *seal, "--valid-until", "2040-12-31"),
        ("generate", "zpk-switch", *P0),
    )
    good, doctor, again = bare.spoken(
        check,
        ["doctor", "--json", str(bare.config)],
        ["key", "generate", str(bare.config), "index"],
    )
    assert "good: 5 keys" in good.out
    assert {row["verdict"] for row in json.loads(doctor.out)} == {"ok"}
    assert (again.code, "a version already" in again.err) == (2, True)
    first = bare.records("Key.Generate")[0]
    assert {used["key"] for used in first["keys"]} == {"index/1", "audit-signing/1"}
    assert len(bare.records("Key.Generate")) == 4


def test_the_new_installation_serves_and_takes_a_rotated_key(bare: Install) -> None:
    with RunningServer(bare) as running, running.connect() as vault:  # type: ignore[arg-type]
        to = ToPinBlock(key="zpk-switch", format="ISO_0", pan=PAN)
        before = vault.encrypt_pin(vault.seal("1234", pan=PAN), to=to)
        assert before.target_key.version == 1
        check = bare.ring()["zpk-switch/1"].check_value
        bare.key("rotate", "zpk-switch", "--check-value", check, "--previous-until", "2040-12-31")
        end = time.monotonic() + 10
        while vault.encrypt_pin(vault.seal("1234", pan=PAN), to=to).target_key.version != 2:
            assert time.monotonic() < end
            time.sleep(0.1)
    verified, shown = bare.spoken(
        ["audit", "verify", str(bare.config)],
        ["key", "show", str(bare.config), "zpk-switch/1", "--json"],
    )
    assert "intact" in verified.out
    assert int(json.loads(shown.out)["blocks_enciphered"]) > 0
    assert bare.ring()["zpk-switch/1"].valid_until == date(2040, 12, 31)


def test_a_key_that_the_configuration_needs_is_not_retired(bare: Install) -> None:
    ring = (bare.root / "keyring.toml").read_bytes()
    check = bare.ring()["pin-seal/1"].check_value
    (told,) = bare.keys(("retire", "pin-seal/1", "--check-value", check))
    assert (told.code, "KEY_CHANGE_REFUSED" in told.err) == (2, True)
    assert "profiles.sealed-pin.key" in told.err
    assert (bare.root / "keyring.toml").read_bytes() == ring


def test_list_and_show_tell_what_is_known(installed: Install) -> None:
    listed, shown, hidden, table, nobody = installed.keys(
        ("list", "--json"),
        ("show", "zpk-out", "--json"),
        ("show", "pvk/1", "--json"),
        ("show", "zpk-out"),
        ("show", "nobody"),
    )
    assert {row["key"] for row in json.loads(listed.out)} == set(installed.ring())
    facts = json.loads(shown.out)
    assert facts["exportable"].startswith("yes")
    assert facts["versions"] == "zpk-out/1 (active)"
    assert facts["check_value"] == installed.ring()["zpk-out/1"].check_value
    assert json.loads(hidden.out)["exportable"] == "no"
    assert all(value in table.out for value in facts.values())
    assert (nobody.code, "KEY_UNKNOWN" in nobody.err) == (2, True)


def test_a_key_goes_out_and_comes_in_as_a_block(installed: Install) -> None:
    """Only as the same key: a block of one that is there already is refused."""
    exported, refused = installed.keys(
        ("export", "zpk-out", "--kbpk", "kbpk-partner"), ("export", "pvk", "--kbpk", "kbpk-partner")
    )
    block = exported.out.strip()
    assert block.startswith("D")
    assert "KEY_NOT_EXPORTABLE" in refused.err
    again = ("import", "zpk-in", "--kbpk", "kbpk-partner", *P0)
    (known,) = installed.keys(again, stdin=block.encode())
    assert (known.code, "KEY_ALREADY_EXISTS" in known.err) == (2, True)
    spoilt = block[:-1] + ("0" if block[-1] != "0" else "1")
    (forged,) = installed.keys(again, stdin=spoilt.encode())
    assert (forged.code, "KEY_BLOCK_REFUSED" in forged.err) == (2, True)
    assert block[16:] not in known.err + forged.err + known.out + forged.out
    told = [(it["outcome"], it["keys"][0]["key"]) for it in installed.records("Key.Export")]
    assert told == [("OK", "zpk-out/1"), ("KEY_NOT_EXPORTABLE", "pvk/1")]


def test_a_cryptogram_comes_in_under_our_key(installed: Install, tmp_path: Path) -> None:
    value = bytes.fromhex("0123456789ABCDEFFEDCBA98765432101032547698BADCFE")
    pem = installed.key("export", "key-transport", "--public").stdout
    public = serialization.load_pem_public_key(pem.encode())
    assert isinstance(public, rsa.RSAPublicKey)
    wrapped = public.encrypt(value, padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None))
    file = tmp_path / "cryptogram.hex"
    file.write_text(wrapped.hex())
    words = ("import", "zpk-sealed", str(file), "--cryptogram", "key-transport", *P0)
    right = check_value(value, Algorithm.TDES_3KEY)
    without, wrong, done = installed.keys(
        words, (*words, "--check-value", "000000"), (*words, "--check-value", right)
    )
    assert (without.code, "--check-value" in without.err) == (2, True)
    assert (wrong.code, "KEY_CHECK_VALUE_MISMATCH" in wrong.err) == (2, True)
    assert done.code == 0
    assert installed.ring()["zpk-sealed/1"].check_value == right


def test_a_partners_public_key_comes_in(installed: Install) -> None:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    words = ("--public", "--usage", "K3", "--algorithm", "EC_P256", "--mode", "E")
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    done, twice = installed.keys(
        ("import", "partner-agree", *words), ("import", "partner-other", *words), stdin=pem
    )
    assert done.code == 0
    assert installed.ring()["partner-agree/1"].origin == "imported"
    assert (twice.code, "KEY_ALREADY_EXISTS" in twice.err) == (2, True)


def test_an_interrupted_change_is_finished_by_doing_it_again(installed: Install) -> None:
    """Also of a key whose object stops every start and every other change of keys."""
    ring = installed.root / "keyring.toml"
    before = ring.read_text()
    installed.good(("generate", "kbpk-left", *K1))
    after = ring.read_text()
    ring.write_text(before)  # as if the host had ended before the key ring was written
    other, itself = installed.keys(("generate", "zpk-other", *P0), ("generate", "kbpk-left", *K1))
    assert other.code == 2
    assert "kbpk-left/1: DERIVE is True" in other.err
    assert "repeat the change of keys that left it" in other.err
    assert itself.code == 0
    assert ring.read_text() == after


def test_ending_a_key_asks_which(installed: Install) -> None:
    ring = (installed.root / "keyring.toml").read_bytes()
    wrong = ("--check-value", "000000")
    told = installed.keys(
        *(("rotate", "pvk/1"), ("retire", "pvk/1"), ("destroy", "zpk-out/1")),
        *(("rotate", "pvk/1", *wrong), ("retire", "pvk/1", *wrong)),
    )
    assert {each.code for each in told} == {2}
    for each, text in zip(
        told, [*["give --check-value"] * 2, "retire it first", *["nothing was"] * 2], strict=True
    ):
        assert text in each.err
    with at_a_terminal(installed, "key", "retire", str(installed.config), "pvk/1") as session:
        session.answer("to retire it: ", "FFFFFF")
        assert session.end() == 2
    assert (installed.root / "keyring.toml").read_bytes() == ring


def test_a_key_lives_and_dies(installed: Install) -> None:
    """Generated, rotated, retired at a terminal, destroyed in the token."""
    check = installed.ring()["zpk-out/1"].check_value
    other = installed.ring()["pvk/1"].check_value
    installed.good(("rotate", "zpk-out", "--check-value", check.lower()))
    with at_a_terminal(installed, "key", "retire", str(installed.config), "zpk-out/1") as session:
        session.answer("to retire it: ", check)
        assert session.end() == 0
    destroyed, _, kept = installed.keys(
        ("destroy", "zpk-out/1", "--check-value", check),
        ("retire", "pvk/1", "--check-value", other),
        ("destroy", "pvk/1", "--check-value", other),
    )
    states = {entry.id: entry.state.value for entry in installed.ring().values()}
    assert (states["zpk-out/1"], states["zpk-out/2"]) == ("retired", "active")
    assert destroyed.code == 0
    assert (kept.code, "indestructible" in kept.err) == (2, True)
    told = [(it["outcome"], it["keys"][0]["key"]) for it in installed.records("Key.Destroy")]
    assert told == [("BEGUN", "zpk-out/1"), ("OK", "zpk-out/1"), ("BEGUN", "pvk/1")]


Words = list[str]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["import", "CONFIG", "zpk"], "one of them"),
        (["import", "CONFIG", "zpk", "--kbpk", "k", "--public"], "one of them"),
        (["import", "CONFIG", "zpk", "--kbpk", "k"], "nothing to import"),
        (["import", "CONFIG", "zpk", "D0112P0TE00E0000"], "does not exist|No such file"),
        (["export", "CONFIG", "zpk"], "one of them"),
        (["export", "CONFIG", "zpk", "--kbpk", "k", "--form", "A"], "--form"),
        (["generate", "CONFIG", "zpk", "--valid-until", "tomorrow"], "--valid-until"),
        (["generate", "CONFIG", "zpk", "--usage", "Z9"], "--usage"),
        (["generate", "CONFIG", "zpk", "--exportability", "X"], "--exportability"),
    ],
)
def test_a_slip_in_the_words_is_told(installed: Install, words: Words, said: str) -> None:
    spoken = [str(installed.config) if word == "CONFIG" else word for word in words]
    done = CliRunner().invoke(key_group, spoken)
    assert done.exit_code == 2
    assert re.search(said, done.output)
