"""What the gate records of a call."""

from datetime import UTC, datetime

import msgspec

from pinvault.audit.record import AuditRecord, encode
from pinvault.model.call import Notes
from pinvault.model.cards import card_id
from pinvault.server.gate import _Visit

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


def recorded(notes: Notes) -> AuditRecord:
    visit = _Visit("CardPinService.SetPin", caller="card-app", notes=notes)
    return msgspec.json.decode(encode(visit.record(NOON, 0.001)), type=AuditRecord)


def test_a_call_about_a_card_says_which_and_of_what_program() -> None:
    of_card = card_id(now_ms=1_767_225_600_000, drawn=bytes(range(16)))
    record = recorded(Notes(card=of_card, program="debit-2026"))
    assert (record.card, record.program) == (of_card, "debit-2026")


def test_a_call_about_none_says_nothing_of_it() -> None:
    visit = _Visit("KeyService.GetKey", caller="card-app")
    assert {"card", "program"}.isdisjoint(msgspec.json.decode(encode(visit.record(NOON, 0.001))))
