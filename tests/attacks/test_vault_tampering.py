"""Attack: write rows of the store, and get the PIN of another card, or have one's own pass for it.

Who writes rows has the database and not the HSM. Rows say which card is meant, which key opens and
who has leave; so each is held to something that nobody makes without the HSM. What such a writer
can do all the same is told at the end, as are its bounds.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Row, Table, update

from pinvault.model.cards import (
    ById,
    CardRef,
    CardStatus,
    SessionAction,
    TokenKind,
    Verification,
    Window,
)
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.cards.desk import token_hash
from pinvault.operations.cards.once import AnswerForged, Request
from pinvault.policy.limits import Rate
from pinvault.store import schema
from tests.support.vault import (
    CALLER,
    ORIGIN,
    OTHER_PAN,
    PAN,
    STRANGER,
    Recipient,
    Vault,
    by_external_id,
    by_number,
    call,
    reason_of,
    rows,
)
from tests.support.vault import PROGRAMS as ORDINARY

MINE, YOURS = "7392", "480275"
"""The PIN of the attacker's own card, and the one that is wanted."""
FAULT = "a fault of ours"
PROGRAMS = ORDINARY | {
    "prepaid-6": replace(
        ORDINARY["other"], name="prepaid-6", changes=Window(count=99, period_s=60),
        reveals=Window(count=99, period_s=60),
    )
}  # fmt: skip
GRANTS = (
    *rows(CALLER, "debit", "credit", "prepaid", "prepaid-6"),
    *rows(STRANGER, "other", "prepaid-6"),
)
CARDS, PINS, TOKENS, SESSIONS = schema.card, schema.pin, schema.control_token, schema.pin_session


def read(vault: Vault, table: Table, key: str) -> Row[Any]:
    """A row by the first column of its key."""
    with vault.store.read() as db:
        return db.execute(table.select().where(next(iter(table.primary_key)) == key)).one()


def write(vault: Vault, table: Table, key: str, **values: Any) -> None:
    """Write over a row."""
    with vault.store.write() as db:
        done = db.execute(update(table).where(next(iter(table.primary_key)) == key), values)
        assert done.rowcount == 1


def copy(vault: Vault, table: Table, one: str, other: str, *columns: str) -> None:
    """Write what one row says over another."""
    found = read(vault, table, one)._mapping
    write(vault, table, other, **{column: found[column] for column in columns})


def swap(vault: Vault, table: Table, one: str, other: str, **between: Any) -> None:
    """Exchange columns of two rows; each by way of a value that is nobody's."""
    first, second = (read(vault, table, each)._mapping for each in (one, other))
    write(vault, table, one, **between)
    write(vault, table, other, **{column: first[column] for column in between})
    write(vault, table, one, **{column: second[column] for column in between})


def outcome(work: Callable[[], object]) -> object:
    """What a call gives, or by which name it fails: a refusal's, or a fault of ours."""
    try:
        return work()
    except Refusal as refusal:
        return refusal.reason
    except Exception:  # noqa: BLE001 - whatever it is, the caller is told INTERNAL
        return FAULT


def token_for(vault: Vault, card: CardRef, kind: TokenKind = TokenKind.REVEAL_PIN) -> str:
    return vault.issue(call("IssueControlToken"), card=card, kind=kind).token


def reveal(vault: Vault, token: str, caller: str = CALLER) -> str:
    to = Recipient()
    made = call("RevealPin", caller)
    revealed = vault.reveal(
        made, control_token=token, verification=Verification.OTP, recipient=to.point
    )
    return str(to.open(revealed.envelope)["pin"])


def revealed_by(vault: Vault, card: CardRef) -> object:
    return outcome(lambda: reveal(vault, token_for(vault, card)))


def checked_by(vault: Vault, card: CardRef, digits: str, pan: str) -> object:
    source = vault.block(digits, pan=pan)
    return outcome(lambda: vault.check(call("CheckPin"), card=card, source=source).matches)


@pytest.fixture
def mine(vault: Vault) -> str:
    return vault.add_with_pin(MINE, program="prepaid-6", external_id="mine").card_id


@pytest.fixture
def yours(vault: Vault) -> str:
    card = {"program": "prepaid-6", "pan": OTHER_PAN, "external_id": "yours"}
    return vault.add_with_pin(YOURS, **card).card_id


