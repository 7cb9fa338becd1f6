"""PINs go from ciphertext to ciphertext; an envelope is spent once, in its time, for its PAN."""

import random
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

import pytest
from cryptography.hazmat.primitives.asymmetric import padding

from hsm.errors import HsmTimeout, HsmUnavailable
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import BlockToMake, EnvelopeToMake, Sealed, SealedBlock
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.zone import Terms
from pinvault.client.sealing import seal
from pinvault.model.call import Deadline
from pinvault.model.errors import TEXTS, Reason, Refusal
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import Encoding, Padding, PinLength, Plaintext, RsaFieldProfile
from tests.support import blocks
from tests.unit.clearzone.bad_envelopes import AUTHENTIC, FORGED, NO_PIN
from tests.unit.clearzone.support import (
    NOW,
    OLDER_SEAL,
    OTHER_PAN,
    PAN,
    PARTNER,
    PROFILE,
    SEAL,
    ZPK,
    ZPK_AES,
    World,
    content,
    envelope,
    forge,
    private_key,
    sealing_key,
)

DIGITS = "739205184627"
TARGETS = (Format.ISO_0, Format.ISO_1, Format.ISO_3, Format.ISO_4)
PARTNERS = RsaFieldProfile(
    name="partner",
    key="partner",
    padding=Padding.PKCS1_V1_5,
    plaintext=Plaintext.DIGITS,
    encoding=Encoding.HEX_LOWER,
)
SKEW, AGE = PROFILE.clock_skew_s, PROFILE.max_age_s


def block_to_make(form: Format = Format.ISO_0, pan: str = PAN) -> BlockToMake:
    zpk = ZPK_AES if form is Format.ISO_4 else ZPK
    return BlockToMake(key=zpk, format=form, pan=Pan(pan) if form.carries_pan else None)


def to_block(world: World, source: Sealed, target: BlockToMake | None = None) -> bytes:
    block, _ = world.zone.encrypt(source, target or block_to_make(), world.terms)
    assert isinstance(block, bytes)
    return block


def to_fields(
    world: World, *sources: Sealed, profile: RsaFieldProfile = PARTNERS
) -> tuple[str, ...]:
    target = EnvelopeToMake(key=PARTNER, profile=profile, pan=Pan(PAN))
    return world.zone.encrypt_fields(sources, target, world.terms)[0]


def pin_in(world: World, block: bytes, target: BlockToMake) -> str:
    with blocks.decipher(
        world.device, block, under=target.key, form=target.format, pan=target.pan
    ) as pin:
        return digits_of(pin).decode()


def partner_reads(field: str) -> str:
    opened = private_key(PARTNER.id).decrypt(bytes.fromhex(field), padding.PKCS1v15())
    return opened.decode()


def sealed(pin: str = DIGITS[:4], *, pan: str | None = PAN, expires: int = NOW + 120) -> bytes:
    return seal(pin, key=sealing_key(SEAL), pan=pan, expires=expires)


def sealed_block(world: World, form: Format, pin: str = DIGITS[:4], pan: str = PAN) -> SealedBlock:
    at = block_to_make(form, pan)
    made = blocks.encipher(world.device, pin, under=at.key, form=form, pan=at.pan)
    return SealedBlock(key=at.key, format=form, pan=at.pan, ciphertext=made)


def refusal_of(use) -> Refusal:
    with pytest.raises(Refusal) as caught:
        use()
    return caught.value


def reason_of(world: World, source: Sealed) -> Reason:
    return refusal_of(lambda: to_block(world, source)).reason


# From source to target


@pytest.mark.parametrize("length", [4, 6, 12])
@pytest.mark.parametrize("form", TARGETS)
def test_an_envelope_becomes_a_block(world: World, form: Format, length: int) -> None:
    target = block_to_make(form)
    block = to_block(world, envelope(sealed(DIGITS[:length])), target)
    assert len(block) == form.block_bytes
    assert pin_in(world, block, target) == DIGITS[:length]


@pytest.mark.parametrize("form", TARGETS)
def test_a_block_becomes_a_field(world: World, form: Format) -> None:
    (field,) = to_fields(world, sealed_block(world, form))
    assert partner_reads(field) == DIGITS[:4]


