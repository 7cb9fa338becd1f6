"""What is counted for all hosts: new PINs and reveals of a card, and what is good once.

Rules:
- A bound is looked at before the HSM works and counted in the transaction that it bounds, so that
  what came to nothing does not count.
- What opens a source once opens it once on all hosts: it is used up here when something came of it.
"""

from collections.abc import Iterable

from pinvault.clearzone.card_zone import SpentNonce
from pinvault.model.cards import Window
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.answers import MICROSECONDS
from pinvault.operations.cards.desk import CardDesk, KnownCard
from pinvault.store import Connection, velocity

CHANGES = "changes"
REVEALS = "reveals"
_ENVELOPE = "envelope"
_RECIPIENT = "recipient"
RECIPIENT_KEPT_S = 366 * 86_400


def require_left(
    db: Connection, desk: CardDesk, known: KnownCard, scope: str, window: Window
) -> None:
    """Refuse what would be one use of the card too many."""
    now = desk.micros()
    found = velocity.uses(db, scope=scope, subject=_subject(known), now=now)
    if found.count >= window.count:
        raise _exceeded(found.ends_at - now)


def count(db: Connection, desk: CardDesk, known: KnownCard, scope: str, window: Window) -> None:
    """Count a use of the card, or refuse."""
    now, subject = desk.micros(), _subject(known)
    ends_at = now + int(window.period_s * MICROSECONDS)
    if velocity.count_use(
        db, scope=scope, subject=subject, limit=window.count, now=now, ends_at=ends_at
    ):
        return
    raise _exceeded(velocity.uses(db, scope=scope, subject=subject, now=now).ends_at - now)


def spend(db: Connection, desk: CardDesk, spent: Iterable[SpentNonce]) -> None:
    """Use up what sources used up on this host, or refuse what another host has seen."""
    for nonce in spent:
        if not _is_first(db, desk, _ENVELOPE, nonce.nonce, until=nonce.until):
            replayed = Reason.KSN_REPLAYED if nonce.is_ksn else Reason.ENVELOPE_REPLAYED
            raise Refusal(replayed, cause="replayed")


def spend_recipient(db: Connection, desk: CardDesk, thumbprint: bytes) -> None:
    """Use up a recipient's key, or refuse one that was used before."""
    until = desk.now() + RECIPIENT_KEPT_S
    if not _is_first(db, desk, _RECIPIENT, thumbprint, until=until):
        raise Refusal(Reason.RECIPIENT_KEY_REFUSED, field="recipient_key")


def _is_first(db: Connection, desk: CardDesk, scope: str, subject: bytes, *, until: float) -> bool:
    uses = velocity.count_use(
        db,
        scope=scope,
        subject=subject,
        limit=1,
        now=desk.micros(),
        ends_at=int(until * MICROSECONDS),
    )
    return uses is not None


def _exceeded(left: int) -> Refusal:
    return Refusal(Reason.CARD_RATE_EXCEEDED, retry_after_s=left / MICROSECONDS)


def _subject(known: KnownCard) -> bytes:
    return known.card.id.encode()
