"""Key blocks beside psec's: what it makes we open, what we make it opens. It has no version E."""

import random
import string
from collections.abc import Iterator

import pytest
from psec import tr31

from pinvault.clearzone.clear_key import ClearKey, bytes_of
from pinvault.clearzone.key_block import (
    RANDOM_BYTES,
    KeyBlockHeader,
    MalformedBlock,
    OptionalBlock,
    make_block,
    open_block,
    optional,
    parse_header,
)
from tests.support.key_blocks import keys_of, opening

pytestmark = pytest.mark.filterwarnings("ignore:Two-key TripleDES")  # psec's

CASES = {"A": 500, "B": 1000, "C": 500, "D": 1000}
USAGES = ["B0", "C0", "D0", "E0", "K0", "K1", "M3", "M7", "P0", "V1", "V2"]
MODES = "BCDEGNSTVXY"
LENGTHS = {"T": (8, 16, 24), "A": (16, 24, 32), "H": (16, 32, 64), "D": (8,)}


def cases(version: str) -> Iterator[tuple[random.Random, bytes, KeyBlockHeader, bytes]]:
    rng = random.Random(f"key blocks {version}")
    for _ in range(CASES[version]):
        kbpk = rng.randbytes(rng.choice((16, 24, 32) if version == "D" else (16, 24)))
        algorithm = rng.choice("TAHD")
        yield (
            rng,
            kbpk,
            a_header(rng, version, algorithm),
            rng.randbytes(rng.choice(LENGTHS[algorithm])),
        )


def a_header(rng: random.Random, version: str, algorithm: str) -> KeyBlockHeader:
    names = rng.sample(["LB", "01", "ZZ", "CT"], rng.randrange(4))
    printable = string.digits + string.ascii_letters + string.punctuation + " "
    blocks = [
        OptionalBlock(name, "".join(rng.choices(printable, k=rng.randrange(60)))) for name in names
    ]
    if rng.random() < 0.3:
        blocks.append(OptionalBlock("KS", rng.randbytes(10).hex().upper()))
    return KeyBlockHeader(
        version=version,
        usage=rng.choice(USAGES),
        algorithm=algorithm,
        mode=rng.choice(MODES),
        key_version=rng.choice(["00", "12", "c3"]),
        exportability=rng.choice("ENS"),
        blocks=tuple(blocks),
    )


def as_psec(header: KeyBlockHeader) -> tr31.Header:
    theirs = tr31.Header(
        header.version,
        header.usage,
        header.algorithm,
        header.mode,
        header.key_version,
        header.exportability,
    )
    for block in header.blocks:
        theirs.blocks[block.name] = block.data
    return theirs


@pytest.mark.parametrize("version", CASES)
def test_what_psec_makes_we_open(version: str) -> None:
    for _, kbpk, header, key in cases(version):
        block = tr31.wrap(kbpk, as_psec(header), key)
        found, opened = open_block(block, opening(kbpk, version))
        assert found == header
        assert bytes_of(opened) == key


@pytest.mark.parametrize("version", ["B", "D"])
def test_what_we_make_psec_opens(version: str) -> None:
    for rng, kbpk, header, key in cases(version):
        fill = rng.randbytes(RANDOM_BYTES)
        block = make_block(header, ClearKey(key), keys_of(kbpk, version), random=fill)
        found, opened = tr31.unwrap(kbpk, block)
        assert opened == key
        assert str(found)[5:] == str(as_psec(header))[5:]
        # Where padding of four characters is enough, psec adds a block to it.
        longer = len(tr31.wrap(kbpk, as_psec(header), key)) - len(block)
        assert longer in ((0, header.form.block) if "PB04" in block else (0,))


LONG = "9" * 300


def test_psec_writes_a_long_length_in_half_the_digits() -> None:
    """X9.143:2022, 6.2 counts hex digits: `0004012E`, where psec counts bytes and writes `0002`."""
    header = KeyBlockHeader(
        version="D",
        usage="P0",
        algorithm="A",
        mode="B",
        exportability="E",
        blocks=(OptionalBlock("LB", LONG),),
    )
    theirs = tr31.wrap(bytes(16), as_psec(header), bytes(16))
    assert theirs[16:26] == "LB00020136"
    with pytest.raises(MalformedBlock, match="optional_blocks"):
        parse_header(theirs)
    ours = make_block(
        header, ClearKey(bytes(16)), keys_of(bytes(16), "D"), random=bytes(RANDOM_BYTES)
    )
    assert ours[16:26] == "LB00040136"
    assert parse_header(ours) == header


def test_psec_cannot_read_a_long_length_of_the_standard() -> None:
    text, count = optional.write([OptionalBlock("LB", LONG)], multiple=16)
    with pytest.raises(tr31.HeaderError):
        tr31.Header().load(f"D0016P0AB00E{count:02}00{text}")
