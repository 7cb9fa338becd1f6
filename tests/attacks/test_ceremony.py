"""Attack: load a key alone, load another key than was reviewed, and find components afterwards."""

import base64
import os
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pinvault.ceremony.people import hash_passphrase
from tests.support import install as support
from tests.support.ceremony import (
    COMPONENTS,
    PASSPHRASE,
    anna_comes,
    ben_comes,
    component_check,
    gives,
    held,
    transcripts,
    write_ceremony,
)
from tests.support.install import Install, Session, install
from tests.unit.ceremony.support import LOG_N, phc

MARKED = ("7391A0C25E4F1B3D7391A0C25E4F1B3E", "5D1C7391E2A4B608F05D1C7391E2A4B7")
LOCAL_FLAGS = 3


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    made = install(tmp_path_factory.mktemp("attacked") / "pinvault")
    made.good(*support.OWN_KEYS)
    return made


def no_key(at: Install) -> bool:
    return set(at.ring()) == {"index/1", "audit-signing/1"}


def test_one_person_does_not_play_two(installed: Install, tmp_path: Path) -> None:
    """Anna has both components, and not Ben's private key."""
    ceremony = write_ceremony(tmp_path / "alone", "zpk-alone")
    other = write_ceremony(tmp_path / "hers", "zpk-hers")
    with held(installed, ceremony) as session:
        anna_comes(session, ceremony)
        gives(session, COMPONENTS[0])
        session.answer("that you reviewed: ", ceremony.sha256)
        session.answer("private key: ", other.ben_key)
        session.answer("private key: ", str(ceremony.path.parent / "ben.pem"))
        assert session.end() == 1
        assert "aborted: identity" in session.shown
    assert no_key(installed)


def test_a_passphrase_for_two_is_found_when_it_is_typed(installed: Install, tmp_path: Path) -> None:
    """Two hashes of one passphrase differ by their salts, so the reviewed file does not show it."""
    hashed = hash_passphrase(PASSPHRASE, salt=bytes([1] * 16), log_n=LOG_N)
    ceremony = write_ceremony(tmp_path / "two", "zpk-two", ben=f'passphrase_hash = "{hashed}"')
    with held(installed, ceremony) as session:
        session.answer("that you reviewed: ", ceremony.sha256)
        session.answer("(hidden): ", PASSPHRASE)
        session.answer("(hidden): ", PASSPHRASE)
        assert session.end() == 1
        assert "aborted: identity" in session.shown
    assert no_key(installed)


def test_custodians_who_left_do_not_agree(installed: Install, tmp_path: Path) -> None:
    """Both gave their components; the operator stays alone with the last question."""
    ceremony = write_ceremony(tmp_path / "left", "zpk-left")
    with held(installed, ceremony) as session:
        anna_comes(session, ceremony)
        gives(session, COMPONENTS[0])
        ben_comes(session, ceremony)
        gives(session, COMPONENTS[1])
        session.answer("Your passphrase (hidden): ", "yes")
        session.answer("Your passphrase (hidden): ", "40D522")
        assert session.end() == 1
        assert "aborted: agreement" in session.shown
    assert no_key(installed)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('mode = "D"', 'mode = "E"'), ("Ben Custodian", "Mallory"), ("[key]", "[key] #")],
    ids=["mode", "custodian", "comment"],
)
def test_a_file_that_was_swapped_after_the_review_is_noticed(
    installed: Install, tmp_path: Path, right: str, wrong: str
) -> None:
    ceremony = write_ceremony(tmp_path / "swapped", "zpk-swapped")
    ceremony.path.write_text(ceremony.path.read_text().replace(right, wrong))
    with held(installed, ceremony) as session:
        session.answer("that you reviewed: ", ceremony.sha256[:16])
        session.answer("that you reviewed: ", ceremony.sha256[:16])
        assert session.end() == 1
        assert "another file than the one you reviewed" in session.shown
    assert no_key(installed)


