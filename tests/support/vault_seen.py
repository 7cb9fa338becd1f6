"""The PIN vault as its model speaks of it: asks the real one, and reads what its store holds.

What the model names by a word, the store keeps by a hash; `Words` knows both.
"""

import uuid
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Row

from pinvault.clearzone.card_zone import Terms
from pinvault.model.cards import (
    ById,
    CardStatus,
    EventType,
    SessionAction,
    TokenKind,
    Verification,
    card_id,
)
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeSource, Format, PinBlockSource
from pinvault.operations.cards import kept
from pinvault.operations.cards.answers import CardView, PinPlaced, PinVerdict
from pinvault.operations.cards.create_pin_session import ID_BYTES, text_of
from pinvault.operations.cards.desk import token_hash
from pinvault.operations.cards.once import SEAL_BYTES, Request
from pinvault.store import pins, schema
from pinvault.store.sessions import PinSession
from tests.support.vault import ORIGIN, PAN, Recipient, Vault, call
from tests.support.vault_model import (
    Answer,
    Ask,
    Card,
    Given,
    Known,
    Pin,
    Session,
    Token,
    Uses,
    World,
)

MICROSECONDS = 1_000_000
KINDS = {
    "RegisterCard": CardView,
    "SetPin": PinPlaced,
    "ResetPin": PinPlaced,
    "ChangePin": PinVerdict,
    "CheckPin": PinVerdict,
}
"""What is answered by the calls that have a request id."""


@dataclass
class Words:
    """What was said so far: secrets by their hash, requests by their fingerprint, sources."""

    secrets: dict[bytes, str] = field(default_factory=dict)
    requests: dict[bytes, Ask] = field(default_factory=dict)
    sources: dict[Given, Any] = field(default_factory=dict)

    def learn(self, *secrets: str) -> None:
        self.secrets |= {token_hash(secret): secret for secret in secrets}