def test_two_sources_become_two_fields_in_their_order(world: World) -> None:
    new, old = envelope(sealed("7392")), sealed_block(world, Format.ISO_3, "051846")
    assert [partner_reads(field) for field in to_fields(world, new, old)] == ["7392", "051846"]


def test_the_keys_that_opened_are_told_by_version(world: World) -> None:
    older = envelope(forge(under=OLDER_SEAL).compact())
    target = EnvelopeToMake(key=PARTNER, profile=PARTNERS, pan=Pan(PAN))
    sources = (envelope(sealed()), older, sealed_block(world, Format.ISO_4))
    _, openers = world.zone.encrypt_fields(sources, target, world.terms)
    assert openers == (SEAL, OLDER_SEAL, ZPK_AES)
    _, opener = world.zone.encrypt(envelope(sealed()), block_to_make(), world.terms)
    assert opener == SEAL


def test_both_fields_are_made_or_none(world: World) -> None:
    good, bad = envelope(sealed()), envelope(FORGED["tag of another envelope"]())
    for sources in ((good, bad), (bad, envelope(sealed()))):
        world.device.calls.clear()
        refusal = refusal_of(lambda each=sources: to_fields(world, *each))
        assert refusal.reason is Reason.PIN_SOURCE_REFUSED
        assert world.device.calls["rsa_encrypt"] == 0


# An envelope is spent once


def test_an_envelope_opens_once(world: World) -> None:
    ciphertext = sealed()
    to_block(world, envelope(ciphertext))
    refusal = refusal_of(lambda: to_block(world, envelope(ciphertext)))
    assert (refusal.reason, refusal.cause) == (Reason.ENVELOPE_REPLAYED, "replayed")


def test_one_envelope_is_not_both_pins_of_a_change(world: World) -> None:
    same = envelope(sealed())
    assert refusal_of(lambda: to_fields(world, same, same)).reason is Reason.ENVELOPE_REPLAYED


@pytest.mark.parametrize("moment", [NOW, NOW + 119, NOW + 120 + SKEW])
def test_an_envelope_stays_spent_for_as_long_as_it_is_in_time(world: World, moment: float) -> None:
    ciphertext = sealed(expires=NOW + 120)
    to_block(world, envelope(ciphertext))
    world.clock.now = moment
    assert reason_of(world, envelope(ciphertext)) is Reason.ENVELOPE_REPLAYED


REFUSED_ONCE_OPEN = {
    **{f"no PIN: {name}": make for name, make in NO_PIN.items()},
    "another PAN": lambda: sealed(pan=OTHER_PAN),
    "no PAN": lambda: sealed(pan=None),
}


@pytest.mark.parametrize("make", REFUSED_ONCE_OPEN.values(), ids=REFUSED_ONCE_OPEN)
def test_an_authentic_envelope_is_spent_though_it_was_refused(world: World, make) -> None:
    source = envelope(make())
    assert reason_of(world, source) is Reason.PIN_SOURCE_REFUSED
    assert reason_of(world, source) is Reason.ENVELOPE_REPLAYED


def test_an_envelope_is_spent_though_the_block_could_not_be_made(world: World) -> None:
    def away(length: int) -> bytes:
        raise HsmUnavailable

    source = envelope(sealed())
    draw, world.device.draw = world.device.draw, away
    refusal = refusal_of(lambda: to_block(world, source, block_to_make(Format.ISO_3)))
    assert refusal.reason is Reason.HSM_UNAVAILABLE
    world.device.draw = draw
    assert reason_of(world, source) is Reason.ENVELOPE_REPLAYED


@pytest.mark.parametrize("make", FORGED.values(), ids=FORGED)
def test_an_envelope_that_is_not_authentic_spends_nothing(world: World, make) -> None:
    refusal_of(lambda: to_block(world, envelope(make())))
    assert world.table.live(now=world.clock.now) == 0


# In its time


@pytest.mark.parametrize(
    ("late", "reason"),
    [
        (-1, None),
        (0, None),
        (SKEW, None),
        (SKEW + 0.001, Reason.ENVELOPE_EXPIRED),
        (SKEW + 1, Reason.ENVELOPE_EXPIRED),
        (10**6, Reason.ENVELOPE_EXPIRED),
    ],
)
def test_an_envelope_expires_after_the_clock_skew(
    world: World, late: float, reason: Reason | None
) -> None:
    ciphertext = sealed(expires=NOW + 120)
    world.clock.now = NOW + 120 + late
    if reason is None:
        assert to_block(world, envelope(ciphertext))
    else:
        refusal = refusal_of(lambda: to_block(world, envelope(ciphertext)))
        assert (refusal.reason, refusal.cause) == (reason, "expired")


