"""Key blocks: round trips over all that a header can say, and refusal of everything else."""

import random
import string

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pinvault.clearzone.clear_key import ClearKey, bytes_of
from pinvault.clearzone.key_block import (
    RANDOM_BYTES,
    KeyBlockHeader,
    MalformedBlock,
    OptionalBlock,
    Refused,
    header,
    make_block,
    open_block,
    optional,
    parse_header,
)
from tests.support.key_blocks import keys_of

FAMILIES = {"B": 3, "C": 0, "D": 3, "E": 7, "I": 0, "K": 4, "M": 8, "P": 1, "S": 2, "V": 5}
USAGES = [f"{one}{n}" for one, last in FAMILIES.items() for n in range(last + 1)] + ["00", "99"]
PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
NAMES = string.digits + string.ascii_uppercase
KBPK = {
    "B": [bytes(range(16)), bytes(range(24))],
    "D": [bytes(range(16)), bytes(range(24)), bytes(range(32))],
    "E": [bytes(range(16)), bytes(range(24)), bytes(range(32))],
}
KEY_BYTES = (8, 16, 24, 32, 64, 121)

bounded = settings(max_examples=60)

KNOWN = {
    "KC": ["005C9405", "01C3DBE2BB86", "00AB", "01ABCD"],
    "KP": ["012331550BC9"],
    "KS": ["00604B120F9292800000", "FFFF9876543210E0"],
    "IK": ["123456789012345A"],
    "BI": ["00FFFF987654", "0112345678"],
    "HM": ["10", "21", "33", "41"],
    "TS": ["20200818004100Z", "2020081800410023Z", "2020-08-18T00:41:00Z"],
    "TC": ["2020-08-18T00:41:00.23Z"],
}
free = st.builds(
    OptionalBlock,
    st.text(NAMES, min_size=2, max_size=2).filter(lambda n: n != "PB" and n not in optional.FORMS),
    st.text(PRINTABLE, max_size=40) | st.integers(240, 600).map(lambda n: "x" * n),
)
known = st.sampled_from([OptionalBlock(name, data) for name in KNOWN for data in KNOWN[name]])
blocks = st.lists(free | known, max_size=4, unique_by=lambda block: block.name).map(tuple)
headers = st.builds(
    KeyBlockHeader,
    version=st.sampled_from("BDE"),
    usage=st.sampled_from(USAGES),
    algorithm=st.sampled_from("ADEHRST09"),
    mode=st.sampled_from("BCDEGNSTVXY09"),
    exportability=st.sampled_from("ENS"),
    key_version=st.text(NAMES, min_size=2, max_size=2) | st.sampled_from(["00", "c0", "c9", "ca"]),
    context=st.sampled_from("012"),
    blocks=blocks,
)
keys = st.sampled_from(KEY_BYTES).flatmap(lambda size: st.binary(min_size=size, max_size=size))
fills = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


def made(head: KeyBlockHeader, key: bytes, fill: bytes = bytes(RANDOM_BYTES), size: int = 0) -> str:
    kbpk = KBPK[head.version][size % len(KBPK[head.version])]
    return make_block(head, ClearKey(key), keys_of(kbpk, head.version), random=fill)


def opens(block: str, size: int = 0) -> bool:
    try:
        version = parse_header(block).version
        if version in "AC":
            return False  # other keys: the zone refuses before it asks them
        open_block(block, keys_of(KBPK[version][size % len(KBPK[version])], version))
    except (MalformedBlock, Refused):
        return False
    return True


# Round trips


@bounded
@given(head=headers, key=keys, fill=fills, size=st.integers(0, 2))
def test_what_is_made_is_opened(head: KeyBlockHeader, key: bytes, fill: bytes, size: int) -> None:
    block = made(head, key, fill, size)
    kbpk = KBPK[head.version][size % len(KBPK[head.version])]
    found, opened = open_block(block, keys_of(kbpk, head.version))
    assert found == parse_header(block) == head
    assert [b.data for b in found.blocks] == [b.data for b in head.blocks]
    assert bytes_of(opened) == key
    assert len(block) == int(block[1:5])


