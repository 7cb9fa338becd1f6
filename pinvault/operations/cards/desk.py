"""What every use case of CardPinService stands on: cards, programs, transactions, what is told.

Rules:
- A card of a program that the caller's rows for the method do not name is as one that is not there.
- A transaction holds no call of the HSM, and may run several times: it acts on the store alone.
- Who writes rows gets no right by it: what is said of cards, tokens and sessions is sealed by a key
  that only the HSM gives, and so is whatever is told again. A card is proven whenever it is read.
- What the store cannot do now is `STORE_UNAVAILABLE`; what it refuses is a fault of ours. A store
  that is known to be away is not asked: who waits for it holds a thread that others need.
"""

import hashlib
import hmac
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pinvault.clearzone.card_zone import CardZone
from pinvault.clearzone.stored import StoredUnreadable
from pinvault.model.call import Call
from pinvault.model.cards import (
    ByExternalId,
    ById,
    ByNumber,
    CardEvent,
    CardRef,
    CardStatus,
    EventType,
    PinUse,
    Program,
    TokenKind,
)
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.admission import Admission
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.seals import Seals
from pinvault.operations.route import Router
from pinvault.operations.schemes import Schemes
from pinvault.policy.pan_index import PanIndex
from pinvault.store import (
    Connection,
    Store,
    StoreError,
    StoreUnavailable,
    cards,
    outbox,
    sessions,
    tokens,
)
from pinvault.store.cards import Card
from pinvault.store.sessions import PinSession

STORE_RETRY_AFTER_S = 0.5

T = TypeVar("T")


