"""Key blocks at the key zone: what comes, what is kept, what goes, and what is refused when."""

from dataclasses import replace

import pytest
from psec import tr31

from pinvault.clearzone.clear_key import WEAK, bytes_of
from pinvault.clearzone.key_block import OptionalBlock, open_block, parse_header
from pinvault.clearzone.key_zone import KeyZone
from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm, Mode, Origin, Usage
from tests.support.key_blocks import KeyRoom, keys_of
from tests.unit.clearzone.key_room import (
    KBPKS,
    LEGACY,
    SECOND,
    STORAGE,
    TDES,
    UNDER,
    VALUES,
    WEAK_STORAGE,
    block_of,
    check_value,
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

ONE_LOOK = {"with_key_block_keys": 1, "block deciphered": 1, "block mac": 1}
EACH = pytest.mark.parametrize("algorithm", VALUES)


@pytest.fixture
def room() -> KeyRoom:
    return KeyRoom(protecting())


@pytest.fixture
def zone(room: KeyRoom) -> KeyZone:
    return zone_of(room)


# What comes


@EACH
@pytest.mark.parametrize("version", "BDE")
def test_a_key_of_a_block_is_loaded(
    room: KeyRoom, zone: KeyZone, version: str, algorithm: Algorithm
) -> None:
    new, value = new_key(algorithm), VALUES[algorithm]
    block = block_of(header_for(new, version, "N"), value, UNDER[version])
    if version == "B" and algorithm not in TDES:
        assert refusal_of(imported, zone, block, new).field == "kbpk"
        assert not room.calls
        return
    made, kept = imported(zone, block, new)
    assert kept is None
    assert room.loaded == {"arrived/3": value}
    assert (made.key, made.origin) == (new, Origin.IMPORTED)
    assert made.check_value == check_value(value, algorithm)
    assert room.calls == {**ONE_LOOK, "load_secret": 1}


@pytest.mark.parametrize("version", "DE")
def test_a_key_for_data_comes_like_any_other(room: KeyRoom, zone: KeyZone, version: str) -> None:
    new = new_key(Algorithm.AES_256, usage=Usage.D0)
    value = VALUES[Algorithm.AES_256]
    made, _ = imported(zone, block_of(header_for(new, version), value, UNDER[version]), new)
    assert made.key == new
    assert room.loaded == {"arrived/3": value}
    of_pins = replace(new, usage=Usage.P0)
    block = block_of(header_for(of_pins, version), value, UNDER[version])
    assert refusal_of(imported, zone, block, new).field == "key_block.usage"


@pytest.mark.parametrize("version", "AC")
@pytest.mark.parametrize("algorithm", TDES)
def test_a_key_of_a_legacy_block_is_loaded(
    room: KeyRoom, zone: KeyZone, version: str, algorithm: Algorithm
) -> None:
    new = new_key(algorithm)
    block = block_of(header_for(new, version, "N"), VALUES[algorithm], LEGACY)
    made, _ = imported(zone, block, new)
    assert room.loaded == {"arrived/3": VALUES[algorithm]}
    assert made.check_value == check_value(VALUES[algorithm], algorithm)
    assert room.calls["decipher"] == 1
    assert room.calls["encipher"] == (len(block) - 8 - (len(block) - 24) // 2) // 8


@EACH
@pytest.mark.parametrize("exportability", "ES")
def test_what_may_leave_again_is_kept_under_storage(
    room: KeyRoom, zone: KeyZone, algorithm: Algorithm, exportability: str
) -> None:
    new, value = new_key(algorithm), VALUES[algorithm]
    block = block_of(header_for(new, "D", exportability), value, "kbpk-256/1")
    _, kept = imported(zone, block, new)
    assert kept is not None
    assert kept_in(kept) == value
    header = parse_header(kept)
    assert (header.version, header.context, header.exportability) == ("D", "1", exportability)
    assert (header.usage, header.mode) == (new.usage.value, new.mode.value)
    told = "21" if algorithm is Algorithm.HMAC_SHA256 else check_value(value, algorithm)
    kind = {"T": "00", "A": "01", "H": ""}[header.algorithm]
    assert [b.data for b in header.blocks] == [kind + told]
    assert imported(zone, block, new, storage=None)[1] is None


def test_odd_parity_is_given_to_what_is_loaded_and_kept(room: KeyRoom, zone: KeyZone) -> None:
    even = bytes(byte ^ 1 for byte in VALUES[Algorithm.TDES_2KEY])
    made, kept = imported(zone, block_of(header_for(new_key(), "B"), even, "kbpk-tdes-3/1"))
    assert kept is not None
    assert room.loaded["arrived/3"] == kept_in(kept) == VALUES[Algorithm.TDES_2KEY]
    assert made.check_value == check_value(even, Algorithm.TDES_2KEY)


# What a header must say


MISMATCHES = {
    "usage": {"usage": "K0"},
    "algorithm": {"algorithm": "A"},
    "mode": {"mode": "N"},
    "context": {"context": "1"},
    "key_version": {"key_version": "c1"},
    "optional_blocks.HM": {"blocks": (OptionalBlock("HM", "21"),)},
}


@pytest.mark.parametrize("part", MISMATCHES)
def test_a_header_of_another_key_is_told_before_the_hsm_is_asked(
    room: KeyRoom, zone: KeyZone, part: str
) -> None:
    header = replace(header_for(new_key(), "D"), **MISMATCHES[part])
    block = block_of(header, VALUES[Algorithm.TDES_2KEY], "kbpk-256/1")
    refusal = refusal_of(imported, zone, block)
    assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, f"key_block.{part}")
    assert not room.calls


@pytest.mark.parametrize("hash_of", ["10", "23", None])
def test_an_hmac_key_is_for_sha_256(room: KeyRoom, zone: KeyZone, hash_of: str | None) -> None:
    new = new_key(Algorithm.HMAC_SHA256)
    blocks = (OptionalBlock("HM", hash_of),) if hash_of else ()
    block = block_of(header_for(new, "D", blocks=blocks), bytes(range(32)), "kbpk-256/1")
    assert refusal_of(imported, zone, block, new).field == "key_block.optional_blocks.HM"
    assert not room.calls


def test_a_key_pair_comes_in_no_key_block(room: KeyRoom, zone: KeyZone) -> None:
    new = replace(new_key(), algorithm=Algorithm.RSA_2048, usage=Usage.D1, mode=Mode.D)
    header = header_for(replace(new_key(), usage=Usage.D1, mode=Mode.D), "D", algorithm="R")
    block = block_of(header, bytes(range(100)), "kbpk-256/1")
    assert refusal_of(imported, zone, block, new).field == "key_block.algorithm"
    assert not room.calls


def test_a_malformed_block_is_told_by_part_and_rule(room: KeyRoom, zone: KeyZone) -> None:
    refusal = refusal_of(imported, zone, "B0040P0TE00N0000")
    assert refusal.reason is Reason.KEY_BLOCK_MALFORMED
    [violation] = refusal.violations
    assert violation.field == "key_block.length"
    assert violation.description == "not that of the block"
    assert not room.calls


# Strength


STRONG_ENOUGH = {
    "kbpk-tdes-2/1": {Algorithm.TDES_2KEY},
    "kbpk-tdes-3/1": set(TDES),
    "kbpk-128/1": {*TDES, Algorithm.AES_128},
    "kbpk-256/1": set(VALUES),
}


@EACH
@pytest.mark.parametrize("kbpk", STRONG_ENOUGH)
def test_no_key_comes_or_goes_under_a_weaker_one(
    room: KeyRoom, zone: KeyZone, kbpk: str, algorithm: Algorithm
) -> None:
    new, version = new_key(algorithm), "B" if "tdes" in kbpk else "D"
    block = block_of(header_for(new, version), VALUES[algorithm], kbpk)
    kept = block_of(header_for(new, "D", context="1"), VALUES[algorithm], STORAGE)

    def comes() -> object:
        return imported(zone, block, new, kbpk=kbpk)

    def goes() -> str:
        return zone.export_block(kept, storage=STORAGE, kbpk=kbpk, version=version, timeout=SECOND)

    if algorithm in STRONG_ENOUGH[kbpk]:
        comes()
        assert goes()[0] == version
        return
    for step in comes, goes:
        refusal = refusal_of(step)
        assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "kbpk")
    assert room.calls["load_secret"] == room.calls["block enciphered"] == 0


