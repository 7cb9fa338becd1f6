"""What opening a source uses up, and when: serial numbers, envelopes, and PINs of other lengths."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

from hsm.errors import HsmUnavailable
from pinvault.clearzone.encipher import BlockCipher
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import (
    BlockToMake,
    Sealed,
    SealedBlock,
    SealedEnvelope,
    SpentNonce,
    Transaction,
)
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.clearzone.sources import Opening, Sources
from pinvault.client.sealing import seal
from pinvault.model.call import Deadline
from pinvault.model.dukpt import Dukpt
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Algorithm, Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import Encoding, PinLength, Plaintext, SealedRsaProfile
from tests.support.software_device import SoftwareDevice, held, key
from tests.unit.clearzone.support import (
    NOW,
    OTHER_PAN,
    PAN,
    PROFILE,
    SEAL,
    envelope,
    private_key,
    sealing_key,
)

BASE = key("bdk", "B0", "AES_128", "X")
NEWER = key("bdk", "B0", "AES_128", "X", version=2)
OTHER_BASE = key("bdk-other", "B0", "AES_128", "X")
ZPK = key("zpk", "P0", "TDES_2KEY", "B")
WINDOW_S = 3600.0


@dataclass
class Ledger:
    """Remembers what was spent, until when, and in which order with the HSM's work."""

    device: SoftwareDevice
    spent: dict[bytes, float] = field(default_factory=dict)
    after: list[int] = field(default_factory=list)

    def __call__(self, nonce: bytes, *, until: float, now: float) -> bool:
        assert now == NOW
        self.after.append(self.device.calls.total())
        return self.spent.setdefault(nonce, until) is until


@pytest.fixture
def device() -> SoftwareDevice:
    values = {BASE: bytes(range(16)), NEWER: bytes(range(16)), OTHER_BASE: b"0123456789abcdef"}
    return SoftwareDevice(
        [
            *(held(each, value) for each, value in values.items()),
            held(ZPK, bytes(range(1, 17))),
            held(SEAL, private_key(SEAL.id)),
        ]
    )


@pytest.fixture
def ledger(device: SoftwareDevice) -> Ledger:
    return Ledger(device)


Begin = Callable[..., Opening]


@pytest.fixture
def begin(device: SoftwareDevice, ledger: Ledger) -> Begin:
    """Begin a call on this device and ledger."""
    sources = Sources(
        device=device,
        cipher=BlockCipher(device),
        spend=ledger,
        now=lambda: float(NOW),
        ksn_window_s=WINDOW_S,
    )
    return lambda length=None, **told: sources.begin(Deadline.after(60), length, **told)


def block(
    device: SoftwareDevice, digits: str = "7392", *, base: Key = BASE, counter: int = 1
) -> SealedBlock:
    ksn = bytes.fromhex("1234567890123456") + counter.to_bytes(4)
    way = Transaction(dukpt=Dukpt(ksn=ksn, working_key=Algorithm.AES_128))
    target = BlockToMake(key=base, format=Format.ISO_4, pan=Pan(PAN), transaction=way)
    made = BlockCipher(device).encipher(Pin(digits.encode()), target, Deadline.after(60))
    device.calls.clear()
    return SealedBlock(
        key=base, format=Format.ISO_4, pan=Pan(PAN), ciphertext=made, transaction=way
    )


def plain_block(device: SoftwareDevice, digits: str = "7392") -> SealedBlock:
    target = BlockToMake(key=ZPK, format=Format.ISO_0, pan=Pan(PAN))
    made = BlockCipher(device).encipher(Pin(digits.encode()), target, Deadline.after(60))
    device.calls.clear()
    return SealedBlock(key=ZPK, format=Format.ISO_0, pan=Pan(PAN), ciphertext=made)


def sealed(digits: str = "7392", *, expires: int = NOW + 120, **bound: str) -> SealedEnvelope:
    pan = bound.pop("pan", PAN)
    made = seal(digits, key=sealing_key(SEAL), pan=pan, expires=expires, **bound)
    return envelope(made)