class Asker:
    """Asks a vault; `drawn` is what its HSM drew in the last call, as the model names it."""

    def __init__(self, vault: Vault, words: Words) -> None:
        self.vault, self.words = vault, words
        self._drawn: list[bytes] = []
        draw = vault.device.draw

        def noted(count: int) -> bytes:
            self._drawn.append(draw(count))
            return self._drawn[-1]

        vault.device.draw = noted

    def ask(self, ask: Ask) -> Answer:
        """Ask, and give the answer as the model does."""
        self._drawn.clear()
        request = Request(ask.request_id, repr(ask).encode())
        made = call(ask.method, ask.caller)
        said = made.caller, made.method, request.fingerprint_of
        self.words.requests[self.vault.desk.seals.of("request", *said)] = ask
        return getattr(self, ask.method)(ask, made, request)

    def drawn(self, method: str) -> Answer:
        """Name what the HSM drew, if it did."""
        if not self._drawn:
            return ()
        first = self._drawn[0]
        match method:
            case "RegisterCard":
                now_ms = self.vault.desk.micros() // 1000
                return (card_id(now_ms=now_ms, drawn=first),)
            case "IssueControlToken":
                words = (str(uuid.UUID(bytes=first, version=4)),)
            case "CreatePinSession":
                words = text_of(first[:ID_BYTES]), text_of(first[ID_BYTES:])
            case _:
                words = (text_of(first),)
        self.words.learn(*words)
        return words

    def RegisterCard(self, ask: Ask, made: Any, request: Request) -> Answer:
        return plain(
            self.vault.register(
                made,
                program=ask.card,
                pan=Pan(PAN),
                sequence_number=f"{sorted(self.vault.programs).index(ask.card):02}",
                expiry="3012",
                status=ask.status,
                external_id=None,
                request=request,
            )
        )

    def GetCard(self, ask: Ask, made: Any, _: Request) -> Answer:
        return plain(self.vault.get(made, card=ById(ask.card)))

    def SetCardStatus(self, ask: Ask, made: Any, _: Request) -> Answer:
        return plain(self.vault.set_status(made, card=ById(ask.card), status=ask.status))

    def UnblockPin(self, ask: Ask, made: Any, _: Request) -> Answer:
        return plain(self.vault.unblock(made, card=ById(ask.card)))

    def IssueControlToken(self, ask: Ask, made: Any, _: Request) -> Answer:
        issued = self.vault.issue(made, card=ById(ask.card), kind=ask.kind)
        return issued.token, issued.card_id, issued.expires_at

    def CheckPin(self, ask: Ask, made: Any, request: Request) -> Answer:
        source = self.source(ask.current)
        return plain(self.vault.check(made, card=ById(ask.card), source=source, request=request))

    def SetPin(self, ask: Ask, made: Any, request: Request) -> Answer:
        return plain(
            self.vault.set(
                made,
                card=None if ask.token else ById(ask.card),
                control_token=ask.token or None,
                new=self.source(ask.new),
                request=request,
            )
        )

    def ResetPin(self, ask: Ask, made: Any, request: Request) -> Answer:
        new = self.source(ask.new)
        return plain(self.vault.reset(made, card=ById(ask.card), new=new, request=request))

    def ChangePin(self, ask: Ask, made: Any, request: Request) -> Answer:
        current, new = self.source(ask.current), self.source(ask.new)
        card = ById(ask.card)
        return plain(self.vault.change(made, card=card, current=current, new=new, request=request))

    def RevealPin(self, ask: Ask, made: Any, _: Request) -> Answer:
        to = recipient(ask.recipient)
        revealed = self.vault.reveal(
            made, control_token=ask.token, verification=Verification.OTP, recipient=to.point
        )
        told = to.open(revealed.envelope)
        assert told["card"] == revealed.card_id
        return revealed.card_id, told["pin"]

    def CreatePinSession(self, ask: Ask, made: Any, _: Request) -> Answer:
        new = self.vault.create_session(made, card=ById(ask.card), action=ask.action, origin=ORIGIN)
        return new.session_id, new.secret, new.card_id, new.expires_at

    def OpenPinSession(self, ask: Ask, made: Any, _: Request) -> Answer:
        opened = self.vault.open_session(made, session_id=ask.session, secret=ask.secret)
        return opened.page_secret, opened.card_id, opened.action, opened.expires_at

    def SubmitPin(self, ask: Ask, made: Any, _: Request) -> Answer:
        return plain(
            self.vault.submit(
                made,
                session_id=ask.session,
                page_secret=ask.secret,
                current=None if ask.current is None else self.source(ask.current),
                new=self.source(ask.new),
            )
        )

    def source(self, given: Given | None) -> PinBlockSource | EnvelopeSource:
        """Give the source itself, the same whenever it is asked for."""
        assert given is not None
        if given not in self.words.sources:
            self.words.sources[given] = self._made(given)
        return self.words.sources[given]

    def _made(self, given: Given) -> PinBlockSource | EnvelopeSource:
        if given.card:
            return self.vault.envelope(given.digits, card=given.card)
        made = self.vault.block(given.digits)
        if not given.broken:
            return made
        ciphertext = bytes(len(made.ciphertext))
        return PinBlockSource(
            key=made.key, format=Format.ISO_4, pan=made.pan, ciphertext=ciphertext
        )


