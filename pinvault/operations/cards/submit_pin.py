"""SubmitPin: what a session of the PIN page is for is done, with the PINs that were entered."""

from dataclasses import dataclass

from pinvault.model.call import Call
from pinvault.model.cards import EventType, SessionAction
from pinvault.model.errors import Reason, Refusal, Violation
from pinvault.model.pins import PinSource
from pinvault.operations.cards.answers import PinPlaced, PinVerdict
from pinvault.operations.cards.create_pin_session import USES
from pinvault.operations.cards.desk import CardDesk, KnownCard, require_status
from pinvault.operations.cards.intake import Source, admit
from pinvault.operations.cards.new_pin import NewPin, Right
from pinvault.operations.cards.once import NO_ID, Once
from pinvault.store import Connection, sessions

_EVENTS = {
    SessionAction.SET: EventType.PIN_SET,
    SessionAction.CHANGE: EventType.PIN_CHANGED,
    SessionAction.RESET: EventType.PIN_RESET,
}


@dataclass(frozen=True, slots=True)
class SubmitPin:
    """The use case, with what it stands on."""

    desk: CardDesk

    def __call__(
        self,
        call: Call,
        *,
        session_id: str,
        page_secret: str,
        current: PinSource | None,
        new: PinSource,
    ) -> PinVerdict:
        """Set, change or reset the PIN and end the session, or refuse; entries are counted."""
        desk = self.desk
        session, known = desk.session(call, session_id, page_secret=page_secret)
        action = SessionAction(session.action)
        require_status(known, *USES[action])
        _require_current(action, is_given=current is not None)
        sources = [Source(source=new, at="new_source", is_new=True)]
        if current is not None:
            sources.insert(0, Source(source=current, at="current_source"))
        admitted = admit(desk, call, known, *sources)
        right = self._right(
            action, known, session_id, desk.seals.of_session("page", session, page_secret)
        )
        once = Once(desk, call, NO_ID, PinVerdict)
        new_pin = NewPin(
            desk=desk, call=call, known=known, admitted=admitted, right=right, once=once
        )
        if action is SessionAction.CHANGE:
            return new_pin.change()
        return _verdict(new_pin.place(), known)

    def _right(
        self, action: SessionAction, known: KnownCard, session_id: str, page_hash: bytes
    ) -> Right:
        desk, limit = self.desk, known.program.session_entries

        def count(db: Connection) -> None:
            now = desk.micros()
            if not sessions.count_entry(db, session_id, page_hash=page_hash, limit=limit, now=now):
                raise Refusal(Reason.SESSION_REFUSED)

        def use(db: Connection) -> None:
            if not sessions.use(db, session_id, page_hash=page_hash, now=desk.micros()):
                raise Refusal(Reason.SESSION_REFUSED)

        return Right(
            event=_EVENTS[action],
            first=EventType.PIN_SET if action is SessionAction.SET else None,
            lifts=action is SessionAction.RESET,
            counts=count,
            uses_up=use,
        )


def _require_current(action: SessionAction, *, is_given: bool) -> None:
    """Refuse a change without the current PIN, and anything else with it."""
    if is_given is not (action is SessionAction.CHANGE):
        rule = "the current PIN is given where the session is for a change, and only there"
        raise Refusal(Reason.REQUEST_INVALID, violations=(Violation("current_source", rule),))


def _verdict(placed: PinPlaced, known: KnownCard) -> PinVerdict:
    return PinVerdict(
        matches=True,
        tries_left=0 if placed.blocked else known.program.try_limit,
        blocked=placed.blocked,
        set_at=placed.set_at,
        source_keys=placed.source_keys,
        stored_keys=placed.stored_keys,
    )
