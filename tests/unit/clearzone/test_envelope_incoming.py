"""What a sender seals opens to its PIN, whatever the kind; changed anywhere, it is Malformed."""

import base64
import json
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from hsm.errors import HsmTimeout, HsmUnavailable
from pinvault.clearzone.envelope import MAX_BYTES, Opened, open_envelope
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.profiles import IncomingProfile, PinLength, Plaintext
from tests.unit.clearzone.other_ends import (
    INCOMING,
    OTHER_PAN,
    OURS,
    PAN,
    Incoming,
    device,
    digits,
    opened,
)

PIN = "739205184627"
ONE_A_KIND = {name.split()[0]: kind for name, kind in reversed(INCOMING.items())}
NAMING = {name: kind for name, kind in ONE_A_KIND.items() if kind.seal_older}
BOUND = {name: kind for name, kind in INCOMING.items() if kind.profile.bound}
kinds = pytest.mark.parametrize("kind", ONE_A_KIND.values(), ids=ONE_A_KIND)


def refused(text: bytes, kind: Incoming, pan: str | None = PAN) -> None:
    with pytest.raises(Malformed) as caught:
        opened(text, kind.profile, pan).pin()
    assert (caught.value.args, caught.value.cause) == ((), "")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("length", [4, 12])
@pytest.mark.parametrize("kind", INCOMING.values(), ids=INCOMING)
def test_what_is_sealed_is_opened(kind: Incoming, length: int) -> None:
    found = opened(kind.seal(PIN[:length]), kind.profile)
    assert digits(found) == PIN[:length]
    assert (found.expires, found.pan, found.caller) == (None, None, None)


@pytest.mark.parametrize("kind", NAMING.values(), ids=NAMING)
def test_an_envelope_that_names_an_older_version_opens_under_that(kind: Incoming) -> None:
    assert kind.seal_older is not None
    found = opened(kind.seal_older("7392"), kind.profile)
    assert (digits(found), found.key_id) == ("7392", f"{kind.profile.key}/1")


@kinds
def test_an_envelope_that_names_none_opens_under_the_active_version(kind: Incoming) -> None:
    assert opened(kind.seal("7392"), kind.profile).key_id == f"{kind.profile.key}/2"


@kinds
def test_without_an_active_version_nothing_opens_that_names_none(kind: Incoming) -> None:
    older = {each.id: each for each in OURS if each.state == "decipher-only"}
    device().calls.clear()
    with pytest.raises(Refusal) as caught:
        open_envelope(
            kind.seal("7392"),
            profile=kind.profile,
            keys=older,
            pan=Pan(PAN),
            device=device(),
            deadline=Deadline.after(60),
        )
    assert caught.value.reason is Reason.KEY_STATE
    assert not device().calls


@kinds
def test_one_envelope_is_one_nonce_and_two_are_two(kind: Incoming) -> None:
    first, second = kind.seal("7392"), kind.seal("7392")
    nonces = [opened(text, kind.profile).nonce for text in (first, first, second)]
    assert nonces[0] == nonces[1] != nonces[2]
    assert nonces[0].startswith(f"{kind.profile.key}/2 ".encode())


@kinds
def test_a_pin_of_another_length_than_the_profile_lets_through_is_malformed(
    kind: Incoming,
) -> None:
    allowed = PinLength(minimum=5, maximum=6)
    for length in (4, 7):
        with pytest.raises(Malformed):
            opened(kind.seal(PIN[:length]), kind.profile).pin(allowed)
    opened(kind.seal(PIN[:5]), kind.profile).pin(allowed).wipe()


@pytest.mark.parametrize("kind", BOUND.values(), ids=BOUND)
def test_what_is_bound_opens_for_its_pan_only(kind: Incoming) -> None:
    """It opens, so that it can be spent; then there is no PIN in it, or another (format 3)."""
    found = opened(kind.seal("7392"), kind.profile, OTHER_PAN)
    with suppress(Malformed):
        assert digits(found) != "7392"
    with pytest.raises(ValueError, match="bound to a PAN"):
        opened(kind.seal("7392"), kind.profile, None).pin()