def test_nothing_is_kept_under_a_weaker_storage_key(room: KeyRoom, zone: KeyZone) -> None:
    new = new_key(Algorithm.AES_256)
    block = block_of(header_for(new, "D"), VALUES[Algorithm.AES_256], "kbpk-256/1")
    for step in (
        lambda: imported(zone, block, new, storage=WEAK_STORAGE),
        lambda: drawn(zone, new, storage=WEAK_STORAGE),
    ):
        refusal = refusal_of(step)
        assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "storage")
    assert not room.calls


@pytest.mark.parametrize(
    ("version", "kbpk"),
    [("B", "kbpk-256/1"), ("D", "kbpk-tdes-3/1"), ("E", "kbpk-tdes-3/1"), ("D", LEGACY)],
)
def test_a_version_wants_its_own_kind_of_key(
    room: KeyRoom, zone: KeyZone, version: str, kbpk
) -> None:
    block = block_of(header_for(new_key(), version), VALUES[Algorithm.TDES_2KEY], UNDER[version])
    assert refusal_of(imported, zone, block, kbpk=kbpk).field == "kbpk"
    assert not room.calls


def test_a_legacy_block_wants_variants(room: KeyRoom, zone: KeyZone) -> None:
    block = block_of(header_for(new_key(), "A"), VALUES[Algorithm.TDES_2KEY], LEGACY)
    assert refusal_of(imported, zone, block, kbpk="kbpk-tdes-3/1").field == "kbpk"
    assert not room.calls