@pytest.fixture
def vault(make_vault: Callable[..., Vault]) -> Vault:
    return make_vault(programs=PROGRAMS, grants=GRANTS)


# A card's row says whose PIN it is


SWAPS: dict[str, Callable[[Vault, str, str], None]] = {
    "stored PANs": lambda v, a, b: swap(v, CARDS, a, b, pan_cipher=b"x"),
    "hashes of PANs": lambda v, a, b: swap(v, CARDS, a, b, pan_index=bytes(32)),
    "all of the PANs": lambda v, a, b: swap(
        v, CARDS, a, b, pan_index=bytes(32), pan_cipher=b"x", last_four="0000"
    ),
    "external ids": lambda v, a, b: swap(v, CARDS, a, b, external_id="x"),
    "PINs": lambda v, a, b: swap(
        v, PINS, a, b, method="x", value="0", reference=None, reference_key=None,
        reveal=None, reveal_key=None,
    ),
    "blocks to compare with": lambda v, a, b: swap(v, PINS, a, b, reference=b"x"),
    "blocks to reveal": lambda v, a, b: swap(v, PINS, a, b, reveal=b"x"),
}  # fmt: skip


@pytest.mark.parametrize("what", SWAPS)
def test_no_exchange_of_columns_gives_the_pin_of_another_card(
    vault: Vault, mine: str, yours: str, what: str
) -> None:
    """By no name of a card is another's PIN revealed, or right."""
    names = (ById(mine), by_external_id("mine", "prepaid-6"), by_number(PAN))
    for name in names:
        assert revealed_by(vault, name) == MINE
        assert checked_by(vault, name, MINE, PAN) is True
    SWAPS[what](vault, mine, yours)
    for name in names:
        assert revealed_by(vault, name) in {MINE, FAULT}
        for pan in (PAN, OTHER_PAN):
            assert checked_by(vault, name, YOURS, pan) is not True
    told = {checked_by(vault, ById(mine), digits, PAN) for digits in (YOURS, "2580", "9999")}
    assert len(told) == 1, "an error must not tell the right PIN from a wrong one"


def test_a_card_that_is_given_to_another_program_gives_nothing(
    vault: Vault,
) -> None:
    """Who has leave for a program would have it for any card that is written into that."""
    foreign = {"program": "other", "pan": OTHER_PAN, "caller": STRANGER}
    yours = vault.add_with_pin("4802", **foreign).card_id
    assert revealed_by(vault, ById(yours)) is Reason.CARD_UNKNOWN
    write(vault, CARDS, yours, program="prepaid-6")
    assert outcome(lambda: vault.card(yours)) == FAULT
    assert revealed_by(vault, ById(yours)) == FAULT
    for digits in ("4802", "4803"):
        assert checked_by(vault, ById(yours), digits, OTHER_PAN) == FAULT
        assert outcome(lambda d=digits: vault.places(yours, d, pan=OTHER_PAN)) == FAULT


@contextmanager
def exchanged(vault: Vault, one: str, other: str, column: str, nobodys: Any) -> Iterator[None]:
    """Exchange a column of two cards for a moment."""
    swap(vault, CARDS, one, other, **{column: nobodys})
    try:
        yield
    finally:
        swap(vault, CARDS, one, other, **{column: nobodys})


LIES = {"external_id": "x", "pan_index": bytes(32), "program": "nobodys"}
NAMES = (by_external_id("mine", "prepaid-6"), by_number(PAN))


@pytest.mark.parametrize("column", LIES)
def test_nobody_lies_while_leave_is_given_and_tells_the_truth_while_it_is_used(
    vault: Vault, mine: str, column: str
) -> None:
    """Rows say that another card is meant, until there is a token or a session for it."""
    program = "prepaid" if column == "program" else "prepaid-6"
    told = {"program": program, "pan": OTHER_PAN, "external_id": "yours"}
    yours = vault.add_with_pin(YOURS[:4], **told).card_id
    for name in (*NAMES, ById(yours)) if column == "program" else NAMES:
        for kind in TokenKind:
            with exchanged(vault, mine, yours, column, LIES[column]):
                assert outcome(lambda name=name, kind=kind: token_for(vault, name, kind)) in (
                    FAULT,
                    Reason.CARD_UNKNOWN,
                )
        for action in SessionAction:
            with exchanged(vault, mine, yours, column, LIES[column]):
                made = call("CreatePinSession")
                session = outcome(
                    lambda made=made, name=name, action=action: vault.create_session(
                        made, card=name, action=action, origin=ORIGIN
                    )
                )
                assert session in (FAULT, Reason.CARD_UNKNOWN)
        with exchanged(vault, mine, yours, column, LIES[column]):
            assert outcome(lambda name=name: vault.get(call("GetCard"), card=name)) in (
                FAULT,
                Reason.CARD_UNKNOWN,
            )
    assert revealed_by(vault, ById(mine)) == MINE


