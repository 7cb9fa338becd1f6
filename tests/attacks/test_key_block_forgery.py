"""Attack: have a key block open that nobody made so, or learn something from how it is refused."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from types import TracebackType

import pytest

from pinvault.clearzone import key_zone
from pinvault.clearzone.clear_key import ClearKey
from pinvault.clearzone.key_block import (
    MalformedBlock,
    OptionalBlock,
    Refused,
    header,
    open_block,
    wrap,
)
from pinvault.clearzone.key_zone import KeyZone
from pinvault.model.errors import TEXTS, Reason, Refusal
from pinvault.model.keys import Algorithm
from tests.support.key_blocks import KeyRoom, keys_of, opening, variants_of
from tests.unit.clearzone.key_room import (
    KBPKS,
    LEGACY,
    STORAGE,
    TDES,
    UNDER,
    VALUES,
    VARIANT_KBPK,
    block_of,
    combined,
    components,
    drawn,
    exported,
    header_for,
    imported,
    new_key,
    protecting,
    refusal_of,
    zone_of,
)

VERSIONS = "ABCDE"
KEY = VALUES[Algorithm.TDES_2KEY]


@pytest.fixture
def room() -> KeyRoom:
    return KeyRoom(protecting())


@pytest.fixture
def zone(room: KeyRoom) -> KeyZone:
    return zone_of(room)


@pytest.fixture
def made_keys(monkeypatch: pytest.MonkeyPatch) -> list[ClearKey]:
    """Collect every clear key that comes of a block or of the generator."""
    made: list[ClearKey] = []

    def make(value: bytes | bytearray) -> ClearKey:
        made.append(ClearKey(value))
        return made[-1]

    monkeypatch.setattr(wrap, "ClearKey", make)
    monkeypatch.setattr(key_zone, "ClearKey", make)
    return made


def genuine(version: str, **more: object) -> str:
    under = UNDER.get(version, LEGACY)
    return block_of(header_for(new_key(), version, **more), KEY, under)


def opens(text: str) -> bool:
    """Tell whether a text opens under the key that its version would be tried with."""
    version = text[:1]
    if version not in VERSIONS:
        return False
    kbpk = VARIANT_KBPK if version in "AC" else KBPKS[UNDER[version]][1]
    try:
        open_block(text, opening(kbpk, version))
    except (MalformedBlock, Refused):
        return False
    return True


# Forgery


@pytest.mark.parametrize("version", VERSIONS)
def test_no_bit_of_a_block_can_be_flipped(version: str) -> None:
    more = {} if version in "AC" else {"blocks": (OptionalBlock("KS", "00604B120F9292800000"),)}
    block = genuine(version, **more)
    assert opens(block)
    flipped = [
        block[:at] + chr(ord(block[at]) ^ 1 << bit) + block[at + 1 :]
        for at in range(len(block))
        for bit in range(7)
    ]
    assert not [text for text in flipped if opens(text)]


RELABELLED = {
    "usage": "K0",
    "mode": "D",
    "exportability": "N",
    "key_version": "01",
    "context": "2",
    "algorithm": "D",
}


@pytest.mark.parametrize("field", RELABELLED)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_cannot_be_given_another_header(version: str, field: str) -> None:
    parts = header.split(genuine(version))
    other = replace(parts.header, **{field: RELABELLED[field]})
    text = header.write_header(other, payload_bytes=len(parts.payload))
    forged = text + (parts.payload + parts.mac).hex().upper()
    assert header.split(forged).header == other
    assert not opens(forged)


@pytest.mark.parametrize("to", VERSIONS)
@pytest.mark.parametrize("version", VERSIONS)
def test_a_block_cannot_be_taken_for_another_version(version: str, to: str) -> None:
    block = genuine(version)
    assert opens(to + block[1:]) == (to == version)


def test_versions_d_and_e_share_no_key_that_opens_the_other() -> None:
    """Their MAC key is one, their encryption keys are two: only the header would differ."""
    block = genuine("D")
    kbpk = KBPKS[UNDER["D"]][1]
    with pytest.raises(Refused):
        open_block("E" + block[1:], opening(kbpk, "E"))


@pytest.mark.parametrize("version", "AC")
def test_the_header_that_starts_the_chain_of_a_legacy_block_is_authentic(version: str) -> None:
    """A change of the first 8 characters would show as the same change of the key's first bytes."""
    block = genuine(version)
    for usage in "K0", "D0", "M3":
        forged = block[:5] + usage + block[7:]
        assert not opens(forged)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_block_cannot_be_cut_or_put_together(version: str) -> None:
    one, other = header.split(genuine(version)), header.split(genuine(version, exportability="S"))
    size = one.header.form.block
    pieces = [
        one.payload[size:] + one.payload[:size],
        one.payload[:size] * 2 + one.payload[2 * size :],
        one.payload[:-size] + other.payload[-size:],
        one.payload[:-size],
        one.payload + one.payload[-size:],
        other.payload,
    ]
    for payload in (piece for piece in pieces if piece != one.payload):
        try:
            text = header.write_header(one.header, payload_bytes=len(payload))
        except MalformedBlock:
            continue
        assert not opens(text + (payload + one.mac).hex().upper())
        assert not opens(text + (payload + other.mac).hex().upper())