class Reader:
    """Reads the store of a vault that nothing fails in; `digits` are all PINs that may be there."""

    def __init__(self, vault: Vault, words: Words, digits: tuple[str, ...]) -> None:
        self.vault, self.words, self.digits = vault, words, digits
        self._known: dict[Any, str | None] = {}

    def world(self) -> World:
        """Give what is kept."""
        with self.vault.store.read() as db:
            found = {table.name: list(db.execute(table.select())) for table in TABLES}
        world = World()
        for row in found["card"]:
            world.cards[row.id] = Card(row.program, CardStatus(row.status))
        for row in found["pin"]:
            world.cards[row.card_id].pin = self._pin(row)
        for row in found["control_token"]:
            word = self.words.secrets.get(row.token_hash, "?")
            token = Token(word, row.caller, seconds(row.expires_at), row.redeemed_at is not None)
            world.tokens[row.card_id, TokenKind(row.kind)] = token
        for row in found["pin_session"]:
            world.sessions[row.id] = self._session(row)
        for row in found["idempotency"]:
            key = row.caller, row.method.removeprefix("CardPinService."), row.key
            world.ids[key] = self._request(row)
        for row in found["velocity"]:
            self._uses(world, row)
        told = [(row.card_id, EventType(row.type)) for row in found["outbox"]]
        world.told = Counter(told)
        return world

    def rounds(self) -> dict[str, tuple[int, int]]:
        """Give the round of tries of every PIN, and how many are used."""
        with self.vault.store.read() as db:
            return {row.card_id: (row.try_round, row.tries_used) for row in pin_rows(db)}

    def _pin(self, row: Row[Any]) -> Pin:
        stored = pins.StoredPin(**row._mapping)
        verifies = self._once(
            (stored.method, stored.value, stored.reference), stored, self._verifies
        )
        reveals = self._once(stored.reveal, stored, self._reveals) if stored.reveal else None
        return Pin(
            verifies=verifies or "?",
            reveals=reveals,
            set_at=seconds(stored.set_at),
            tries=stored.tries_used,
            tried_at=None if stored.tried_at is None else seconds(stored.tried_at),
            blocked=stored.blocked_at is not None,
        )

    def _once(self, key: Any, stored: pins.StoredPin, work: Any) -> str | None:
        if key not in self._known:
            self._known[key] = work(stored)
        return self._known[key]

    def _verifies(self, stored: pins.StoredPin) -> str | None:
        """The only one of the PINs that is right."""
        desk, made = self.vault.desk, call("CheckPin")
        reference = kept.reference(desk, stored, Pan(PAN))
        right = []
        for digits in self.digits:
            source = self.vault.block(digits)
            sealed = desk.router.source(source, caller=made.caller, at="")
            terms = Terms(deadline=made.deadline)
            if desk.zone.check(sealed, reference, Pan(PAN), terms).result:
                right.append(digits)
        return right[0] if len(right) == 1 else None

    def _reveals(self, stored: pins.StoredPin) -> str:
        desk, made, to = self.vault.desk, call("RevealPin"), Recipient()
        sealed = kept.to_reveal(desk, stored, Pan(PAN))
        terms = Terms(deadline=made.deadline)
        told = desk.zone.reveal(sealed, to.point, card_id="card", expires=1 << 32, terms=terms)
        return to.open(told)["pin"]

    def _session(self, row: Row[Any]) -> Session:
        said = PinSession(**{each.name: getattr(row, each.name) for each in fields(PinSession)})

        def word(purpose: str, hashed: bytes) -> str:
            of = self.vault.desk.seals.of_session
            every = self.words.secrets.values()
            return next((each for each in every if of(purpose, said, each) == hashed), "?")

        return Session(
            card=row.card_id,
            action=SessionAction(row.action),
            secret=word("session", row.secret_hash),
            until=seconds(row.expires_at),
            page=word("page", row.page_hash) if row.page_hash else None,
            entries=row.entries,
            used=row.used_at is not None,
        )

    def _request(self, row: Row[Any]) -> Known:
        request, answer = self.words.requests[row.fingerprint], None
        if row.answer is not None:
            kind = tuple[str, str, KINDS[request.method]]
            *_, told = msgspec.json.decode(row.answer[SEAL_BYTES:], type=kind)
            answer = plain(told)
        return Known(request, answer, -(-row.expires_at // MICROSECONDS))

    def _uses(self, world: World, row: Row[Any]) -> None:
        match row.scope:
            case "envelope":
                world.spent.add(len(world.spent))
            case "recipient":
                world.recipients.add(len(world.recipients))
            case scope:
                card = world.cards[row.subject.decode()]
                card.uses[scope] = Uses(row.uses, seconds(row.ends_at))


TABLES = tuple(table for table in schema.metadata.sorted_tables if table.name != "reencrypt_chunk")


def pin_rows(db: Connection) -> list[Row[Any]]:
    return list(db.execute(schema.pin.select()))


def apart_from(expected: World, found: World) -> str:
    """Tell what differs, "" for nothing; what is spent is only counted."""
    of, now = _flat(expected), _flat(found)
    return "\n".join(
        f"{name}: {of.get(name)}\n  is {now.get(name)}"
        for name in {**of, **now}
        if of.get(name) != now.get(name)
    )


def _flat(world: World) -> dict[Any, Any]:
    mappings = (world.cards, world.tokens, world.sessions, world.ids, +world.told)
    counts = {"spent": len(world.spent), "recipients": len(world.recipients)}
    return {key: value for each in (*mappings, counts) for key, value in each.items()}


def plain(answer: CardView | PinPlaced | PinVerdict) -> Answer:
    """Give an answer as the model does: without keys, and without what never changes of a card."""
    if isinstance(answer, PinPlaced):
        return answer.card_id, answer.set_at, answer.blocked
    if isinstance(answer, PinVerdict):
        return answer.matches, answer.tries_left, answer.blocked, answer.set_at
    pin = answer.pin
    state = None if pin is None else (pin.set_at, pin.tries_left, pin.blocked)
    return answer.card_id, answer.program, answer.status, state


def seconds(micros: int) -> float:
    return micros / MICROSECONDS


@cache
def recipient(number: int) -> Recipient:
    """The recipients, each with a key of its own."""
    return Recipient()
