"""Who may call: every caller is asked, in constant time, and nothing secret is printed."""

import hashlib
from pathlib import Path

import pytest
from rich.pretty import pretty_repr

from pinvault.edge import credentials
from pinvault.edge.credentials import Caller, Credentials, Digest, Secret, is_digest_of
from pinvault.edge.dialect import EdgeReason, Refused
from pinvault.edge.files import EdgeError

KEYS = {"acme": "key-of-acme-0001", "other": "key-of-other-0001"}


class Keyed(Caller, frozen=True, kw_only=True):
    """A caller with a key and a bearer, that are compared, and one that signs."""

    key_sha256: Digest
    bearer_sha256: Digest
    signing: Secret


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entry(name: str, key: str) -> str:
    return (
        f'[[caller]]\nname = "{name}"\nprograms = ["debit"]\nkey_sha256 = "{sha256(key)}"\n'
        f'bearer_sha256 = "{sha256("b-" + key)}"\nsigning = "s-{key}"\n'
    )


TEXT = "".join(entry(name, key) for name, key in KEYS.items())


def written(folder: Path, text: str = TEXT, mode: int = 0o600) -> Path:
    path = folder / "credentials.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.fixture
def known(tmp_path: Path) -> Credentials[Keyed]:
    return credentials.load(written(tmp_path), Keyed)


def reason(known: Credentials[Keyed], **presented: str) -> str:
    with pytest.raises(Refused) as refused:
        known.shown(**presented)
    return refused.value.reason


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_caller_is_known_by_all_that_it_shows(known: Credentials[Keyed], name: str) -> None:
    key = KEYS[name]
    assert known.shown(key=key).name == name
    assert known.shown(key=key, bearer="b-" + key).name == name
    assert reason(known, key=key, bearer="b-x") == "UNAUTHENTICATED"


@pytest.mark.parametrize("shown", ["", "x", "key-of-acme-0002", sha256(KEYS["acme"]), "ключ\0"])
def test_another_is_not(known: Credentials[Keyed], shown: str) -> None:
    assert reason(known, key=shown) == "UNAUTHENTICATED"


def test_the_secrets_of_two_callers_are_no_caller(known: Credentials[Keyed]) -> None:
    assert reason(known, key=KEYS["acme"], bearer="b-" + KEYS["other"]) == "UNAUTHENTICATED"


def test_showing_nothing_is_no_way_in(known: Credentials[Keyed]) -> None:
    assert reason(known) == "UNAUTHENTICATED"


@pytest.mark.parametrize("name", sorted(KEYS))
def test_every_caller_is_asked_whoever_it_is(known: Credentials[Keyed], name: str) -> None:
    asked = []

    def is_it(caller: Keyed) -> bool:
        asked.append(caller.name)
        return caller.name == name

    assert known.matching(is_it).name == name
    assert asked == list(KEYS)


def test_a_test_of_ones_own_has_a_reason_of_its_own(known: Credentials[Keyed]) -> None:
    with pytest.raises(Refused) as refused:
        known.matching(lambda _: False, reason=EdgeReason.SIGNATURE_REFUSED)
    assert refused.value.reason == "SIGNATURE_REFUSED"


def test_comparing_is_left_to_hmac(known: Credentials[Keyed], monkeypatch) -> None:
    compared = []
    monkeypatch.setattr(
        "pinvault.edge.credentials.hmac.compare_digest",
        lambda one, other: compared.append((len(one), len(other))) or one == other,
    )
    known.shown(key=KEYS["acme"], bearer="b-" + KEYS["acme"])
    assert compared == [(64, 64)] * 4  # both secrets of both callers, whichever was right


def test_a_program_that_is_not_open_is_refused(known: Credentials[Keyed]) -> None:
    caller = known.shown(key=KEYS["acme"])
    caller.require("debit")
    with pytest.raises(Refused) as refused:
        caller.require("credit")
    assert refused.value.reason == "NOT_AUTHORISED"


def test_a_digest_is_of_its_text_alone() -> None:
    assert is_digest_of(sha256("a"), "a")
    assert not is_digest_of(sha256("a"), "b")
    assert not is_digest_of("", "")


def test_nothing_secret_is_printed(known: Credentials[Keyed]) -> None:
    caller = known.shown(key=KEYS["acme"])
    told = f"{caller!r} {caller} {[caller]} {known!r} {pretty_repr(caller)} {pretty_repr(known)}"
    assert "acme" in told
    assert not any(secret in told for secret in (KEYS["acme"], sha256(KEYS["acme"])))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o610])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(EdgeError, match="chmod 0600"):
        credentials.load(written(tmp_path, mode=mode), Keyed)


BAD = {
    "empty": ("", r"\[\[caller\]\]"),
    "nobody": ("caller = []", "names nobody"),
    "other": (TEXT + "[more]\nx = 1\n", "nothing else"),
    "not-toml": (TEXT + '= "key-of-acme-0001"', "is not TOML: correct"),
    "clear": (TEXT.replace(sha256(KEYS["acme"]), KEYS["acme"]), "matching regex"),
    "upper": (TEXT.replace(sha256(KEYS["acme"]), sha256(KEYS["acme"]).upper()), "matching"),
    "missing": (TEXT.replace("signing", "singing"), "see the credentials in edge.example.toml"),
    "short": (TEXT.replace("s-key-of-acme-0001", "short"), "length >= 8"),
    "no-program": (TEXT.replace('["debit"]', "[]"), "length >= 1"),
}


@pytest.mark.parametrize("mistake", BAD)
def test_a_mistake_is_told_without_a_value(tmp_path: Path, mistake: str) -> None:
    text, remedy = BAD[mistake]
    with pytest.raises(EdgeError, match=remedy) as wrong:
        credentials.load(written(tmp_path, text), Keyed)
    told = f"{wrong.value} {wrong.value.__cause__}"
    assert not any(secret in told for secret in ("key-of-acme", sha256(KEYS["acme"])))


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="correct its path, kind or mode"):
        credentials.load(tmp_path, Keyed)