@pytest.mark.parametrize("column", ["last_four", "sequence_number", "expiry"])
def test_no_fact_of_a_registration_is_written_over(vault: Vault, mine: str, column: str) -> None:
    real = read(vault, CARDS, mine)._mapping[column]
    write(vault, CARDS, mine, **{column: "9" * len(real)})
    assert outcome(lambda: vault.card(mine)) == FAULT
    closed = CardStatus.CLOSED
    made = call("SetCardStatus")
    assert outcome(lambda: vault.set_status(made, card=ById(mine), status=closed)) == FAULT
    write(vault, CARDS, mine, **{column: real})
    assert vault.card(mine).card_id == mine


# A row names the key that opens it


CONFUSIONS: dict[str, tuple[Table, dict[str, str]]] = {
    "a PAN under a key of PINs": (CARDS, {"pan_key": "pin-reveal/1"}),
    "a PAN under a version that did not make it": (CARDS, {"pan_key": "pan-store/1"}),
    "a PAN under no key": (CARDS, {"pan_key": "pan-store/9"}),
    "a block to reveal under a zone key": (PINS, {"reveal_key": "zpk/1"}),
    "a block to reveal under the key of references": (PINS, {"reveal_key": "pin-reference/1"}),
    "a block to reveal under the key of PANs": (PINS, {"reveal_key": "pan-store/2"}),
}


@pytest.mark.parametrize("what", CONFUSIONS)
def test_a_row_opens_under_no_key_but_its_own(vault: Vault, mine: str, what: str) -> None:
    table, values = CONFUSIONS[what]
    write(vault, table, mine, **values)
    assert revealed_by(vault, ById(mine)) in {Reason.KEY_STATE, FAULT}


def test_a_recorded_pin_block_is_not_revealed_by_way_of_the_store(vault: Vault, mine: str) -> None:
    """It is under a key that this server has, in the stored format, and for the card's PAN.

    The HSM would open it as well as what is stored; nobody asks it to.
    """
    recorded = vault.block("5937", pan=PAN)
    write(vault, PINS, mine, reveal=recorded.ciphertext, reveal_key=recorded.key)
    assert revealed_by(vault, ById(mine)) is Reason.KEY_STATE
    forged = {"method": "block", "reference": recorded.ciphertext, "reference_key": recorded.key}
    write(vault, PINS, mine, **forged)
    assert checked_by(vault, ById(mine), "5937", PAN) is Reason.KEY_STATE


def test_what_verifies_is_not_revealed(vault: Vault) -> None:
    """The reference block of a program that reveals nothing, in the place of one to reveal."""
    yours = vault.add_with_pin(MINE, program="credit").card_id
    copied = read(vault, PINS, yours)
    write(vault, PINS, yours, reveal=copied.reference, reveal_key="pin-reveal/1")
    mine = vault.add_with_pin("8264", program="prepaid-6", sequence_number="01").card_id
    for key in ("pin-reveal/1", "pin-reference/1"):
        write(vault, PINS, mine, reveal=copied.reference, reveal_key=key)
        assert revealed_by(vault, ById(mine)) in {FAULT, Reason.KEY_STATE}
    assert outcome(lambda: token_for(vault, ById(yours))) is Reason.PIN_NOT_REVEALABLE


METHODS = ("pvv:visa:1@zpk/1", "offset:ibm@pvk/1", "pvv:visa:x", "pvv:visa:9", "pvv", "nothing", "")


@pytest.mark.parametrize("method", METHODS)
def test_a_value_is_compared_under_a_key_of_its_scheme_or_not_at_all(
    vault: Vault, mine: str, method: str
) -> None:
    write(vault, PINS, mine, method=method or "-", value="0000")
    told = {checked_by(vault, ById(mine), digits, PAN) for digits in ("0000", MINE, "2580")}
    assert len(told) == 1
    assert told.isdisjoint({True, False})


