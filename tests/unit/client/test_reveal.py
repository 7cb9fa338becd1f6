"""The one-time key of a reveal opens what another implementation seals for it, and nothing else."""

import base64
import json
import time
from dataclasses import replace

import pytest
from joserfc import jwe
from joserfc.jwk import ECKey

from pinvault.client import KeyUse, NotRevealed, RevealedPin, RevealKey

CARD_ID, OTHER_CARD = "card_" + "g" * 26, "card_" + "h" * 26
PIN = "4831"
SOON = int(time.time()) + 86_400


def text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sealed(key: RevealKey, *, apv: str = CARD_ID, enc: str = "A256GCM", **content: object) -> str:
    """What joserfc seals for a key."""
    header = {"alg": "ECDH-ES", "enc": enc, "apv": text(apv.encode())}
    whole = {"pin": PIN, "card": CARD_ID, "exp": SOON, **content}
    recipient = ECKey.import_key({"kty": "EC", "crv": "P-256", "x": key.x, "y": key.y})
    algorithms = ["ECDH-ES", enc]
    return jwe.encrypt_compact(header, json.dumps(whole), recipient, algorithms=algorithms)


def revealed(envelope: str, card_id: str = CARD_ID) -> RevealedPin:
    key = KeyUse(name="pin-reveal", version=1, check_value="A1B2C3")
    return RevealedPin(card_id=card_id, envelope=envelope, stored_key=key)


@pytest.fixture
def key() -> RevealKey:
    return RevealKey()


def test_the_pin_comes_from_the_key_alone(key: RevealKey) -> None:
    answer = revealed(sealed(key))
    assert key.open(answer) == PIN
    assert answer.envelope not in repr(answer)
    assert repr(key) == "<reveal key>"


def test_every_key_is_another() -> None:
    keys = [RevealKey() for _ in range(3)]
    assert len({(key.x, key.y) for key in keys}) == 3
    assert all(len(part) == 43 for key in keys for part in (key.x, key.y))


@pytest.mark.parametrize(
    "said",
    [
        {"card": OTHER_CARD},
        {"exp": int(time.time()) - 1},
        {"exp": "soon"},
        {"enc": "A128GCM"},
        {"apv": OTHER_CARD},
        {"apv": ""},
    ],
)
def test_an_envelope_of_another_card_time_or_kind_does_not_open(
    key: RevealKey, said: dict[str, object]
) -> None:
    with pytest.raises(NotRevealed) as caught:
        key.open(revealed(sealed(key, **said)))
    assert caught.value.__cause__ is None
    assert PIN not in str(caught.value)


def test_an_envelope_for_another_key_or_card_does_not_open(key: RevealKey) -> None:
    answer = revealed(sealed(key))
    with pytest.raises(NotRevealed):
        RevealKey().open(answer)
    with pytest.raises(NotRevealed):
        key.open(replace(answer, card_id=OTHER_CARD))


@pytest.mark.parametrize("part", range(5))
def test_every_part_of_an_envelope_matters(key: RevealKey, part: int) -> None:
    parts = sealed(key).split(".")
    turned = "B" if parts[part][:1] == "A" else "A"
    parts[part] = turned + parts[part][1:]
    with pytest.raises(NotRevealed):
        key.open(revealed(".".join(parts)))


@pytest.mark.parametrize("text", ["", "....", "a.b.c", "e30..AA.AA.AA", "\u00e9....", "W10....."])
def test_what_is_no_envelope_does_not_open(key: RevealKey, text: str) -> None:
    with pytest.raises(NotRevealed):
        key.open(revealed(text))


def test_a_key_is_gone_at_the_end_of_its_block() -> None:
    with RevealKey() as key:
        answer = revealed(sealed(key))
    with pytest.raises(NotRevealed):
        key.open(answer)
