"""Columns that move from key version to key version: the same PINs and PANs, or nothing."""

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import HsmUnavailable
from pinvault.clearzone import stored_pan
from pinvault.clearzone.iso9564 import format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.pin import Malformed
from pinvault.clearzone.restore import BLOCK_BYTES, RestoreZone, StoredColumn
from pinvault.model.call import Deadline
from pinvault.model.errors import Reason, Refusal
from pinvault.model.pan import Pan
from tests.support.stored import INDEX, generations, maker, owner_of, pan_of

OLD, NEW = maker(1), maker(2)
DEVICE, _ = generations(2)
ZONE = RestoreZone(DEVICE, index=INDEX.of)
NUMBERS = st.lists(st.integers(0, 10**6 - 1), min_size=1, max_size=9, unique=True)
Damage = Callable[[bytes], bytes]


def pans(
    numbers: Sequence[int],
    ciphertexts: Sequence[bytes] | None = None,
    *,
    owners: Sequence[str] | None = None,
    indexes: Sequence[bytes] | None = None,
    key: str = "pan-store/1",
    target: str | None = "pan-store/2",
) -> list[bytes | None]:
    return ZONE.pans(
        StoredColumn(key, [OLD.pan(n) for n in numbers] if ciphertexts is None else ciphertexts),
        owners=owners or [owner_of(n) for n in numbers],
        indexes=indexes or [INDEX.of(pan_of(n)) for n in numbers],
        target=target,
        deadline=Deadline.after(10),
    )


def blocks(
    numbers: Sequence[int],
    ciphertexts: Sequence[bytes],
    *,
    stored_pans: Sequence[bytes] | None = None,
    owners: Sequence[str] | None = None,
    target: str | None = "pin-reference/2",
) -> list[bytes | None]:
    return ZONE.blocks(
        StoredColumn("pin-reference/1", ciphertexts),
        pans=StoredColumn("pan-store/1", stored_pans or [OLD.pan(n) for n in numbers]),
        owners=owners or [owner_of(n) for n in numbers],
        target=target,
        deadline=Deadline.after(10),
    )


def block(number: int, digits: bytes = b"4829") -> bytes:
    return OLD.block("pin-reference/1", number, digits=digits)


def enciphered(key: str, clear: bytes, between: bytes) -> bytes:
    """A row that holds whatever it is given, well-formed or not."""
    inner = OLD.device.encipher(key, clear, timeout=1)
    return OLD.device.encipher(key, xor(inner, between), timeout=1)


@given(NUMBERS)
def test_pans_move(numbers: list[int]) -> None:
    """Of every length, to the very ciphertext that the new version would have made."""
    assert pans(numbers) == [NEW.pan(number) for number in numbers]


@given(NUMBERS, st.lists(st.text("0123456789", min_size=4, max_size=12), min_size=9, max_size=9))
def test_pin_blocks_move(numbers: list[int], pins: list[str]) -> None:
    digits = [pin.encode() for pin in pins[: len(numbers)]]
    given = list(map(block, numbers, digits))
    wanted = [
        NEW.block("pin-reference/2", number, digits=pin)
        for number, pin in zip(numbers, digits, strict=True)
    ]
    assert blocks(numbers, given) == wanted


@given(NUMBERS, st.data())
def test_a_row_of_chance_stands_alone(numbers: list[int], data: st.DataObject) -> None:
    """Nothing is made of it, and its neighbours move."""
    at = data.draw(st.integers(0, len(numbers) - 1))
    chance = data.draw(st.binary(max_size=BLOCK_BYTES + 1))
    for column, move, made in (
        ([OLD.pan(n) for n in numbers], pans, [NEW.pan(n) for n in numbers]),
        (
            list(map(block, numbers)),
            blocks,
            [NEW.block("pin-reference/2", n) for n in numbers],
        ),
    ):
        column[at] = chance
        made[at] = None
        assert move(numbers, column) == made


