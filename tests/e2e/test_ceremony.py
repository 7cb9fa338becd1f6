"""Key ceremonies as people hold them: at a terminal, on a token, with the record afterwards."""

import json
import os
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from pinvault.ceremony.people import Passphrase
from tests.support import install as support
from tests.support.ceremony import (
    CHECK_VALUE,
    COMPONENTS,
    Ceremony,
    all_of_it,
    anna_comes,
    ben_comes,
    gives,
    held,
    transcripts,
    write_ceremony,
)
from tests.support.install import Install, Session, at_a_terminal, install


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """An installation with the service's own keys."""
    made = install(tmp_path_factory.mktemp("ceremonies") / "pinvault")
    made.good(*support.OWN_KEYS)
    return made


@pytest.fixture(scope="module")
def loaded(installed: Install) -> tuple[Ceremony, str]:
    """A ceremony that went well, and what was seen of it."""
    ceremony = write_ceremony(installed.root / "good", "zpk-partner")
    with held(installed, ceremony) as session:
        assert all_of_it(session, ceremony) == 0
        return ceremony, session.shown


def outcome(installed: Install) -> tuple[str, str]:
    last = installed.records("Key.Ceremony")[-1]
    return last["outcome"], last.get("cause", "")


def test_a_key_comes_into_the_token_from_two_components(
    installed: Install, loaded: tuple[Ceremony, str]
) -> None:
    """The token measures the published check value."""
    ceremony, shown = loaded
    assert "Ceremony loaded: zpk-partner/1" in shown
    entry = installed.ring()["zpk-partner/1"]
    assert (entry.check_value, entry.origin) == (CHECK_VALUE, "imported")
    assert outcome(installed) == ("OK", "")
    record = installed.records("Key.Ceremony")[-1]
    assert record["keys"] == [{"key": "zpk-partner/1", "check_value": CHECK_VALUE}]
    text = transcripts(ceremony)[0].with_suffix(".txt").read_text()
    assert f"Transcript SHA-256: {record['transcript']}" in text


def test_its_transcript_is_genuine_until_a_word_is_changed(
    installed: Install, loaded: tuple[Ceremony, str], tmp_path: Path
) -> None:
    (facts,) = transcripts(loaded[0])
    text = facts.with_suffix(".txt").read_text()
    copies = {name: tmp_path / f"{name}.json" for name in ("same", "word", "text", "unsigned")}
    for path in copies.values():
        path.write_bytes(facts.read_bytes())
        path.with_suffix(".txt").write_text(text)
    copies["word"].write_text(facts.read_text().replace("Anna", "Anja"))
    copies["text"].with_suffix(".txt").write_text(text.replace("Anna", "Anja"))
    copies["unsigned"].write_text(json.dumps({**json.loads(facts.read_text()), "signature": None}))
    told = installed.keys(*(("verify-transcript", str(path)) for path in copies.values()))
    same, word, edited, unsigned = told
    assert (same.code, "genuine: ceremony loaded, zpk-partner/1" in same.out) == (0, True)
    assert (word.code, "they were changed" in word.err) == (1, True)
    assert "the audit log has no record of it" in word.err
    assert (edited.code, "it was edited" in edited.err) == (1, True)
    assert (unsigned.code, "not signed" in unsigned.err) == (1, True)


def test_the_same_components_do_not_load_twice(
    installed: Install, loaded: tuple[Ceremony, str]
) -> None:
    ceremony = write_ceremony(installed.root / "again", "zpk-other")
    ring = (installed.root / "keyring.toml").read_bytes()
    with held(installed, ceremony) as session:
        assert all_of_it(session, ceremony) == 1
        assert "refused: key_already_exists" in session.shown
        assert "KEY_ALREADY_EXISTS: " in session.shown
    assert (installed.root / "keyring.toml").read_bytes() == ring
    assert outcome(installed) == ("REFUSED", "key_already_exists")


