"""Every rule of the header, each broken once, by name; and what a rule must let through."""

import pytest

from pinvault.clearzone import key_block
from pinvault.clearzone.clear_key import ClearKey
from pinvault.clearzone.key_block import (
    RANDOM_BYTES,
    KeyBlockHeader,
    MalformedBlock,
    OptionalBlock,
    header,
    make_block,
    optional,
    parse_header,
)
from tests.support.key_blocks import keys_of

HEAD = {"version": "D", "usage": "P0", "algorithm": "A", "mode": "B", "exportability": "E"}
SEALED = "AB" * 64


def block(*, blocks: str = "", count: str = "00", sealed: str = SEALED, **changes: str) -> str:
    fields = {**HEAD, "key_version": "00", "context": "0", "reserved": "0", **changes}
    tail = (
        f"{fields['usage']}{fields['algorithm']}{fields['mode']}{fields['key_version']}"
        f"{fields['exportability']}{count}{fields['context']}{fields['reserved']}{blocks}{sealed}"
    )
    return f"{fields['version']}{changes.get('length', f'{len(tail) + 5:04}')}{tail}"


def with_blocks(*texts: str, count: int | None = None) -> str:
    return block(blocks="".join(texts), count=f"{len(texts) if count is None else count:02}")


PAD = "PB0E0123456789"
KS = "KS1800604B120F9292800000"