@given(st.integers(0, 8 * BLOCK_BYTES - 1))
def test_every_bit_of_a_pans_clear_block_matters(bit: int) -> None:
    """But that of a digit may make another PAN: then its index is not the row's."""
    clear = stored_pan.clear_block(pan_of(5))
    changed = (int.from_bytes(clear) ^ 1 << bit).to_bytes(BLOCK_BYTES)
    bound = stored_pan.binding(owner_of(5))
    row = enciphered("pan-store/1", changed, bound)
    assert pans([5], [row]) == [None]
    assert pans([5], [enciphered("pan-store/1", clear, bound)]) == [NEW.pan(5)]


@given(st.integers(0, 63))
def test_every_bit_of_a_pin_field_is_read(bit: int) -> None:
    """As the codec of one block reads it; the random part may be anything."""
    clear = bytes.fromhex("441234AAAAAAAAAA0011223344556677")
    changed = (int.from_bytes(clear) ^ 1 << 64 + bit).to_bytes(BLOCK_BYTES)
    row = enciphered("pin-reference/1", changed, format4.pan_field(pan_of(5)))
    (made,) = blocks([5], [row])
    try:
        format4.read_pin_field(changed).wipe()
    except Malformed:
        assert made is None
    else:
        assert made is not None


def test_what_is_bound_to_another_is_left() -> None:
    others = [2, 1]
    assert pans([1, 2], owners=[owner_of(n) for n in others]) == [None, None]
    assert pans([1, 2], indexes=[INDEX.of(pan_of(n)) for n in others]) == [None, None]
    two = [block(1), block(2)]
    assert blocks([1, 2], two, owners=[owner_of(n) for n in others]) == [None, None]
    assert blocks([1, 2], two[::-1]) == [None, None]
    assert blocks([1, 2], two, stored_pans=[OLD.pan(2), OLD.pan(1)]) == [None, None]
    assert None not in blocks([1, 2], two)


def test_what_is_under_another_version_is_left() -> None:
    assert pans([1], key="pan-store/2") == [None]
    assert blocks([1], [NEW.block("pin-reference/2", 1)]) == [None]


def test_of_what_was_left_nothing_is_enciphered() -> None:
    """Zeros are in its place, and the HSM's calls tell none from the others."""
    seen: list[bytes] = []
    encipher = DEVICE.encipher

    class Watched:
        decipher = DEVICE.decipher

        def encipher(self, key: str, data: bytes, *, timeout: float) -> bytes:
            seen.append(data)
            return encipher(key, data, timeout=timeout)

    zone = RestoreZone(Watched(), index=INDEX.of)
    zone.pans(
        StoredColumn("pan-store/1", [OLD.pan(1), OLD.pan(2)]),
        owners=[owner_of(1), owner_of(1)],
        indexes=[INDEX.of(pan_of(n)) for n in (1, 2)],
        target="pan-store/2",
        deadline=Deadline.after(10),
    )
    assert len(seen) == 2
    assert seen[0] == stored_pan.clear_block(pan_of(1)) + bytes(BLOCK_BYTES)


def test_without_a_target_nothing_is_enciphered() -> None:
    DEVICE.calls.clear()
    given = [OLD.pan(1), bytes(BLOCK_BYTES)]
    assert pans([1, 2], given, target=None) == [given[0], None]
    two = [block(1), bytes(3)]
    assert blocks([1, 2], two, target=None) == [two[0], None]
    assert set(DEVICE.calls) == {"decipher"}


def test_a_token_that_is_away_leaves_no_trace() -> None:
    device, _ = generations(2)
    device.failure = HsmUnavailable
    zone = RestoreZone(device, index=INDEX.of)
    with pytest.raises(Refusal) as told:
        zone.pans(
            StoredColumn("pan-store/1", [OLD.pan(1)]),
            owners=[owner_of(1)],
            indexes=[INDEX.of(Pan("4000001234562000"))],
            target="pan-store/2",
            deadline=Deadline.after(10),
        )
    assert told.value.reason is Reason.HSM_UNAVAILABLE
    assert told.value.__context__ is None
