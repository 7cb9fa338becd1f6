"""What is sealed for a card opens for that card, under a profile that binds cards, and else not."""

from dataclasses import replace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pinvault.clearzone.parcels import SealedEnvelope, is_bound
from pinvault.config.profiles import SealedJwe
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.profiles import JweInProfile, Plaintext, SealedJweProfile
from tests.unit.clearzone.card_room import BOUND, CARD, OTHER_CARD, PAN
from tests.unit.clearzone.support import (
    KEYS,
    PROFILE,
    SEAL,
    World,
    content,
    forge,
)
from tests.unit.clearzone.test_zone import to_block

FREE = replace(PROFILE, bind_pan=False)
PROFILES = {"pan": PROFILE, "card": BOUND, "nothing": FREE}
CALL = SealedEnvelope(
    profile=PROFILE, keys=KEYS, pan=Pan(PAN), caller="switch", ciphertext=b"", card_id=CARD
)


def refusal(world: World, source: SealedEnvelope) -> Refusal | None:
    try:
        to_block(world, source)
    except Refusal as refused:
        return refused
    return None


def sealed(**names: str | None) -> bytes:
    return forge(content_bytes=content(**({"pan": None} | names))).compact()


@pytest.mark.parametrize("called", ["", CARD, OTHER_CARD], ids=["no card", "card", "another"])
@pytest.mark.parametrize("card", [None, CARD], ids=["for no card", "for a card"])
@pytest.mark.parametrize("pan", [None, PAN], ids=["for no PAN", "for a PAN"])
@pytest.mark.parametrize("binds", PROFILES)
def test_an_envelope_opens_for_what_it_names_under_a_profile_that_binds_that(
    world: World, binds: str, pan: str | None, card: str | None, called: str
) -> None:
    source = replace(
        CALL, profile=PROFILES[binds], ciphertext=sealed(pan=pan, card=card), card_id=called
    )
    names = {(PAN, None): "pan", (None, None): "nothing", (None, CARD): "card"}.get((pan, card))
    refused = refusal(world, source)
    if names == binds and (binds != "card" or called == CARD):
        assert refused is None
    else:
        assert refused is not None
        is_cards = card != (called if binds == "card" else None)
        cause = "bound-to-another-card" if is_cards else "bound-to-another-pan"
        assert (refused.reason, refused.cause) == (Reason.PIN_SOURCE_REFUSED, cause)


@pytest.mark.parametrize("place", range(len("card_"), len(CARD)))
def test_every_letter_of_the_card_counts(world: World, place: int) -> None:
    other = CARD[:place] + ("h" if CARD[place] != "h" else "i") + CARD[place + 1 :]
    source = replace(CALL, profile=BOUND, ciphertext=sealed(card=other))
    refused = refusal(world, source)
    assert refused is not None
    assert refused.cause == "bound-to-another-card"


def test_what_was_sealed_for_another_card_is_spent(world: World) -> None:
    """It has been looked at: another call for the right card does not get it open."""
    source = replace(CALL, profile=BOUND, ciphertext=sealed(card=OTHER_CARD))
    assert refusal(world, source)
    again = refusal(world, replace(source, card_id=OTHER_CARD))
    assert again is not None
    assert again.reason is Reason.ENVELOPE_REPLAYED


NO_IDS = {
    "empty": "",
    "the word alone": "card_",
    "25 letters": CARD[:-1],
    "27 letters": CARD + "g",
    "a digit": CARD[:-1] + "7",
    "a hex letter": CARD[:-1] + "f",
    "in upper case": CARD.upper(),
    "another word": "pan_" + CARD.removeprefix("card_"),
    "a newline behind": CARD + "\n",
    "a number": 7,
    "a list": [CARD],
}


@pytest.mark.parametrize("name", NO_IDS)
def test_what_is_no_id_of_a_card_is_malformed_and_spends_nothing(world: World, name: str) -> None:
    compact = forge(content_bytes=content(pan=None, card=NO_IDS[name])).compact()
    refused = refusal(world, replace(CALL, profile=BOUND, ciphertext=compact))
    assert refused is not None
    assert (refused.reason, refused.cause) == (Reason.PIN_SOURCE_REFUSED, "")
    assert world.table.live(now=world.clock.now) == 0


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(letters=st.text("ghijklmnopqrstuvwxyz", min_size=26, max_size=26))
def test_an_envelope_is_good_for_any_card_that_it_names(world: World, letters: str) -> None:
    card = f"card_{letters}"
    assert (
        refusal(world, replace(CALL, profile=BOUND, ciphertext=sealed(card=card), card_id=card))
        is None
    )


def test_of_other_kinds_none_binds_a_card() -> None:
    assert not JweInProfile(name="in", key="k", plaintext=Plaintext.DIGITS).bind_card


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_an_envelope_is_bound_when_its_profile_binds(profile: SealedJweProfile) -> None:
    assert is_bound(replace(CALL, profile=profile)) is (profile != FREE)


# Profiles


def test_a_profile_binds_a_pan_or_a_card() -> None:
    with pytest.raises(ValueError, match="bind_pan = false"):
        SealedJweProfile(name="sealed-card", key=SEAL.name, bind_card=True)
    with pytest.raises(ValueError, match="bind_pan = false"):
        replace(PROFILE, bind_card=True)


@pytest.mark.parametrize("options", [{}, {"bind_pan": True}], ids=["left out", "true"])
def test_the_configuration_says_what_to_set(options: dict[str, bool]) -> None:
    section = msgspec.convert(
        {"kind": "sealed-jwe", "key": "k", "bind_card": True} | options, SealedJwe
    )
    with pytest.raises(ValueError, match="set bind_pan = false"):
        section.to_model("sealed-card")


def test_a_configured_profile_binds_cards() -> None:
    made = SealedJwe(key=SEAL.name, bind_pan=False, bind_card=True).to_model("sealed-card")
    assert made == BOUND
    assert (made.bound, made.bind_pan) == (True, False)
