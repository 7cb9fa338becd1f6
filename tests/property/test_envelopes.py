"""Sealed PINs open to what was sealed, joserfc being the oracle both ways; nothing else opens."""

import json
import random
import secrets
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import RSAKey

from pinvault.clearzone.envelope import Opened, open_envelope
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed
from pinvault.client.sealing import SealingKey, seal
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.profiles import Encoding, Plaintext, SealedJweProfile
from tests.support.software_device import SoftwareDevice, held, key
from tests.unit.clearzone import other_ends
from tests.unit.clearzone.other_ends import INCOMING, OUTGOING, SEAL, Incoming, Outgoing, rsa_kind

PROFILE = SealedJweProfile(name="sealed", key="pin-seal")

bounded = settings(max_examples=60)

pins = st.text("0123456789", min_size=4, max_size=12)
pans = st.none() | st.text("0123456789", min_size=12, max_size=19)
moments = st.integers(1, (1 << 40) - 1)


@dataclass(frozen=True)
class Sides:
    """A sealing key as the device, the client and joserfc hold it."""

    key: Key
    device: SoftwareDevice
    client: SealingKey
    oracle: RSAKey

    def open(self, compact: bytes) -> Opened:
        return open_envelope(
            compact,
            profile=PROFILE,
            keys={self.key.id: self.key},
            pan=None,
            device=self.device,
            deadline=Deadline.after(60),
        )


@pytest.fixture(scope="module", params=["RSA-OAEP", "RSA-OAEP-256"])
def sides(request: pytest.FixtureRequest) -> Sides:
    private = rsa.generate_private_key(65537, 2048)
    each = key("pin-seal", "D1", "RSA_2048", "D", jwa=request.param)
    oracle = RSAKey.import_key(private)
    public = oracle.as_dict(private=False)
    return Sides(
        key=each,
        device=SoftwareDevice([held(each, private)]),
        client=SealingKey.from_jwk(kid=each.id, alg=request.param, n=public["n"], e=public["e"]),
        oracle=oracle,
    )


def digits(opened: Opened) -> str:
    with opened.pin() as pin:
        return digits_of(pin).decode()


@bounded
@given(pin=pins, pan=pans, expires=moments)
def test_what_is_sealed_is_opened(sides: Sides, pin: str, pan: str | None, expires: int) -> None:
    opened = sides.open(seal(pin, key=sides.client, pan=pan, expires=expires))
    assert digits(opened) == pin
    assert opened.expires == expires
    assert (opened.pan.digits() if opened.pan is not None else None) == pan


@bounded
@given(pin=pins, pan=pans, expires=moments)
def test_joserfc_opens_what_we_seal(sides: Sides, pin: str, pan: str | None, expires: int) -> None:
    compact = seal(pin, key=sides.client, pan=pan, expires=expires)
    opened = jwe.decrypt_compact(compact, sides.oracle, algorithms=[sides.key.jwa, "A256GCM"])
    assert opened.protected == {"alg": sides.key.jwa, "enc": "A256GCM", "kid": sides.key.id}
    content = json.loads(opened.plaintext or b"")
    assert len(content.pop("nonce")) == 22
    assert content == {"pin": pin, "exp": expires} | ({"pan": pan} if pan is not None else {})


@bounded
@given(
    pin=pins, pan=pans, expires=moments, nonce=st.from_regex("[A-Za-z0-9_-]{16,64}", fullmatch=True)
)
def test_we_open_what_joserfc_seals(
    sides: Sides, pin: str, pan: str | None, expires: int, nonce: str
) -> None:
    content = {"pin": pin, "exp": expires, "nonce": nonce}
    opened = sides.open(sealed_by_joserfc(sides, content | ({"pan": pan} if pan else {})))
    assert digits(opened) == pin
    assert opened.expires == expires
    assert nonce.encode() in opened.nonce


def sealed_by_joserfc(sides: Sides, content: object, **header: str) -> bytes:
    members = {"alg": sides.key.jwa, "enc": "A256GCM", "kid": sides.key.id} | header
    algorithms = [sides.key.jwa, members["alg"], members["enc"]]
    plain = content if isinstance(content, bytes) else json.dumps(content).encode()
    return jwe.encrypt_compact(members, plain, sides.oracle, algorithms=algorithms).encode()


@pytest.mark.parametrize("enc", ["A128GCM", "A192GCM", "A128CBC-HS256", "A256CBC-HS512"])
def test_joserfcs_other_ciphers_are_refused(sides: Sides, enc: str) -> None:
    content = {"pin": "7392", "exp": 1, "nonce": "A" * 22}
    with pytest.raises(Malformed):
        sides.open(sealed_by_joserfc(sides, content, enc=enc))


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # RSA1_5, to be refused
def test_joserfcs_other_paddings_are_refused(sides: Sides) -> None:
    content = {"pin": "7392", "exp": 1, "nonce": "A" * 22}
    for alg in {"RSA-OAEP", "RSA-OAEP-256", "RSA1_5"} - {sides.key.jwa}:
        with pytest.raises(Malformed):
            sides.open(sealed_by_joserfc(sides, content, alg=alg))


@bounded
@given(
    compact=st.binary(max_size=300)
    | st.from_regex(rb"([A-Za-z0-9_-]{2,40}\.){4}[A-Za-z0-9_-]{2,40}")
)
def test_no_bytes_open_or_raise_anything_but_malformed(sides: Sides, compact: bytes) -> None:
    with pytest.raises(Malformed):
        sides.open(compact)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@settings(max_examples=120)
