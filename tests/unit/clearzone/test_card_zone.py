"""What is stored of cards is made and opened; what does not open is told by whose fault it is."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import ECKey

from hsm.errors import HsmDataRefused, HsmTimeout, HsmUnavailable
from pinvault.clearzone.card_zone import Recipe, SealedPan, SpentNonce
from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import (
    OffsetReference,
    PvvReference,
    Reference,
    SealedBlock,
    StoredOf,
)
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.zone import Terms
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.faults import ClearedFault
from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength
from pinvault.model.verification import PinOffset, Pvv
from tests.support import blocks
from tests.unit.clearzone.card_room import (
    CARD,
    GONE,
    IBM,
    NEXT_STORE,
    OTHER_CARD,
    OTHER_PAN,
    PAN,
    PAN_STORE,
    RECIPES,
    REFERENCE,
    REVEAL,
    VISA,
    Room,
    block_under,
    card_device,
    sealed,
    stored,
    stored_block,
)
from tests.unit.clearzone.support import NOW, SEAL, ZPK, World
from tests.unit.clearzone.test_reveal import RECIPIENT, point_of
from tests.unit.clearzone.test_zone import made_pins, pins_within

__all__ = ["made_pins"]

RULES = PinRules(name="cards")
WEAK = "1234"
recipes = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
bounded = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    world = World(tmp_path, device=card_device())
    yield Room(world)
    world.table.close()


def reason_of(method: Callable[..., object], *given: object, **options: object) -> Reason:
    with pytest.raises(Refusal) as caught:
        method(*given, **options)
    assert caught.value.__context__ is None
    assert pins_within(caught.value.__traceback__) == []
    return caught.value.reason


def fault_of(method: Callable[..., object], *given: object, **options: object) -> str:
    """Give the kind of a fault; nothing secret hangs on it."""
    with pytest.raises(ClearedFault) as caught:
        method(*given, **options)
    assert caught.value.__context__ is None
    assert pins_within(caught.value.__traceback__) == []
    assert PAN not in f"{caught.value!r} {caught.value.frames}"
    return caught.value.kind


# PANs


@bounded
@given(pan=st.text("0123456789", min_size=12, max_size=19))
def test_a_pan_comes_back_under_its_key_for_its_card(room: Room, pan: str) -> None:
    deadline = room.world.deadline
    for under in (PAN_STORE, NEXT_STORE):
        kept = room.zone.seal_pan(Pan(pan), owner=CARD, key=under, deadline=deadline)
        found = room.zone.open_pan(SealedPan(key=under, owner=CARD, ciphertext=kept), deadline)
        assert (len(kept), found.digits()) == (16, pan)


def kept_pan(room: Room) -> SealedPan:
    kept = room.zone.seal_pan(Pan(PAN), owner=CARD, key=PAN_STORE, deadline=room.world.deadline)
    return SealedPan(key=PAN_STORE, owner=CARD, ciphertext=kept)


DAMAGE: dict[str, Callable[[SealedPan], SealedPan]] = {
    "put to another card": lambda kept: replace(kept, owner=OTHER_CARD),
    "under another version": lambda kept: replace(kept, key=NEXT_STORE),
    "one bit flipped": lambda kept: replace(
        kept, ciphertext=kept.ciphertext[:-1] + bytes([kept.ciphertext[-1] ^ 1])
    ),
    "empty": lambda kept: replace(kept, ciphertext=b""),
    "cut": lambda kept: replace(kept, ciphertext=kept.ciphertext[:-1]),
    "two blocks": lambda kept: replace(kept, ciphertext=2 * kept.ciphertext),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_stored_pan_that_does_not_open_is_a_fault_of_ours(room: Room, damage) -> None:
    kept = damage(kept_pan(room))
    assert fault_of(room.zone.open_pan, kept, room.world.deadline) == "StoredUnreadable"


def test_a_stored_pan_is_not_shown(room: Room) -> None:
    assert "ciphertext" not in repr(kept_pan(room))


def test_random_bytes_are_the_hsms(room: Room) -> None:
    assert len(room.zone.random(16, room.world.deadline)) == 16
    assert room.device.calls == {"random": 1}


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(HsmUnavailable, Reason.HSM_UNAVAILABLE), (HsmTimeout, Reason.DEADLINE_EXCEEDED)],
)
def test_an_hsm_that_is_away_is_told_as_such(room: Room, failure, reason: Reason) -> None:
    kept, reference = kept_pan(room), room.reference("7392", RECIPES["reference"])
    assert isinstance(reference, SealedBlock)
    source, terms, zone = room.block("7392"), room.world.terms, room.zone
    room.device.failure = failure
    for use in (
        lambda: zone.open_pan(kept, terms.deadline),
        lambda: zone.seal_pan(Pan(PAN), owner=CARD, key=PAN_STORE, deadline=terms.deadline),
        lambda: zone.random(1, terms.deadline),
        lambda: zone.make(source, RECIPES["PVV"], Pan(PAN), terms),
        lambda: zone.check(source, reference, Pan(PAN), terms),
        lambda: revealed(room, reference),
    ):
        assert reason_of(use) is reason


def test_nothing_starts_after_the_deadline(room: Room) -> None:
    kept, passed = kept_pan(room), Deadline.after(-1)
    room.device.calls.clear()
    assert reason_of(room.zone.open_pan, kept, passed) is Reason.DEADLINE_EXCEEDED
    late = Terms(deadline=passed)
    reason = reason_of(room.zone.make, sealed("7392"), RECIPES["PVV"], Pan(PAN), late)
    assert reason is Reason.DEADLINE_EXCEEDED
    assert not room.device.calls


# What is stored of a PIN


@recipes
def test_a_recipe_says_what_is_made(room: Room, recipe: Recipe) -> None:
    made = room.zone.make(room.block("7392"), recipe, Pan(PAN), room.world.terms).result
    assert isinstance(made.value, Pvv) is (recipe.verification == VISA)
    assert isinstance(made.value, PinOffset) is (recipe.verification == IBM)
    assert (made.reference is None) is (made.value is not None)
    assert (made.reveal is None) is (recipe.reveal is None)
    for block, under in ((made.reference, REFERENCE), (made.reveal, REVEAL)):
        if block is not None:
            with blocks.decipher(
                room.device, block, under=under, form=Format.ISO_4, pan=Pan(PAN)
            ) as pin:
                assert digits_of(pin) == b"7392"
    assert "b'" not in repr(made)


@recipes
@pytest.mark.parametrize("tried", ["7392", "7393", "0392"])
def test_a_pin_is_compared_with_what_was_stored(room: Room, recipe: Recipe, tried: str) -> None:
    reference = room.reference("7392", recipe)
    checked = room.zone.check(room.block(tried), reference, Pan(PAN), room.world.terms)
    assert checked.result is (tried == "7392")
    assert (checked.openers, checked.spent) == ((ZPK,), ())


@recipes
def test_a_wrong_pin_is_as_much_work_as_the_right_one(room: Room, recipe: Recipe) -> None:
    reference, work = room.reference("7392", recipe), []
    for tried in ("7392", "7393", "739205"):
        source = room.block(tried)
        room.device.calls.clear()
        room.zone.check(source, reference, Pan(PAN), room.world.terms)
        work.append(dict(room.device.calls))
    assert work[0] == work[1] == work[2]


def test_a_stored_pin_is_compared_whatever_lengths_are_allowed_today(room: Room) -> None:
    reference = room.reference("739205", RECIPES["reference"])
    strict = Terms(deadline=room.world.deadline, pin_length=PinLength(minimum=4, maximum=4))
    assert not room.zone.check(room.block("7392"), reference, Pan(PAN), strict).result


@recipes
def test_a_weak_pin_is_not_made(room: Room, recipe: Recipe) -> None:
    terms = replace(room.world.terms, rules=RULES)
    source = room.block(WEAK)
    assert reason_of(room.zone.make, source, recipe, Pan(PAN), terms) is Reason.PIN_WEAK
    assert room.zone.make(room.block("7392"), recipe, Pan(PAN), terms)


def test_both_of_a_recipe_are_made_or_none(room: Room, made_pins: list[Pin]) -> None:
    for recipe in (
        Recipe(verification=block_under(REFERENCE), reveal=block_under(GONE)),
        Recipe(verification=block_under(GONE), reveal=block_under(REVEAL)),
    ):
        source = room.block("7392")
        made_pins.clear()
        told = fault_of(room.zone.make, source, recipe, Pan(PAN), room.world.terms)
        assert told == "UnknownKey"
        assert [set(digits_of(pin)) for pin in made_pins] == [{0}]


def test_every_pin_is_wiped(room: Room, made_pins: list[Pin]) -> None:
    recipe = RECIPES["reference and reveal"]
    reference = room.reference("7392", recipe)
    sources = room.block("7392"), room.block("4831")
    made_pins.clear()
    changed = room.zone.change(*sources, reference, recipe, Pan(PAN), room.world.terms)
    assert changed.result is not None
    revealed(room, stored_block(changed.result.reveal, recipe.reveal))
    assert [set(digits_of(pin)) for pin in made_pins] == [{0}] * 4


# Changes


@recipes
def test_the_right_pin_lets_a_new_one_be_made(room: Room, recipe: Recipe) -> None:
    reference = room.reference("7392", recipe)
    terms = replace(room.world.terms, rules=RULES)
    changed = room.zone.change(
        room.block("7392"), room.block("4831"), reference, recipe, Pan(PAN), terms
    )
    known = stored(changed.result, recipe)
    assert changed.openers == (ZPK, ZPK)
    assert room.zone.check(room.block("4831"), known, Pan(PAN), terms).result
    assert not room.zone.check(room.block("7392"), known, Pan(PAN), terms).result


@recipes
@pytest.mark.parametrize("new", ["4831", WEAK, "7393"])
def test_a_wrong_pin_makes_nothing_whatever_the_new_one_is(
    room: Room, recipe: Recipe, new: str
) -> None:
    reference = room.reference("7392", recipe)
    terms, sources = replace(room.world.terms, rules=RULES), (room.block("7393"), room.block(new))
    changed = room.zone.change(*sources, reference, recipe, Pan(PAN), terms)
    assert (changed.result, changed.openers) == (None, (ZPK, ZPK))


@recipes
@pytest.mark.parametrize("new", [WEAK, "7392"], ids=["weak", "the current one"])
def test_the_new_pin_is_judged_after_the_right_one(room: Room, recipe: Recipe, new: str) -> None:
    reference, spent = room.reference("7392", recipe), []
    terms, sources = replace(room.world.terms, rules=RULES), (sealed("7392"), sealed(new))
    reason = reason_of(room.zone.change, *sources, reference, recipe, Pan(PAN), terms, spent=spent)
    assert reason is Reason.PIN_WEAK
    assert len(spent) == 2


@pytest.mark.parametrize("current", ["7392", "7393"], ids=["right", "wrong"])
def test_a_new_pin_that_the_scheme_cannot_take_is_refused_before_anything_is_compared(
    room: Room, current: str
) -> None:
    reference, recipe = room.reference("7392", RECIPES["offset"]), RECIPES["offset"]
    sources = room.block(current), room.block("483105")
    room.device.calls.clear()
    reason = reason_of(room.zone.change, *sources, reference, recipe, Pan(PAN), room.world.terms)
    assert reason is Reason.PIN_SOURCE_REFUSED
    assert room.device.calls == {"decipher": 2}
    making = reason_of(room.zone.make, sources[1], recipe, Pan(PAN), room.world.terms)
    assert making is Reason.PIN_SOURCE_REFUSED


@pytest.mark.parametrize("bad", [0, 1], ids=["current", "new"])
def test_a_source_that_does_not_open_is_refused_before_anything_is_compared(
    room: Room, bad: int
) -> None:
    recipe = RECIPES["reference"]
    reference, sources = room.reference("7392", recipe), [room.block("7392"), room.block("4831")]
    sources[bad] = replace(sources[bad], ciphertext=bytes(8))
    room.device.calls.clear()
    reason = reason_of(room.zone.change, *sources, reference, recipe, Pan(PAN), room.world.terms)
    assert reason is Reason.PIN_SOURCE_REFUSED
    assert room.device.calls["decipher"] == bad + 1
    assert room.device.calls["encipher"] == 0


# What is stored and does not open


def spoilt(reference: Reference) -> Iterator[Reference]:
    assert isinstance(reference, SealedBlock)
    yield replace(reference, ciphertext=bytes(16))
    yield replace(reference, key=REVEAL)
    yield replace(reference, pan=Pan(OTHER_PAN))
    yield replace(reference, pan=None)


def test_a_stored_block_that_does_not_open_is_a_fault_of_ours(room: Room) -> None:
    recipe = RECIPES["reference"]
    for reference in spoilt(room.reference("7392", recipe)):
        sources = room.block("7392"), room.block("4831")
        rest = Pan(PAN), room.world.terms
        told = (
            fault_of(room.zone.check, sources[0], reference, *rest),
            fault_of(room.zone.change, *sources, reference, recipe, *rest),
        )
        assert told == ("StoredUnreadable", "StoredUnreadable")


def test_a_stored_block_of_another_card_is_a_fault_of_ours(room: Room) -> None:
    """Put to this card, it opens for another PAN only."""
    pan = Pan(OTHER_PAN)
    recipe = Recipe(verification=block_under(REFERENCE, OTHER_PAN), reveal=None)
    made = room.zone.make(room.block("7392", OTHER_PAN), recipe, pan, room.world.terms).result
    foreign = stored_block(made.reference, block_under(REFERENCE))
    source = room.block("7392")
    told = fault_of(room.zone.check, source, foreign, Pan(PAN), room.world.terms)
    assert told == "StoredUnreadable"


def test_what_the_hsm_refuses_of_what_is_stored_is_a_fault_of_ours(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, source = room.reference("7392", RECIPES["reference"]), room.block("7392")
    decipher = BlockCipher.decipher

    def refusing(self: BlockCipher, block: SealedBlock, deadline: Deadline) -> bytes:
        if block.key == REFERENCE:
            raise HsmDataRefused
        return decipher(self, block, deadline)

    monkeypatch.setattr(BlockCipher, "decipher", refusing)
    told = fault_of(room.zone.check, source, reference, Pan(PAN), room.world.terms)
    assert told == "StoredUnreadable"


def test_a_stored_block_is_a_source_whose_faults_are_ours(room: Room) -> None:
    """As the PIN of another card with the same PAN; a length that is not allowed is no fault."""
    recipe, rest = RECIPES["PVV"], (Pan(PAN), room.world.terms)
    kept = room.reference("739205", RECIPES["reference"])
    assert isinstance(kept, SealedBlock)
    good = replace(kept, stored=StoredOf("card_g", "debit"))
    assert room.zone.make(good, recipe, *rest).result.value is not None
    for block in spoilt(good):
        kind = "ValueError" if block.pan is None else "StoredUnreadable"
        assert fault_of(room.zone.make, block, recipe, *rest) == kind
        if block.pan is not None:
            given = replace(block, stored=None)
            assert reason_of(room.zone.make, given, recipe, *rest) is Reason.PIN_SOURCE_REFUSED
    strict = Terms(deadline=room.world.deadline, pin_length=PinLength(minimum=4, maximum=4))
    told = reason_of(room.zone.make, good, recipe, Pan(PAN), strict)
    assert told is Reason.PIN_SOURCE_REFUSED


def test_a_stored_value_that_is_none_of_its_scheme_is_a_fault_of_ours(room: Room) -> None:
    longer = OffsetReference(method=IBM, value=PinOffset(value="12345"))
    gone = PvvReference(method=replace(VISA, key=GONE), value=Pvv(value="1234", key_index=1))
    source = room.block("7392")
    for reference, kind in ((longer, "ValueError"), (gone, "UnknownKey")):
        told = fault_of(room.zone.check, source, reference, Pan(PAN), room.world.terms)
        assert told == kind


# What was spent


def nonces_of(spent: list[SpentNonce] | tuple[SpentNonce, ...]) -> list[tuple[float, bool]]:
    assert all(len(each.nonce) == 32 for each in spent)
    return [(each.until, each.is_ksn) for each in spent]


def test_what_a_call_spent_is_told(room: Room) -> None:
    recipe, terms = RECIPES["reference"], room.world.terms
    reference = room.reference("7392", recipe)
    until = (NOW + 120 + 30 + 1, False)
    spent: list[SpentNonce] = []
    made = room.zone.make(sealed("7392"), recipe, Pan(PAN), terms, spent=spent)
    assert (nonces_of(made.spent), made.openers) == ([until], (SEAL,))
    assert spent == list(made.spent)
    checked = room.zone.check(sealed("7392"), reference, Pan(PAN), terms)
    assert nonces_of(checked.spent) == [until]
    pins = sealed("7393"), sealed("4831")
    changed = room.zone.change(*pins, reference, recipe, Pan(PAN), terms)
    assert nonces_of(changed.spent) == [until, until]
    assert len({each.nonce for call in (made, checked, changed) for each in call.spent}) == 4


def test_what_a_refused_call_spent_is_told_too(room: Room) -> None:
    recipe, terms = RECIPES["reference"], replace(room.world.terms, rules=RULES)
    damaged = replace(room.reference("7392", recipe), ciphertext=bytes(16))  # type: ignore[type-var]
    for use in (
        lambda spent: room.zone.make(sealed(WEAK), recipe, Pan(PAN), terms, spent=spent),
        lambda spent: room.zone.make(
            sealed("7392", card=OTHER_CARD), recipe, Pan(PAN), terms, spent=spent
        ),
        lambda spent: room.zone.check(sealed("7392"), damaged, Pan(PAN), terms, spent=spent),
    ):
        spent: list[SpentNonce] = []
        with pytest.raises((Refusal, ClearedFault)):
            use(spent)
        assert len(spent) == 1


def test_what_was_spent_before_is_not_told_again(room: Room) -> None:
    recipe, source, spent = RECIPES["PVV"], sealed("7392"), []
    room.zone.make(source, recipe, Pan(PAN), room.world.terms)
    reason = reason_of(room.zone.make, source, recipe, Pan(PAN), room.world.terms, spent=spent)
    assert reason is Reason.ENVELOPE_REPLAYED
    assert spent == []


# Reveals


def revealed(room: Room, block: SealedBlock) -> str:
    return room.zone.reveal(
        block, point_of(RECIPIENT), card_id=CARD, expires=NOW + 60, terms=room.world.terms
    )


def test_a_stored_pin_is_revealed_to_the_recipient(room: Room) -> None:
    recipe = RECIPES["offset and reveal"]
    made = room.zone.make(room.block("7392"), recipe, Pan(PAN), room.world.terms).result
    text = revealed(room, stored_block(made.reveal, recipe.reveal))
    opened = jwe.decrypt_compact(text, ECKey.import_key(RECIPIENT), ["ECDH-ES", "A256GCM"])
    assert opened.plaintext is not None
    assert json.loads(opened.plaintext) == {"pin": "7392", "card": CARD, "exp": NOW + 60}


def test_a_block_to_reveal_that_does_not_open_is_a_fault_of_ours(room: Room) -> None:
    for block in spoilt(room.reference("7392", RECIPES["reference"])):
        assert isinstance(block, SealedBlock)
        kind = "ValueError" if block.pan is None else "StoredUnreadable"
        assert fault_of(revealed, room, block) == kind


def test_a_recipient_that_was_not_looked_at_is_a_fault_of_ours(room: Room) -> None:
    block = room.reference("7392", RECIPES["reference"])
    off = point_of(ec.generate_private_key(ec.SECP256K1()))
    terms = room.world.terms
    told = fault_of(room.zone.reveal, block, off, card_id=CARD, expires=NOW, terms=terms)
    assert told == "ValueError"
