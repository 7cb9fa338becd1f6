"""Attack: get at keys, or at the use of keys, by way of the verbs that change them.

The attacker keeps keys for a partner and has a certificate: it may import that partner's keys and
export them to that partner. It knows the partner's KBPKs and every key block that it has seen.
"""

import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from psec import des, tr31

import pinvault
from pinvault.audit.record import encode
from pinvault.v1 import key_pb2 as pb
from pinvault.v1 import resources_pb2 as rs
from tests.support import core
from tests.support.core import KeyBlocks
from tests.support.keeper import (
    BLOCKS,
    OAEP,
    OTHER_KBPK,
    TDES_KBPK,
    WEAK_KBPK,
    Keeper,
    block_of,
    keeper,
    tdes_key,
)


@pytest.fixture
def thief(tmp_path: Path) -> Keeper:
    return keeper(tmp_path)


# Without a row


def test_two_rows_do_not_make_one(thief: Keeper) -> None:
    block = block_of(tdes_key(), kbpk=OTHER_KBPK)
    before = thief.keys()
    for told in (
        thief.brings(block, "zpk-acme", "kbpk-other"),
        thief.brings(block, "zpk-other", "kbpk-acme"),
        thief.brings(block, "zpk-terminal", "kbpk-acme"),
        thief.wraps(tdes_key(), "zpk-other"),
        thief.wraps(tdes_key(), "zpk-acme", wrapping_key="pin-seal"),
        thief.takes("zpk-acme", "kbpk-other"),
        thief.ask(pb.RotateKeyRequest(key="zpk-terminal")),
        thief.ask(pb.RetireKeyRequest(key="zpk-terminal/1", check_value="000000")),
    ):
        assert told.reason == "KEY_NOT_GRANTED"
        assert not told.hsm
    assert thief.keys() == before


def test_what_is_not_granted_is_not_told_to_exist(thief: Keeper) -> None:
    faces = [
        thief.brings(block_of(tdes_key()), name, "kbpk-acme").face
        for name in ("zpk-terminal", "zpk-no-such", "pvk")
    ]
    assert len({repr(face) for face in faces}) == 1


def test_a_name_that_is_granted_and_not_awaited_does_not_come(tmp_path: Path) -> None:
    rows = (frozenset({"zpk-new", "kbpk-acme", "transport"}),)
    thief = keeper(tmp_path, KeyBlocks(rows=rows))
    for told in (thief.brings(block_of(tdes_key()), "zpk-new"), thief.wraps(tdes_key(), "zpk-new")):
        assert (told.reason, told.hsm) == ("KEY_UNKNOWN", ())


# Another purpose


@pytest.mark.parametrize(
    "other",
    [
        *({"usage": usage} for usage in ("D0", "K0", "K1", "B0", "M3", "V2", "E0")),
        *({"mode": mode} for mode in ("E", "D", "N", "X")),
        {"algorithm": "A"},
        {"algorithm": "H"},
    ],
    ids=lambda other: "-".join(*other.items()),
)
def test_a_key_of_another_purpose_does_not_come(thief: Keeper, other: dict[str, str]) -> None:
    value = tdes_key() if other.get("algorithm") != "H" else secrets.token_bytes(24)
    told = thief.brings(block_of(value, **other))
    assert told.reason in {"KEY_USAGE_MISMATCH", "KEY_BLOCK_MALFORMED"}
    assert not told.hsm


@pytest.mark.parametrize("place", range(16))
def test_a_header_that_was_changed_on_its_way_is_not_believed(thief: Keeper, place: int) -> None:
    """Usage, algorithm, mode and exportability among them: N becomes no E."""
    block = block_of(tdes_key(), exportability="N")
    for letter in "0159ABCDEKNPTVX":
        if letter == block[place]:
            continue
        told = thief.brings(block[:place] + letter + block[place + 1 :])
        refusals = {"KEY_BLOCK_REFUSED", "KEY_BLOCK_MALFORMED", "KEY_USAGE_MISMATCH"}
        assert told.reason in refusals | {"REQUEST_INVALID"}
        assert "load_secret" not in dict(told.hsm)