@bounded
@given(head=headers, payload=st.integers(3, 500))
def test_a_header_is_written_as_it_was_read(head: KeyBlockHeader, payload: int) -> None:
    if head.form.whole_blocks:
        payload += -payload % head.form.block
    text = header.write_header(head, payload_bytes=payload)
    block = text + "AB" * (payload + head.form.mac)
    parts = header.split(block)
    assert parts.header == head
    assert parts.text.decode() == text
    assert len(text) % head.form.block == 0
    assert len(parts.payload) == payload
    assert len(parts.mac) == head.form.mac


@bounded
@given(written=blocks, multiple=st.sampled_from([8, 16]), after=st.text(NAMES, max_size=9))
def test_optional_blocks_are_read_to_where_they_end(
    written: tuple[OptionalBlock, ...], multiple: int, after: str
) -> None:
    text, count = optional.write(written, multiple=multiple)
    assert len(text) % multiple == 0
    assert count - len(written) in (0, 1)
    assert optional.read(text + after, count, multiple=multiple) == (written, len(text))


@pytest.mark.parametrize("size", [250, 251, 252, 253, 500, 4000])
def test_a_length_of_more_than_two_digits_is_told_in_digits(size: int) -> None:
    """X9.143:2022, 6.2: the length of the length counts hex digits, not bytes of two."""
    text, _ = optional.write([OptionalBlock("LB", "y" * size)], multiple=8)
    whole = size + (4 if size <= 251 else 10)
    assert text.startswith(f"LB{whole:02X}y" if size <= 251 else f"LB0004{whole:04X}y")


@pytest.mark.parametrize("width", range(1, 7))
def test_a_length_of_any_width_is_read(width: int) -> None:
    whole = 6 + width + 2
    text = f"LB00{width:02X}{whole:0{width}X}zz"
    assert optional.read(text, 1, multiple=1) == ((OptionalBlock("LB", "zz"),), len(text))


@bounded
@given(key=st.binary(min_size=16, max_size=24), fill=fills)
def test_keys_of_one_algorithm_have_blocks_of_one_length(key: bytes, fill: bytes) -> None:
    for version, algorithm in ("B", "T"), ("D", "T"), ("E", "T"), ("D", "A"), ("E", "A"):
        head = KeyBlockHeader(
            version=version, usage="P0", algorithm=algorithm, mode="B", exportability="N"
        )
        assert len(made(head, key, fill)) == len(made(head, bytes(16), fill))


# Refusal of everything else


@bounded
@given(head=headers, key=keys, seed=st.integers(0, 2**32))
def test_no_character_can_be_another(head: KeyBlockHeader, key: bytes, seed: int) -> None:
    block, rng = made(head, key), random.Random(seed)
    for at in rng.sample(range(len(block)), min(60, len(block))):
        other = rng.choice(PRINTABLE + string.ascii_letters + "\0\n\x80é٣")
        assert other == block[at] or not opens(block[:at] + other + block[at + 1 :])


@bounded
@given(head=headers, key=keys, other=headers)
def test_no_header_fits_another_payload(
    head: KeyBlockHeader, key: bytes, other: KeyBlockHeader
) -> None:
    assume(head.form == other.form)
    one, two = made(head, key), made(other, key)
    parts = header.split(one)
    text = header.write_header(other, payload_bytes=len(parts.payload))
    swapped = text + one[len(parts.text) :]
    assert opens(swapped) == (swapped in (one, two))


@bounded
@given(head=headers, key=keys, cut=st.integers(1, 200), more=st.text(PRINTABLE, min_size=1))
def test_no_block_is_shorter_or_longer(
    head: KeyBlockHeader, key: bytes, cut: int, more: str
) -> None:
    block = made(head, key)
    shorter = block[:-cut]
    for changed in shorter, block + more, block[0] + f"{len(shorter):04}" + shorter[5:]:
        assert not opens(changed)


@settings(max_examples=200)
@given(text=st.text(max_size=120) | st.text(NAMES, max_size=120))
def test_no_other_text_is_a_block(text: str) -> None:
    assert not opens(text)
    assert not opens(f"D{len(text) + 5:04}{text}")


@bounded
@given(head=headers, key=keys)
def test_a_block_opens_under_its_own_key_alone(head: KeyBlockHeader, key: bytes) -> None:
    block = made(head, key)
    with pytest.raises(Refused) as caught:
        open_block(block, keys_of(KBPK[head.version][1], head.version))
    assert caught.value.cause == ""
