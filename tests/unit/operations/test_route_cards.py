"""A profile that binds cards serves calls that are for one, and they say for which."""

from datetime import date

import pytest

from pinvault.clearzone.parcels import SealedEnvelope
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import KeyDirectory
from pinvault.model.pan import Pan
from pinvault.model.pins import EnvelopeSource
from pinvault.model.profiles import SealedJweProfile
from pinvault.operations.route import Router
from tests.support.software_device import key

PAN = "4000001234562000"
CARD = "card_jpgsyggggggggggggggggggggg"
SEAL = key("pin-seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP")
PROFILES = {
    each.name: each
    for each in (
        SealedJweProfile(name="sealed-pin", key="pin-seal"),
        SealedJweProfile(name="sealed-card", key="pin-seal", bind_pan=False, bind_card=True),
    )
}
ROUTER = Router(keys=KeyDirectory([SEAL]), profiles=PROFILES, today=lambda: date(2026, 6, 1))


def resolved(profile: str, card: str = "", pan: str | None = None) -> SealedEnvelope:
    source = EnvelopeSource(
        profile=profile, pan=Pan(pan) if pan is not None else None, ciphertext=b"sealed"
    )
    found = ROUTER.source(source, caller="card-app", at="source", card_id=card)
    assert isinstance(found, SealedEnvelope)
    return found


@pytest.mark.parametrize("pan", [None, PAN], ids=["no PAN", "a PAN"])
def test_a_profile_that_binds_cards_needs_the_card_of_the_call(pan: str | None) -> None:
    with pytest.raises(Refusal) as caught:
        resolved("sealed-card", pan=pan)
    assert caught.value.reason is Reason.PROFILE_MISMATCH
    assert caught.value.field == "source.envelope.profile"


def test_it_needs_no_pan() -> None:
    found = resolved("sealed-card", CARD)
    assert (found.card_id, found.pan, found.keys) == (CARD, None, {SEAL.id: SEAL})


def test_a_call_for_no_card_needs_the_pan_of_a_profile_that_binds_it() -> None:
    with pytest.raises(Refusal) as caught:
        resolved("sealed-pin")
    assert caught.value.reason is Reason.REQUEST_INVALID
    assert [each.field for each in caught.value.violations] == ["source.envelope.pan"]
    assert resolved("sealed-pin", pan=PAN).card_id == ""
