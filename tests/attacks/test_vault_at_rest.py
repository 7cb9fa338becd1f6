"""Attack: take the database, and find a PAN, a PIN, a token, a session's secret or an envelope.

Cards live their whole lives: registered, set, checked, changed, reset, revealed, by tokens and by
sessions. Then every byte on the disk is searched: SQLite's file and its write-ahead log, and all
files of a PostgreSQL server, its write-ahead log with them.
"""

import base64
import hashlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from pinvault.model.cards import ById, SessionAction, TokenKind, Verification, Window
from pinvault.model.profiles import PinLength
from pinvault.operations.cards.once import Request
from pinvault.store import schema, upgrade
from tests.support.databases import QUICK, PostgresServer
from tests.support.leaks import forms_of
from tests.support.vault import (
    CALLER,
    ORIGIN,
    PROGRAMS,
    Recipient,
    Vault,
    call,
    rows,
    secret_of,
)

OFTEN = Window(count=99, period_s=86_400)
LONG = {
    each.name: replace(
        each,
        pin_length=PinLength(minimum=4, maximum=12) if each.scheme is None else each.pin_length,
        rules=None,
        reveal=True,
        changes=OFTEN,
        reveals=OFTEN,
    )
    for each in PROGRAMS.values()
}
PANS = ("4000001234562000", "5555555551234567", "4111111111111111")
PINS = ("739148205617", "480275913648", "826459173062")
"""Long enough not to be found by chance."""
HASHES = ("md5", "sha1", "sha256", "sha512", "sha3_256", "blake2b")


class Life:
    """A vault on one store, and all that was secret in what was done with it."""

    def __init__(self, address: str, host: Path) -> None:
        upgrade(address)
        self.vault = Vault(address, host, programs=LONG, grants=rows(CALLER, *LONG))
        self.opaque: list[str] = []
        self.checks = 0

    def live(self) -> None:
        """Do everything that can be done with a card, for each."""
        for number, (pan, digits) in enumerate(zip(PANS, PINS, strict=True)):
            card_id = self._register(pan, number)
            other = PINS[number - 1]
            self._set_by_token(card_id, digits, pan)
            self._check(card_id, digits, pan)
            self._check(card_id, other, pan)
            self._change(card_id, digits, other, pan)
            self._by_session(card_id, digits)
            self._reveal(card_id)
            for wrong in (other, other, other):
                self._check(card_id, wrong, pan)
            self.vault.unblock(call("UnblockPin"), card=ById(card_id))

    def _register(self, pan: str, number: int) -> str:
        request = Request(f"id-{number}", pan.encode())
        added = self.vault.add(pan, program="other", external_id=f"x-{number}", request=request)
        return added.card_id

    def _token(self, card_id: str, kind: TokenKind) -> str:
        issued = self.vault.issue(call("IssueControlToken"), card=ById(card_id), kind=kind)
        self.opaque.append(issued.token)
        return issued.token

    def _envelope(self, digits: str, card_id: str):
        sealed = self.vault.envelope(digits, card=card_id)
        self.opaque += sealed.ciphertext.decode().split(".")
        return sealed

    def _set_by_token(self, card_id: str, digits: str, pan: str) -> None:
        token = self._token(card_id, TokenKind.SET_PIN)
        new = self.vault.block(digits, pan=pan)
        self.opaque.append(base64.b64encode(new.ciphertext).decode())
        self.vault.set(call("SetPin"), card=None, control_token=token, new=new)

    def _check(self, card_id: str, digits: str, pan: str) -> None:
        source = self.vault.block(digits, pan=pan)
        self.checks += 1
        request = Request(f"check-{self.checks}", digits.encode() + source.ciphertext)
        self.vault.check(call("CheckPin"), card=ById(card_id), source=source, request=request)

    def _change(self, card_id: str, current: str, new: str, pan: str) -> None:
        sources = {
            "current": self.vault.block(current, pan=pan),
            "new": self._envelope(new, card_id),
        }
        assert self.vault.change(call("ChangePin"), card=ById(card_id), **sources).matches

    def _by_session(self, card_id: str, digits: str) -> None:
        made = call("CreatePinSession")
        action = SessionAction.RESET
        session = self.vault.create_session(made, card=ById(card_id), action=action, origin=ORIGIN)
        opened = self.vault.open_session(
            call("OpenPinSession"), session_id=session.session_id, secret=session.secret
        )
        self.opaque += [session.secret, opened.page_secret]
        self.vault.submit(
            call("SubmitPin"),
            session_id=session.session_id,
            page_secret=opened.page_secret,
            current=None,
            new=self._envelope(digits, card_id),
        )

    def _reveal(self, card_id: str) -> None:
        to = Recipient()
        token = self._token(card_id, TokenKind.REVEAL_PIN)
        revealed = self.vault.reveal(
            call("RevealPin"),
            control_token=token,
            verification=Verification.OTP,
            recipient=to.point,
        )
        self.opaque += revealed.envelope.split(".")
        assert to.open(revealed.envelope)["pin"] in PINS

    def secrets(self) -> Iterator[tuple[str, bytes]]:
        """Everything that must not be found: a name, which tells no value, and bytes."""
        for kind, values in (("PAN", PANS), ("PIN", PINS)):
            for number, digits in enumerate(values):
                yield from ((f"{kind} {number} {name}", form) for name, form in forms(digits))
        for number, text in enumerate(filter(lambda each: len(each) > 10, self.opaque)):
            yield from ((f"secret {number} {name}", form) for name, form in spelled(text))
        for name, key in (("index", bytes(range(32))), ("sealing", bytes(range(32, 64)))):
            yield from ((f"{name} key {how}", form) for how, form in raw(key))
        for name in ("pan-store/2", "pin-reference/1", "pin-reveal/1"):
            value = secret_of(self.vault.directory.find(name, field=""))
            yield from ((f"{name} {how}", form) for how, form in raw(value))