@pytest.mark.parametrize(
    "changes",
    [
        {"usage": pb.KEY_USAGE_K1_KEY_BLOCK_PROTECTION},
        {"algorithm": rs.KEY_ALGORITHM_TDES_2KEY},
        {"mode_of_use": pb.KEY_MODE_OF_USE_E_ENCIPHER},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_cryptogram_is_taken_only_for_what_is_awaited(
    thief: Keeper, changes: dict[str, object]
) -> None:
    told = thief.wraps(tdes_key(), **changes)
    assert (told.reason, told.hsm) == ("KEY_USAGE_MISMATCH", ())


# The same key twice


def flipped_parity(value: bytes) -> bytes:
    return bytes(byte ^ 1 for byte in value)


@pytest.mark.parametrize("again", [bytes, flipped_parity], ids=["as it is", "other parity bits"])
def test_a_key_does_not_come_by_two_names(thief: Keeper, again: Callable[[bytes], bytes]) -> None:
    value = tdes_key()
    assert thief.brings(block_of(value)).reason == "OK"
    before = thief.keys()
    for told in (
        thief.brings(block_of(again(value)), "zpk-acme-2"),
        thief.brings(block_of(again(value), kbpk=TDES_KBPK, version="B"), kbpk="kbpk-acme-tdes"),
        thief.wraps(again(value), "zpk-acme-2"),
    ):
        assert told.reason == "KEY_ALREADY_EXISTS"
        assert "load_secret" not in dict(told.hsm)
    assert thief.keys() == before


def test_a_service_s_key_does_not_come_as_the_attacker_s(thief: Keeper) -> None:
    """Whoever learnt a terminal's zone key cannot have it here under a name and rows of his own."""
    terminal = thief.core.zone_keys["zpk-terminal"]
    told = thief.brings(block_of(terminal))
    assert told.reason == "KEY_ALREADY_EXISTS"


def test_an_old_key_block_does_not_bring_an_old_key_back(thief: Keeper) -> None:
    old = block_of(tdes_key())
    assert thief.brings(old).reason == "OK"
    assert thief.brings(block_of(tdes_key())).reason == "OK"
    first = thief.core.book.directory().find("zpk-acme/1", field="")
    retire = pb.RetireKeyRequest(key="zpk-acme/1", check_value=first.check_value)
    assert thief.brings(old).reason == "KEY_ALREADY_EXISTS"
    assert thief.ask(retire).reason == "OK"
    assert thief.brings(old).reason == "KEY_ALREADY_EXISTS"
    assert thief.ask(retire).reason == "KEY_STATE"


# Out of the vault


def test_a_key_that_may_not_go_out_does_not(thief: Keeper) -> None:
    assert thief.brings(block_of(tdes_key(), exportability="N")).reason == "OK"
    assert thief.wraps(tdes_key(), "zpk-acme-2").reason == "OK"
    for name in ("zpk-acme", "zpk-acme-2", "kbpk-acme-128", "index"):
        told = thief.takes(name)
        assert (told.reason, told.hsm) == ("KEY_NOT_EXPORTABLE", ())
    assert thief.ask(pb.RotateKeyRequest(key="zpk-acme", exportable=True)).reason in {
        "KEY_NOT_EXPORTABLE",
        "KEY_CHANGE_REFUSED",
    }


@pytest.mark.parametrize(
    ("kbpk", "version"),
    [
        ("kbpk-acme-128", "D"),
        ("kbpk-acme-128", "E"),
        ("kbpk-acme-tdes", "B"),
        ("kbpk-acme-tdes", "D"),
        ("kbpk-acme", "B"),
        ("storage", "D"),
        ("transport", "D"),
        ("zpk-acme", "D"),
    ],
)
def test_a_key_does_not_go_out_under_a_weaker_or_another_key(
    thief: Keeper, kbpk: str, version: str
) -> None:
    block = block_of(secrets.token_bytes(32), algorithm="A")
    assert thief.brings(block, "zpk-acme-aes").reason == "OK"
    told = thief.takes("zpk-acme-aes", kbpk, version)
    assert told.reason in {"KEY_USAGE_MISMATCH", "KEY_UNKNOWN"}
    assert not told.answer


def test_a_strong_key_does_not_come_under_a_weak_one(thief: Keeper) -> None:
    block = block_of(secrets.token_bytes(32), algorithm="A", kbpk=WEAK_KBPK)
    told = thief.brings(block, "zpk-acme-aes", "kbpk-acme-128")
    assert (told.reason, told.hsm) == ("KEY_USAGE_MISMATCH", ())


def test_a_stored_key_block_of_another_key_does_not_go_out(thief: Keeper) -> None:
    """With write access to the folder of key blocks: rename the file of a key not granted."""
    assert thief.brings(block_of(tdes_key())).reason == "OK"
    other = block_of(tdes_key(), kbpk=OTHER_KBPK)
    assert thief.brings(other, "zpk-other", "kbpk-other").reason == "OK"
    blocks = thief.core.book.blocks
    blocks["zpk-acme/1"] = blocks["zpk-other/1"]
    told = thief.takes("zpk-acme")
    assert (told.reason, told.answer) == ("KEY_CHANGE_REFUSED", b"")


def test_a_stored_key_block_does_not_come_back_in(thief: Keeper) -> None:
    """With read access to the folder: under the storage key, or under any other."""
    assert thief.brings(block_of(tdes_key())).reason == "OK"
    stored = thief.core.book.blocks["zpk-acme/1"]
    for kbpk in ("storage", "kbpk-acme"):
        told = thief.brings(stored, "zpk-acme-2", kbpk)
        assert told.reason in {"KEY_USAGE_MISMATCH", "KEY_BLOCK_REFUSED"}


# One face


def test_whatever_is_wrong_inside_a_key_block_looks_the_same(thief: Keeper) -> None:
    block = block_of(tdes_key())
    wrong = [
        block_of(tdes_key(), kbpk=OTHER_KBPK),
        *(
            block[:at] + f"{int(block[at], 16) ^ 1:X}" + block[at + 1 :]
            for at in range(16, len(block), 7)
        ),
        block_of(b"\x01" * 24),
        block_of(tdes_key()[:16]),
    ]
    told = [thief.brings(each) for each in wrong]
    assert {each.reason for each in told} == {"KEY_BLOCK_REFUSED"}
    assert len({repr(each.face) for each in told}) == 1
    assert len({each.hsm for each in told}) == 1


def test_whatever_is_wrong_with_a_cryptogram_looks_the_same(thief: Keeper) -> None:
    value = tdes_key()
    good = core.private_key("transport").public_key().encrypt(value, OAEP)
    wrong = [
        good[:-1] + bytes([good[-1] ^ 1]),
        bytes(256),
        bytes(300),
        good + bytes(1),
        core.private_key("pin-seal").public_key().encrypt(value, OAEP),
        core.private_key("transport").public_key().encrypt(value[:16], OAEP),
    ]
    told = [thief.wraps(value, wrapped_key=each) for each in wrong]
    assert {each.reason for each in told} == {"KEY_CRYPTOGRAM_REFUSED"}
    assert len({repr(each.face) for each in told}) == 1


def test_a_cryptogram_of_another_key_than_was_told_is_not_loaded(thief: Keeper) -> None:
    before = thief.keys()
    told = thief.wraps(tdes_key(), check_value="ABCDEF")
    assert told.reason == "KEY_CHECK_VALUE_MISMATCH"
    assert thief.keys() == before


# The service's own keys, and clear keys that are off


def test_the_service_s_own_keys_are_not_for_keepers(thief: Keeper) -> None:
    index = thief.core.book.directory().find("index", field="")
    for told in (
        thief.ask(pb.RotateKeyRequest(key="index")),
        thief.ask(pb.RetireKeyRequest(key="index/1", check_value=index.check_value)),
        thief.brings(
            block_of(secrets.token_bytes(32), usage="M7", algorithm="H", mode="G"), "index"
        ),
    ):
        assert (told.reason, told.hsm) == ("KEY_CHANGE_REFUSED", ())


def test_while_clear_keys_are_off_no_key_block_is_even_looked_at(tmp_path: Path) -> None:
    thief = keeper(tmp_path, KeyBlocks(clear_keys=False, awaited=BLOCKS.awaited, rows=BLOCKS.rows))
    faces = {
        repr(thief.brings(block).face)
        for block in (block_of(tdes_key()), block_of(tdes_key(), usage="D0"), "X" * 40)
    }
    assert len(faces) == 1
    assert "KEY_BLOCKS_OFF" in faces.pop()
    assert thief.wraps(tdes_key()).reason == "OK"  # the token opens those by itself


# Leaks


HOME = str(Path(pinvault.__file__).parent)
ZONE = str(Path(HOME, "clearzone"))


@contextmanager
def locals_outside_the_zone(secret: bytes, found: set[str]) -> Iterator[None]:
    """Note which functions of ours outside the clear zone hold a key, as bytes or in hex."""
    forms = (secret, secret.hex().encode(), secret.hex().upper().encode(), repr(secret).encode())

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if event == "return" and name.startswith(HOME) and not name.startswith(ZONE):
            for each in frame.f_locals.values():
                shown = bytes(each) if isinstance(each, bytes | bytearray) else repr(each).encode()
                found.update(name for form in forms if form in shown)
        return trace

    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(None)


def test_no_key_is_outside_the_clear_zone_and_no_key_block_in_what_remains(thief: Keeper) -> None:
    value = tdes_key()
    block = block_of(value)
    held: set[str] = set()
    with locals_outside_the_zone(value, held):
        brought, taken = thief.brings(block), thief.takes("zpk-acme", "kbpk-acme-tdes", "B")
        refused = thief.brings(block[:-1] + ("1" if block[-1] != "1" else "2"))
    assert held == set()
    assert [each.reason for each in (brought, taken, refused)] == ["OK", "OK", "KEY_BLOCK_REFUSED"]
    exported = pb.ExportKeyBlockResponse.FromString(taken.answer).key_block
    assert tr31.unwrap(TDES_KBPK, exported)[1] == value
    written = b"".join(
        [
            thief.log.getvalue().encode(),
            *(encode(record) + repr(record).encode() for record in thief.core.log.records),
            repr((brought, taken.face, refused.face)).encode(),
        ]
    )
    for secret in (
        block,
        exported,
        block[16:64],
        exported[16:64],
        value.hex(),
        value.hex().upper(),
    ):
        assert secret.encode() not in written
    assert value not in written


def test_the_record_says_which_keys_took_part(thief: Keeper) -> None:
    value = tdes_key()
    thief.brings(block_of(value))
    thief.takes("zpk-acme")
    imported, exported = thief.core.log.records[-2:]
    expected = des.generate_kcv(value, 3).hex().upper()
    assert [use.key for use in imported.keys] == ["kbpk-acme/1", "zpk-acme/1"]
    assert imported.keys[1].check_value == expected
    assert [use.key for use in exported.keys] == ["zpk-acme/1", "kbpk-acme/1"]