def test_a_kept_block_does_not_come_in_by_the_front_door(room: KeyRoom, zone: KeyZone) -> None:
    """Nor does one that says N go out, whatever its name."""
    _, kept = drawn(zone, new_key())
    room.calls.clear()
    refusal = refusal_of(imported, zone, kept, kbpk=STORAGE)
    assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "key_block.context")
    relabelled = kept[:11] + "S" + kept[12:]
    assert not room.calls
    assert refusal_of(exported, zone, relabelled).reason is Reason.KEY_BLOCK_REFUSED


# What a refusal tells


def wrong_inside(version: str) -> dict[str, str]:
    under = UNDER.get(version, LEGACY)
    head, good = header_for(new_key(), version), genuine(version)
    last = "0" if good[-1] != "0" else "1"
    at = len(good) - 2 * head.form.mac - 1
    return {
        "MAC": good[:-1] + last,
        "ciphertext": good[:at] + ("0" if good[at] != "0" else "1") + good[at + 1 :],
        "another length inside": block_of(head, VALUES[Algorithm.TDES_3KEY], under),
        "equal halves": block_of(head, KEY[:8] * 2, under),
        "single DES": block_of(head, KEY[:8], under),
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_wrong_inside_costs_the_hsm_the_same(
    room: KeyRoom, zone: KeyZone, version: str
) -> None:
    seen = {}
    for name, block in wrong_inside(version).items():
        room.calls.clear()
        refusal = refusal_of(imported, zone, block)
        seen[name] = (
            refusal.reason,
            str(refusal),
            refusal.field,
            refusal.violations,
            refusal.retry_after_s,
            dict(room.calls),
        )
    assert len({str(each) for each in seen.values()}) == 1
    assert seen["MAC"][:2] == (Reason.KEY_BLOCK_REFUSED, TEXTS[Reason.KEY_BLOCK_REFUSED])


def test_the_payload_is_judged_after_the_mac(room: KeyRoom, zone: KeyZone) -> None:
    """Else lengths and fill could be guessed one by one: the cause is told of authentic ones."""
    causes = {
        name: refusal_of(imported, zone, block).cause for name, block in wrong_inside("B").items()
    }
    assert causes == {
        "MAC": "",
        "ciphertext": "",
        "another length inside": "payload",
        "equal halves": "weak-key",
        "single DES": "payload",
    }


# Traces


def values_within(trace: TracebackType | None) -> Iterator[object]:
    while trace is not None:
        for value in trace.tb_frame.f_locals.values():
            yield value
            cells = getattr(value, "__closure__", None) or ()
            yield from (cell.cell_contents for cell in cells)
        trace = trace.tb_next


def is_secret(value: object) -> bool:
    if isinstance(value, ClearKey):
        return bool(value._value)
    return isinstance(value, bytes | bytearray) and KEY[:8] in value


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refusal_carries_no_key_and_logs_none(
    zone: KeyZone, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for block in wrong_inside(version).values():
        with pytest.raises(Refusal) as caught:
            imported(zone, block)
        inside = caught.value.__traceback__
        assert inside is not None
        assert not [value for value in values_within(inside.tb_next) if is_secret(value)]
        assert block not in repr(caught.value) + str(caught.value.__dict__)
    assert not caplog.records


def test_every_clear_key_is_wiped_whatever_happens(
    zone: KeyZone, made_keys: list[ClearKey]
) -> None:
    _, kept = drawn(zone, new_key())
    exported(zone, kept)
    for version in VERSIONS:
        for block in (*wrong_inside(version).values(), genuine(version)):
            try:
                imported(zone, block)
            except Refusal:
                continue
    assert len(made_keys) == 2 + len(VERSIONS) * 4
    assert not [key for key in made_keys if key._value]


def test_a_drawn_key_that_is_thrown_away_is_wiped(
    room: KeyRoom, zone: KeyZone, made_keys: list[ClearKey]
) -> None:
    given = [KEY[:8] * 2, KEY, bytes(wrap.RANDOM_BYTES)]
    room.draw = lambda length: given.pop(0)
    drawn(zone, new_key())
    assert [bool(key._value) for key in made_keys] == [False, False]


def test_a_sum_of_components_is_wiped(zone: KeyZone, monkeypatch: pytest.MonkeyPatch) -> None:
    wiped: list[bytes] = []
    wipe = ClearKey.wipe

    def watched(key: ClearKey) -> None:
        wiped.append(bytes(key._value))
        wipe(key)

    monkeypatch.setattr(ClearKey, "wipe", watched)
    parts = [KEY, bytes(range(16))]
    zone.combined_check_value(components(*parts), Algorithm.AES_128, variant=None)
    combined(zone, parts, new_key(Algorithm.AES_128))
    assert len(wiped) == 2
    assert len(set(wiped)) == 1


@pytest.mark.parametrize("version", "BDE")
def test_a_payload_is_wiped_when_it_was_opened_or_made(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept(bytearray):
        def __init__(self, value: bytes) -> None:
            super().__init__(value)
            kept.append(self)

    kept: list[Kept] = []
    monkeypatch.setattr(wrap, "bytearray", Kept, raising=False)
    block = genuine(version)
    assert opens(block)
    assert not opens(block[:-1] + ("0" if block[-1] != "0" else "1"))
    assert len(kept) == 3
    assert not any(any(payload) for payload in kept)


@pytest.mark.parametrize("bits", [0, 1, 7, 127, 8 * 30 + 8, 65535])
def test_an_authentic_payload_tells_a_length_that_it_has(bits: int) -> None:
    keys = keys_of(KBPKS[UNDER["B"]][1], "B")
    text = header.write_header(header_for(new_key(), "B"), payload_bytes=32)
    payload = bits.to_bytes(2) + bytes(30)
    mac = keys.mac(text.encode() + payload)
    with pytest.raises(Refused) as caught:
        open_block(text + (keys.encipher(payload, iv=mac) + mac).hex().upper(), keys)
    assert caught.value.cause == "payload"


def test_the_protecting_key_never_comes_to_the_process() -> None:
    """What the process is given is two keys to ask; the parts of a legacy key are as apart."""
    encryption, mac = variants_of(VARIANT_KBPK)
    assert len({encryption, mac, VARIANT_KBPK}) == 3
    assert {slot for slot in wrap.OpeningKeys.__dict__ if not slot.startswith("_")} == {
        "mac",
        "decipher",
    }
    assert {slot for slot in wrap.MakingKeys.__dict__ if not slot.startswith("_")} == {
        "mac",
        "encipher",
    }


@pytest.mark.parametrize("algorithm", TDES)
def test_a_strong_key_does_not_go_out_under_a_weak_one(zone: KeyZone, algorithm: Algorithm) -> None:
    """A TDES key under TDES of the same strength goes; an AES key under TDES does not."""
    _, kept = drawn(zone, new_key(algorithm))
    assert exported(zone, kept, kbpk="kbpk-tdes-3/1", version="B")
    _, kept = drawn(zone, replace(new_key(Algorithm.AES_128), name="other"))
    refusal = refusal_of(exported, zone, kept, kbpk="kbpk-tdes-3/1", version="B")
    assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "kbpk")
