"""Attack: read a PIN, a PAN or a secret from what any verb of CardPinService says or holds.

Every verb is run well and badly, with PINs of twelve digits. Its answers, the log, the records, the
metrics and the store are searched; so are the local variables of every function of ours outside
the clear zone, and the representations of all that these hold.
"""

import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from google.protobuf.message import Message
from sqlalchemy import text

import pinvault
from pinvault.audit.record import encode
from pinvault.config.sections import StoreSection
from pinvault.model.errors import TEXTS
from pinvault.model.profiles import PinLength
from pinvault.store import Store, StoreError, upgrade
from pinvault.v1 import card_pin_pb2 as pb
from tests.attacks.test_exception_hygiene import Fault, cannot_fail, failing_at, lines_of
from tests.attacks.test_leaks_of_every_verb import locals_outside_the_zone
from tests.support.attack import Told
from tests.support.core import FakeContext
from tests.support.leaks import found_in
from tests.support.served_vault import METHODS, ServedVault, by_id, recipient_key, source
from tests.support.vault import CALLER, ORIGIN, OTHER_PAN, PAN, PROGRAMS, Recipient, rows

PIN, OTHER_PIN = "739148205617", "480275913648"
HOME = str(Path(pinvault.__file__).parent)
ZONE = os.path.join(HOME, "clearzone")  # noqa: PTH118 - compared with file names as text
LONG = {
    each.name: replace(
        each,
        pin_length=PinLength(minimum=4, maximum=12),
        try_limit=15,
        changes=replace(each.changes, count=9999),
        reveals=replace(each.reveals, count=9999),
        reveal=True,
    )
    for each in PROGRAMS.values()
    if each.name != "prepaid"
}
TOKEN = "0f4cd42a-4f0e-4a63-9d5b-6f5f5c1f7c11"
SECRET = "s3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tS3cr3tA"
Step = tuple[str, Message]


class Scene:
    """A served vault with a card, and what was secret in the answers so far."""

    def __init__(self, folder: Path) -> None:
        upgrade(f"sqlite:///{folder}/store.db")
        served = ServedVault(
            f"sqlite:///{folder}/store.db", folder, programs=LONG, grants=rows(CALLER, *LONG)
        )
        self.served, self.vault = served, served.vault
        self.secrets: set[str] = {PAN, OTHER_PAN}
        self.told: list[Told] = []
        self.card_id = ""
        self.card_id = self.register("credit", PAN).card.card_id
        self.ask("SetPin", pb.SetPinRequest(card=self.card, new_source=self.block(PIN)))

    @property
    def card(self) -> pb.CardSelector:
        return by_id(self.card_id)

    def block(self, digits: str, pan: str = PAN) -> Any:
        return source(self.vault.block(digits, pan=pan))

    def sealed(self, digits: str) -> Any:
        made = self.vault.envelope(digits, card=self.card_id)
        self.secrets.update(part for part in made.ciphertext.decode().split(".") if len(part) > 20)
        return source(made)

    def register(self, program: str, pan: str) -> pb.RegisterCardResponse:
        request = pb.RegisterCardRequest(
            program=program, pan=pan, expiry="3012", status=pb.CARD_STATUS_ACTIVE, request_id="r-1"
        )
        return pb.RegisterCardResponse.FromString(self.ask("RegisterCard", request).answer)

    def ask(self, method: str, request: Message) -> Told:
        told = self.served.ask(method, request)
        self.told.append(told)
        if told.reason == "OK":
            answer = getattr(pb, f"{method}Response").FromString(told.answer)
            for name in ("control_token", "session_secret", "page_secret", "envelope"):
                self.secrets.update([getattr(answer, name)] if hasattr(answer, name) else [])
        return told

    def token(self, kind: int) -> str:
        request = pb.IssueControlTokenRequest(card=self.card, type=kind)
        told = self.ask("IssueControlToken", request)
        return pb.IssueControlTokenResponse.FromString(told.answer).control_token

    def session(self, action: int) -> pb.CreatePinSessionResponse:
        request = pb.CreatePinSessionRequest(card=self.card, action=action, origin=ORIGIN)
        return pb.CreatePinSessionResponse.FromString(self.ask("CreatePinSession", request).answer)

    def page(self, action: int) -> dict[str, str]:
        made = self.session(action)
        known = {"session_id": made.session_id}
        request = pb.OpenPinSessionRequest(**known, session_secret=made.session_secret)
        told = self.ask("OpenPinSession", request)
        opened = pb.OpenPinSessionResponse.FromString(told.answer)
        return known | {"page_secret": opened.page_secret}


