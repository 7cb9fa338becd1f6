"""Attack: use a PIN sealed for one card of the PIN vault for another card, or for a PAN.

An envelope that names a card is good in calls for that card. PinBlockService knows no cards: there
the caller would say whose PIN it is, and nothing could hold the envelope to it.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.message import Message

from pinvault.client.sealing import seal
from pinvault.model.profiles import SealedJweProfile
from pinvault.policy.translation import Permission
from pinvault.v1 import resources_pb2 as rs
from tests.attacks.test_unbound_sources import VERBS as MAKING
from tests.attacks.test_unbound_sources import Verb
from tests.support.attack import (
    OTHER_PAN,
    PAN,
    Attacker,
    attacker,
    encrypt,
    envelope,
    matches,
    offset,
    pb,
    pvv,
    verify,
)
from tests.support.core import Setting

CARD = "card_jpgsyggggggggggggggggggggg"
CARDS = SealedJweProfile(name="sealed-card", key="pin-seal", bind_pan=False, bind_card=True)
FREE = SealedJweProfile(name="sealed-free", key="pin-seal", bind_pan=False)
LEAVE = frozenset(Permission) - {Permission.NONE}


def fields(place: str) -> Callable[[Attacker, rs.PinSource], Message]:
    def request(someone: Attacker, given: rs.PinSource) -> Message:
        sources = {"new_source": someone.sealed("7392"), "old_source": someone.sealed("4831")}
        return pb.EncryptPinChangeRequest(
            profile="interswitch", pan=PAN, **(sources | {place: given})
        )

    return request


VERBS = MAKING | {
    "encrypt": Verb("EncryptPin", lambda _, given: encrypt(given)),
    "new field": Verb("EncryptPinChange", fields("new_source")),
    "old field": Verb("EncryptPinChange", fields("old_source")),
    "verify a PVV": Verb("VerifyPin", lambda _, given: verify(given, pvv("0000"))),
    "verify an offset": Verb("VerifyPin", lambda _, given: verify(given, offset("0000"))),
    "verify a block": Verb(
        "VerifyPin", lambda someone, given: verify(given, someone.block("7392", under="zpk"))
    ),
}


@pytest.fixture
def someone(tmp_path: Path) -> Attacker:
    return attacker(tmp_path, Setting(translations=LEAVE, profiles=(CARDS, FREE)))


def for_card(someone: Attacker, pin: str = "7392") -> bytes:
    expires = int(time.time()) + 60
    return seal(pin, key=someone.core.sealing_key, pan=None, card=CARD, expires=expires)


@pytest.mark.parametrize("pan", [None, PAN], ids=["no PAN", "a PAN"])
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_a_profile_that_binds_cards_serves_no_call_without_one(
    someone: Attacker, verb: Verb, pan: str | None
) -> None:
    given = envelope(for_card(someone), "sealed-card", pan)
    told = someone.ask(verb.name, verb.request(someone, given))
    assert (told.reason, told.hsm) == ("PROFILE_MISMATCH", ())


@pytest.mark.parametrize("profile", ["sealed-pin", "sealed-free"])
def test_an_envelope_for_a_card_opens_under_no_profile_of_other_calls(
    someone: Attacker, profile: str
) -> None:
    """Though all of them have one key. The face is that of an envelope for another PAN."""
    told = [
        someone.ask("EncryptPin", encrypt(envelope(sealed, profile)))
        for sealed in (for_card(someone), someone.sealed("7392", OTHER_PAN).envelope.ciphertext)
    ]
    assert [each.reason for each in told] == ["PIN_SOURCE_REFUSED"] * 2
    assert told[0].face == told[1].face


def test_an_envelope_for_a_pan_is_no_worse_for_that(someone: Attacker) -> None:
    told = someone.ask(
        "VerifyPin", verify(someone.sealed("7392"), someone.block("7392", under="zpk"))
    )
    assert matches(told)