def test_a_pvv_is_its_pans_own(vault: Vault) -> None:
    """Copied to another card it makes another PIN right, and not the one that it was made of."""
    mine = vault.add_with_pin(MINE).card_id
    yours = vault.add_with_pin("4802", pan=OTHER_PAN).card_id
    copy(vault, PINS, mine, yours, "method", "value")
    assert checked_by(vault, ById(yours), MINE, OTHER_PAN) is False


# Rows that give leave


@pytest.mark.parametrize("kind", TokenKind)
def test_a_token_is_for_the_card_that_it_was_issued_for(
    vault: Vault, mine: str, yours: str, kind: TokenKind
) -> None:
    uses = {TokenKind.SET_PIN: vault.redeems, TokenKind.REVEAL_PIN: lambda t: reveal(vault, t)}
    token = token_for(vault, ById(mine), kind)
    write(vault, TOKENS, mine, card_id=yours)
    assert reason_of(lambda: uses[kind](token)) is Reason.CONTROL_TOKEN_REFUSED
    write(vault, TOKENS, yours, card_id=mine)
    assert uses[kind](token)


FORGED_TOKENS: dict[str, dict[str, Any]] = {
    "of one's own making": {"token_hash": token_hash("0" * 36)},
    "of another kind": {"kind": TokenKind.REVEAL_PIN.value},
    "of another caller": {"caller": CALLER},
    "good for longer": {"expires_at": 1 << 62},
}


@pytest.mark.parametrize("what", FORGED_TOKENS)
def test_no_token_is_forged(vault: Vault, mine: str, what: str) -> None:
    made = call("IssueControlToken", STRANGER if what == "of another caller" else CALLER)
    kind = TokenKind.SET_PIN if what == "of another kind" else TokenKind.REVEAL_PIN
    token = vault.issue(made, card=ById(mine), kind=kind).token
    write(vault, TOKENS, mine, **FORGED_TOKENS[what])
    if what == "of one's own making":
        token = "0" * 36
    if what == "good for longer":
        vault.clock.now += 3600
    assert reason_of(lambda: reveal(vault, token)) is Reason.CONTROL_TOKEN_REFUSED


def session_of(vault: Vault, card_id: str, action: SessionAction) -> tuple[str, str]:
    made = call("CreatePinSession")
    session = vault.create_session(made, card=ById(card_id), action=action, origin=ORIGIN)
    return session.session_id, session.secret


def page_of(vault: Vault, session_id: str, secret: str) -> str:
    made = call("OpenPinSession")
    return vault.open_session(made, session_id=session_id, secret=secret).page_secret


def submit(vault: Vault, session_id: str, page_secret: str, pan: str = PAN) -> object:
    made, new = call("SubmitPin"), vault.block("8264", pan=pan)
    return vault.submit(made, session_id=session_id, page_secret=page_secret, current=None, new=new)


FORGED_SESSIONS: dict[str, dict[str, Any]] = {
    "another action": {"action": SessionAction.RESET.value},
    "another origin": {"origin": "https://evil.example.org"},
    "another caller": {"caller": STRANGER},
    "a longer life": {"expires_at": 1 << 62},
}


@pytest.mark.parametrize("what", FORGED_SESSIONS)
def test_a_session_is_what_it_was_created_as(vault: Vault, mine: str, what: str) -> None:
    session_id, secret = session_of(vault, mine, SessionAction.SET)
    real = read(vault, SESSIONS, session_id)._mapping
    write(vault, SESSIONS, session_id, **FORGED_SESSIONS[what])
    assert reason_of(lambda: page_of(vault, session_id, secret)) is Reason.SESSION_REFUSED
    write(vault, SESSIONS, session_id, **{name: real[name] for name in FORGED_SESSIONS[what]})
    page = page_of(vault, session_id, secret)
    write(vault, SESSIONS, session_id, **FORGED_SESSIONS[what])
    assert reason_of(lambda: submit(vault, session_id, page)) is Reason.SESSION_REFUSED


def test_a_session_is_for_its_card(vault: Vault, mine: str, yours: str) -> None:
    session_id, secret = session_of(vault, mine, SessionAction.RESET)
    page = page_of(vault, session_id, secret)
    write(vault, SESSIONS, session_id, card_id=yours)
    told = outcome(lambda: submit(vault, session_id, page, OTHER_PAN))
    assert told is Reason.SESSION_REFUSED


