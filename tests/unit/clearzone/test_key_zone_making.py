"""Keys that the key zone draws or combines, what it needs leave for, and a failing HSM."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from hsm.device import RsaPadding
from hsm.errors import (
    CheckValueMismatch,
    HsmDataRefused,
    HsmError,
    HsmTimeout,
    HsmUnavailable,
    KeyDuplicated,
    OperationNotPermitted,
    ProvisioningError,
)
from hsm.keyring import KeyEntry
from pinvault.clearzone.clear_key import WEAK
from pinvault.clearzone.key_block import RANDOM_BYTES, parse_header
from pinvault.clearzone.key_zone import KeyZone
from pinvault.model.custody import Exportability
from pinvault.model.errors import Reason, Refusal
from pinvault.model.faults import ClearedFault
from pinvault.model.keys import Algorithm, Mode, Origin, Usage
from tests.support.key_blocks import KeyRoom
from tests.support.software_device import held, key, rsa_padding
from tests.unit.clearzone.key_room import (
    SECOND,
    STORAGE,
    TDES,
    VALUES,
    block_of,
    check_value,
    combined,
    components,
    drawn,
    exported,
    header_for,
    imported,
    kept_in,
    new_key,
    protecting,
    refusal_of,
    zone_of,
)

EACH = pytest.mark.parametrize("algorithm", VALUES)


@pytest.fixture
def room() -> KeyRoom:
    return KeyRoom(protecting())


@pytest.fixture
def zone(room: KeyRoom) -> KeyZone:
    return zone_of(room)


# What is drawn


@EACH
@pytest.mark.parametrize("exportability", [Exportability.E, Exportability.S])
def test_a_drawn_key_is_loaded_and_kept(
    room: KeyRoom, zone: KeyZone, algorithm: Algorithm, exportability: Exportability
) -> None:
    made, kept = drawn(zone, new_key(algorithm), exportability=exportability)
    value = room.loaded["arrived/3"]
    assert kept_in(kept) == value
    assert parse_header(kept).exportability == exportability.value
    assert made.check_value == check_value(value, algorithm)
    if algorithm in TDES:
        assert all(byte.bit_count() % 2 for byte in value)


@EACH
def test_a_draw_that_was_interrupted_goes_on_with_what_it_had_kept(
    room: KeyRoom, zone: KeyZone, algorithm: Algorithm
) -> None:
    """The HSM may have the key already, for good, and under its id takes no other."""
    kept: list[str] = []

    def stop(block: str) -> None:
        kept.append(block)
        raise Refusal(Reason.KEY_CHANGE_REFUSED)

    refusal_of(drawn, zone, new_key(algorithm), keep=stop)
    assert not room.loaded
    made, block = drawn(zone, new_key(algorithm), keep=kept.append, left=kept[0])
    assert room.loaded["arrived/3"] == kept_in(kept[0]) == kept_in(block)
    assert kept == [kept[0], block]
    assert made.check_value == check_value(kept_in(block), algorithm)


def test_what_somebody_laid_there_is_not_taken_for_a_draw_of_ours(
    room: KeyRoom, zone: KeyZone
) -> None:
    new, value = new_key(), VALUES[Algorithm.TDES_2KEY]
    _, ours = drawn(zone, replace(new, version=9))
    header = parse_header(ours)
    laid = {
        "nothing": "",
        "not a block": "D0112",
        "another's": block_of(header, value, "kbpk-256/1"),
        "another usage": block_of(replace(header, usage="D0"), value, STORAGE),
        "another mode": block_of(replace(header, mode="N"), value, STORAGE),
        "not for storage": block_of(replace(header, context="0"), value, STORAGE),
        "another length": block_of(header, VALUES[Algorithm.TDES_3KEY], STORAGE),
        "weak": block_of(header, min(WEAK) * 2, STORAGE),
    }
    for number, (what, left) in enumerate(laid.items(), 10):
        made, _ = drawn(zone, replace(new, version=number), left=left)
        assert made.check_value != check_value(value, Algorithm.TDES_2KEY), what
    known = {check_value(kept_in(ours), Algorithm.TDES_2KEY)}
    made, _ = drawn(zone, new, left=ours, known=known)
    assert made.check_value not in known


def test_what_the_generator_gives_is_drawn_again_until_it_is_sound(
    room: KeyRoom, zone: KeyZone
) -> None:
    one, two = VALUES[Algorithm.TDES_2KEY][:8], VALUES[Algorithm.TDES_2KEY][8:]
    given = [one + bytes(b ^ 1 for b in one), min(WEAK) + two, one + two, bytes(RANDOM_BYTES)]
    room.draw = lambda length: given.pop(0)
    drawn(zone, new_key())
    assert room.loaded["arrived/3"] == one + two
    assert given == []


def test_parity_is_for_tdes_alone(room: KeyRoom, zone: KeyZone) -> None:
    room.draw = lambda length: bytes(range(length))
    drawn(zone, new_key(Algorithm.AES_256))
    assert room.loaded["arrived/3"] == bytes(range(32))


def test_a_key_pair_is_not_drawn_here(room: KeyRoom, zone: KeyZone) -> None:
    refusal = refusal_of(drawn, zone, replace(new_key(), algorithm=Algorithm.RSA_2048))
    assert (refusal.reason, refusal.field) == (Reason.KEY_NOT_EXPORTABLE, "exportability")
    assert not room.calls


def test_a_drawn_key_may_leave(room: KeyRoom, zone: KeyZone) -> None:
    refusal = refusal_of(drawn, zone, new_key(), exportability=Exportability.N)
    assert (refusal.reason, refusal.field) == (Reason.KEY_NOT_EXPORTABLE, "exportability")
    assert not room.calls


# Ceremonies


PARTS = [bytes(range(n, n + 16)) for n in (0, 50, 100)]


def summed(*values: bytes) -> bytes:
    whole = 0
    for value in values:
        whole ^= int.from_bytes(value)
    return whole.to_bytes(len(values[0]))


def odd(value: bytes) -> bytes:
    return bytes(b if b.bit_count() % 2 else b ^ 1 for b in value)


@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("variant", [None, b"\x45", bytes.fromhex("C0C0C0C000000000")])
@pytest.mark.parametrize("algorithm", [Algorithm.TDES_2KEY, Algorithm.AES_128])
def test_components_make_a_key(
    room: KeyRoom, zone: KeyZone, algorithm: Algorithm, variant: bytes | None, count: int
) -> None:
    mask = (variant or b"\0") * (16 // len(variant or b"\0"))
    value = summed(*PARTS[:count], mask)
    value = odd(value) if algorithm in TDES else value
    expected = check_value(value, algorithm)
    parts = components(*PARTS[:count])
    assert zone.combined_check_value(parts, algorithm, variant=variant) == expected
    made = combined(
        zone, PARTS[:count], new_key(algorithm), variant=variant, check_value=expected.lower()
    )
    assert room.loaded == {"arrived/3": value}
    assert made.check_value == expected


@EACH
def test_a_component_has_a_check_value_of_its_own(zone: KeyZone, algorithm: Algorithm) -> None:
    [component] = components(VALUES[algorithm])
    expected = check_value(VALUES[algorithm], algorithm)
    assert zone.component_check_value(component, algorithm) == expected


def test_another_check_value_than_promised_loads_nothing(room: KeyRoom, zone: KeyZone) -> None:
    right = check_value(summed(*PARTS), Algorithm.AES_128)
    for wrong in "000000", right[:5], right[:8], "", right + "0":
        refusal = refusal_of(combined, zone, PARTS, new_key(Algorithm.AES_128), check_value=wrong)
        assert (refusal.reason, refusal.field) == (
            Reason.KEY_CHECK_VALUE_MISMATCH,
            "check_value",
        )
    assert not room.calls
    combined(zone, PARTS, new_key(Algorithm.AES_128), check_value=right[:6])


NO_CEREMONY = {
    "one component": (PARTS[:1], {}),
    "none": ([], {}),
    "too short": ([PARTS[0], PARTS[1]], {"new": new_key(Algorithm.AES_256)}),
    "of two lengths": ([PARTS[0], bytes(24)], {}),
    "a key pair": (PARTS, {"new": replace(new_key(), algorithm=Algorithm.EC_P256)}),
    "variant of another length": (PARTS, {"variant": bytes(5)}),
}


@pytest.mark.parametrize("name", NO_CEREMONY)
def test_what_makes_no_key_is_the_callers_fault(room: KeyRoom, zone: KeyZone, name: str) -> None:
    parts, changes = NO_CEREMONY[name]
    refusal = refusal_of(combined, zone, parts, **changes)
    assert (refusal.reason, refusal.field) == (Reason.REQUEST_INVALID, "components")
    assert not room.calls


@pytest.mark.parametrize("algorithm", [Algorithm.TDES_2KEY, Algorithm.AES_128])
def test_components_that_cancel_out_make_no_key(
    room: KeyRoom, zone: KeyZone, algorithm: Algorithm
) -> None:
    refusal = refusal_of(combined, zone, [PARTS[0], PARTS[0]], new_key(algorithm))
    assert refusal.reason is Reason.KEY_CHANGE_REFUSED
    assert [violation.field for violation in refusal.violations] == ["components"]
    assert not room.calls


# What needs no clear key


def test_what_stays_inside_needs_no_permission() -> None:
    transport = rsa.generate_private_key(65537, 2048)
    sealing = key("transport", "K2", "RSA_2048", "D", jwa="RSA-OAEP")
    zone = zone_of(KeyRoom([held(sealing, transport)]), clear_keys=False)
    generated = replace(new_key(), name="generated")
    assert zone.generate(generated, timeout=SECOND).origin is Origin.GENERATED
    public = replace(
        new_key(), name="partner", usage=Usage.K3, mode=Mode.E, algorithm=Algorithm.EC_P256
    )
    spki = (
        ec.generate_private_key(ec.SECP256R1())
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    made = zone.load_public(public, spki, timeout=SECOND)
    assert (made.key, made.check_value) == (public, hashlib.sha256(spki).hexdigest().upper())
    wrapped = transport.public_key().encrypt(
        VALUES[Algorithm.TDES_2KEY], rsa_padding(RsaPadding.OAEP_SHA1)
    )
    for told, reason in ("5C9405", None), ("5C9406", Reason.KEY_CHECK_VALUE_MISMATCH):
        arguments = {"wrapping": "transport/1", "check_value": told, "timeout": SECOND}
        if reason is None:
            arrived = zone.import_cryptogram(new_key(), wrapped, **arguments)
            assert (arrived.check_value, arrived.origin) == ("5C9405", Origin.IMPORTED)
        else:
            refusal = refusal_of(zone.import_cryptogram, new_key(), wrapped, **arguments)
            assert refusal.reason is reason


CLEAR: dict[str, Callable[[KeyZone], object]] = {
    "draw": lambda zone: drawn(zone, new_key()),
    "import": lambda zone: imported(zone, "no block at all"),
    "export": lambda zone: exported(zone, "no block at all"),
    "combine": lambda zone: combined(zone, []),
    "component": lambda zone: zone.component_check_value(
        components(PARTS[0])[0], Algorithm.AES_128
    ),
    "combined": lambda zone: zone.combined_check_value([], Algorithm.AES_128, variant=None),
}


@pytest.mark.parametrize("name", CLEAR)
def test_what_shows_a_key_is_off_unless_turned_on(room: KeyRoom, name: str) -> None:
    refusal = refusal_of(lambda: CLEAR[name](zone_of(room, clear_keys=False)))
    assert refusal.reason is Reason.KEY_BLOCKS_OFF
    assert not room.calls


# When the HSM fails


FAILURES = {
    HsmTimeout: Reason.DEADLINE_EXCEEDED,
    HsmUnavailable: Reason.HSM_UNAVAILABLE,
    CheckValueMismatch: Reason.KEY_CHECK_VALUE_MISMATCH,
    KeyDuplicated: Reason.KEY_ALREADY_EXISTS,
    ProvisioningError: Reason.KEY_CHANGE_REFUSED,
    OperationNotPermitted: Reason.KEY_CHANGE_REFUSED,
    HsmDataRefused: Reason.KEY_BLOCK_REFUSED,
}
STEPS: dict[str, Callable[[KeyZone], object]] = {
    "generate": lambda zone: zone.generate(new_key(), timeout=SECOND),
    "draw": lambda zone: drawn(zone, new_key()),
    "import": lambda zone: imported(
        zone, block_of(header_for(new_key(), "D"), VALUES[Algorithm.TDES_2KEY], "kbpk-256/1")
    ),
    "export": lambda zone: exported(
        zone, block_of(header_for(new_key(), "D"), VALUES[Algorithm.TDES_2KEY], STORAGE)
    ),
    "combine": lambda zone: combined(zone, PARTS),
}


@pytest.mark.parametrize("failure", FAILURES, ids=lambda failure: failure.__name__)
@pytest.mark.parametrize("step", STEPS)
def test_a_failing_hsm_is_told_as_what_it_is(
    room: KeyRoom, zone: KeyZone, step: str, failure: type[HsmError]
) -> None:
    room.failure = failure
    refusal = refusal_of(lambda: STEPS[step](zone))
    assert refusal.reason is FAILURES[failure]
    assert refusal.retry_after_s == (0.5 if failure is HsmUnavailable else None)
    told = failure.text if refusal.reason is Reason.KEY_CHANGE_REFUSED else None
    assert [violation.description for violation in refusal.violations] == [told] * bool(told)


def refuses(*_: object, **__: object) -> KeyEntry:
    raise HsmDataRefused


def test_a_cryptogram_that_does_not_open_has_a_face_of_its_own(room: KeyRoom) -> None:
    room.unwrap_secret = refuses  # type: ignore[method-assign]
    zone = zone_of(room, clear_keys=False)
    arguments = {"wrapping": "transport/1", "check_value": None, "timeout": SECOND}
    refusal = refusal_of(zone.import_cryptogram, new_key(), b"wrapped", **arguments)
    assert refusal.reason is Reason.KEY_CRYPTOGRAM_REFUSED


@pytest.mark.parametrize("step", STEPS)
def test_a_fault_of_our_own_leaves_as_text(room: KeyRoom, zone: KeyZone, step: str) -> None:
    room.failure = RuntimeError
    with pytest.raises(ClearedFault) as caught:
        STEPS[step](zone)
    assert caught.value.kind == "RuntimeError"
    assert caught.value.__context__ is None


@pytest.mark.parametrize("step", ["draw", "import", "export", "combine"])
def test_nothing_starts_after_the_deadline(room: KeyRoom, zone: KeyZone, step: str) -> None:
    late = {"timeout": -1.0}
    block = block_of(header_for(new_key(), "D"), VALUES[Algorithm.TDES_2KEY], "kbpk-256/1")
    work = {
        "draw": lambda: drawn(zone, new_key(), **late),
        "import": lambda: imported(zone, block, **late),
        "export": lambda: exported(zone, block, **late),
        "combine": lambda: combined(zone, PARTS, **late),
    }
    assert refusal_of(work[step]).reason is Reason.DEADLINE_EXCEEDED
    assert not room.calls


def test_a_key_of_no_role_is_refused_with_what_to_do(room: KeyRoom, zone: KeyZone) -> None:
    refusal = refusal_of(combined, zone, PARTS, new_key(mode=Mode.X))
    assert refusal.reason is Reason.KEY_CHANGE_REFUSED
    assert refusal.violations[0].field == "key"
    assert "with P0 go TDES E" in refusal.violations[0].description
    assert not room.calls