# One face


def bad_blocks() -> dict[str, tuple[str, str]]:
    """Give blocks that are wrong inside, and the cause that is recorded."""
    header, two, three = header_for(new_key(), "B"), *(VALUES[a] for a in TDES)
    kbpk = "kbpk-tdes-3/1"
    good = block_of(header, two, kbpk)
    told = header_for(new_key(), "B", blocks=(OptionalBlock("KC", "00AAAAAA"),))
    return {
        "wrong key": (block_of(header, two, "kbpk-tdes-2/1"), ""),
        "wrong MAC": (good[:-1] + ("0" if good[-1] != "0" else "1"), ""),
        "wrong payload": (good[:20] + ("0" if good[20] != "0" else "1") + good[21:], ""),
        "longer key": (block_of(header, three, kbpk), "payload"),
        "single DES": (block_of(header, two[:8], kbpk), "payload"),
        "another check value": (block_of(told, two, kbpk), "check-value"),
        "equal halves": (block_of(header, two[:8] * 2, kbpk), "weak-key"),
        "halves equal but for parity": (
            block_of(header, two[:8] + bytes(b ^ 1 for b in two[:8]), kbpk),
            "weak-key",
        ),
        "weak half": (block_of(header, two[:8] + min(WEAK), kbpk), "weak-key"),
    }


@pytest.mark.parametrize("name", bad_blocks())
def test_whatever_is_wrong_inside_looks_the_same(room: KeyRoom, zone: KeyZone, name: str) -> None:
    block, cause = bad_blocks()[name]
    refusal = refusal_of(imported, zone, block)
    assert refusal.reason is Reason.KEY_BLOCK_REFUSED
    assert (refusal.field, refusal.violations, refusal.retry_after_s) == ("", (), None)
    assert refusal.cause == cause
    assert room.calls == ONE_LOOK