def remembered(digits: str, remember_s: int = 7200) -> SealedEnvelope:
    sha1 = hashes.SHA1()
    oaep = padding.OAEP(padding.MGF1(sha1), sha1, label=None)
    profile = SealedRsaProfile(
        name="digits",
        key="pin-seal",
        plaintext=Plaintext.DIGITS,
        encoding=Encoding.HEX_UPPER,
        remember_s=remember_s,
    )
    text = private_key(SEAL.id).public_key().encrypt(digits.encode(), oaep).hex().upper()
    return SealedEnvelope(
        profile=profile, keys={SEAL.id: SEAL}, pan=None, caller="", ciphertext=text.encode()
    )


def opened(opening: Opening, source: Sealed) -> tuple[str, Key]:
    pin, opener = opening.open(source)
    with pin:
        return digits_of(pin).decode(), opener


def reason_of(opening: Opening, source: Sealed) -> Reason:
    with pytest.raises(Refusal) as caught:
        opening.open(source)
    assert caught.value.cause in {"replayed", "expired"}
    return caught.value.reason


# Key serial numbers


def test_a_block_under_a_key_of_its_own_spends_nothing(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    assert opened(begin(), plain_block(device)) == ("7392", ZPK)
    assert not ledger.spent


def test_a_serial_number_is_spent_for_the_window_once_the_block_is_deciphered(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    source = block(device)
    assert opened(begin(), source) == ("7392", BASE)
    assert list(ledger.spent.values()) == [NOW + WINDOW_S]
    assert ledger.after == [1]
    assert reason_of(begin(), source) is Reason.KSN_REPLAYED


def test_one_call_spends_a_serial_number_once(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    opening = begin()
    for digits in ("7392", "6184", "7392"):
        assert opened(opening, block(device, digits))[0] == digits
    assert len(ledger.after) == 1
    assert opened(opening, block(device, counter=2))[0] == "7392"
    assert len(ledger.after) == 2


def test_a_serial_number_belongs_to_a_base_key_whatever_its_version(
    device: SoftwareDevice, begin: Begin
) -> None:
    assert opened(begin(), block(device))
    assert reason_of(begin(), block(device, base=NEWER)) is Reason.KSN_REPLAYED
    assert opened(begin(), block(device, base=OTHER_BASE))


def test_a_block_that_is_no_pin_spends_its_serial_number(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    source = replace(block(device), ciphertext=bytes(16))
    with pytest.raises(Malformed):
        begin().open(source)
    assert len(ledger.spent) == 1
    assert reason_of(begin(), source) is Reason.KSN_REPLAYED


def test_a_serial_number_is_not_spent_by_an_hsm_that_is_away(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    source = block(device)
    device.failure = HsmUnavailable
    with pytest.raises(HsmUnavailable):
        begin().open(source)
    assert not ledger.spent


# Envelopes


def test_an_envelope_is_spent_until_it_expires(begin: Begin, ledger: Ledger) -> None:
    source = sealed(expires=NOW + 120)
    assert opened(begin(), source) == ("7392", SEAL)
    assert list(ledger.spent.values()) == [NOW + 120 + PROFILE.clock_skew_s + 1]
    assert reason_of(begin(), source) is Reason.ENVELOPE_REPLAYED


def test_an_envelope_is_spent_twice_by_one_call_too(begin: Begin) -> None:
    source, opening = sealed(), begin()
    assert opened(opening, source)
    assert reason_of(opening, source) is Reason.ENVELOPE_REPLAYED


def test_an_envelope_without_an_expiry_is_remembered_as_long_as_its_profile_says(
    begin: Begin, ledger: Ledger
) -> None:
    source = remembered("7392")
    assert opened(begin(), source) == ("7392", SEAL)
    assert list(ledger.spent.values()) == [NOW + 7200]
    assert reason_of(begin(), source) is Reason.ENVELOPE_REPLAYED


def test_an_envelope_out_of_its_time_spends_nothing(begin: Begin, ledger: Ledger) -> None:
    late = NOW - PROFILE.clock_skew_s - 1
    assert reason_of(begin(), sealed(expires=late)) is Reason.ENVELOPE_EXPIRED
    with pytest.raises(Malformed) as caught:
        begin().open(sealed(expires=NOW + 10**6))
    assert caught.value.cause == "lives-too-long"
    assert not ledger.spent


@pytest.mark.parametrize(
    ("bound", "cause"),
    [
        ({"pan": OTHER_PAN, "caller": "switch"}, "bound-to-another-pan"),
        ({}, "bound-to-another-caller"),
        ({"caller": "another"}, "bound-to-another-caller"),
        ({"caller": "switch"}, None),
    ],
)
def test_an_envelope_is_spent_before_it_is_seen_for_whom_it_is(
    begin: Begin, ledger: Ledger, bound: dict[str, str], cause: str | None
) -> None:
    source = replace(sealed(**bound), profile=replace(PROFILE, bind_caller=True))
    if cause is None:
        assert opened(begin(), source)
    else:
        with pytest.raises(Malformed) as caught:
            begin().open(source)
        assert caught.value.cause == cause
    assert len(ledger.spent) == 1


def test_what_is_spent_is_told_as_it_is_by_the_hash_of_its_nonce(
    device: SoftwareDevice, begin: Begin, ledger: Ledger
) -> None:
    spent: list[SpentNonce] = []
    opening = begin(spent=spent)
    assert opened(opening, plain_block(device))
    assert spent == []
    for source in (sealed(), block(device), block(device, "6184")):
        assert opened(opening, source)
    with pytest.raises(Malformed):
        opening.open(sealed(pan=OTHER_PAN))
    assert spent == [
        SpentNonce(
            nonce=hashlib.sha256(nonce).digest(), until=until, is_ksn=nonce.startswith(b"ksn ")
        )
        for nonce, until in ledger.spent.items()
    ]
    assert [each.is_ksn for each in spent] == [False, True, False]


def test_what_was_spent_before_is_not_told(begin: Begin) -> None:
    source, spent = sealed(), []
    assert opened(begin(), source)
    assert reason_of(begin(spent=spent), source) is Reason.ENVELOPE_REPLAYED
    assert spent == []


# Lengths


@pytest.fixture
def made_pins(monkeypatch: pytest.MonkeyPatch) -> list[Pin]:
    """Every PIN that is made from now on."""
    made: list[Pin] = []
    make = Pin.__init__

    def watched(self: Pin, digits: bytes | bytearray) -> None:
        make(self, digits)
        made.append(self)

    monkeypatch.setattr(Pin, "__init__", watched)
    return made


@pytest.mark.parametrize("length", range(4, 13))
@pytest.mark.parametrize("kind", ["block", "DUKPT", "sealed", "remembered"])
def test_a_pin_of_a_length_that_the_call_does_not_allow_is_malformed_and_wiped(
    device: SoftwareDevice, begin: Begin, made_pins: list[Pin], kind: str, length: int
) -> None:
    digits = "739205184627"[:length]
    source = {
        "block": lambda: plain_block(device, digits),
        "DUKPT": lambda: block(device, digits),
        "sealed": lambda: sealed(digits),
        "remembered": lambda: remembered(digits),
    }[kind]()
    made_pins.clear()
    opening = begin(PinLength(minimum=5, maximum=7))
    if 5 <= length <= 7:
        assert opened(opening, source)[0] == digits
        return
    with pytest.raises(Malformed) as caught:
        opening.open(source)
    assert (caught.value.cause, caught.value.args) == ("", ())
    assert [set(digits_of(pin)) for pin in made_pins] == [{0}]
