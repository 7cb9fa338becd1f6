"""Attack: have the PIN that is stored of a card enciphered for whoever should not have it.

A stored PIN is a source of PinBlockService (`PinSource.card`). What protects it there is what
protects a reveal: the programs of the caller's row, the card's status, its PAN, and a count that
holds for all hosts.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.stored import StoredUnreadable
from pinvault.clearzone.zone import ClearZone
from pinvault.model.call import Call, Deadline
from pinvault.model.cards import ById, CardStatus, Window
from pinvault.model.errors import Reason
from pinvault.model.faults import ClearedFault
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource, Format, PinBlockTarget
from pinvault.operations.cards.stored import StoredPins
from pinvault.operations.desk import Desk
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.policy.grants import Grant
from pinvault.policy.limits import Nonces
from pinvault.policy.translation import Permission
from pinvault.store import Store, upgrade
from tests.support import blocks
from tests.support.vault import (
    CALLER,
    OTHER_PAN,
    PAN,
    PROGRAMS,
    STRANGER,
    Fault,
    Vault,
    call,
    reason_of,
    refused,
    rows,
)

PIN = "7392"
ENCRYPT = "PinBlockService.EncryptPin"
NOBODY = "card_gggggggggggggggggggggggggg"


def row(caller: str, *programs: str, **less: object) -> Grant:
    """A row for EncryptPin with everything that a target can name."""
    return replace(
        Grant(
            callers=frozenset({caller}),
            method=ENCRYPT,
            keys=frozenset({"zpk", "zpk-3"}),
            formats=frozenset(Format),
            translations=frozenset(Permission) - {Permission.NONE},
            programs=frozenset(programs),
        ),
        **less,
    )


GRANTS = (
    *rows(CALLER, "debit", "credit", "prepaid"),
    *rows(STRANGER, "other"),
    row(CALLER, "debit", "credit", "prepaid"),
    row(STRANGER, "other"),
)


@dataclass
class Thief:
    """Who may have PINs enciphered, over the store and software device of one vault."""

    vault: Vault
    caller: str = CALLER

    @property
    def desk(self) -> Desk:
        cards = self.vault.desk
        zone = ClearZone(
            self.vault.device,
            spend=Nonces(self.vault.table).spend,
            now=self.vault.clock,
            quantum_s=0.0001,
        )
        return Desk(
            router=cards.router,
            schemes=cards.schemes,
            admission=cards.admission,
            zone=zone,
            stored=StoredPins(cards),
        )

    def takes(
        self, card: str, *, pan: str = PAN, form: Format = Format.ISO_4, made: Call | None = None
    ) -> bytes:
        target = PinBlockTarget(
            key="zpk" if form is Format.ISO_4 else "zpk-3",
            format=form,
            pan=Pan(pan) if form.carries_pan else None,
        )
        done = EncryptPin(self.desk)(
            made or encrypting(self.caller), source=CardSource(card), target=target
        )
        assert isinstance(done.result, bytes)
        return done.result

    def reads(self, block: bytes, pan: str = PAN) -> str:
        under = self.vault.directory.find("zpk/1", field="")
        made = blocks.decipher(
            self.vault.device, block, under=under, form=Format.ISO_4, pan=Pan(pan)
        )
        with made as pin:
            return digits_of(pin).decode()


def encrypting(caller: str = CALLER) -> Call:
    return Call(call_id="call", caller=caller, method=ENCRYPT, deadline=Deadline.after(60))


@pytest.fixture
def make_vault(tmp_path: Path) -> Callable[..., Vault]:
    address = f"sqlite:///{tmp_path}/store.db"
    upgrade(address)
    store = Store.open(address)
    return lambda **how: Vault("", tmp_path, store=store, **({"grants": GRANTS} | how))


@pytest.fixture
def vault(make_vault: Callable[..., Vault]) -> Vault:
    return make_vault()


@pytest.fixture
def thief(vault: Vault) -> Thief:
    return Thief(vault)


def test_who_may_take_it_has_it_and_the_record_says_so(thief: Thief) -> None:
    card = thief.vault.add_with_pin(PIN, program="prepaid").card_id
    made = encrypting()
    assert thief.reads(thief.takes(card, made=made)) == PIN
    assert (made.notes.card, made.notes.program, made.notes.sources) == (card, "prepaid", ["card"])
    assert [key.id for key in made.notes.keys] == ["pin-reveal/1", "zpk/1"]
    assert made.notes.pan_index


Prepare = Callable[[Vault], str]
REFUSED: dict[str, tuple[Prepare, dict[str, object], Reason]] = {
    "a card of another program": (
        lambda vault: vault.add_with_pin(program="other", caller=STRANGER).card_id,
        {},
        Reason.CARD_UNKNOWN,
    ),
    "a card that is not there": (lambda _: NOBODY, {}, Reason.CARD_UNKNOWN),
    "for another PAN": (
        lambda vault: vault.add_with_pin(program="prepaid").card_id,
        {"pan": OTHER_PAN},
        Reason.PAN_MISMATCH,
    ),
    "for no PAN": (
        lambda vault: vault.add_with_pin(program="prepaid").card_id,
        {"form": Format.ISO_1},
        Reason.PAN_MISMATCH,
    ),
    "a PVV alone": (
        lambda vault: vault.add_with_pin(program="debit").card_id,
        {},
        Reason.PIN_NOT_REVEALABLE,
    ),
    "a block to compare with": (
        lambda vault: vault.add_with_pin(program="credit").card_id,
        {},
        Reason.PIN_NOT_REVEALABLE,
    ),
    "a card without a PIN": (
        lambda vault: vault.add(program="prepaid").card_id,
        {},
        Reason.PIN_NOT_SET,
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_had_is_refused_before_the_hsm_is_touched(thief: Thief, name: str) -> None:
    prepare, how, reason = REFUSED[name]
    vault = thief.vault
    card = prepare(vault)
    before, called = vault.snapshot(), vault.device.calls.total()
    assert reason_of(lambda: thief.takes(card, **how)) is reason
    assert (vault.snapshot(), vault.device.calls.total()) == (before, called)


@pytest.mark.parametrize("status", [each for each in CardStatus if each != CardStatus.ACTIVE])
def test_a_card_in_another_status_keeps_its_pin(thief: Thief, status: CardStatus) -> None:
    card = thief.vault.add_with_pin(program="prepaid").card_id
    thief.vault.set_status(call("SetCardStatus"), card=ById(card), status=status)
    assert reason_of(lambda: thief.takes(card)) is Reason.CARD_STATUS


def test_a_program_that_reveals_no_more_gives_nothing_out(make_vault: Callable[..., Vault]) -> None:
    card = make_vault().add_with_pin(program="prepaid").card_id
    silent = PROGRAMS | {"prepaid": replace(PROGRAMS["prepaid"], reveal=False)}
    thief = Thief(make_vault(programs=silent))
    assert reason_of(lambda: thief.takes(card)) is Reason.PIN_NOT_REVEALABLE


def test_a_program_must_stand_in_the_row_that_names_the_target(
    make_vault: Callable[..., Vault],
) -> None:
    """Not in one of CardPinService, nor beside it: two rows do not add up."""
    card = make_vault().add_with_pin(program="prepaid").card_id
    elsewhere = Thief(make_vault(grants=(*rows(), row(CALLER))))
    assert reason_of(lambda: elsewhere.takes(card)) is Reason.CARD_UNKNOWN
    apart = Thief(
        make_vault(grants=(*rows(), row(CALLER), row(CALLER, "prepaid", keys=frozenset())))
    )
    assert reason_of(lambda: apart.takes(card)) is Reason.KEY_NOT_GRANTED


def test_it_counts_as_a_reveal_on_all_hosts(
    make_vault: Callable[..., Vault], tmp_path_factory: pytest.TempPathFactory
) -> None:
    twice = replace(PROGRAMS["prepaid"], reveals=Window(count=2, period_s=86_400))
    programs = PROGRAMS | {"prepaid": twice}
    thief = Thief(make_vault(programs=programs))
    other = Thief(
        Vault(
            "",
            tmp_path_factory.mktemp("host"),
            store=thief.vault.store,
            grants=GRANTS,
            programs=programs,
        )
    )
    card = thief.vault.add_with_pin(program="prepaid").card_id
    second = thief.vault.add_with_pin(program="prepaid", sequence_number="01").card_id
    thief.takes(card)
    other.takes(card)
    for each in (thief, other):
        refusal = refused(lambda each=each: each.takes(card))
        assert refusal.reason is Reason.CARD_RATE_EXCEEDED
        assert refusal.retry_after_s == pytest.approx(86_400, abs=60)
    thief.takes(second)


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
def test_nothing_is_opened_that_is_not_counted(thief: Thief, fault: Fault) -> None:
    """A commit in doubt counts as none, though it may have been one."""
    card = thief.vault.add_with_pin(program="prepaid").card_id
    faults = thief.vault.faults
    faults.reset()
    thief.takes(card)
    counting = faults.steps.index("write")
    assert "decipher" in faults.steps[counting:]
    faults.reset()
    faults.at[counting] = fault
    assert reason_of(lambda: thief.takes(card)) is Reason.STORE_UNAVAILABLE
    assert faults.steps[-1] == "write"


def test_a_row_that_was_given_to_another_program_tells_nothing(thief: Thief) -> None:
    """Who writes to the store gives a card to the program of an accomplice."""
    card = thief.vault.add_with_pin(program="prepaid").card_id
    with thief.vault.store.write() as db:
        db.exec_driver_sql("UPDATE card SET program = 'other'")
    accomplice = Thief(thief.vault, STRANGER)
    with pytest.raises(StoredUnreadable):
        accomplice.takes(card)
    with pytest.raises(StoredUnreadable):
        thief.vault.set(
            call("SetPin", STRANGER),
            card=ById(
                thief.vault.add(program="other", sequence_number="01", caller=STRANGER).card_id
            ),
            control_token=None,
            new=CardSource(card),
        )


def test_a_block_of_another_card_does_not_open(thief: Thief) -> None:
    mine = thief.vault.add_with_pin("4821", program="prepaid", pan=OTHER_PAN).card_id
    theirs = thief.vault.add_with_pin(PIN, program="prepaid").card_id
    with thief.vault.store.write() as db:
        db.exec_driver_sql(
            f"UPDATE pin SET reveal = (SELECT reveal FROM pin WHERE card_id = '{theirs}')"
        )
    with pytest.raises(ClearedFault):
        thief.takes(mine, pan=OTHER_PAN)
