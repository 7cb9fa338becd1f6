"""Every published vector of `key_blocks.json`: what opens, what must not, and derived keys."""

from collections.abc import Mapping
from typing import Any

import pytest

from hsm.vocabulary import Algorithm, Family
from pinvault.clearzone.clear_key import ClearKey, bytes_of, check_value_of
from pinvault.clearzone.key_block import (
    RANDOM_BYTES,
    KeyBlockHeader,
    MalformedBlock,
    Refused,
    agreement,
    make_block,
    open_block,
    parse_header,
)
from tests.support import key_blocks
from tests.support.key_blocks import keys_of, opening
from tests.support.published import Fields, Published

PUBLISHED = Published("key_blocks.json")
VECTORS, RUNNERS, runs = PUBLISHED.vectors, PUBLISHED.runners, PUBLISHED.runs
BITS = {each.bits for each in Algorithm if each.family in (Family.TDES, Family.AES)}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    PUBLISHED.run(vector)


def test_every_vector_names_its_source_and_no_runner_waits_for_one_that_is_gone() -> None:
    assert all(vector["source"] for vector in VECTORS)
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS) == 33
    assert set(RUNNERS) == {vector["operation"] for vector in VECTORS}
    made = {v["input"]["key_block"][0] for v in VECTORS if v["operation"] == "unwrap"}
    assert made == set("ABCDE")


@runs("unwrap")
def _(given: Fields, expect: Fields) -> None:
    kbpk, block = bytes.fromhex(given["kbpk"]), given["key_block"]
    header, key = open_block(block, opening(kbpk, block[0]))
    assert header == parse_header(block)
    for told, found in {
        "version": header.version,
        "usage": header.usage,
        "algorithm": header.algorithm,
        "mode": header.mode,
        "key_version": header.key_version,
        "exportability": header.exportability,
    }.items():
        assert found == expect[told]
    for told in expect.get("optional_blocks", []):
        beginning = told["data"].partition("...")[0]
        assert told["id"] == "PB" or (header.optional(told["id"]) or "").startswith(beginning)
    assert bytes_of(key).hex().upper() == expect["key"]
    if "kcv" in expect:
        algorithm = agreement.algorithm_in(header, key)
        assert algorithm is not None
        assert check_value_of(key, algorithm).startswith(expect["kcv"])
    if header.version in "BDE":
        again = make_block(header, key, keys_of(kbpk, header.version), random=bytes(RANDOM_BYTES))
        assert bytes_of(open_block(again, keys_of(kbpk, header.version))[1]) == bytes_of(key)


@runs("unwrap_must_fail")
def _(given: Fields, expect: Fields) -> None:
    kbpk, block = bytes.fromhex(given["kbpk"]), given["key_block"]
    if expect["error"].startswith("KBPK length"):
        assert len(kbpk) * 8 not in BITS  # no such key is in the HSM
        return
    after_the_mac = expect["error"].startswith("Decrypted key")
    with pytest.raises(Refused if after_the_mac else MalformedBlock) as caught:
        open_block(block, opening(kbpk, block[0]))
    if isinstance(caught.value, Refused):
        assert caught.value.cause == "payload"


@runs("derive_kbek_kbak")
def _(given: Fields, expect: Fields) -> None:
    """The HSM derives them; here it is its double in the tests that is held to the vectors."""
    kbpk, version = bytes.fromhex(given["kbpk"]), given["version"]
    derive = key_blocks.variants_of if version in "AC" else None
    found = derive(kbpk) if derive else key_blocks.derive(kbpk, version)
    assert [key.hex().upper() for key in found] == [expect["kbek"], expect["kbak"]]


def test_a_made_block_hides_the_length_of_its_key() -> None:
    """So long are the standard's own blocks of keys of 16 bytes (X9.143:2021, 8.4.2 and others)."""
    lengths = {("B", "T", 16): 96, ("D", "A", 16): 144, ("D", "T", 16): 112, ("E", "A", 16): 116}
    lengths |= {("E", "T", 16): 100, ("E", "T", 24): 100, ("E", "D", 8): 100, ("E", "H", 32): 116}
    for (version, algorithm, size), length in lengths.items():
        made = make_block(
            KeyBlockHeader(
                version=version, usage="P0", algorithm=algorithm, mode="E", exportability="E"
            ),
            ClearKey(bytes(range(size))),
            keys_of(bytes(range(16)), version),
            random=bytes(RANDOM_BYTES),
        )
        assert len(made) == int(made[1:5]) == length
