"""A key zone over keys in software: protecting keys of every kind, and what partners would send."""

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from psec import tr31

from hsm.vocabulary import Algorithm as HsmAlgorithm
from pinvault.clearzone.clear_key import ClearKey, bytes_of
from pinvault.clearzone.key_block import (
    RANDOM_BYTES,
    KeyBlockHeader,
    OptionalBlock,
    make_block,
    open_block,
)
from pinvault.clearzone.key_zone import KeyZone, Variants
from pinvault.model.custody import Exportability, KeyComponent, NewKey
from pinvault.model.errors import Refusal
from pinvault.model.keys import Algorithm, Mode, Usage
from tests.support.key_blocks import KeyRoom, keys_of, measured, variants_of
from tests.support.software_device import Held, held, key

SECOND = 1.0
UNDER = {"B": "kbpk-tdes-3/1", "D": "kbpk-256/1", "E": "kbpk-256/1"}
TDES = (Algorithm.TDES_2KEY, Algorithm.TDES_3KEY)
VALUES = {
    Algorithm.TDES_2KEY: bytes.fromhex("5DB50B454F8389ADCE573BE50861F2BF"),
    Algorithm.TDES_3KEY: bytes.fromhex("5DB50B454F8389ADCE573BE50861F2BF0123456789ABCDEF"),
    Algorithm.AES_128: bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8"),
    Algorithm.AES_192: bytes.fromhex("3F419E1CB7079442AA37474C2EFBF8B8") + bytes(range(8)),
    Algorithm.AES_256: bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8") * 2,
    Algorithm.HMAC_SHA256: bytes(range(32)),
}
"""A secret key of each algorithm, with odd parity where it is TDES."""
LETTERS = {"TDES": "T", "AES": "A", "HMAC": "H"}

STORAGE, WEAK_STORAGE = "key-storage/1", "key-storage-128/1"
LEGACY = Variants(encryption="legacy-45/1", mac="legacy-4d/1")
KBPKS = {
    "kbpk-tdes-2/1": ("TDES_2KEY", bytes(range(0x10, 0x20))),
    "kbpk-tdes-3/1": ("TDES_3KEY", bytes(range(0x20, 0x38))),
    "kbpk-128/1": ("AES_128", bytes(range(0x40, 0x50))),
    "kbpk-256/1": ("AES_256", bytes(range(0x60, 0x80))),
    STORAGE: ("AES_256", bytes(range(0x80, 0xA0))),
    WEAK_STORAGE: ("AES_128", bytes(range(0xA0, 0xB0))),
}
VARIANT_KBPK = bytes(range(0xC0, 0xD8))


def protecting() -> list[Held]:
    """Give every protecting key as the HSM holds it."""
    found = [
        held(key(key_id.partition("/")[0], "K1", algorithm, "B"), value)
        for key_id, (algorithm, value) in KBPKS.items()
    ]
    encryption, mac = variants_of(VARIANT_KBPK)
    found.append(held(key("legacy-45", "K0", "TDES_3KEY", "D"), encryption))
    found.append(held(key("legacy-4d", "M1", "TDES_3KEY", "V"), mac))
    return found


def zone_of(room: KeyRoom, *, clear_keys: bool = True) -> KeyZone:
    return KeyZone(room, clear_keys=clear_keys, algorithm_of=lambda each: room.algorithms()[each])


def new_key(
    algorithm: Algorithm = Algorithm.TDES_2KEY,
    *,
    usage: Usage | None = None,
    mode: Mode | None = None,
) -> NewKey:
    is_hmac = algorithm is Algorithm.HMAC_SHA256
    return NewKey(
        name="arrived",
        version=3,
        usage=usage or (Usage.M7 if is_hmac else Usage.P0),
        algorithm=algorithm,
        mode=mode or (Mode.G if is_hmac else Mode.B),
        valid_from=date(2026, 1, 1),
        valid_until=date(2027, 12, 31),
    )


def header_for(new: NewKey, version: str, exportability: str = "E", **more: object):
    blocks = (OptionalBlock("HM", "21"),) if new.usage is Usage.M7 else ()
    fields: dict[str, object] = {
        "version": version,
        "usage": new.usage.value,
        "algorithm": LETTERS[new.algorithm.value.partition("_")[0]],
        "mode": new.mode.value,
        "exportability": exportability,
        "blocks": blocks,
        **more,
    }
    return KeyBlockHeader(**fields)  # type: ignore[arg-type]


def block_of(header: KeyBlockHeader, value: bytes, kbpk: str | Variants) -> str:
    """Make a partner's key block."""
    if isinstance(kbpk, Variants):
        theirs = tr31.Header(
            header.version,
            header.usage,
            header.algorithm,
            header.mode,
            header.key_version,
            header.exportability,
        )
        return tr31.wrap(VARIANT_KBPK, theirs, value)
    keys = keys_of(KBPKS[kbpk][1], header.version)
    return make_block(header, ClearKey(value), keys, random=bytes(range(RANDOM_BYTES)))


def refusal_of(work: Callable[..., object], *arguments: Any, **named: Any) -> Refusal:
    with pytest.raises(Refusal) as caught:
        work(*arguments, **named)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None
    return caught.value


def check_value(value: bytes, algorithm: Algorithm) -> str:
    """Give the check value of a key as the HSM would."""
    return measured(value, HsmAlgorithm(algorithm.value))


def kept_in(block: str, storage: str = STORAGE) -> bytes:
    return bytes_of(open_block(block, keys_of(KBPKS[storage][1], "D"))[1])


def imported(zone: KeyZone, block: str, new: NewKey | None = None, **changes):
    fields = {"kbpk": UNDER.get(block[0], LEGACY), "storage": STORAGE, "timeout": SECOND, **changes}
    return zone.import_block(new or new_key(), block, **fields)


def exported(zone: KeyZone, kept: str, **changes: object) -> str:
    fields = {"storage": STORAGE, "kbpk": "kbpk-256/1", "version": "D", "timeout": SECOND}
    return zone.export_block(kept, **{**fields, **changes})  # type: ignore[arg-type]


def drawn(
    zone: KeyZone, new: NewKey, *, keep: Callable[[str], None] = lambda _: None, **changes: object
):
    """Draw a key; give it, and the block in which it is kept."""
    kept: list[str] = []

    def note(block: str) -> None:
        kept.append(block)
        keep(block)

    fields = {"exportability": Exportability.E, "storage": STORAGE, "timeout": SECOND}
    made = zone.draw(new, keep=note, **{**fields, **changes})  # type: ignore[arg-type]
    return made, kept[-1]


def components(*values: bytes) -> list[KeyComponent]:
    return [KeyComponent(value) for value in values]


def combined(zone: KeyZone, parts: list[bytes], new: NewKey | None = None, **changes: object):
    fields = {"variant": None, "check_value": None, "timeout": SECOND, **changes}
    return zone.combine(new or new_key(), components(*parts), **fields)  # type: ignore[arg-type]