class Events(Protocol):
    """Who is told what, and in which words."""

    def of(self, event: CardEvent, /) -> tuple[tuple[str, str], ...]:
        """Give the endpoints to be told of an event, each with its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKeys:
    """The names of the keys of what is stored: PANs, reference blocks, blocks to reveal."""

    pan: str
    reference: str | None = None
    reveal: str | None = None


@dataclass(frozen=True, slots=True)
class KnownCard:
    """A card that the caller may know of, and its program."""

    card: Card
    program: Program


@dataclass(frozen=True, slots=True, kw_only=True)
class CardDesk:
    """Who resolves names, lets calls pass, moves PINs, and keeps them.

    `now` gives Unix seconds; `is_up` whether the store answered when it was last looked at. No call
    takes longer than `longest_call_s`.
    """

    router: Router
    schemes: Schemes
    admission: Admission
    zone: CardZone
    store: Store
    programs: Mapping[str, Program]
    index: PanIndex
    keys: StoreKeys
    events: Events
    seals: Seals
    now: Callable[[], float]
    is_up: Callable[[], bool]
    longest_call_s: float

    def read(self, work: Callable[[Connection], T]) -> T:
        """Give what `work` finds in one snapshot of the store, or refuse."""
        self._require_store()
        try:
            with self.store.read() as db:
                return work(db)
        except StoreUnavailable:
            raise _unavailable() from None

    def write(self, work: Callable[[Connection], T]) -> T:
        """Do `work` in one transaction and give what it gives, or refuse and do nothing."""
        self._require_store()
        try:
            return self.store.transact(work)
        except StoreUnavailable:
            raise _unavailable() from None

    def try_to_write(self, work: Callable[[Connection], object]) -> None:
        """Do `work` in one transaction if the store can: for what a refusal leaves behind."""
        with suppress(StoreError):
            self.store.transact(work)

    def micros(self) -> int:
        """Give the time as the store keeps it."""
        return int(self.now() * MICROSECONDS)

    def find(self, call: Call, ref: CardRef, *uses: PinUse) -> KnownCard:
        """Find the card of a call, in a status that allows the uses, or refuse."""
        if isinstance(ref, ByNumber):
            self.admission.note(call, ref.pan)
        known = self.look_up(call, ref)
        return self._allowed(call, known, uses)

    def holder(self, call: Call, token: str, kind: TokenKind, *uses: PinUse) -> KnownCard:
        """Find the card that a control token names, or refuse; the token stays good."""
        found = self.read(lambda db: self._good(db, call, token, kind))
        card = None if found is None else found[1]
        return self._allowed(call, self._visible(call, card, Reason.CONTROL_TOKEN_REFUSED), uses)

    def meaning(self, call: Call, token: str) -> tuple[TokenKind, int, KnownCard]:
        """Give what a control token is good for, until when, and its card, or refuse."""

        def look(db: Connection) -> tuple[TokenKind, int, Card] | None:
            for kind in TokenKind:
                found = self._good(db, call, token, kind)
                if found is not None:
                    return kind, *found
            return None

        found = self.read(look)
        if found is None:
            raise Refusal(Reason.CONTROL_TOKEN_REFUSED)
        kind, expires_at, card = found
        known = self._visible(call, card, Reason.CONTROL_TOKEN_REFUSED)
        return kind, expires_at, self._allowed(call, known, ())

    def _good(
        self, db: Connection, call: Call, token: str, kind: TokenKind
    ) -> tuple[int, Card] | None:
        """Give until when a token could be redeemed, and its card."""
        found = tokens.find(
            db,
            token_hash=token_hash(token),
            kind=kind.value,
            caller=call.caller,
            now=self.micros(),
        )
        if found is None:
            return None
        card_id, expires_at = found.card_id, found.expires_at
        seal = self.seals.of_token(
            token, kind, card_id=card_id, caller=call.caller, expires_at=expires_at
        )
        card = cards.get_card(db, card_id) if hmac.compare_digest(found.seal, seal) else None
        return None if card is None else (expires_at, card)

    def redeem(
        self, db: Connection, call: Call, token: str, kind: TokenKind, known: KnownCard
    ) -> None:
        """Use the control token of a card up, or refuse."""
        card_id = tokens.redeem(
            db,
            token_hash=token_hash(token),
            kind=kind.value,
            caller=call.caller,
            now=self.micros(),
        )
        if card_id != known.card.id:
            raise Refusal(Reason.CONTROL_TOKEN_REFUSED)

    def session(
        self, call: Call, session_id: str, *, page_secret: str | None = None
    ) -> tuple[PinSession, KnownCard]:
        """Find a session that is not over, and of the page that has the secret; and its card."""

        def look(db: Connection) -> tuple[PinSession | None, Card | None]:
            now = self.micros()
            found = sessions.get_session(db, session_id, now=now)
            if found is None:
                return None, None
            if page_secret is not None:
                page_hash = self.seals.of_session("page", found, page_secret)
                if not sessions.is_pages(db, session_id, page_hash=page_hash, now=now):
                    return None, None
            return found, cards.get_card(db, found.card_id)

        session, card = self.read(look)
        known = self._visible(call, card, Reason.SESSION_REFUSED)
        if session is None:
            raise Refusal(Reason.SESSION_REFUSED)
        return session, self._allowed(call, known, ())

    def look_up(self, call: Call, ref: CardRef) -> KnownCard:
        """Find a card that the caller may know of, in any status, or refuse."""
        granted = self._granted(call)
        found = [c for c in self.read(lambda db: self._called(db, ref)) if c.program in granted]
        known = [self.proven(card) for card in found]
        if len(known) > 1:
            raise Refusal(Reason.CARD_AMBIGUOUS)
        if not known:
            raise Refusal(Reason.CARD_UNKNOWN)
        return known[0]

    def proven(self, card: Card) -> KnownCard:
        """Give a card that is as it was registered; a fault of ours when its row says otherwise."""
        if not hmac.compare_digest(card.seal, self.seals.of_card(card)):
            raise StoredUnreadable
        return KnownCard(card, self.programs[card.program])

    def tell(
        self,
        db: Connection,
        event: EventType,
        known: KnownCard,
        *,
        now: int,
        operation: str = "",
    ) -> None:
        """Keep the messages of an event, to be sent once the transaction is there."""
        card = known.card
        happened = CardEvent(
            type=event,
            card_id=card.id,
            program=card.program,
            external_id=card.external_id,
            last_four=card.last_four,
            expiry=card.expiry,
            status=CardStatus(card.status),
            registered_at=card.created_at / MICROSECONDS,
            at=now / MICROSECONDS,
            operation=operation,
        )
        for endpoint, body in self.events.of(happened):
            message = outbox.Message(
                id=str(uuid.uuid4()),  # whose dashes keep it from being taken for a secret in a log
                endpoint=endpoint,
                type=event.value,
                card_id=card.id,
                body=body,
            )
            outbox.add(db, message, now=now)

    def _require_store(self) -> None:
        if not self.is_up():
            raise _unavailable()

    def _called(self, db: Connection, ref: CardRef) -> tuple[Card, ...]:
        match ref:
            case ById(card_id):
                found = cards.get_card(db, card_id)
            case ByExternalId(program, external_id):
                found = cards.card_with_external_id(db, program, external_id)
            case ByNumber(pan, sequence_number, program):
                every = cards.cards_with_pan(db, self.index.of(pan))
                return tuple(
                    card
                    for card in every
                    if sequence_number in (None, card.sequence_number)
                    and program in (None, card.program)
                )
        return () if found is None else (found,)

    def _granted(self, call: Call) -> frozenset[str]:
        """Give the programs that the caller's rows for the method name, and that there are."""
        rows = self.admission.grants.rows(caller=call.caller, method=call.method)
        return frozenset(name for row in rows for name in row.programs if name in self.programs)

    def _visible(self, call: Call, card: Card | None, otherwise: Reason) -> KnownCard:
        if card is None or card.program not in self._granted(call):
            raise Refusal(otherwise)
        return self.proven(card)

    def _allowed(self, call: Call, known: KnownCard, uses: tuple[PinUse, ...]) -> KnownCard:
        call.notes.card, call.notes.program = known.card.id, known.program.name
        require_status(known, *uses)
        return known


def require_status(known: KnownCard, *uses: PinUse) -> None:
    """Refuse a card in a status in which its program does not allow the uses."""
    status = CardStatus(known.card.status)
    if not all(status in known.program.statuses[use] for use in uses):
        raise Refusal(Reason.CARD_STATUS)


def token_hash(token: str) -> bytes:
    """Give what a token is found by: it is random, so a plain hash tells nothing of it."""
    return hashlib.sha256(token.encode()).digest()


def _unavailable() -> Refusal:
    return Refusal(Reason.STORE_UNAVAILABLE, retry_after_s=STORE_RETRY_AFTER_S)