@pytest.mark.parametrize(
    ("ahead", "opens"), [(AGE, True), (AGE + SKEW, True), (AGE + SKEW + 1, False)]
)
def test_an_envelope_does_not_live_longer_than_its_profile_lets_it(
    world: World, ahead: int, opens: bool
) -> None:
    source = envelope(sealed(expires=NOW + ahead))
    if opens:
        assert to_block(world, source)
    else:
        assert reason_of(world, source) is Reason.PIN_SOURCE_REFUSED


def test_the_profile_sets_lifetime_and_skew(world: World) -> None:
    strict = replace(PROFILE, max_age_s=60, clock_skew_s=0)
    for ahead, opens in ((60, True), (61, False)):
        source = envelope(sealed(expires=NOW + ahead), profile=strict)
        if opens:
            assert to_block(world, source)
        else:
            assert reason_of(world, source) is Reason.PIN_SOURCE_REFUSED
    ciphertext = sealed(expires=NOW + 60)
    world.clock.now = NOW + 60.5
    assert reason_of(world, envelope(ciphertext, profile=strict)) is Reason.ENVELOPE_EXPIRED


# For its PAN


@pytest.mark.parametrize("bind_pan", [True, False], ids=["binds", "does not"])
@pytest.mark.parametrize(
    "bound", [None, PAN, OTHER_PAN], ids=["unbound", "bound", "bound to other"]
)
@pytest.mark.parametrize("named", [None, PAN], ids=["no PAN in the call", "PAN in the call"])
def test_an_envelope_is_for_the_pan_that_it_names(
    world: World, bind_pan: bool, bound: str | None, named: str | None
) -> None:
    source = envelope(sealed(pan=bound), pan=named, profile=replace(PROFILE, bind_pan=bind_pan))
    if (bind_pan and bound == named == PAN) or (bound is None and not bind_pan):
        assert to_block(world, source)
    else:
        assert reason_of(world, source) is Reason.PIN_SOURCE_REFUSED


@pytest.mark.parametrize("place", range(len(PAN)))
def test_every_digit_of_the_bound_pan_counts(world: World, place: int) -> None:
    """The issuer's and the check digit too, which a PIN block of format 0 leaves out."""
    other = PAN[:place] + str((int(PAN[place]) + 1) % 10) + PAN[place + 1 :]
    assert reason_of(world, envelope(sealed(), pan=other)) is Reason.PIN_SOURCE_REFUSED


# PIN lengths


@pytest.mark.parametrize("length", range(4, 13))
def test_a_profile_lets_its_pin_lengths_through(world: World, length: int) -> None:
    allowed = PinLength(minimum=5, maximum=6)
    incoming = envelope(sealed(DIGITS[:length]), profile=replace(PROFILE, pin_length=allowed))
    outgoing = replace(PARTNERS, pin_length=allowed)
    uses = (
        lambda: to_block(world, incoming),
        lambda: to_fields(world, envelope(sealed(DIGITS[:length])), profile=outgoing),
    )
    for use in uses:
        if length in (5, 6):
            assert use()
        else:
            assert refusal_of(use).reason is Reason.PIN_SOURCE_REFUSED


# One face


def other_pan_block(world: World) -> SealedBlock:
    return replace(sealed_block(world, Format.ISO_0), pan=Pan(OTHER_PAN))


def noise_block(world: World, form: Format) -> SealedBlock:
    noise = random.Random(form.value).randbytes(form.block_bytes)
    return replace(sealed_block(world, form), ciphertext=noise)


def all_that_fails_to_open(world: World) -> Iterator[Sealed]:
    for make in (*FORGED.values(), *AUTHENTIC.values(), *NO_PIN.values()):
        yield envelope(make())
    yield envelope(sealed(pan=None))
    yield envelope(sealed(pan=OTHER_PAN))
    yield envelope(sealed(expires=NOW + 10**6))
    yield envelope(sealed(DIGITS), profile=replace(PROFILE, pin_length=PinLength(maximum=11)))
    yield other_pan_block(world)
    for form in TARGETS:
        yield noise_block(world, form)
    yield replace(sealed_block(world, Format.ISO_0), format=Format.ISO_3)
    yield replace(sealed_block(world, Format.ISO_3), format=Format.ISO_0)