def opening(scene: Scene) -> pb.OpenPinSessionRequest:
    made = scene.session(pb.PIN_SESSION_ACTION_SET)
    return pb.OpenPinSessionRequest(session_id=made.session_id, session_secret=made.session_secret)


def revealing(scene: Scene, token: str = "") -> pb.RevealPinRequest:
    return pb.RevealPinRequest(
        control_token=token or scene.token(pb.CONTROL_TOKEN_TYPE_REVEAL_PIN),
        cardholder_verification_method=pb.CARDHOLDER_VERIFICATION_METHOD_OTP,
        recipient_key=recipient_key(Recipient()),
    )


def changing(scene: Scene, current: str, new: str) -> pb.ChangePinRequest:
    return pb.ChangePinRequest(
        card=scene.card, current_source=scene.sealed(current), new_source=scene.sealed(new)
    )


# Each verb, well and badly.
WAYS: dict[str, Callable[[Scene], Step]] = {
    "register": lambda s: (
        "RegisterCard",
        pb.RegisterCardRequest(
            program="debit", pan=OTHER_PAN, expiry="3012", status=pb.CARD_STATUS_ACTIVE
        ),
    ),
    "register again": lambda s: (
        "RegisterCard",
        pb.RegisterCardRequest(
            program="debit", pan=PAN, expiry="3012", status=pb.CARD_STATUS_ACTIVE
        ),
    ),
    "get": lambda s: ("GetCard", pb.GetCardRequest(card=s.card)),
    "get by number": lambda s: (
        "GetCard",
        pb.GetCardRequest(card=pb.CardSelector(number=pb.CardNumber(pan=PAN))),
    ),
    "set status": lambda s: (
        "SetCardStatus",
        pb.SetCardStatusRequest(card=s.card, status=pb.CARD_STATUS_ACTIVE),
    ),
    "issue": lambda s: (
        "IssueControlToken",
        pb.IssueControlTokenRequest(card=s.card, type=pb.CONTROL_TOKEN_TYPE_SET_PIN),
    ),
    "set": lambda s: ("SetPin", pb.SetPinRequest(card=s.card, new_source=s.block(PIN))),
    "set a seal": lambda s: ("SetPin", pb.SetPinRequest(card=s.card, new_source=s.sealed(PIN))),
    "set a stored one": lambda s: (
        "SetPin",
        pb.SetPinRequest(card=s.card, new_source=source(s.card_id)),
    ),
    "set by token": lambda s: (
        "SetPin",
        pb.SetPinRequest(
            control_token=s.token(pb.CONTROL_TOKEN_TYPE_SET_PIN), new_source=s.block(PIN)
        ),
    ),
    "set by no token": lambda s: (
        "SetPin",
        pb.SetPinRequest(control_token=TOKEN, new_source=s.block(PIN)),
    ),
    "set a weak one": lambda s: (
        "SetPin",
        pb.SetPinRequest(card=s.card, new_source=s.block("123456789012")),
    ),
    "set for another": lambda s: (
        "SetPin",
        pb.SetPinRequest(card=s.card, new_source=s.block(PIN, OTHER_PAN)),
    ),
    "check": lambda s: ("CheckPin", pb.CheckPinRequest(card=s.card, source=s.block(PIN))),
    "check a seal": lambda s: ("CheckPin", pb.CheckPinRequest(card=s.card, source=s.sealed(PIN))),
    "check a wrong one": lambda s: (
        "CheckPin",
        pb.CheckPinRequest(card=s.card, source=s.block(OTHER_PIN), request_id="c-1"),
    ),
    "check nothing": lambda s: (
        "CheckPin",
        pb.CheckPinRequest(
            card=s.card,
            source=source(replace(s.vault.block(PIN), ciphertext=bytes(16))),
        ),
    ),
    "change": lambda s: ("ChangePin", changing(s, PIN, OTHER_PIN)),
    "change back": lambda s: ("ChangePin", changing(s, OTHER_PIN, PIN)),
    "change a wrong one": lambda s: ("ChangePin", changing(s, OTHER_PIN, PIN)),
    "reset": lambda s: ("ResetPin", pb.ResetPinRequest(card=s.card, new_source=s.block(PIN))),
    "look at a token": lambda s: (
        "GetControlToken",
        pb.GetControlTokenRequest(control_token=s.token(pb.CONTROL_TOKEN_TYPE_SET_PIN)),
    ),
    "reissue": lambda s: ("ReissuePin", pb.ReissuePinRequest(card=s.card, profile="partner")),
    "reveal": lambda s: ("RevealPin", revealing(s)),
    "reveal by no token": lambda s: ("RevealPin", revealing(s, TOKEN)),
    "unblock": lambda s: ("UnblockPin", pb.UnblockPinRequest(card=s.card)),
    "create a session": lambda s: (
        "CreatePinSession",
        pb.CreatePinSessionRequest(card=s.card, action=pb.PIN_SESSION_ACTION_SET, origin=ORIGIN),
    ),
    "open a session": lambda s: ("OpenPinSession", opening(s)),
    "open no session": lambda s: (
        "OpenPinSession",
        pb.OpenPinSessionRequest(session_id="i" * 24, session_secret=SECRET),
    ),
    "submit": lambda s: (
        "SubmitPin",
        pb.SubmitPinRequest(**s.page(pb.PIN_SESSION_ACTION_RESET), new_source=s.sealed(PIN)),
    ),
    "submit to another page": lambda s: (
        "SubmitPin",
        pb.SubmitPinRequest(
            session_id=s.session(pb.PIN_SESSION_ACTION_SET).session_id,
            page_secret=SECRET,
            new_source=s.sealed(PIN),
        ),
    ),
}
BADLY = {
    "register again",
    "set by no token",
    "set a weak one",
    "set for another",
    "check nothing",
    "reveal by no token",
    "open no session",
    "submit to another page",
}