BROKEN = {
    "empty": ("", "length"),
    "only a version": ("D", "length"),
    "shorter than a header": ("D0015P0AB00E000", "length"),
    "length too short": (block(length="0100"), "length"),
    "length not decimal": (block(length="00A0"), "length"),
    "length in other digits": (block(length="٠١٤٤"), "length"),
    "length signed": (block(length="+144"), "length"),
    "version F": (block(version="F"), "version"),
    "version of an agreement": (block(version="0"), "version"),
    "version in small": (block(version="d"), "version"),
    "usage unknown": (block(usage="P2"), "usage"),
    "usage in small": (block(usage="p0"), "usage"),
    "algorithm unknown": (block(algorithm="X"), "algorithm"),
    "mode unknown": (block(mode="A"), "mode"),
    "key version with a sign": (block(key_version="-1"), "key_version"),
    "key version in small": (block(key_version="a1"), "key_version"),
    "component without a number": (block(key_version="c "), "key_version"),
    "exportability unknown": (block(exportability="X"), "exportability"),
    "exportability of an agreement": (block(exportability="1"), "exportability"),
    "number of blocks not decimal": (block(count="0A"), "optional_blocks"),
    "number of blocks in other digits": (block(count="٣٤"), "optional_blocks"),
    "context unknown": (block(context="3"), "context"),
    "reserved used": (block(reserved="1"), "reserved"),
    "payload in small": (block(sealed=SEALED.lower()), "payload"),
    "payload not hex": (block(sealed="G" + SEALED[1:]), "payload"),
    "payload with a space": (block(sealed=SEALED[:-2] + " A"), "payload"),
    "payload of half a byte": (block(sealed=SEALED[1:]), "payload"),
    "payload of half a block": (block(sealed=SEALED[:-16]), "payload"),
    "no payload": (block(sealed="AB" * 16), "payload"),
    "no MAC": (block(sealed=""), "payload"),
    "payload of a length only, counted": (block(version="E", sealed="AB" * 18), "payload"),
    "block missing": (with_blocks(count=1), "optional_blocks"),
    "name in small": (with_blocks("lb10" + "x" * 12), "optional_blocks"),
    "length in small hex": (with_blocks("LB0c" + "x" * 8), "optional_blocks"),
    "length not hex": (with_blocks("LBG0" + "x" * 12), "optional_blocks"),
    "length shorter than itself": (with_blocks("LB03", "x" * 12), "optional_blocks"),
    "length beyond the end": (with_blocks("LBFF" + "x" * 12), "optional_blocks"),
    "long length of no digits": (with_blocks("LB0000" + "x" * 10), "optional_blocks"),
    "long length in bytes": (with_blocks("LB00020010" + "x" * 6), "optional_blocks"),
    "long length shorter than itself": (with_blocks("LB00040009" + "x" * 6), "optional_blocks"),
    "long length of too few digits": (with_blocks("LB00FF10" + "x" * 8), "optional_blocks"),
    "not whole blocks": (with_blocks("LB0Cxxxxxxxx"), "optional_blocks"),
    "not whole blocks of AES": (with_blocks(KS), "optional_blocks"),
    "a name twice": (with_blocks("LB08xxxx", "LB08yyyy"), "optional_blocks"),
    "padding twice": (with_blocks("PB08xxxx", "PB08xxxx"), "optional_blocks"),
    "padding before others": (with_blocks("PB08xxxx", "LB08yyyy"), "optional_blocks"),
    "not printable": (with_blocks("LB10" + "x" * 11 + "\n"), "optional_blocks.LB"),
    "not ASCII": (with_blocks("LB10" + "x" * 11 + "é"), "optional_blocks.LB"),
    "check value of no kind": (with_blocks("KC10020123456789"), "optional_blocks.KC"),
    "check value too long": (with_blocks("KP10000123456789"), "optional_blocks.KP"),
    "check value of the exporting key": (with_blocks("PK10020123456789"), "optional_blocks.PK"),
    "time of creation in words": (with_blocks("TC10" + "long ago now"), "optional_blocks.TC"),
    "check value empty": (with_blocks("KC06" + "00", "LB0Axxxxxx"), "optional_blocks.KC"),
    "key serial number of nine bytes": (with_blocks("KS16" + "0" * 18, PAD), "optional_blocks.KS"),
    "hash unknown": (with_blocks("HM0650", "LB0Axxxxxx"), "optional_blocks.HM"),
    "initial key of six bytes": (with_blocks("IK10" + "0" * 12), "optional_blocks.IK"),
    "base key of the other kind": (with_blocks("BI10" + "01" + "0" * 10), "optional_blocks.BI"),
    "time of no zone": (with_blocks("TS1320200818004100A", "LB0D" + "x" * 9), "optional_blocks.TS"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_wrong_is_named_and_not_repeated(name: str) -> None:
    text, part = BROKEN[name]
    with pytest.raises(MalformedBlock) as caught:
        parse_header(text)
    assert caught.value.part == part
    assert str(caught.value) == f"{part}: {caught.value.rule}"
    assert caught.value.rule in RULES
    assert caught.value.__context__ is None


RULES = {rule for _, _, rule in header._WORDS} | {
    "not that of the block",
    "not 0",
    "their number is not two digits",
    "payload and MAC are not capital hex digits",
    "not of a length that a payload can have",
    "a name is two capitals or digits",
    "the data have not their form",
    "a name stands twice",
    "padding is not the last",
    "together they are not whole blocks of the cipher",
    "a length is not that of its block",
    "a length is not capital hex digits",
}


def test_what_is_sealed_is_told_to_be_short_or_no_digits() -> None:
    for sealed, rule in ("", "not of a length"), ("GG", "not capital hex digits"):
        with pytest.raises(MalformedBlock, match=rule):
            parse_header(block(sealed=sealed))


def test_a_refusal_holds_its_cause_and_nothing_else() -> None:
    refused = key_block.Refused("payload")
    assert (refused.cause, refused.args, str(refused)) == ("payload", (), "")


WELL_FORMED = {
    "plain": block(),
    "usage of an agreement": block(usage="07"),
    "algorithm of an agreement": block(algorithm="7"),
    "mode of an agreement": block(mode="7"),
    "component": block(key_version="c2"),
    "letters as key version": block(key_version="A9"),
    "storage context": block(context="1"),
    "padding alone": with_blocks("PB10" + "~" * 12),
    "padding after": with_blocks(KS, "PB08 !~z"),
    "long length": with_blocks("LB00040010" + "x" * 6),
    "data of nothing": with_blocks("LB04", "ZZ0C" + "x" * 8),
    "payload counted to the byte": block(version="E", sealed="AB" * 19),
    "shortest payload": block(version="B", sealed="AB" * 16),
    "legacy": block(version="A", sealed="AB" * 12),
}


@pytest.mark.parametrize("name", WELL_FORMED)
def test_what_the_standard_allows_is_read(name: str) -> None:
    text = WELL_FORMED[name]
    parts = header.split(text)
    assert parts.text.decode() + (parts.payload + parts.mac).hex().upper() == text


def test_a_header_does_not_show_what_is_sealed_or_said_in_optional_blocks() -> None:
    parts = header.split(with_blocks("LB10" + "secret label"))
    for shown in repr(parts), repr(parts.header):
        assert r"\xab" not in shown
        assert "secret" not in shown


def test_what_can_be_read_can_be_built_and_nothing_else() -> None:
    assert KeyBlockHeader(**HEAD).optional("KC") is None
    for field, wrong in {"version": "F", "usage": "XX", "mode": "", "context": "00"}.items():
        with pytest.raises(MalformedBlock, match=f"^{field}: "):
            KeyBlockHeader(**{**HEAD, field: wrong})
    same = OptionalBlock("LB", "x")
    for blocks in (same, same), (OptionalBlock("PB", "0"),):
        with pytest.raises(MalformedBlock, match=r"^optional_blocks: "):
            KeyBlockHeader(**HEAD, blocks=blocks)


def test_a_block_is_not_longer_than_its_length_can_say() -> None:
    long = KeyBlockHeader(**HEAD, blocks=(OptionalBlock("LB", "x" * 9830),))
    assert header.write_header(long, payload_bytes=48)[1:5] == "9984"
    longer = KeyBlockHeader(**HEAD, blocks=(OptionalBlock("LB", "x" * 9831),))
    with pytest.raises(MalformedBlock, match=r"^optional_blocks: too many or too long"):
        header.write_header(longer, payload_bytes=48)


def test_there_are_at_most_99_optional_blocks() -> None:
    names = [f"{n:02}" for n in range(99)]
    most = tuple(OptionalBlock(name, "x" * 12) for name in names)
    assert header.write_header(KeyBlockHeader(**HEAD, blocks=most), payload_bytes=48)[12:14] == "99"
    text = header.write_header(KeyBlockHeader(**HEAD, blocks=most), payload_bytes=48)
    assert parse_header(text + "AB" * 64).blocks == most
    padded = (*most[:98], OptionalBlock("98", "x" * 11))
    with pytest.raises(MalformedBlock, match="too many or too long"):
        header.write_header(KeyBlockHeader(**HEAD, blocks=padded), payload_bytes=48)


@pytest.mark.parametrize("lacking", range(16))
def test_padding_is_the_least_that_does(lacking: int) -> None:
    text, count = optional.write([OptionalBlock("LB", "x" * (28 - lacking))], multiple=16)
    assert (count, len(text)) == ((1, 32) if not lacking else (2, 48 if lacking < 4 else 32))


def test_legacy_versions_are_not_made_and_fill_is_whole() -> None:
    for version, fill in ("A", RANDOM_BYTES), ("C", RANDOM_BYTES), ("D", RANDOM_BYTES - 1):
        head = KeyBlockHeader(**{**HEAD, "version": version})
        with pytest.raises(ValueError, match="takes all its random bytes"):
            make_block(head, ClearKey(bytes(16)), keys_of(bytes(16), "D"), random=bytes(fill))


class OpenKeys:
    """Keys that hide nothing, to see what a payload is made of."""

    def mac(self, data: bytes) -> bytes:
        return bytes(16)

    def encipher(self, data: bytes, *, iv: bytes) -> bytes:
        return data


def test_the_shortest_key_takes_all_the_fill() -> None:
    fill = bytes(range(100, 100 + RANDOM_BYTES))
    made = make_block(KeyBlockHeader(**HEAD), ClearKey(b"k"), OpenKeys(), random=fill)
    assert bytes.fromhex(made[16:-32]) == b"\0\x08k" + fill
    assert len(made) == int(made[1:5]) == 16 + 2 * (48 + 16)


def test_the_package_gives_what_it_names() -> None:
    assert all(hasattr(key_block, name) for name in key_block.__all__)
