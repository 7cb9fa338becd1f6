"""Batches of PIN blocks in software, and what the one-at-a-time codecs say of each item."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from pinvault.clearzone.batch.pans import PanColumn, admit
from pinvault.clearzone.batch.translate import ANY_LENGTH, Translated, translate
from pinvault.clearzone.iso9564 import format0, format1, format3, format4
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.pin import Malformed, Pin
from pinvault.model.batch import PAN_BYTES, ItemStatus
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.profiles import PinLength

_KEYS = {
    "source": bytes.fromhex("0123456789ABCDEFFEDCBA98765432100123456789ABCDEF"),
    "target": bytes.fromhex("13345779133457799BBCDFF11334577913345779133457F1"),
}
BOUND = (Format.ISO_0, Format.ISO_3, Format.ISO_4)
PAIRS = (
    *((source, target) for source in BOUND for target in BOUND),
    *((Format.ISO_1, target) for target in Format if target in {*BOUND, Format.ISO_1}),
)
ALIASED = tuple(pair for pair in PAIRS if pair[0] is not Format.ISO_4)
"""Those whose blocks may open for other PANs too."""


def ecb(side: str, block_format: Format) -> Cipher:
    value = _KEYS[side]
    return Cipher(
        algorithms.AES(value[:16]) if block_format is Format.ISO_4 else TripleDES(value),
        modes.ECB(),
    )


def packed(digits: str) -> bytes:
    """A PAN as it stands in a batch; `digits` may hold any hex character."""
    return bytes.fromhex(digits.ljust(2 * PAN_BYTES, "F"))


def clear_field(block_format: Format, pin: str, pan: str, rng: random.Random) -> bytes:
    """The PIN field before a PAN is added; for format 4 with its random half."""
    fill = "".join(rng.choices("abcdef", k=10)).encode()
    made = Pin(pin.encode())
    match block_format:
        case Format.ISO_0:
            return xor(format0.encode(made, Pan(pan)), format0.pan_field(Pan(pan)))
        case Format.ISO_1:
            return format1.encode(made, rng.randbytes(format1.RANDOM_BYTES))
        case Format.ISO_3:
            return xor(format3.encode(made, Pan(pan), fill), format3.pan_field(Pan(pan)))
    return format4.pin_field(made, rng.randbytes(format4.RANDOM_BYTES))


def seal(block_format: Format, clear: bytes, pan: str) -> bytes:
    """The PIN block of a PIN field under the key of the source."""
    cipher = ecb("source", block_format)
    match block_format:
        case Format.ISO_4:
            inner = cipher.encryptor().update(clear)
            clear = xor(inner, format4.pan_field(Pan(pan)))
        case Format.ISO_0 | Format.ISO_3:
            clear = xor(clear, format0.pan_field(Pan(pan)))
    return cipher.encryptor().update(clear)


def read(side: str, block_format: Format, block: bytes, pan: str) -> Pin:
    """Open one block by the codecs, or raise Malformed."""
    cipher = ecb(side, block_format)
    clear = cipher.decryptor().update(block)
    match block_format:
        case Format.ISO_0:
            return format0.decode(clear, Pan(pan))
        case Format.ISO_1:
            return format1.decode(clear)
        case Format.ISO_3:
            return format3.decode(clear, Pan(pan))
    inner = xor(clear, format4.pan_field(Pan(pan)))
    return format4.read_pin_field(cipher.decryptor().update(inner))


@dataclass
class Wire:
    """Both keys and a seeded generator, with a note of everything that passed."""

    source: Format
    target: Format
    seed: int = 0
    deciphered: list[bytes] = field(default_factory=list)
    enciphered: list[bytes] = field(default_factory=list)
    drawn: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(self.seed)

    def decipher(self, blocks: bytes) -> bytes:
        self.deciphered.append(blocks)
        return ecb("source", self.source).decryptor().update(blocks)

    def encipher(self, blocks: bytes) -> bytes:
        self.enciphered.append(blocks)
        return ecb("target", self.target).encryptor().update(blocks)

    def random(self, length: int) -> bytes:
        self.drawn.append(length)
        return self._rng.randbytes(length)


@dataclass(frozen=True)
class Item:
    """A PAN in hex, perhaps no PAN at all, and a PIN block."""

    pan: str
    block: bytes

    def pin(self, block_format: Format) -> str | None:
        return opened("source", block_format, self.block, self.pan)


def opened(side: str, block_format: Format, block: bytes, pan: str) -> str | None:
    try:
        with read(side, block_format, block, pan) as pin:
            return digits_of(pin).decode()
    except Malformed:
        return None


def pans_of(items: Sequence[Item], source: Format, target: Format) -> PanColumn | None:
    if not (source.carries_pan or target.carries_pan):
        return None
    return admit(
        b"".join(packed(item.pan) for item in items),
        accounts_once=source.needs_pan_rate or target.needs_pan_rate,
    )


def run(
    items: Sequence[Item],
    wire: Wire,
    pin_length: PinLength = ANY_LENGTH,
    *,
    blocks_once: bool = False,
) -> Translated:
    return translate(
        b"".join(item.block for item in items),
        pans_of(items, wire.source, wire.target),
        source=wire.source,
        target=wire.target,
        decipher=wire.decipher,
        encipher=wire.encipher,
        random=wire.random,
        pin_length=pin_length,
        blocks_once=blocks_once,
    )


def expected(
    items: Sequence[Item],
    source: Format,
    target: Format,
    pin_length: PinLength = ANY_LENGTH,
    *,
    blocks_once: bool = False,
) -> list[tuple[ItemStatus, str | None]]:
    """What the one-at-a-time codecs make of a batch: each item's status and PIN.

    An account, or with `blocks_once` a block, is taken by the first item that goes on.
    """
    seen: set[str] = set()
    shown: set[bytes] = set()
    found = []
    for item in items:
        outcome = _expected(item, source, target, pin_length, seen)
        if blocks_once and outcome[0] in {ItemStatus.DONE, ItemStatus.REFUSED}:
            if item.block in shown:
                outcome = ItemStatus.ACCOUNT_REPEATED, None
            shown.add(item.block)
        found.append(outcome)
    return found


def _expected(
    item: Item, source: Format, target: Format, pin_length: PinLength, seen: set[str]
) -> tuple[ItemStatus, str | None]:
    if source.carries_pan or target.carries_pan:
        try:
            account = Pan(item.pan).account()[4:]
        except ValueError:
            return ItemStatus.PAN_MALFORMED, None
        if account in seen and (source.needs_pan_rate or target.needs_pan_rate):
            return ItemStatus.ACCOUNT_REPEATED, None
        seen.add(account)
    pin = item.pin(source)
    if pin is None or not pin_length.allows(len(pin)):
        return ItemStatus.REFUSED, None
    return ItemStatus.DONE, pin


def outcome(
    made: Translated, items: Sequence[Item], target: Format
) -> list[tuple[ItemStatus, str | None]]:
    """Each item's status and the PIN in its new block; what is not DONE must be zeros."""
    width, found = target.block_bytes, []
    assert len(made.statuses) == len(items)
    assert len(made.blocks) == width * len(items)
    for at, (status, item) in enumerate(zip(made.statuses, items, strict=True)):
        block = made.blocks[at * width : (at + 1) * width]
        if status == ItemStatus.DONE:
            found.append((ItemStatus.DONE, opened("target", target, block, item.pan)))
        else:
            assert not any(block)
            found.append((ItemStatus(status), None))
    return found


def good_item(at: int, source: Format, rng: random.Random, *, pin: str | None = None) -> Item:
    """A well-formed item with an account of its own and a PAN of 13 to 19 digits."""
    pan = f"4{at:011d}{rng.randrange(10)}".rjust(rng.randint(13, 19), "5")
    pin = pin or "".join(rng.choices("0123456789", k=rng.randint(4, 12)))
    return Item(pan, seal(source, clear_field(source, pin, pan, rng), pan))


def good_items(count: int, source: Format, *, seed: int = 1) -> list[Item]:
    rng = random.Random(seed)
    return [good_item(at, source, rng) for at in range(count)]


def spoiled(item: Item, source: Format) -> Item:
    """The same item with a PIN field that is of no format."""
    return replace(item, block=seal(source, b"\xf4" * source.block_bytes, item.pan))
