"""Sources of card calls: bound to the card, granted, and judged before the HSM is touched."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pinvault.model.cards import ById, CardStatus
from pinvault.model.errors import Reason
from pinvault.model.faults import ClearedFault
from pinvault.model.pins import CardSource, Format, PinSource
from pinvault.policy.limits import Rate
from pinvault.policy.translation import Permission
from tests.support.vault import (
    CALLER,
    OTHER_PAN,
    PAN,
    PROGRAMS,
    STRANGER,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

PIN, NEW = "7392", "8264"
Make = Callable[[Vault, str], PinSource]
GOOD: dict[str, Make] = {
    "format 4": lambda vault, _: vault.block(PIN),
    "format 0": lambda vault, _: vault.block(PIN, under="zpk-3/1", form=Format.ISO_0),
    "format 3": lambda vault, _: vault.block(PIN, under="zpk-3/1", form=Format.ISO_3),
    "envelope for the card": lambda vault, card: vault.envelope(PIN, card=card),
    "envelope for the PAN": lambda vault, _: vault.envelope(PIN, pan=PAN),
    "envelope for the PAN, told": lambda vault, _: vault.envelope(PIN, pan=PAN, says_pan=True),
}
# Before the HSM is touched, by which reason and at which field.
BAD: dict[str, tuple[Make, Reason, str]] = {
    "unbound block": (
        lambda vault, _: vault.block(PIN, under="zpk-3/1", form=Format.ISO_1),
        Reason.SOURCE_UNBOUND,
        "source",
    ),
    "unbound envelope": (
        lambda vault, _: vault.envelope(PIN, profile="sealed-free"),
        Reason.TRANSLATION_NOT_GRANTED,
        "",
    ),
    "unbound field": (
        lambda vault, _: vault.field(PIN),
        Reason.TRANSLATION_NOT_GRANTED,
        "",
    ),
    "block of another PAN": (
        lambda vault, _: vault.block(PIN, pan=OTHER_PAN),
        Reason.PAN_MISMATCH,
        "",
    ),
    "envelope said to be of another PAN": (
        lambda vault, _: vault.envelope(PIN, pan=OTHER_PAN, says_pan=True),
        Reason.PAN_MISMATCH,
        "",
    ),
    "key that is not there": (
        lambda vault, _: replace(vault.block(PIN), key="zpk-x"),
        Reason.KEY_UNKNOWN,
        "source.pin_block.key",
    ),
    "key of what is stored": (
        lambda vault, _: replace(vault.block(PIN), key="pin-reveal"),
        Reason.KEY_USAGE_MISMATCH,
        "source.pin_block.key",
    ),
    "profile that is not there": (
        lambda vault, _: replace(vault.envelope(PIN, pan=PAN), profile="sealed"),
        Reason.PROFILE_UNKNOWN,
        "source.envelope.profile",
    ),
    "stored card": (
        lambda _, card: CardSource(card),
        Reason.NOT_SUPPORTED,
        "source.card",
    ),
}
# In the HSM: nothing tells these apart.
UNREADABLE: dict[str, Make] = {
    "envelope for another card": lambda vault, _: vault.envelope(
        PIN, card="card_gggggggggggggggggggggggggg"
    ),
    "envelope for another PAN": lambda vault, _: vault.envelope(PIN, pan=OTHER_PAN),
    "envelope for the PAN, called one for the card": lambda vault, _: vault.envelope(
        PIN, pan=PAN, profile="sealed-card"
    ),
    "envelope for the card, called one for the PAN": lambda vault, card: vault.envelope(
        PIN, card=card, profile="sealed-pan"
    ),
    "envelope for nobody, called one for the card": lambda vault, _: vault.envelope(
        PIN, profile="sealed-card"
    ),
    "damaged block": lambda vault, _: replace(vault.block(PIN), ciphertext=bytes(16)),
}


def check(vault: Vault, card: str, source: PinSource, made=None):
    return vault.check(made or call("CheckPin"), card=ById(card), source=source)


@pytest.mark.parametrize("name", GOOD)
def test_what_is_bound_to_the_card_is_taken(vault: Vault, name: str) -> None:
    card = vault.add_with_pin().card_id
    assert check(vault, card, GOOD[name](vault, card)).matches


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused_before_the_hsm_is_touched(vault: Vault, name: str) -> None:
    make, reason, at = BAD[name]
    card = vault.add_with_pin().card_id
    source = make(vault, card)
    before, called = vault.snapshot(), vault.device.calls.total()
    refusal = refused(lambda: check(vault, card, source))
    assert (refusal.reason, refusal.field) == (reason, at)
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_does_not_open_for_the_card_has_one_face(vault: Vault, name: str) -> None:
    card = vault.add_with_pin().card_id
    refusal = refused(lambda: check(vault, card, UNREADABLE[name](vault, card)))
    assert (refusal.reason, refusal.field) == (Reason.PIN_SOURCE_REFUSED, "")
    assert vault.card(card).pin.tries_left == 3


@pytest.mark.parametrize(
    ("row", "source", "reason"),
    [
        ({"keys": frozenset({"zpk-3"})}, "format 4", Reason.KEY_NOT_GRANTED),
        ({"formats": frozenset({Format.ISO_4})}, "format 0", Reason.FORMAT_NOT_GRANTED),
        (
            {"profiles": frozenset({"sealed-pan"})},
            "envelope for the card",
            Reason.PROFILE_NOT_GRANTED,
        ),
    ],
    ids=["key", "format", "profile"],
)
def test_what_is_not_granted_is_refused_before_the_hsm_is_touched(
    vault: Vault, make_vault: Callable[..., Vault], row, source: str, reason: Reason
) -> None:
    card = vault.add_with_pin().card_id
    less = make_vault(grants=rows(CALLER, **row))
    made = call("CheckPin")
    assert reason_of(lambda: check(less, card, GOOD[source](less, card), made)) is reason
    assert not less.device.calls
    assert made.notes.sources


def test_one_row_must_cover_program_and_source(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    card = vault.add_with_pin().card_id
    apart = make_vault(grants=(*rows(CALLER, "debit", keys=frozenset()), *rows(CALLER, "credit")))
    assert reason_of(lambda: apart.checks(card, PIN)) is Reason.KEY_NOT_GRANTED


def test_the_rate_per_pan_is_that_of_the_cards_pan(
    vault: Vault, make_vault: Callable[..., Vault]
) -> None:
    card = vault.add_with_pin().card_id
    twice = Rate(count=2, period_s=3600, burst=2)
    limited = make_vault(grants=rows(CALLER, per_pan=twice))
    for _ in range(2):
        check(limited, card, limited.envelope(PIN, card=card))
    before = vault.snapshot()
    assert reason_of(lambda: check(limited, card, limited.envelope(PIN, card=card))) is (
        Reason.PAN_RATE_EXCEEDED
    )
    assert reason_of(lambda: limited.places(card, NEW)) is Reason.PAN_RATE_EXCEEDED
    assert vault.snapshot() == before


# What names no card


UNBOUND: dict[str, Callable[[Vault, str], PinSource]] = {
    "envelope": lambda vault, pin: vault.envelope(pin, profile="sealed-free"),
    "field by PKCS #1 v1.5": lambda vault, pin: vault.field(pin),
}


@pytest.mark.parametrize("name", UNBOUND)
def test_an_envelope_that_names_no_card_is_taken_by_leave_and_once(
    make_vault: Callable[..., Vault], name: str
) -> None:
    vault = make_vault(grants=rows(translations=frozenset({Permission.ISO_1_TO_PAN})))
    made, card = UNBOUND[name], vault.add().card_id
    vault.set(call("SetPin"), card=ById(card), control_token=None, new=made(vault, PIN))
    assert not check(vault, card, made(vault, NEW)).matches
    current, new = made(vault, PIN), made(vault, NEW)
    changed = vault.change(call("ChangePin"), card=ById(card), current=current, new=new)
    assert changed.matches
    vault.reset(call("ResetPin"), card=ById(card), new=made(vault, "5038"))
    asked = made(vault, "5038")
    assert check(vault, card, asked).matches
    other = vault.add_with_pin("5038", sequence_number="01").card_id
    for again in (card, other):
        assert reason_of(lambda card=again: check(vault, card, asked)) is Reason.ENVELOPE_REPLAYED


@pytest.mark.parametrize("verb", ["SetPin", "ChangePin", "ResetPin", "CheckPin"])
def test_leave_is_given_row_by_row(make_vault: Callable[..., Vault], verb: str) -> None:
    leave = frozenset({Permission.ISO_1_TO_PAN})
    free = rows(translations=leave)
    strict = tuple(row for row in rows() if row.method == f"CardPinService.{verb}")
    vault = make_vault(grants=(*strict, *(row for row in free if row.method != strict[0].method)))
    card = vault.add_with_pin().card_id
    bound, field = vault.block(PIN), vault.field(PIN)
    before = vault.snapshot()
    reason = reason_of(
        lambda: {
            "SetPin": lambda: vault.set(call(verb), card=ById(card), control_token=None, new=field),
            "ChangePin": lambda: vault.change(
                call(verb), card=ById(card), current=bound, new=field
            ),
            "ResetPin": lambda: vault.reset(call(verb), card=ById(card), new=field),
            "CheckPin": lambda: vault.check(call(verb), card=ById(card), source=field),
        }[verb]()
    )
    assert reason is Reason.TRANSLATION_NOT_GRANTED
    assert vault.snapshot() == before


PLACES: dict[str, Callable[[Vault, str, PinSource], object]] = {
    "SetPin": lambda vault, card, new: vault.set(
        call("SetPin"), card=ById(card), control_token=None, new=new
    ),
    "ResetPin": lambda vault, card, new: vault.reset(call("ResetPin"), card=ById(card), new=new),
    "ChangePin": lambda vault, card, new: vault.change(
        call("ChangePin"), card=ById(card), current=vault.envelope(PIN, card=card), new=new
    ),
}


@pytest.mark.parametrize("program", ["debit", "credit", "prepaid"])
@pytest.mark.parametrize("verb", PLACES)
def test_a_block_becomes_a_pin_that_is_revealed_by_leave_alone(
    make_vault: Callable[..., Vault], verb: str, program: str
) -> None:
    """Else who registers the PAN of a recorded block, and sets and reveals its PIN, has it."""
    vault = make_vault(grants=rows(translations=frozenset()))
    card = vault.add(program=program).card_id
    sealed = vault.envelope(PIN, card=card)
    vault.set(call("SetPin"), card=ById(card), control_token=None, new=sealed)
    before = vault.snapshot()
    recorded = vault.block("5937")
    if PROGRAMS[program].reveal:
        refused_by = reason_of(lambda: PLACES[verb](vault, card, recorded))
        assert refused_by is Reason.TRANSLATION_NOT_GRANTED
        assert vault.snapshot() == before
        assert PLACES[verb](vault, card, vault.envelope("8264", card=card))
    else:
        assert PLACES[verb](vault, card, recorded)


def test_a_block_that_names_no_card_is_taken_by_no_leave(make_vault: Callable[..., Vault]) -> None:
    vault = make_vault(grants=rows(translations=frozenset(Permission) - {Permission.NONE}))
    card = vault.add_with_pin().card_id
    block = vault.block(PIN, under="zpk-3/1", form=Format.ISO_1)
    assert reason_of(lambda: check(vault, card, block)) is Reason.SOURCE_UNBOUND


# Stored PINs


def place(vault: Vault, card: str, source: str):
    made = call("SetPin")
    return vault.set(made, card=ById(card), control_token=None, new=CardSource(source))


def test_a_stored_pin_becomes_that_of_another_card_with_the_pan(vault: Vault) -> None:
    old = vault.add_with_pin(program="prepaid").card_id
    renewed = vault.add(program="credit", sequence_number="01").card_id
    made = call("SetPin")
    placed = vault.set(made, card=ById(renewed), control_token=None, new=CardSource(old))
    assert [key.id for key in placed.source_keys] == ["pin-reveal/1"]
    assert made.notes.sources == ["card"]
    assert vault.checks(renewed, PIN).matches


def test_a_stored_pin_is_one_that_can_be_had_of_a_card_that_may_be_known(
    make_vault: Callable[..., Vault],
) -> None:
    vault = make_vault(grants=(*rows(), *rows(STRANGER, "other")))
    target = vault.add(sequence_number="09").card_id
    silent = vault.add_with_pin(sequence_number="01").card_id
    empty = vault.add(program="prepaid", sequence_number="02").card_id
    foreign = vault.add_with_pin(program="other", sequence_number="03", caller=STRANGER).card_id
    another = vault.add_with_pin(program="prepaid", pan=OTHER_PAN).card_id
    asleep = vault.add_with_pin(program="prepaid", sequence_number="04").card_id
    made = call("SetCardStatus")
    vault.set_status(made, card=ById(asleep), status=CardStatus.INACTIVE)
    before, called = vault.snapshot(), vault.device.calls.total()
    for source, reason in (
        (silent, Reason.PIN_NOT_REVEALABLE),
        (empty, Reason.PIN_NOT_SET),
        (foreign, Reason.CARD_UNKNOWN),
        (another, Reason.PAN_MISMATCH),
        (asleep, Reason.CARD_STATUS),
        ("card_gggggggggggggggggggggggggg", Reason.CARD_UNKNOWN),
    ):
        assert reason_of(lambda source=source: place(vault, target, source)) is reason
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


def test_a_stored_pin_that_does_not_open_is_a_fault_of_ours(vault: Vault) -> None:
    old = vault.add_with_pin(program="prepaid").card_id
    renewed = vault.add(program="credit", sequence_number="01").card_id
    with vault.store.write() as db:
        db.exec_driver_sql("UPDATE pin SET reveal = zeroblob(16)")
    with pytest.raises(ClearedFault):
        place(vault, renewed, old)
    assert vault.card(renewed).pin is None


def test_a_stored_pin_is_no_current_one(vault: Vault) -> None:
    card = vault.add_with_pin(program="prepaid").card_id
    refusal = refused(
        lambda: vault.change(
            call("ChangePin"), card=ById(card), current=CardSource(card), new=vault.block(NEW)
        )
    )
    assert (refusal.reason, refusal.field) == (Reason.NOT_SUPPORTED, "current_source.card")


def test_a_stored_pin_keeps_the_rules_of_where_it_goes(make_vault: Callable[..., Vault]) -> None:
    strict = replace(PROGRAMS["credit"], rules=replace(PROGRAMS["credit"].rules, excluded={PIN}))
    vault = make_vault(programs=PROGRAMS | {"credit": strict})
    old = vault.add_with_pin(program="prepaid").card_id
    renewed = vault.add(program="credit", sequence_number="01").card_id
    assert reason_of(lambda: place(vault, renewed, old)) is Reason.PIN_WEAK