def test_no_page_is_forged(vault: Vault, mine: str) -> None:
    """Neither with a secret of one's own, nor with the secret of the address."""
    session_id, secret = session_of(vault, mine, SessionAction.SET)
    write(vault, SESSIONS, session_id, page_hash=token_hash("own"), exchanged_at=1)
    assert reason_of(lambda: submit(vault, session_id, "own")) is Reason.SESSION_REFUSED
    copied = read(vault, SESSIONS, session_id).secret_hash
    write(vault, SESSIONS, session_id, page_hash=copied)
    assert reason_of(lambda: submit(vault, session_id, secret)) is Reason.SESSION_REFUSED


def test_an_answer_is_not_forged(vault: Vault, mine: str) -> None:
    """A mismatch that is told again as a match would let a cardholder in."""
    asked, right = Request("id-1", b"request"), Request("id-2", b"another")
    source, good = vault.block("2580"), vault.block(MINE)

    def again(request: Request = asked, given: Any = source) -> bool:
        made = call("CheckPin")
        return vault.check(made, card=ById(mine), source=given, request=request).matches

    assert not again()
    assert again(right, good)
    with vault.store.read() as db:
        kept = {row.key: row for row in db.execute(schema.idempotency.select())}
    told = kept["id-1"].answer
    for forged in (
        told.replace(b'"matches":false', b'"matches":true'),
        kept["id-2"].answer,
        told[32:],
        b"",
    ):
        with vault.store.write() as db:
            mismatch = schema.idempotency.c.key == "id-1"
            db.execute(update(schema.idempotency).where(mismatch), {"answer": forged})
        with pytest.raises(AnswerForged):
            again()
    with vault.store.write() as db:
        moved = {"answer": kept["id-2"].answer, "fingerprint": kept["id-2"].fingerprint}
        db.execute(update(schema.idempotency).where(mismatch), moved)
    assert reason_of(again) is Reason.REQUEST_ID_REUSED


def test_an_answer_is_not_moved_to_another_caller_or_method(vault: Vault, mine: str) -> None:
    asked = Request("id-1", b"request")
    source = vault.block(MINE)
    vault.check(call("CheckPin"), card=ById(mine), source=source, request=asked)
    with vault.store.write() as db:
        db.execute(update(schema.idempotency), {"caller": STRANGER})
    made = call("CheckPin", STRANGER)
    again = {"card": ById(mine), "source": source, "request": asked}
    assert reason_of(lambda: vault.check(made, **again)) is Reason.REQUEST_ID_REUSED


# What who writes rows can do


def test_tries_that_are_written_back_end_at_the_rate(make_vault: Callable[..., Vault]) -> None:
    """Tries and blocks are the store's word; the rate per PAN is the host's, and not there."""
    rate = Rate(count=6, period_s=3600, burst=6)
    vault = make_vault(programs=PROGRAMS, grants=rows(CALLER, *PROGRAMS, per_pan=rate))
    mine = vault.add_with_pin(MINE, program="prepaid-6").card_id
    guessed = []
    for digits in ("2580", "2581", "2582", "2583", "2584", "2585", "2586"):
        write(vault, PINS, mine, tries_used=0, blocked_at=None)
        guessed.append(checked_by(vault, ById(mine), digits, PAN))
    assert guessed[:4] == [False] * 4, "one more than the program has"
    assert guessed[-1] is Reason.PAN_RATE_EXCEEDED


def test_an_older_pin_can_be_put_back(vault: Vault, mine: str) -> None:
    """Nothing in the HSM knows which of two rows is the newer."""
    older = dict(read(vault, PINS, mine)._mapping)
    vault.changes(mine, MINE, "8264")
    write(vault, PINS, mine, **older)
    assert checked_by(vault, ById(mine), MINE, PAN) is True


def test_cards_of_one_pan_share_what_is_bound_to_it(vault: Vault, mine: str) -> None:
    """A PIN block is bound to a PAN: the rows of two cards of one PAN fit each other."""
    twin = vault.add_with_pin(YOURS, program="prepaid-6", sequence_number="01").card_id
    copy(vault, PINS, twin, mine, "reveal")
    assert revealed_by(vault, ById(mine)) == YOURS
