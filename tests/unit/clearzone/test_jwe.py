"""Opening a sealed PIN: what the client seals opens, and every other envelope is Malformed."""

import base64
from dataclasses import replace

import pytest

from hsm.errors import HsmTimeout, HsmUnavailable
from pinvault.clearzone.envelope import Opened, jwe, open_envelope
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed
from pinvault.client.sealing import seal
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from tests.unit.clearzone.bad_envelopes import AUTHENTIC, FORGED, NO_PIN
from tests.unit.clearzone.support import (
    KEYS,
    NOW,
    OLDER_SEAL,
    PAN,
    PROFILE,
    SEAL,
    SEAL_256,
    Parts,
    World,
    content,
    forge,
    sealing_key,
    text,
)


def opened(world: World, compact: bytes) -> Opened:
    return open_envelope(
        compact,
        profile=PROFILE,
        keys=KEYS,
        pan=None,
        device=world.device,
        deadline=Deadline.after(60),
    )


def digits(found: Opened) -> str:
    with found.pin() as pin:
        return digits_of(pin).decode()


@pytest.mark.parametrize("pan", [None, PAN], ids=["unbound", "bound"])
@pytest.mark.parametrize("length", range(4, 13))
@pytest.mark.parametrize("under", [SEAL, OLDER_SEAL, SEAL_256], ids=lambda under: under.id)
def test_what_the_client_seals_is_opened(
    world: World, under: Key, length: int, pan: str | None
) -> None:
    pin = "739205184627"[:length]
    found = opened(world, seal(pin, key=sealing_key(under), pan=pan, expires=NOW + 120))
    assert digits(found) == pin
    assert found.key_id == under.id
    assert found.expires == NOW + 120
    assert (found.pan.digits() if found.pan is not None else None) == pan


def test_a_forged_envelope_opens_when_nothing_is_wrong_with_it(world: World) -> None:
    """Else the refusals below would prove nothing."""
    for under in (SEAL, OLDER_SEAL, SEAL_256):
        assert digits(opened(world, forge(under=under).compact())) == "7392"


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
def test_an_envelope_that_is_not_authentic_is_malformed(world: World, make) -> None:
    with pytest.raises(Malformed):
        opened(world, make())


@pytest.mark.parametrize("make", AUTHENTIC.values(), ids=AUTHENTIC)
def test_an_authentic_envelope_with_other_content_is_malformed(world: World, make) -> None:
    with pytest.raises(Malformed):
        opened(world, make())


@pytest.mark.parametrize("make", NO_PIN.values(), ids=NO_PIN)
def test_an_authentic_envelope_opens_before_its_pin_is_found_malformed(world: World, make) -> None:
    """So that its nonce can be spent first."""
    found = opened(world, make())
    with pytest.raises(Malformed):
        found.pin()


@pytest.mark.parametrize("part", ["header", "wrapped", "iv", "ciphertext", "tag"])
def test_every_byte_of_every_part_matters(world: World, part: str) -> None:
    parts = forge()
    for place in range(len(getattr(parts, part))):
        with pytest.raises(Malformed):
            opened(world, parts.flipped(part, place).compact())


@pytest.mark.parametrize("moved", [-15, -1, 1, 4])
def test_an_envelope_whose_tag_begins_elsewhere_is_malformed(world: World, moved: int) -> None:
    """Else the same bytes would make many envelopes, each with a nonce of its own."""
    parts = forge()
    both, end = parts.ciphertext + parts.tag, len(parts.ciphertext) - moved
    with pytest.raises(Malformed):
        opened(world, replace(parts, ciphertext=both[:end], tag=both[end:]).compact())


def test_what_was_decrypted_is_not_shown() -> None:
    found = jwe._Decrypted(key=SEAL, content=b'{"pin":"7392"}', nonce=b"nonce")
    assert "7392" not in repr(found)


def test_malformed_carries_nothing_of_the_envelope(world: World) -> None:
    for make in (*FORGED.values(), *AUTHENTIC.values()):
        with pytest.raises(Malformed) as caught:
            opened(world, make())
        assert caught.value.args == ()
        assert caught.value.__cause__ is None


@pytest.mark.parametrize("caller", [None, "spiffe://example.org/card-app", "a" * 128])
def test_the_caller_that_the_client_named_is_given(world: World, caller: str | None) -> None:
    compact = seal("7392", key=sealing_key(SEAL), pan=None, expires=NOW + 120, caller=caller)
    found = opened(world, compact)
    assert (found.caller, found.pan) == (caller, None)
    assert digits(found) == "7392"


@pytest.mark.parametrize("name", ["wrapped key under another key", "wrapped key as PKCS1"])
def test_a_bad_wrapped_key_and_a_bad_tag_have_taken_the_same_way(world: World, name: str) -> None:
    """Both reach the RSA operation once, and fail at the tag."""
    calls = []
    for compact in (FORGED[name](), forge().flipped("tag", 0).compact()):
        world.device.calls.clear()
        with pytest.raises(Malformed):
            opened(world, compact)
        calls.append(dict(world.device.calls))
    assert calls == [{"rsa_decrypt": 1}] * 2


HEADER_FAULTS = [name for name in FORGED if name.split()[0] in ("header", "alg", "enc", "kid")]


@pytest.mark.parametrize("name", [name for name in HEADER_FAULTS if name != "kid of another key"])
def test_a_header_that_does_not_fit_never_reaches_the_hsm(world: World, name: str) -> None:
    with pytest.raises(Malformed):
        opened(world, FORGED[name]())
    assert not world.device.calls


@pytest.mark.parametrize("failure", [HsmUnavailable, HsmTimeout])
def test_an_hsm_that_is_away_is_no_fault_of_the_envelope(world: World, failure) -> None:
    world.device.failure = failure
    with pytest.raises(failure):
        opened(world, forge().compact())


def test_an_opened_envelope_does_not_show_its_pin(world: World) -> None:
    found = opened(world, forge(content_bytes=content(pin="73920518")).compact())
    assert "7392" not in repr(found)
    assert "0518" not in repr(found)
    assert PAN not in repr(found)


def test_the_nonce_is_of_the_envelope_under_its_key(world: World) -> None:
    """One nonce under two keys is two envelopes; one envelope is one nonce."""
    sealed = content(nonce="A" * 22)
    nonces = [
        opened(world, forge(under=under, content_bytes=sealed).compact()).nonce
        for under in (SEAL, SEAL, OLDER_SEAL)
    ]
    assert nonces[0] == nonces[1] != nonces[2]


def test_members_may_stand_in_any_order_with_any_space(world: World) -> None:
    spaced = b'\n{ "exp" : %d , "pin" : "7392" , "nonce" : "%b" }\t' % (NOW, b"A" * 22)
    assert digits(opened(world, forge(content_bytes=spaced).compact())) == "7392"


def test_the_parts_are_what_the_forger_thinks(world: World) -> None:
    compact = seal("7392", key=sealing_key(SEAL), pan=PAN, expires=NOW)
    parts = Parts(*(decoded(part) for part in compact.decode().split(".")))
    assert parts.compact() == compact
    assert (len(parts.wrapped), len(parts.iv), len(parts.tag)) == (256, 12, 16)


def decoded(part: str) -> bytes:
    data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    assert text(data) == part
    return data