def forms(digits: str) -> Iterator[tuple[str, bytes]]:
    """Spellings of digits, and plain hashes of them."""
    yield from forms_of(digits)
    packed = bytes.fromhex(digits + "f" * (len(digits) % 2))
    yield "nibbles swapped", bytes(each << 4 & 0xF0 | each >> 4 for each in packed)
    yield "nibbles backwards", bytes.fromhex(digits[::-1])
    yield "number", int(digits).to_bytes(8).lstrip(b"\0")
    yield "number backwards", int(digits).to_bytes(8, "little").rstrip(b"\0")
    for name in HASHES:
        for how, written in (("text", digits.encode()), ("packed", packed)):
            digest = hashlib.new(name, written).digest()
            yield from ((f"{name} of {how} {form}", each[:16]) for form, each in raw(digest))


def raw(value: bytes) -> Iterator[tuple[str, bytes]]:
    """Spellings of bytes."""
    yield "raw", value
    yield "backwards", value[::-1]
    yield "hex", value.hex().encode()
    yield "HEX", value.hex().upper().encode()
    yield "base64", base64.b64encode(value)[:-4]


def spelled(text: str) -> Iterator[tuple[str, bytes]]:
    """Spellings of a token, a secret or a part of an envelope: as it is written, and its bytes."""
    yield "text", text.encode()
    if "-" in text and len(text) == 36:
        yield from raw(bytes.fromhex(text.replace("-", "")))
    elif len(text) % 4 != 1:
        yield from raw(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def found(content: bytes, secrets: Iterator[tuple[str, bytes]]) -> list[str]:
    return [name for name, form in secrets if form in content]


def in_sqlite(folder: Path) -> tuple[Life, dict[str, bytes]]:
    life = Life(f"sqlite:///{folder}/store.db", folder)
    life.live()
    with sqlite3.connect(folder / "store.db") as holding:  # else the last one out cleans up
        holding.execute("SELECT 1 FROM card").fetchone()
        content = {path.name: path.read_bytes() for path in folder.glob("store.db*")}
    holding.close()
    return life, content


def test_sqlites_files_hold_no_secret(tmp_path: Path) -> None:
    life, content = in_sqlite(tmp_path)
    assert content.keys() >= {"store.db", "store.db-wal"}
    assert len(content["store.db-wal"]) > 100_000
    for name, written in content.items():
        assert not found(written, life.secrets()), name
    everything = b"".join(content.values())
    assert b"pan-store/2" in everything
    assert b"x-1" in everything
    shown = repr(life.vault.snapshot()).encode()
    assert not found(shown, life.secrets())
    life.vault.close()


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    """Each secret, in each spelling, where it is planted."""
    life, content = in_sqlite(tmp_path)
    everything = b"".join(content.values())
    names = Counter(name for name, _ in life.secrets())
    assert len(names) > 500
    for name, form in life.secrets():
        assert len(form) >= 5, name
        assert name in found(everything + form, iter([(name, form)]))
    life.vault.close()


def test_postgresqls_files_hold_no_secret(tmp_path: Path) -> None:
    """Rows, what was overwritten, and the write-ahead log."""
    server = PostgresServer(*QUICK)
    try:
        address = server.create()
        life = Life(address, tmp_path)
        life.live()
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            (oid,) = connection.execute(
                "SELECT oid FROM pg_database WHERE datname = current_database()"
            ).fetchone()
        life.vault.close()
        data = server.home / "data"
        files = [*(data / "base" / str(oid)).iterdir(), *(data / "pg_wal").glob("0*")]
        content = b"".join(path.read_bytes().replace(bytes(512), b"") for path in files)
        assert b"pan-store/2" in content
        assert not found(content, life.secrets())
    finally:
        server.stop()


@pytest.mark.parametrize("program", ["debit", "credit", "prepaid"])
def test_cards_with_one_pin_do_not_show_it(vault: Vault, program: str) -> None:
    """But for the value of cards of one PAN: it is a function of PIN and PAN, by its nature.

    Another PAN has another; and blocks of format 4 are never the same.
    """
    held = {"program": program, "digits": "7392"}
    for number, pan in enumerate((*PANS, PANS[0])):
        vault.add_with_pin(pan=pan, sequence_number=f"{number:02}", **held)
    with vault.store.read() as db:
        pins = list(db.execute(schema.pin.select()).mappings())
        cards = list(db.execute(schema.card.select()).mappings())
    for column in ("reference", "reveal"):
        blocks = [row[column] for row in pins if row[column] is not None]
        assert len(set(blocks)) == len(blocks)
    assert program == "credit" or len({row["value"] for row in pins}) == len(PANS)
    assert len({row["pan_cipher"] for row in cards}) == len(cards)
    assert len({row["pan_index"] for row in cards}) == len(PANS)


@pytest.mark.parametrize("program", ["debit", "prepaid"])
def test_nothing_tells_a_changed_pin_from_an_unchanged(
    make_vault: Callable[..., Vault], program: str
) -> None:
    """A new PIN that is the old one changes all of the blocks."""
    vault = make_vault(programs=LONG)
    card_id = vault.add_with_pin("7392", program=program).card_id
    with vault.store.read() as db:
        before = db.execute(schema.pin.select()).mappings().one()
    vault.places(card_id, "7392")
    with vault.store.read() as db:
        after = db.execute(schema.pin.select()).mappings().one()
    assert before["reveal"] != after["reveal"]
    assert before["value"] == after["value"], "a value is one of PIN and PAN"