def test_a_rehearsal_leaves_a_transcript_and_nothing_else(installed: Install) -> None:
    ceremony = write_ceremony(installed.root / "rehearsal", "zpk-rehearsed")
    ring = (installed.root / "keyring.toml").read_bytes()
    with held(installed, ceremony, "--rehearse") as session:
        assert all_of_it(session, ceremony) == 0
        assert session.shown.startswith("REHEARSAL")
    assert (installed.root / "keyring.toml").read_bytes() == ring
    assert outcome(installed) == ("REHEARSED", "")
    (facts,) = transcripts(ceremony)
    assert facts.with_suffix(".txt").read_text().startswith("REHEARSAL")
    (told,) = installed.keys(("verify-transcript", str(facts)))
    assert "genuine: rehearsal rehearsed" in told.out
    assert installed.keys(("list",))[0].code == 0


def ctrl_c(session: Session) -> None:
    session.press(b"\x03")


def end_of_file(session: Session) -> None:
    session.press(b"\x04")


def terminated(session: Session) -> None:
    os.kill(session.process.pid, signal.SIGTERM)


def hung_up(session: Session) -> None:
    os.kill(session.process.pid, signal.SIGHUP)


def nothing(session: Session) -> None:
    """Nobody answers."""


@pytest.mark.parametrize(
    ("end", "cause"),
    [
        (ctrl_c, "interrupted"),
        (end_of_file, "interrupted"),
        (terminated, "interrupted"),
        (hung_up, "interrupted"),
        (nothing, "idle"),
    ],
)
def test_whatever_ends_it_leaves_a_transcript_and_no_key(
    installed: Install, tmp_path: Path, end: Callable[[Session], None], cause: str
) -> None:
    """In the middle of the second component, when the first is in."""
    ceremony = write_ceremony(tmp_path / "ended", "zpk-ended")
    ring = (installed.root / "keyring.toml").read_bytes()
    with held(installed, ceremony, "--idle", "2" if end is nothing else "60") as session:
        anna_comes(session, ceremony)
        gives(session, COMPONENTS[0])
        ben_comes(session, ceremony)
        session.wait_for("Your component (hidden): ")
        end(session)
        assert session.end() == 1
    assert (installed.root / "keyring.toml").read_bytes() == ring
    assert outcome(installed) == ("ABORTED", cause)
    (facts,) = transcripts(ceremony)
    assert f"RESULT: ABORTED ({cause})" in facts.with_suffix(".txt").read_text()


def test_what_cannot_end_well_does_not_begin(installed: Install, tmp_path: Path) -> None:
    """It is told before a terminal is looked for; and without one nothing begins either."""
    changes = {
        "no key has this usage": ('mode = "D"', 'mode = "X"'),
        "the service's own key": ('name = "zpk-fresh"', 'name = "index"'),
        "over before it begins": ('mode = "D"', 'mode = "D"\nvalid_until = 2020-01-01'),
        "unknown field": ('usage = "P0"', 'usage = "P0"\ncomponent = "00"'),
        "Ben Custodian's certificate is not in its time": ("", ""),
        "needs a terminal": ("", ""),
    }
    files = []
    for number, (said, (right, wrong)) in enumerate(changes.items()):
        age = timedelta(days=40 if "not in its time" in said else 1)
        ceremony = write_ceremony(tmp_path / str(number), "zpk-fresh", age=age)
        ceremony.path.write_text(ceremony.path.read_text().replace(right, wrong))
        files.append(ceremony)
    typed = "\n".join([files[-1].sha256, *COMPONENTS]).encode()
    told = installed.keys(*(("ceremony", str(it.path)) for it in files), stdin=typed)
    for said, each, ceremony in zip(changes, told, files, strict=True):
        assert (each.code, said in each.err) == (2, True), each
        assert transcripts(ceremony) == []


def test_a_passphrase_is_hashed_and_never_shown(installed: Install) -> None:
    with at_a_terminal(installed, "key", "ceremony-passphrase") as session:
        session.answer("Passphrase (hidden): ", "Dora's own passphrase")
        session.answer("Once more (hidden): ", "Dora's own passphrase")
        assert session.end() == 0
        hashed = session.found(r"(\$scrypt\$ln=17\S+)")
        assert "Dora" not in session.shown
    assert Passphrase(hashed).fits("Dora's own passphrase")