def test_all_that_fails_to_open_has_one_face_and_holds_no_pin(world: World) -> None:
    faces, causes = set(), set()
    for source in all_that_fails_to_open(world):
        refusal = refusal_of(lambda each=source: to_block(world, each))
        faces.add(
            (
                refusal.reason,
                refusal.args,
                refusal.field,
                refusal.violations,
                refusal.retry_after_s,
            )
        )
        causes.add(refusal.cause)
        assert refusal.__context__ is None
        assert refusal.__cause__ is None
        assert pins_within(refusal.__traceback__) == []
    reason = Reason.PIN_SOURCE_REFUSED
    assert faces == {(reason, (TEXTS[reason],), "", (), None)}
    # For the operator's record only, and only of envelopes that proved authentic.
    assert causes == {"", "lives-too-long", "bound-to-another-pan"}


def test_the_walk_through_frames_finds_a_pin_where_one_is() -> None:
    def careless() -> None:
        opened = [{"pin": Pin(b"7392")}]
        raise RuntimeError(len(opened))

    with pytest.raises(RuntimeError) as caught:
        careless()
    assert len(pins_within(caught.value.__traceback__)) == 1


def pins_within(trace: TracebackType | None) -> list[Pin]:
    """Give the PINs that a debugger could reach from the frames below this test."""
    seen: set[int] = set()
    found: list[Pin] = []
    queue: list[object] = []
    while trace is not None:
        if trace.tb_frame.f_code.co_name != "refusal_of":
            queue.extend(trace.tb_frame.f_locals.values())
        trace = trace.tb_next
    while queue:
        each = queue.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, Pin):
            found.append(each)
        elif isinstance(each, dict):
            queue.extend(each.values())
        elif isinstance(each, list | tuple | set | frozenset):
            queue.extend(each)
        elif isinstance(each, BaseException):
            queue.extend((each.__context__, each.__cause__, *each.args))
        elif callable(each) and getattr(each, "__closure__", None):
            queue.extend(cell.cell_contents for cell in each.__closure__)
    return found


@pytest.mark.parametrize(
    ("failure", "reason"),
    [(HsmUnavailable, Reason.HSM_UNAVAILABLE), (HsmTimeout, Reason.DEADLINE_EXCEEDED)],
)
def test_an_hsm_that_is_away_is_told_as_such(world: World, failure, reason: Reason) -> None:
    world.device.failure = failure
    source = SealedBlock(key=ZPK, format=Format.ISO_0, pan=Pan(PAN), ciphertext=bytes(8))
    refusal = refusal_of(lambda: to_block(world, source))
    assert refusal.reason is reason
    assert refusal.__context__ is None


def test_nothing_starts_after_the_deadline(world: World) -> None:
    passed = Terms(deadline=Deadline.after(-1))
    refusal = refusal_of(lambda: world.zone.encrypt(envelope(sealed()), block_to_make(), passed))
    assert refusal.reason is Reason.DEADLINE_EXCEEDED
    assert not world.device.calls


# Wiping


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


def test_every_pin_of_an_answered_call_is_wiped(world: World, made_pins: list[Pin]) -> None:
    block = sealed_block(world, Format.ISO_4, "051846")
    made_pins.clear()
    to_block(world, envelope(sealed()))
    to_fields(world, envelope(sealed()), block)
    assert [set(digits_of(pin)) for pin in made_pins] == [{0}] * 3


def test_a_pin_is_wiped_when_its_block_could_not_be_made(
    world: World, made_pins: list[Pin]
) -> None:
    def away(length: int) -> bytes:
        raise HsmUnavailable

    world.device.draw = away
    refusal_of(lambda: to_block(world, envelope(sealed()), block_to_make(Format.ISO_1)))
    assert [set(digits_of(pin)) for pin in made_pins] == [{0}]


def test_the_authentic_ones_are_authentic(world: World) -> None:
    """What the forger puts right opens, so each fault above stands alone."""
    assert to_block(world, envelope(forge(content_bytes=content()).compact()))