@contextmanager
def representations(shown: dict[str, set[str]]) -> Iterator[None]:
    """Keep what every dataclass of ours shows of itself that a function outside the zone holds."""

    def keep(value: object) -> None:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            kind = type(value)
            if kind.__module__.startswith("pinvault"):
                name = f"{kind.__module__}.{kind.__qualname__}"
                shown.setdefault(name, set()).add(repr(value))

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(HOME):
            return None
        if event == "return":
            for value in frame.f_locals.values():
                keep(value)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("vault"))
    yield made
    made.vault.close()


@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_the_clear_zone_holds_a_pin(scene: Scene, way: str) -> None:
    method, request = WAYS[way](scene)
    held: set[str] = set()
    with locals_outside_the_zone(held):
        told = scene.ask(method, request)
    assert (told.reason != "OK") == (way in BADLY), told.reason
    assert held == set()
    record = scene.served.audit.records[-1]
    assert record.method == f"CardPinService.{method}"
    written = {
        "answer": told.answer + repr((told, told.face)).encode(),
        "record": encode(record) + repr(record).encode(),
        "log": scene.served.log.getvalue().encode(),
        "metrics": scene.served.metrics(),
        "store": repr(scene.vault.snapshot()).encode(),
    }
    for place, content in written.items():
        for digits in (PIN, OTHER_PIN, PAN, OTHER_PAN):
            assert not found_in(content, digits), place
        for secret in (*scene.secrets, TOKEN, SECRET):
            assert place == "answer" or secret.encode() not in content, place


def test_every_verb_is_run_well(scene: Scene) -> None:
    well = {WAYS[way](scene)[0] for way in WAYS if way not in BADLY}
    assert well == METHODS.keys()