@pytest.mark.parametrize("name", [name for name in INCOMING if name not in BOUND])
def test_what_is_not_bound_needs_no_pan(name: str) -> None:
    kind = INCOMING[name]
    assert digits(opened(kind.seal("7392"), kind.profile, None)) == "7392"


def test_the_bound_kinds_are_those_with_a_pan_in_their_block() -> None:
    with_pan = (Plaintext.ISO_0_BLOCK, Plaintext.ISO_3_BLOCK)
    assert set(BOUND) == {
        "sealed-ecdh-block",
        *(
            f"{kind} {form}"
            for kind in ("sealed-rsa", "jwe-in", "sealed-aes-gcm")
            for form in with_pan
        ),
    }


def flips(text: bytes) -> Iterator[bytes]:
    """Give the envelope with one bit of every byte of every part flipped, in turn."""
    if text.startswith(b"{"):
        members = json.loads(text)
        for name, part in members.items():
            for changed in flipped(part):
                yield json.dumps(members | {name: changed}).encode()
    elif b"." in text:
        parts = text.decode().split(".")
        for number, part in enumerate(parts):
            for changed in flipped(part, url=True):
                yield ".".join([*parts[:number], changed, *parts[number + 1 :]]).encode()
    else:
        yield from (changed.encode() for changed in flipped(text.decode()))


def flipped(part: str, *, url: bool = False) -> Iterator[str]:
    if part.isdigit() and len(part) == 16:  # a token
        for place, digit in enumerate(part):
            yield (
                part[:place] + str((int(digit) + 1 + secrets.randbelow(9)) % 10) + part[place + 1 :]
            )
        return
    is_hex = not part.strip("0123456789ABCDEF")
    data = (
        bytes.fromhex(part)
        if is_hex
        else base64.urlsafe_b64decode(
            part.replace("+", "-").replace("/", "_") + "=" * (-len(part) % 4)
        )
    )
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << secrets.randbelow(8)
        if is_hex:
            yield changed.hex().upper()
        elif url:
            yield base64.urlsafe_b64encode(changed).rstrip(b"=").decode()
        else:
            yield base64.b64encode(changed).decode()


@kinds
def test_every_byte_matters(kind: Incoming) -> None:
    text = kind.seal("7392")
    count = 0
    for changed in flips(text):
        assert changed != text
        refused(changed, kind)
        count += 1
    assert count >= {True: 16, False: 256}[kind.profile.usage == "K3"]


Change = Callable[[bytes], bytes]

RESPELLED: dict[str, Change] = {
    "empty": lambda text: b"",
    "cut": lambda text: text[:-1],
    "a newline behind": lambda text: text + b"\n" if text[:1] != b"{" else text + b"x",
    "a space before": lambda text: b" " + text if text[:1] != b"{" else b"\xef\xbb\xbf" + text,
    "padding behind": lambda text: text + b"==",
    "not ASCII": lambda text: text[:-1] + "é".encode(),
    "not UTF-8": lambda text: b"\xff" + text[1:],
    "UTF-16": lambda text: text.decode().encode("utf-16"),
    "too long": lambda text: text + b" " * (MAX_BYTES + 1 - len(text)),
    "twice": lambda text: text + text,
    "in a list": lambda text: b"[" + text + b"]",
}


@pytest.mark.parametrize("name", RESPELLED)
@kinds
def test_an_envelope_is_written_in_one_way_only(kind: Incoming, name: str) -> None:
    refused(RESPELLED[name](kind.seal("7392")), kind)


def members(change: Callable[[dict[str, str]], object]) -> Change:
    return lambda text: json.dumps(change(json.loads(text))).encode()


