"""What is made for a partner opens there, whatever the kind, and never looks the same twice."""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace

import pytest

from pinvault.clearzone.pin import Malformed
from pinvault.model.profiles import PinLength, Plaintext
from tests.unit.clearzone.other_ends import OTHER_PAN, OUTGOING, Outgoing, device, made

PIN = "739205184627"
ONE_A_KIND = {name.split()[0]: kind for name, kind in reversed(OUTGOING.items())}
kinds = pytest.mark.parametrize("kind", ONE_A_KIND.values(), ids=ONE_A_KIND)


@pytest.mark.parametrize("length", [4, 12])
@pytest.mark.parametrize("kind", OUTGOING.values(), ids=OUTGOING)
def test_the_partner_reads_the_pin(kind: Outgoing, length: int) -> None:
    assert kind.read(made(PIN[:length], kind.profile), kind.profile) == PIN[:length]


@kinds
def test_two_envelopes_of_one_pin_differ(kind: Outgoing) -> None:
    assert len({made("7392", kind.profile) for _ in range(5)}) == 5


@pytest.mark.parametrize("name", ["rsa-aes-block", "rsa-aes-gcm", "rsa-aes-cbc", "ecdh-block"])
def test_no_part_of_two_envelopes_is_the_same(name: str) -> None:
    profile = ONE_A_KIND[name].profile
    first, second = (json.loads(made("7392", profile)) for _ in range(2))
    assert not set(first.values()) & set(second.values())


@kinds
@pytest.mark.parametrize("length", [4, 7])
def test_a_pin_of_another_length_than_the_partner_takes_is_malformed(
    kind: Outgoing, length: int
) -> None:
    narrow = replace(kind.profile, pin_length=PinLength(minimum=5, maximum=6))
    with pytest.raises(Malformed):
        made(PIN[:length], narrow)


@pytest.mark.parametrize("kind", OUTGOING.values(), ids=OUTGOING)
def test_a_bound_kind_needs_the_pan_and_no_other_does(kind: Outgoing) -> None:
    if not kind.profile.bound:
        assert kind.read(made("7392", kind.profile, pan=None), kind.profile) == "7392"
        return
    with pytest.raises(ValueError, match="bound to a PAN"):
        made("7392", kind.profile, pan=None)


@pytest.mark.parametrize("name", [name for name in OUTGOING if OUTGOING[name].profile.bound])
def test_what_is_bound_does_not_open_for_another_pan(name: str) -> None:
    kind = OUTGOING[name]
    for_another = made("7392", kind.profile, pan=OTHER_PAN)
    with suppress(ValueError):  # psec finds no PIN in it
        assert kind.read(for_another, kind.profile) != "7392"


def test_what_is_random_comes_from_the_hsm() -> None:
    drawn: Counter[int] = Counter()

    def draw(length: int) -> bytes:
        drawn[length] += 1
        return bytes(range(1, length + 1))

    kept, device().draw = device().draw, draw
    try:
        for name, expected in {
            "rsa-field iso-1-block PKCS1-v1_5 hex-lower": {5: 1},
            "rsa-field iso-3-block PKCS1-v1_5 hex-lower": {16: 1},
            "rsa-json": {32: 1},
            "jwe": {32: 1, 12: 1},
            "rsa-aes-block": {32: 2, 8: 1},  # a key, a token of 16 digits, half a PIN field
            "rsa-aes-gcm": {32: 1, 12: 1},
            "rsa-aes-cbc": {32: 1, 16: 1},
            "ecdh-block": {40: 1, 8: 1},
        }.items():
            drawn.clear()
            made("7392", (OUTGOING | ONE_A_KIND)[name].profile)
            assert drawn == expected, name
    finally:
        device().draw = kept


def test_random_digits_are_each_equally_likely() -> None:
    """Bytes that would favour some are passed over, and a nonce never begins with 0."""
    profile = ONE_A_KIND["rsa-json"].profile
    draws = [bytes([255, 250] * 16), bytes(range(250, 256)) + bytes(26), bytes(range(1, 33))]
    kept, device().draw = device().draw, lambda length: draws.pop(0)
    try:
        text = made("7392", profile)
    finally:
        device().draw = kept
    assert not draws
    assert ONE_A_KIND["rsa-json"].read(text, profile) == "7392"


def test_every_plaintext_is_tried() -> None:
    assert {form for name in OUTGOING for form in Plaintext if form in name} == set(Plaintext)