def test_no_value_of_ours_shows_what_is_secret(scene: Scene) -> None:
    shown: dict[str, set[str]] = {}
    for way, make in WAYS.items():
        method, request = make(scene)
        with representations(shown):
            assert scene.ask(method, request).reason or way
    for name, each in shown.items():
        written = "".join(each)
        for digits in (PIN, OTHER_PIN, PAN, OTHER_PAN):
            assert not found_in(written.encode(), digits), name
        leaked = [secret for secret in (*scene.secrets, TOKEN, SECRET) if secret in written]
        assert not leaked, name
    names = {name.rpartition(".")[2] for name in shown}
    assert names >= {
        *("Admitted", "ById", "ByNumber", "Call", "Card", "CardDesk", "CardView", "CreatedSession"),
        *("IssuedToken", "KnownCard", "Made", "NewPin", "OpenedSession", "Outcome", "Passage"),
        *("PinMaterial", "PinPlaced", "PinSession", "PinVerdict", "Recipe", "Request", "Revealed"),
        *(
            "Right",
            "SealedBlock",
            "SealedEnvelope",
            "SealedPan",
            "SpentNonce",
            "StoredPin",
            "Token",
        ),
    }


ASKED = {
    "check": lambda s: ("CheckPin", pb.CheckPinRequest(card=s.card, source=s.sealed(PIN))),
    "reveal": WAYS["reveal"],
}
FLOORS = tuple(
    os.path.join(HOME, *part)  # noqa: PTH118 - compared with file names as text
    for part in (("operations", "cards"), ("store",), ("clearzone",), ("server", "card_"))
)


@pytest.mark.parametrize("way", ASKED)
def test_no_fault_at_any_line_tells_the_pin(scene: Scene, way: str) -> None:
    """As `test_exception_hygiene`, for the floors that only this service has."""

    def ask() -> FakeContext:
        context = FakeContext(caller=CALLER)
        answer = scene.served.send(method, request, context)
        told = repr((context.code, context.details, context.trailers, answer)).encode()
        assert not found_in(told, PIN)
        assert context.details in {"", *TEXTS.values()}
        return context

    method, request = ASKED[way](scene)
    lines = [
        line
        for line in lines_of(ask)
        if line[0].startswith(FLOORS) and not cannot_fail(line) and Path(line[0]).name != "pin.py"
    ]
    assert len(lines) > 100
    codes = set()
    for line in lines:
        with scene.vault.store.write() as db:
            db.execute(text("UPDATE pin SET tries_used = 0, blocked_at = NULL"))
        method, request = ASKED[way](scene)
        with failing_at(line):
            codes.add(ask().code)
    written = scene.served.log.getvalue().encode()
    assert Fault.__name__.encode() in written
    for digits in (PIN, PAN):
        assert not found_in(written, digits)
    assert "INTERNAL" in {code.name for code in codes if code is not None}


@pytest.mark.parametrize("program", ["UPDATE", "SELECT", "INSERT"])
def test_what_the_driver_says_stays_in_the_store(scene: Scene, program: str) -> None:
    """A statement that fails tells values, statements and addresses."""
    statement = {
        "UPDATE": f"UPDATE pin SET nothing = '{PIN}'",
        "SELECT": f"SELECT '{PIN}' FROM nothing WHERE pan = '{PAN}'",
        "INSERT": f"INSERT INTO pin (card_id) VALUES ('{PIN} {PAN}')",
    }[program]
    with pytest.raises(StoreError) as failed, scene.vault.store.write() as db:
        db.execute(text(statement))
    error: BaseException | None = failed.value
    while error is not None:
        assert not found_in(f"{error!r} {vars(error)}".encode(), PIN)
        assert PAN not in f"{error!r} {vars(error)}"
        error = error.__cause__ or error.__context__


def test_the_stores_password_is_shown_nowhere() -> None:
    address = "postgresql://pinvault:hunter2@localhost:1/nothing"
    assert "hunter2" not in repr(StoreSection(address=address, pan_key="pan-store"))
    with pytest.raises(StoreError) as failed:
        Store.open(address, wait_s=0.1)
    error: BaseException | None = failed.value
    while error is not None:
        assert "hunter2" not in f"{error!r} {error} {vars(error)}"
        error = error.__cause__ or error.__context__