def test_a_check_value_of_the_usual_kind_is_compared(room: KeyRoom, zone: KeyZone) -> None:
    for told in "005C9405", "005C94", "01FFFFFF":
        head = header_for(new_key(), "B", blocks=(OptionalBlock("KC", told),))
        imported(zone, block_of(head, VALUES[Algorithm.TDES_2KEY], "kbpk-tdes-3/1"))


def test_a_key_that_is_known_is_refused_before_it_is_loaded(room: KeyRoom, zone: KeyZone) -> None:
    for algorithm, version in (Algorithm.TDES_2KEY, "B"), (Algorithm.AES_128, "D"):
        new, value = replace(new_key(algorithm), name=version.lower()), VALUES[algorithm]
        block = block_of(header_for(new, version), value, UNDER[version])
        for digits in 6, 10:
            known = check_value(value, algorithm)[:digits]
            refusal = refusal_of(imported, zone, block, new, known=("FFFFFF", known))
            assert (refusal.reason, refusal.field) == (Reason.KEY_ALREADY_EXISTS, "key_block")
        imported(zone, block, new, known=("FFFFFF", "", "5C"))
    assert room.calls["load_secret"] == 2


# What goes


@EACH
@pytest.mark.parametrize("version", "BDE")
def test_a_kept_key_goes_out_under_another_key(
    zone: KeyZone, version: str, algorithm: Algorithm
) -> None:
    if version == "B" and algorithm not in TDES:
        return
    new = new_key(algorithm)
    _, kept = drawn(zone, new)
    out = zone.export_block(
        kept, storage=STORAGE, kbpk=UNDER[version], version=version, timeout=SECOND
    )
    header, key = open_block(out, keys_of(KBPKS[UNDER[version]][1], version))
    assert bytes_of(key) == kept_in(kept)
    stored = parse_header(kept)
    assert header == replace(stored, version=version, context="0")
    assert [b.data for b in header.blocks] == [b.data for b in stored.blocks]
    if version != "E":
        assert tr31.unwrap(KBPKS[UNDER[version]][1], out)[1] == bytes_of(key)


@pytest.mark.parametrize("version", ["A", "C", "F", "", "BD"])
def test_no_other_version_goes_out(room: KeyRoom, zone: KeyZone, version: str) -> None:
    kept = block_of(header_for(new_key(), "D"), VALUES[Algorithm.TDES_2KEY], STORAGE)
    refusal = refusal_of(
        lambda: zone.export_block(
            kept, storage=STORAGE, kbpk="kbpk-256/1", version=version, timeout=SECOND
        )
    )
    assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "version")
    assert not room.calls


def test_a_key_that_is_not_exportable_does_not_go(room: KeyRoom, zone: KeyZone) -> None:
    kept = block_of(header_for(new_key(), "D", "N"), VALUES[Algorithm.TDES_2KEY], STORAGE)
    refusal = refusal_of(exported, zone, kept)
    assert (refusal.reason, refusal.field) == (Reason.KEY_NOT_EXPORTABLE, "key")
    assert not room.calls


def test_a_kept_block_is_the_one_that_it_should_be(room: KeyRoom, zone: KeyZone) -> None:
    kept = block_of(header_for(new_key(), "D"), VALUES[Algorithm.TDES_2KEY], STORAGE)
    assert exported(zone, kept, check_value="5C9405")
    for wrong in "5C9406", "5C", "":
        refusal = refusal_of(exported, zone, kept, check_value=wrong)
        assert (refusal.reason, refusal.cause) == (Reason.KEY_BLOCK_REFUSED, "payload")
    refusal = refusal_of(exported, zone, kept, storage=WEAK_STORAGE)
    assert refusal.reason is Reason.KEY_BLOCK_REFUSED
    odd = block_of(header_for(new_key(), "D", algorithm="D"), bytes(range(8)), STORAGE)
    assert refusal_of(exported, zone, odd).reason is Reason.KEY_BLOCK_REFUSED
    assert room.calls["block enciphered"] == 1