@given(
    changes=st.dictionaries(
        st.sampled_from(["pin", "nonce", "exp", "pan", "caller", "iat"]),
        values,
        min_size=1,
        max_size=2,
    )
)
def test_content_with_other_members_is_malformed_or_what_it_says(
    sides: Sides, changes: dict[str, object]
) -> None:
    """Whatever JSON an authentic envelope holds, what opens is 4 to 12 digits, as written there."""
    content = {"pin": "7392", "exp": 1, "nonce": "A" * 22} | changes
    try:
        opened = digits(sides.open(sealed_by_joserfc(sides, content)))
    except Malformed:
        return
    assert opened == content["pin"]
    assert set(content) <= {"pin", "nonce", "exp", "pan", "caller"}


@settings(max_examples=120)
@given(place=st.integers(0, 200), byte=st.integers(0, 127), removed=st.integers(0, 3))
def test_damaged_content_is_malformed_or_still_whole(
    sides: Sides, place: int, byte: int, removed: int
) -> None:
    content = b'{"pin":"7392","exp":1770000000,"nonce":"AAAAAAAAAAAAAAAAAAAAAA"}'
    at = place % len(content)
    damaged = content[:at] + bytes([byte]) + content[at + removed :]
    try:
        opened = digits(sides.open(sealed_by_joserfc(sides, damaged)))
    except Malformed:
        return
    assert json.loads(damaged)["pin"] == opened


def test_every_character_of_an_envelope_matters(sides: Sides) -> None:
    """But for the header, whose bytes are changed one by one elsewhere, and for unused bits."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    rng = random.Random(1)
    compact = seal("7392", key=sides.client, pan=None, expires=1)
    at = compact.index(b".") + 1
    for part in compact[at:].split(b"."):
        for place in range(at, at + len(part) - (len(part) % 4 > 0)):
            other = rng.choice(alphabet.replace(compact[place : place + 1], b""))
            with pytest.raises(Malformed):
                sides.open(compact[:place] + bytes([other]) + compact[place + 1 :])
        at += len(part) + 1


def test_an_envelope_under_the_same_name_and_another_key_does_not_open(sides: Sides) -> None:
    stranger = rsa.generate_private_key(65537, 2048).public_key()
    client = SealingKey(
        kid=sides.key.id, alg=sides.key.jwa or "", thumbprint="", public_key=stranger
    )
    pin = "".join(secrets.choice("0123456789") for _ in range(4))
    with pytest.raises(Malformed):
        sides.open(seal(pin, key=client, pan=None, expires=1))


# Every other kind, by the other end that `other_ends` plays.

short = settings(max_examples=25)
FIRST_OF_A_KIND = {name.split()[0]: kind for name, kind in reversed(INCOMING.items())}
IN_JSON = {
    name: kind for name, kind in FIRST_OF_A_KIND.items() if kind.seal("7392").startswith(b"{")
}
incoming = pytest.mark.parametrize("kind", FIRST_OF_A_KIND.values(), ids=FIRST_OF_A_KIND)


@short
@given(pin=pins, data=st.data())
def test_every_sender_is_understood(pin: str, data: st.DataObject) -> None:
    kind = INCOMING[data.draw(st.sampled_from(sorted(INCOMING)))]
    assert other_ends.digits(other_ends.opened(kind.seal(pin), kind.profile)) == pin


@short
@given(pin=pins, data=st.data())
def test_every_partner_understands(pin: str, data: st.DataObject) -> None:
    kind: Outgoing = OUTGOING[data.draw(st.sampled_from(sorted(OUTGOING)))]
    assert kind.read(other_ends.made(pin, kind.profile), kind.profile) == pin


def is_refused(text: bytes, kind: Incoming) -> bool:
    try:
        return other_ends.digits(other_ends.opened(text, kind.profile)) != "7392"
    except Malformed:
        return True


@incoming
@short
@given(text=st.binary(max_size=400) | st.text('0123456789ABCDEF{}":,=/+', max_size=400))
def test_no_text_opens_or_raises_anything_but_malformed(kind: Incoming, text: bytes | str) -> None:
    assert is_refused(text.encode() if isinstance(text, str) else text, kind)


@pytest.mark.parametrize("kind", IN_JSON.values(), ids=IN_JSON)
@short
@given(data=st.data(), value=values)
def test_a_member_of_any_other_value_is_refused(
    kind: Incoming, data: st.DataObject, value: object
) -> None:
    members = json.loads(kind.seal("7392"))
    name = data.draw(st.sampled_from(sorted(members)))
    if members[name] != value:
        assert is_refused(json.dumps(members | {name: value}).encode(), kind)


@incoming
@short
@given(place=st.integers(0, 2000), byte=st.integers(0, 255), removed=st.integers(0, 3))
def test_a_damaged_envelope_is_refused_or_says_the_same(
    kind: Incoming, place: int, byte: int, removed: int
) -> None:
    """White space between the members of a JSON object is all that may differ."""
    text = kind.seal("7392")
    at = place % len(text)
    damaged = text[:at] + bytes([byte]) + text[at + removed :]
    if not is_refused(damaged, kind):
        assert damaged == text or json.loads(damaged) == json.loads(text)


@settings(max_examples=80)
@given(form=st.sampled_from(Plaintext), content=st.binary(max_size=9) | st.binary(max_size=40))
def test_a_plaintext_is_one_pin_or_malformed(form: Plaintext, content: bytes) -> None:
    """And as the partner's end reads it, where it is one."""
    text = other_ends.BASE64(other_ends.rsa_to(content, SEAL)).encode()
    found = other_ends.opened(text, rsa_kind(form, Encoding.BASE64).profile)
    try:
        pin = other_ends.digits(found)
    except Malformed:
        return
    assert other_ends.pin_in(content, form) == pin
