"""The PIN vault as its rules read, without a store, an HSM or another caller: a model to test by.

What was not committed when a call ends is not there. `Model.asked` gives what a call answers and
every state that it may leave behind if it does not come to its end.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from pinvault.model.cards import (
    CardStatus,
    EventType,
    PinUse,
    Program,
    SessionAction,
    TokenKind,
    Window,
)
from pinvault.model.errors import Reason
from pinvault.operations.cards.once import LEASE_SLACK_S
from pinvault.operations.cards.trial import CLOCKS_APART_S
from tests.support.vault import LONGEST_CALL_S

Answer = tuple[Any, ...]
ANSWER_KEPT_S, LEASE_S = 86_400, 60 + LEASE_SLACK_S
"""A call has 60 s, and some more to end."""
DIED_AFTER_S = LONGEST_CALL_S + CLOCKS_APART_S


class Refused(Exception):
    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def require(holds: object, reason: Reason) -> None:
    if not holds:
        raise Refused(reason)


@dataclass(frozen=True)
class Given:
    """A PIN that a call brings: a block when it is for no card, else an envelope for one."""

    digits: str
    card: str = ""
    name: int = 0
    expires: float = 0.0
    broken: bool = False


@dataclass(frozen=True)
class Ask:
    """Who asks, under which id, and what: all that tells one request from another."""

    method: str
    caller: str = "card-app"
    request_id: str = ""
    card: str = ""
    token: str = ""
    session: str = ""
    secret: str = ""
    kind: TokenKind = TokenKind.SET_PIN
    status: CardStatus = CardStatus.ACTIVE
    action: SessionAction = SessionAction.SET
    current: Given | None = None
    new: Given | None = None
    recipient: int = 0


@dataclass
class Pin:
    """`verifies` and `reveals` are the same digits, but for a program that reveals nothing."""

    verifies: str
    reveals: str | None
    set_at: float
    tries: int = 0
    tried_at: float | None = None
    blocked: bool = False


@dataclass
class Uses:
    count: int
    until: float


@dataclass
class Card:
    program: str
    status: CardStatus
    pin: Pin | None = None
    uses: dict[str, Uses] = field(default_factory=dict)


@dataclass
class Token:
    word: str
    caller: str
    until: float
    used: bool = False


@dataclass
class Session:
    card: str
    action: SessionAction
    secret: str
    until: float
    page: str | None = None
    entries: int = 0
    used: bool = False


@dataclass
class Known:
    """A request id: the request that it stands for, and its answer once there is one."""

    request: Ask
    answer: Answer | None
    until: float


@dataclass
class World:
    """What is kept. `told` counts messages by card and event; `spent` is good no more, anywhere."""

    cards: dict[str, Card] = field(default_factory=dict)
    tokens: dict[tuple[str, TokenKind], Token] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    ids: dict[tuple[str, str, str], Known] = field(default_factory=dict)
    spent: set[int] = field(default_factory=set)
    recipients: set[int] = field(default_factory=set)
    told: Counter[tuple[str, EventType]] = field(default_factory=Counter)


@dataclass
class Expected:
    """The states after each commit, the first before the call; its answer, or why it has none."""

    states: list[World]
    answer: Answer | None = None
    reason: Reason | None = None


class Model:
    """`drawn` names what the HSM draws in the call: a card's id, a token, a session, a secret."""

    def __init__(
        self, programs: dict[str, Program], weak: Callable[[str, str | None], bool]
    ) -> None:
        self.programs, self.weak = programs, weak
        self.world, self.states = World(), [World()]
        self.opened: dict[int, set[int]] = {}
        self.now, self.host, self.drawn = 0.0, 0, Answer()

    def asked(self, ask: Ask) -> Expected:
        """Do what is asked."""
        self.states, self.used = [copy.deepcopy(self.world)], []
        answer, reason = None, None
        try:
            answer = getattr(self, ask.method)(ask)
            self.commit()
        except Refused as refused:
            self.undo()
            reason = refused.reason
        return Expected(self.states, answer, reason)

    def commit(self) -> None:
        self.states.append(copy.deepcopy(self.world))

    def undo(self) -> None:
        self.world = copy.deepcopy(self.states[-1])

    # Cards

    def RegisterCard(self, ask: Ask) -> Answer:
        if told := self.told(ask):
            return told
        if ask.request_id:
            self.begin(ask)
            self.commit()
        with self.freed(ask):
            program = ask.card
            taken = any(card.program == program for card in self.world.cards.values())
            require(not taken, Reason.CARD_ALREADY_EXISTS)
            (drawn,) = self.drawn or ("",)
            self.world.cards[drawn] = Card(program, ask.status)
            return self.finish(ask, self.view(drawn))

    def GetCard(self, ask: Ask) -> Answer:
        self.find(ask)
        return self.view(ask.card)

    def SetCardStatus(self, ask: Ask) -> Answer:
        card = self.find(ask)
        is_final = card.status is CardStatus.CLOSED
        require(not is_final or ask.status is CardStatus.CLOSED, Reason.CARD_STATUS)
        card.status = ask.status
        return self.view(ask.card)

    def UnblockPin(self, ask: Ask) -> Answer:
        pin = self.find(ask).pin
        require(pin, Reason.PIN_NOT_SET)
        if pin.blocked:
            self.tell(ask.card, EventType.CARD_PIN_UNBLOCKED)
        pin.blocked, pin.tries = False, 0
        return self.view(ask.card)

    # Tokens

    def IssueControlToken(self, ask: Ask) -> Answer:
        program = self.programs[self.find(ask).program]
        is_reveal = ask.kind is TokenKind.REVEAL_PIN
        require(program.reveal or not is_reveal, Reason.PIN_NOT_REVEALABLE)
        (drawn,) = self.drawn or ("",)
        until = self.now + program.token_s[ask.kind]
        self.world.tokens[ask.card, ask.kind] = Token(drawn, ask.caller, until)
        return drawn, ask.card, until

    def holder(self, ask: Ask, kind: TokenKind, use: PinUse) -> str:
        """The card of a token that is good."""
        for (card, of_kind), token in self.world.tokens.items():
            is_it = (token.word, of_kind, token.caller) == (ask.token, kind, ask.caller)
            if is_it and not token.used and token.until > self.now:
                self.allow(card, use)
                return card
        raise Refused(Reason.CONTROL_TOKEN_REFUSED)

    def redeem(self, card: str, kind: TokenKind) -> None:
        self.world.tokens[card, kind].used = True

    # PINs

    def CheckPin(self, ask: Ask) -> Answer:
        if told := self.told(ask):
            return told
        self.find(ask, PinUse.CHECK)
        self.begin(ask)
        self.count_try(ask, ask.card)
        with self.freed(ask):
            digits = self.compared_or_given_back(ask, ask.card, ask.current)
            (_, matches) = digits, self.pin(ask.card).verifies == digits
            self.right(ask.card) if matches else self.wrong(ask.card)
            self.spend()
            return self.finish(ask, (matches, *self.left(ask.card), None))

    def SetPin(self, ask: Ask) -> Answer:
        if told := self.told(ask):
            return told
        if not ask.token:
            self.find(ask, PinUse.SET)
            return self.place(ask, ask.card, EventType.PIN_SET)
        card = self.holder(ask, TokenKind.SET_PIN, PinUse.SET)
        uses_up = lambda: self.redeem(card, TokenKind.SET_PIN)  # noqa: E731
        return self.place(ask, card, EventType.PIN_SET, uses_up=uses_up)

    def ResetPin(self, ask: Ask) -> Answer:
        if told := self.told(ask):
            return told
        self.find(ask, PinUse.SET)
        return self.place(ask, ask.card, EventType.PIN_RESET)

    def ChangePin(self, ask: Ask) -> Answer:
        if told := self.told(ask):
            return told
        self.find(ask, PinUse.SET, PinUse.CHECK)
        return self.change(ask, ask.card)

    def RevealPin(self, ask: Ask) -> Answer:
        card = self.holder(ask, TokenKind.REVEAL_PIN, PinUse.REVEAL)
        self.redeem(card, TokenKind.REVEAL_PIN)
        pin = self.world.cards[card].pin
        require(pin, Reason.PIN_NOT_SET)
        self.count(card, "reveals")
        require(ask.recipient not in self.world.recipients, Reason.RECIPIENT_KEY_REFUSED)
        self.world.recipients.add(ask.recipient)
        self.commit()
        self.tell(card, EventType.PIN_REVEALED)
        return card, pin.reveals

    # Sessions

    def CreatePinSession(self, ask: Ask) -> Answer:
        card = self.find(ask, *self.uses_of(ask.action))
        drawn, secret = self.drawn or ("", "")
        until = self.now + self.programs[card.program].session_s
        self.world.sessions[drawn] = Session(ask.card, ask.action, secret, until)
        return drawn, secret, ask.card, until

    def OpenPinSession(self, ask: Ask) -> Answer:
        session = self.session(ask)
        (drawn,) = self.drawn or ("",)
        is_new = session.secret == ask.secret and session.page is None
        require(is_new, Reason.SESSION_REFUSED)
        session.page = drawn
        return drawn, session.card, session.action, session.until

    def SubmitPin(self, ask: Ask) -> Answer:
        session = self.session(ask)
        card, action = session.card, session.action
        self.allow(card, *self.uses_of(action))
        is_change = action is SessionAction.CHANGE
        require((ask.current is not None) is is_change, Reason.REQUEST_INVALID)

        def enter() -> None:
            limit = self.programs[self.world.cards[card].program].session_entries
            session = self.session(ask)
            is_open = session.page == ask.secret and session.entries < limit
            require(is_open, Reason.SESSION_REFUSED)
            session.entries += 1

        def end() -> None:
            self.session(ask).used = True

        if is_change:
            return self.change(ask, card, counts=enter, uses_up=end)
        event = {"set": EventType.PIN_SET, "reset": EventType.PIN_RESET}[action.value]
        _, set_at, _ = self.place(ask, card, event, counts=enter, uses_up=end)
        return True, *self.left(card), set_at

    def session(self, ask: Ask) -> Session:
        session = self.world.sessions.get(ask.session)
        is_good = session and not session.used and session.until > self.now
        require(is_good, Reason.SESSION_REFUSED)
        return session

    @staticmethod
    def uses_of(action: SessionAction) -> tuple[PinUse, ...]:
        is_change = action is SessionAction.CHANGE
        return (PinUse.SET, PinUse.CHECK) if is_change else (PinUse.SET,)

    # What makes a PIN new

    def place(
        self,
        ask: Ask,
        card: str,
        event: EventType,
        *,
        counts: Callable[[], None] = lambda: None,
        uses_up: Callable[[], None] = lambda: None,
    ) -> Answer:
        counts()
        self.begin(ask)
        is_reset = event is EventType.PIN_RESET
        require(self.world.cards[card].pin or not is_reset, Reason.PIN_NOT_SET)
        self.require_left(card, "changes")
        self.commit()
        with self.freed(ask):
            digits = self.open(ask, card, ask.new)
            require(not self.weak(digits, None), Reason.PIN_WEAK)
            uses_up()
            set_at, blocked = self.replace(card, digits, event)
            return self.finish(ask, (card, set_at, blocked))

    def change(
        self,
        ask: Ask,
        card: str,
        *,
        counts: Callable[[], None] = lambda: None,
        uses_up: Callable[[], None] = lambda: None,
    ) -> Answer:
        counts()
        self.require_left(card, "changes")
        self.begin(ask)
        self.count_try(ask, card)
        with self.freed(ask):
            current, new = self.compared_or_given_back(ask, card, ask.current, ask.new)
            if self.pin(card).verifies != current:
                self.wrong(card)
                self.spend()
                return self.finish(ask, (False, *self.left(card), None))
            if self.weak(new, current):
                self.right(card)
                self.spend()
                self.commit()
                raise Refused(Reason.PIN_WEAK)
            uses_up()
            set_at, _ = self.replace(card, new, EventType.PIN_CHANGED)
            return self.finish(ask, (True, *self.left(card), set_at))

    def replace(self, card: str, digits: str, event: EventType) -> tuple[float, bool]:
        before, program = self.world.cards[card].pin, self.programs[self.world.cards[card].program]
        was_blocked = before is not None and before.blocked
        unblocks = event is EventType.PIN_RESET
        self.world.cards[card].pin = Pin(
            verifies=digits,
            reveals=digits if program.reveal else None,
            set_at=self.now,
            blocked=was_blocked and not unblocks,
        )
        self.count(card, "changes")
        self.spend()
        self.tell(card, event)
        if was_blocked and unblocks:
            self.tell(card, EventType.CARD_PIN_UNBLOCKED)
        return self.now, was_blocked and not unblocks

    # Tries

    def count_try(self, ask: Ask, card: str) -> None:
        """Count a try and commit it; without one, nothing else of the call is left but a block."""
        pin = self.world.cards[card].pin
        require(pin, Reason.PIN_NOT_SET)
        if pin.blocked or pin.tries >= self.limit(card):
            if not pin.blocked and pin.tried_at < self.now - DIED_AFTER_S:
                self.block(card)
            self.free(ask)
            self.commit()
            raise Refused(Reason.PIN_BLOCKED)
        pin.tries += 1
        pin.tried_at = self.now
        self.commit()

    def compared_or_given_back(self, ask: Ask, card: str, *given: Given) -> Any:
        """Open what is to be compared; the try comes back if it does not open."""
        try:
            digits = [self.open(ask, card, each) for each in given]
        except Refused:
            self.pin(card).tries -= 1
            self.commit()
            raise
        return digits if len(digits) > 1 else digits[0]

    def right(self, card: str) -> None:
        self.pin(card).tries = 0

    def wrong(self, card: str) -> None:
        if self.pin(card).tries >= self.limit(card):
            self.block(card)

    def block(self, card: str) -> None:
        self.pin(card).blocked = True
        self.tell(card, EventType.PIN_CHECKED_BLOCKED)

    def left(self, card: str) -> tuple[int, bool]:
        pin = self.pin(card)
        return 0 if pin.blocked else self.limit(card) - pin.tries, pin.blocked

    def limit(self, card: str) -> int:
        return self.programs[self.world.cards[card].program].try_limit

    def pin(self, card: str) -> Pin:
        pin = self.world.cards[card].pin
        assert pin is not None
        return pin

    # Sources

    def open(self, ask: Ask, card: str, given: Given) -> str:
        """A block opens for the PAN; an envelope once on a host, in its time, for its card."""
        require(not given.broken, Reason.PIN_SOURCE_REFUSED)
        if given.card:
            require(self.now <= given.expires, Reason.ENVELOPE_EXPIRED)
            opened = self.opened.setdefault(self.host, set())
            require(given.name not in opened, Reason.ENVELOPE_REPLAYED)
            opened.add(given.name)
            self.used.append(given.name)
            require(given.card == card, Reason.PIN_SOURCE_REFUSED)
        lengths = self.programs[self.world.cards[card].program].pin_length
        require(lengths.allows(len(given.digits)), Reason.PIN_SOURCE_REFUSED)
        return given.digits

    def spend(self) -> None:
        """What was opened is good no more on any host."""
        require(not self.world.spent.intersection(self.used), Reason.ENVELOPE_REPLAYED)
        self.world.spent.update(self.used)

    # What is counted

    def require_left(self, card: str, scope: str) -> None:
        uses = self.world.cards[card].uses.get(scope)
        is_left = not uses or uses.until <= self.now or uses.count < self.window(card, scope).count
        require(is_left, Reason.CARD_RATE_EXCEEDED)

    def count(self, card: str, scope: str) -> None:
        self.require_left(card, scope)
        uses = self.world.cards[card].uses
        if scope not in uses or uses[scope].until <= self.now:
            uses[scope] = Uses(0, self.now + self.window(card, scope).period_s)
        uses[scope].count += 1

    def window(self, card: str, scope: str) -> Window:
        return getattr(self.programs[self.world.cards[card].program], scope)

    # Request ids

    def told(self, ask: Ask) -> Answer | None:
        known = self.world.ids.get(self.key(ask))
        if not ask.request_id or known is None or known.until <= self.now:
            return None
        require(known.request == ask, Reason.REQUEST_ID_REUSED)
        require(known.answer, Reason.REQUEST_IN_PROGRESS)
        return known.answer

    def begin(self, ask: Ask) -> None:
        if ask.request_id:
            self.world.ids[self.key(ask)] = Known(ask, None, self.now + LEASE_S)

    def finish(self, ask: Ask, answer: Answer) -> Answer:
        if ask.request_id:
            self.world.ids[self.key(ask)] = Known(ask, answer, self.now + ANSWER_KEPT_S)
        return answer

    def free(self, ask: Ask) -> None:
        if ask.request_id:
            del self.world.ids[self.key(ask)]

    @contextmanager
    def freed(self, ask: Ask) -> Iterator[None]:
        """A refusal leaves nothing that is not committed, and frees the id."""
        try:
            yield
        except Refused:
            self.undo()
            self.free(ask)
            self.commit()
            raise

    @staticmethod
    def key(ask: Ask) -> tuple[str, str, str]:
        return ask.caller, ask.method, ask.request_id

    # What every call goes by

    def find(self, ask: Ask, *uses: PinUse) -> Card:
        require(ask.card in self.world.cards, Reason.CARD_UNKNOWN)
        self.allow(ask.card, *uses)
        return self.world.cards[ask.card]

    def allow(self, card: str, *uses: PinUse) -> None:
        found = self.world.cards[card]
        statuses = self.programs[found.program].statuses
        require(all(found.status in statuses[use] for use in uses), Reason.CARD_STATUS)

    def tell(self, card: str, event: EventType) -> None:
        self.world.told[card, event] += 1

    def view(self, card: str) -> Answer:
        found = self.world.cards[card]
        pin = None if found.pin is None else (found.pin.set_at, *self.left(card))
        return card, found.program, found.status, pin