def test_other_means_than_were_reviewed_are_noticed(installed: Install, tmp_path: Path) -> None:
    """Another certificate under the reviewed name, and a hash that is soon found out."""
    ceremony = write_ceremony(tmp_path / "pinned", "zpk-pinned")
    mallory = write_ceremony(tmp_path / "mallory", "zpk-mallory")
    for kind in ("pem", "key"):
        (ceremony.path.parent / f"ben.{kind}").write_bytes(
            (mallory.path.parent / f"ben.{kind}").read_bytes()
        )
    cheap = phc("Ben's other passphrase").replace("ln=14", "ln=4")
    guessed = write_ceremony(tmp_path / "cheap", "zpk-cheap", ben=f'passphrase_hash = "{cheap}"')
    told = installed.keys(("ceremony", str(ceremony.path)), ("ceremony", str(guessed.path)))
    assert [each.code for each in told] == [2, 2]
    assert "certificate_sha256: is not the certificate's" in told[0].err
    assert "passphrase_hash" in told[1].err


def echoes(session: Session) -> bool:
    return bool(termios.tcgetattr(session.terminal)[LOCAL_FLAGS] & termios.ECHO)


def forms_of(component: str) -> Iterator[bytes]:
    """Whatever a component could be written as."""
    raw = bytes.fromhex(component)
    for half in (component, component[:16], component[16:]):
        for text in (half, half.lower(), half[::-1], " ".join(half), f"{half[:8]} {half[8:]}"):
            yield text.encode()
        yield half.encode("utf-16-le")
    for part in (raw, raw[::-1], raw[:8], raw[8:]):
        yield part
        yield base64.b64encode(part)[:-2]
    yield repr(raw)[2:-1].encode()


def looked_at(process: Path) -> list[bytes]:
    """What others can see of a process: the environment of one that gives no dump, root alone."""
    seen = [(process / "cmdline").read_bytes()]
    if os.geteuid() == 0:
        return [*seen, (process / "environ").read_bytes()]
    with pytest.raises(PermissionError):
        (process / "environ").read_bytes()
    return seen


def test_components_stand_nowhere(installed: Install, tmp_path: Path) -> None:
    """Not on the screen, in a file, an argument, the environment, or a history."""
    ceremony = write_ceremony(tmp_path / "marked", "zpk-marked")
    seen: list[bytes] = []
    with held(installed, ceremony) as session:
        assert echoes(session)
        anna_comes(session, ceremony)
        session.wait_for("Your component (hidden): ")
        assert not echoes(session)
        session.type(MARKED[0])
        session.wait_for("once more (hidden): ")
        assert not echoes(session)
        seen += looked_at(Path(f"/proc/{session.process.pid}"))
        session.type(MARKED[0])
        session.wait_for("from your paper: ")
        assert echoes(session)
        session.type(component_check(MARKED[0]))
        ben_comes(session, ceremony)
        gives(session, MARKED[1])
        session.answer("Your passphrase (hidden): ", PASSPHRASE)
        session.answer("private key: ", ceremony.ben_key)
        assert session.end() == 0
        seen.append(bytes(session.screen))
    assert transcripts(ceremony)
    for folder in (installed.root, tmp_path):
        seen += [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert len(seen) > 15
    for content in seen:
        for component in MARKED:
            for form in forms_of(component):
                assert form not in content
        assert PASSPHRASE.encode() not in content


def test_what_was_typed_too_early_is_thrown_away(installed: Install, tmp_path: Path) -> None:
    """Nobody prepares the answer to a hidden question while another sits at the keyboard."""
    ceremony = write_ceremony(tmp_path / "early", "zpk-early")
    with held(installed, ceremony, "--idle", "3") as session:
        session.wait_for("that you reviewed: ")
        os.write(session.terminal, f"{ceremony.sha256}\n{PASSPHRASE}\n".encode())
        session.wait_for("Your passphrase (hidden): ")
        time.sleep(0.1)
        assert session.end() == 1
        assert "aborted: idle" in session.shown