IN_JSON: dict[str, Change] = {
    "an unknown member": members(lambda found: found | {"alg": "RSA-OAEP"}),
    "a member in snake case": members(lambda found: found | {"encrypted_key": "00"}),
    "no first member": members(lambda found: dict(list(found.items())[1:])),
    "no second member": members(lambda found: dict(list(found.items())[::2])),
    "a number": members(lambda found: dict.fromkeys(found, 1)),
    "null": members(lambda found: dict.fromkeys(found)),
    "empty texts": members(lambda found: dict.fromkeys(found, "")),
    "a member twice": lambda text: b'{"%b' % text.split(b'"')[1] + b'":"",' + text[1:],
    "a member twice, the same": lambda text: text[:-1] + b"," + text[1:].split(b",")[0] + b"}",
    "lower case": lambda text: text[:40] + text[40:].lower(),
    "spaced parts": members(lambda found: {name: part + " " for name, part in found.items()}),
    "parts cut": members(lambda found: {name: part[:-2] for name, part in found.items()}),
    "base64 of the other alphabet": members(
        lambda found: {name: part.replace("=", "_") + "_" for name, part in found.items()}
    ),
    "kid unknown": members(lambda found: found | {"kid": "nobody/1"}),
    "kid without version": members(lambda found: found | {"kid": "pin-unwrap"}),
    "kid of another name": members(lambda found: found | {"kid": "pin-seal/2"}),
    "kid a number": members(lambda found: found | {"kid": 2}),
    "nested without end": lambda text: text[:-1] + b',"kid":' + b"[" * 3000 + b"]" * 3000 + b"}",
}
JSON_KINDS = {
    name: ONE_A_KIND[name] for name in ("sealed-aes-block", "sealed-aes-gcm", "sealed-ecdh-block")
}


@pytest.mark.parametrize("name", IN_JSON)
@pytest.mark.parametrize("kind", JSON_KINDS.values(), ids=JSON_KINDS)
def test_json_has_the_members_that_it_has_to_have(kind: Incoming, name: str) -> None:
    refused(IN_JSON[name](kind.seal("7392")), kind)


@pytest.mark.parametrize("kind", JSON_KINDS.values(), ids=JSON_KINDS)
def test_an_envelope_opens_under_the_key_that_it_is_for_and_no_other(kind: Incoming) -> None:
    assert kind.seal_older is not None
    older = json.loads(kind.seal_older("7392"))
    for kid in (f"{kind.profile.key}/2", None):
        refused(json.dumps(older | {"kid": kid}).encode(), kind)


@pytest.mark.parametrize("kind", JSON_KINDS.values(), ids=JSON_KINDS)
def test_members_may_stand_in_any_order_with_any_space(kind: Incoming) -> None:
    found = json.loads(kind.seal("7392"))
    spaced = json.dumps(dict(reversed(found.items())), indent=2).encode()
    assert digits(opened(spaced, kind.profile)) == "7392"


@kinds
@pytest.mark.parametrize("failure", [HsmUnavailable, HsmTimeout])
def test_an_hsm_that_is_away_is_no_fault_of_the_envelope(kind: Incoming, failure) -> None:
    text = kind.seal("7392")
    device().failure = failure
    try:
        with pytest.raises(failure):
            opened(text, kind.profile)
    finally:
        device().failure = None


@kinds
def test_an_open_envelope_does_not_show_what_is_in_it(kind: Incoming) -> None:
    shown = repr(opened(kind.seal("73920518"), kind.profile))
    assert "7392" not in shown
    assert PAN not in shown
    assert "read" not in shown


def test_a_pin_of_a_length_that_is_not_let_through_is_wiped() -> None:
    pin = Pin(b"7392")
    envelope = Opened(key_id="seal/1", nonce=b"nonce", read=lambda: pin)
    with pytest.raises(Malformed):
        envelope.pin(PinLength(minimum=5, maximum=6))
    assert digits_of(pin) == bytes(4)


def test_a_profile_of_no_kind_is_a_fault_of_the_program() -> None:
    with pytest.raises(TypeError):
        opened(b"", IncomingProfile(name="none", key="pin-seal"))
