"""Stored PINs as sources of PinBlockService: where they are taken, and when they count."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from pinvault.clearzone.iso9564 import format2
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import SealedBlock, StoredOf
from pinvault.model.call import Call
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import CardSource, Format, PinSource
from pinvault.operations.change_verification_value import ChangeVerificationValue
from pinvault.operations.desk import Desk
from pinvault.operations.encrypt_pin import EncryptPin
from pinvault.operations.encrypt_pin_change import EncryptPinChange
from pinvault.operations.encrypt_pin_change_script import EncryptPinChangeScript
from pinvault.operations.generate_verification_value import GenerateVerificationValue
from pinvault.operations.verify_pin import VerifyPin
from tests.unit.operations.card import Card
from tests.unit.operations.configured import STORED
from tests.unit.operations.support import (
    BY_ID,
    EVERYTHING,
    KEYS,
    PAN,
    OtherEnd,
    World,
    call,
    envelope,
    ibm,
    offset_of,
    partner_reads,
    pvv_of,
    refusal_of,
    to_block,
    to_partner,
    triple,
    value,
    visa,
)

PIN, CURRENT = "7392", "4821"
CARD = CardSource("card_gggggggggggggggggggggggggg")
KEPT = BY_ID[STORED.id]
CRYPTOGRAM, MESSAGE = bytes.fromhex("4B07E35A87F27D2E"), bytes.fromhex("8424000210")


@dataclass
class Keeper:
    """Keeps one PIN, remembers what it was asked, and may refuse that the PIN is taken."""

    world: World
    asked: list[str] = field(default_factory=list)
    refuses: bool = False

    def find(self, made: Call, source: CardSource, pan: Pan | None, *, at: str) -> SealedBlock:
        self.asked.append(f"find {at}")
        assert source == CARD
        assert pan is not None
        assert pan.same_as(Pan(PAN))
        return SealedBlock(
            key=KEPT,
            format=Format.ISO_4,
            pan=pan,
            ciphertext=OtherEnd(KEPT.id, None).make(PIN, Format.ISO_4, pan),
            choosable=True,
            stored=StoredOf(source.card_id, "prepaid"),
        )

    def take(self, made: Call, stored: StoredOf) -> None:
        assert not self.world.device.calls
        self.asked.append(f"take {stored.card_id} {stored.program}")
        if self.refuses:
            raise Refusal(Reason.CARD_RATE_EXCEEDED, retry_after_s=1.0)


def rows(*programs: str, **row: object):
    """All grants but for the key of what is stored, with these programs."""
    kept = {key.name for key in KEYS if key.check_value == KEPT.check_value}
    return tuple(
        replace(each, **({"keys": each.keys - kept, "programs": frozenset(programs)} | row))
        for each in EVERYTHING
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, rows=rows("prepaid"))


@pytest.fixture
def keeper(world: World) -> Keeper:
    return Keeper(world)


def desk_of(world: World, keeper: Keeper) -> Desk:
    return replace(world.desk, stored=keeper)


@dataclass(frozen=True)
class Verb:
    """A verb given a source at a place; `reads` tells the PIN that came of it."""

    name: str
    at: str
    ask: Callable[[Desk, Call, World, PinSource], object]
    reads: Callable[[object], str] = str


def change(place: str):
    def ask(desk: Desk, made: Call, world: World, source: PinSource):
        sources = {"new_source": world.block(digits=PIN), "old_source": envelope(CURRENT)}
        return EncryptPinChange(desk)(
            made, profile="partner", pan=Pan(PAN), **(sources | {place: source})
        )

    return ask


def change_value(place: str):
    def ask(desk: Desk, made: Call, world: World, source: PinSource):
        sources = {"current_source": envelope(CURRENT), "new_source": envelope(PIN)}
        reference = value(visa(), pvv_of(CURRENT))
        return ChangeVerificationValue(desk)(
            made, pan=Pan(PAN), reference=reference, **(sources | {place: source})
        )

    return ask


def script(name: str, place: str):
    def ask(desk: Desk, made: Call, world: World, source: PinSource):
        sources = {"new_source": world.block(digits=PIN), "current_source": None}
        return EncryptPinChangeScript(desk)(
            made,
            script=name,
            pan=Pan(PAN),
            sequence=1,
            cryptogram=CRYPTOGRAM,
            message=MESSAGE,
            **(sources | {place: source}),
        )

    return ask


def pin_on_card(made) -> str:
    card = Card(
        pan=PAN,
        sequence=1,
        confidentiality=triple("imk-smc/1"),
        integrity=triple("imk-smi/1"),
        cryptograms=triple("imk-ac/1"),
    )
    with format2.decode(card.block(made.enciphered_pin, CRYPTOGRAM, padding="none")) as pin:
        return digits_of(pin).decode()


def generate(scheme):
    def ask(desk: Desk, made: Call, world: World, source: PinSource):
        return GenerateVerificationValue(desk)(made, source=source, pan=Pan(PAN), scheme=scheme)

    return ask


TAKING = {
    "a block": Verb(
        "EncryptPin",
        "source",
        lambda desk, made, world, source: EncryptPin(desk)(
            made, source=source, target=to_block("zpk-aes", Format.ISO_4)
        ),
        lambda made: OtherEnd("zpk-aes/1", None).read(made.result, Format.ISO_4, Pan(PAN)),
    ),
    "an envelope": Verb(
        "EncryptPin",
        "source",
        lambda desk, made, world, source: EncryptPin(desk)(
            made, source=source, target=to_partner()
        ),
        lambda made: partner_reads(made.result),
    ),
    "a field": Verb(
        "EncryptPinChange",
        "new_source",
        change("new_source"),
        lambda made: partner_reads(made.pin_field),
    ),
    "a script": Verb(
        "EncryptPinChangeScript", "new_source", script("m-chip", "new_source"), pin_on_card
    ),
    "a PVV": Verb(
        "GenerateVerificationValue",
        "source",
        generate(visa()),
        lambda made: {pvv_of(PIN): PIN}[made.value.value],
    ),
    "an offset": Verb(
        "GenerateVerificationValue",
        "source",
        generate(ibm()),
        lambda made: {offset_of(PIN): PIN}[made.value.value],
    ),
    "a new PVV": Verb(
        "ChangeVerificationValue",
        "new_source",
        change_value("new_source"),
        lambda made: {pvv_of(PIN): PIN}[made.made.value],
    ),
}
"""Where a stored PIN is a new one, or goes out."""
PROVING = {
    "the old field": Verb("EncryptPinChange", "old_source", change("old_source")),
    "a check": Verb(
        "VerifyPin",
        "source",
        lambda desk, made, world, source: VerifyPin(desk)(
            made, source=source, pan=Pan(PAN), reference=value(visa(), pvv_of(PIN))
        ),
    ),
    "a current PIN": Verb(
        "ChangeVerificationValue", "current_source", change_value("current_source")
    ),
    "the current PIN of a script": Verb(
        "EncryptPinChangeScript", "current_source", script("vsdc-current", "current_source")
    ),
}
"""Where whoever gives a PIN shows to know it, or may seem to."""


def asked(verb: Verb, world: World, keeper: Keeper) -> tuple[Call, Callable[[], object]]:
    made = call(f"PinBlockService.{verb.name}")
    return made, lambda: verb.ask(desk_of(world, keeper), made, world, CARD)


@pytest.mark.parametrize("name", TAKING)
def test_a_stored_pin_goes_out_and_is_counted_before(
    world: World, keeper: Keeper, name: str
) -> None:
    verb = TAKING[name]
    made, ask = asked(verb, world, keeper)
    assert verb.reads(ask()) == PIN
    assert keeper.asked == [f"find {verb.at}.card", f"take {CARD.card_id} prepaid"]
    assert "card" in made.notes.sources
    assert KEPT in made.notes.keys


@pytest.mark.parametrize("name", PROVING)
def test_a_stored_pin_proves_nothing(world: World, keeper: Keeper, name: str) -> None:
    verb = PROVING[name]
    refusal = refusal_of(asked(verb, world, keeper)[1])
    assert (refusal.reason, refusal.field) == (Reason.NOT_SUPPORTED, f"{verb.at}.card")
    assert not keeper.asked
    assert world.is_untouched()


@pytest.mark.parametrize("name", TAKING)
def test_a_server_that_keeps_no_pins_has_no_such_source(world: World, name: str) -> None:
    verb = TAKING[name]
    made = call(f"PinBlockService.{verb.name}")
    refusal = refusal_of(lambda: verb.ask(world.desk, made, world, CARD))
    assert (refusal.reason, refusal.field) == (Reason.NOT_SUPPORTED, f"{verb.at}.card")
    assert world.is_untouched()


@pytest.mark.parametrize("name", TAKING)
def test_what_the_grants_refuse_is_not_counted(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, rows=(*rows("credit"), *rows("prepaid", keys=frozenset(),
                                  profiles=frozenset(), schemes=frozenset())))  # fmt: skip
    keeper = Keeper(world)
    refusal = refusal_of(asked(TAKING[name], world, keeper)[1])
    assert refusal.reason in {
        Reason.KEY_NOT_GRANTED,
        Reason.PROFILE_NOT_GRANTED,
        Reason.SCHEME_NOT_GRANTED,
    }
    assert keeper.asked == [f"find {TAKING[name].at}.card"]
    assert world.is_untouched()


@pytest.mark.parametrize("name", TAKING)
def test_its_program_must_be_granted(tmp_path: Path, name: str) -> None:
    world = World(tmp_path, rows=rows("credit"))
    keeper = Keeper(world)
    assert refusal_of(asked(TAKING[name], world, keeper)[1]).reason is Reason.PROGRAM_NOT_GRANTED


@pytest.mark.parametrize("name", TAKING)
def test_what_may_not_be_taken_is_not_opened(world: World, keeper: Keeper, name: str) -> None:
    keeper.refuses = True
    assert refusal_of(asked(TAKING[name], world, keeper)[1]).reason is Reason.CARD_RATE_EXCEEDED
    assert not world.device.calls


def test_it_goes_into_other_formats_by_the_steps_of_format_4(tmp_path: Path) -> None:
    def encrypt(world: World, form: Format):
        made = call("PinBlockService.EncryptPin")
        desk = desk_of(world, Keeper(world))
        return EncryptPin(desk)(made, source=CARD, target=to_block("zpk", form))

    made = encrypt(World(tmp_path, rows=rows("prepaid")), Format.ISO_3)
    assert made.source_key is KEPT
    strict = World(tmp_path, rows=rows("prepaid", translations=frozenset()))
    refusal = refusal_of(lambda: encrypt(strict, Format.ISO_0))
    assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED


def test_an_offset_of_it_takes_leave_for_chosen_pins(tmp_path: Path) -> None:
    world = World(tmp_path, rows=rows("prepaid", translations=frozenset()))
    refusal = refusal_of(asked(TAKING["an offset"], world, Keeper(world))[1])
    assert refusal.reason is Reason.TRANSLATION_NOT_GRANTED
