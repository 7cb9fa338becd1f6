"""Every published vector of `emv.json`: issuer scripts, and translated blocks, as the zone does it.

Where a vector's block has constant fill in place of random digits, which this service never
makes, it is read and not made.
"""

from collections.abc import Mapping
from typing import Any

import pytest

from pinvault.clearzone.emv import ScriptToMake, make_script
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import BlockToMake, SealedBlock
from pinvault.clearzone.zone import ClearZone, Terms
from pinvault.model.call import Deadline
from pinvault.model.keys import Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from tests.support import blocks
from tests.support.published import Fields, Published
from tests.support.software_device import SoftwareDevice, held, key

PUBLISHED = Published("emv.json")
VECTORS, RUNNERS, runs = PUBLISHED.vectors, PUBLISHED.runners, PUBLISHED.runs

SMC = key("imk-smc", "E1", "TDES_2KEY", "X")
SMI = key("imk-smi", "E2", "TDES_2KEY", "X")
AC = key("imk-ac", "E0", "TDES_2KEY", "X")
ZPK, NEXT = (key(name, "P0", "TDES_2KEY", "B") for name in ("zpk", "next"))
# payShield's codes of the blocks, and how each method and padding of the vectors is called here.
BLOCKS = {34: ScriptBlock.ISO_2, 41: ScriptBlock.VISA}
PADDINGS = {
    ("MCHIP", "by method"): ScriptPadding.NONE,
    ("EMV_CSKD", "by method"): ScriptPadding.CHAINED,
    ("EMV_CSKD", "VSDC"): ScriptPadding.LENGTH,
}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_the_vector_holds(vector: Mapping[str, Any]) -> None:
    PUBLISHED.run(vector)


def test_every_category_has_vectors_and_each_names_its_source() -> None:
    assert {vector["category"] for vector in VECTORS} == {"emv_pin_change", "translate"}
    assert all(vector["source"] for vector in VECTORS)
    assert len({vector["id"] for vector in VECTORS}) == len(VECTORS)


def test_no_runner_waits_for_vectors_that_are_gone() -> None:
    assert set(RUNNERS) == {vector["operation"] for vector in VECTORS}


def test_every_padding_and_both_blocks_have_a_vector() -> None:
    scripts = [v["input"] for v in VECTORS if v["category"] == "emv_pin_change"]
    assert {PADDINGS[each["session_key_method"], each["padding"]] for each in scripts} == set(
        ScriptPadding
    )
    assert {BLOCKS[each["pin_format"]] for each in scripts} == set(BLOCKS.values())


@runs("script_pin_and_mac")
def _(given: Fields, expect: Fields) -> None:
    pan = Pan(given["pan"])
    device = holding(
        {SMC: given["imk_smc"], SMI: given["imk_smi"], AC: given["imk_ac"], ZPK: given["zpk"]}
    )
    block = BLOCKS[given["pin_format"]]
    cryptograms = AC if block is ScriptBlock.VISA else None
    to_make = ScriptToMake(
        profile=ScriptProfile(
            name="vector",
            block=block,
            padding=PADDINGS[given["session_key_method"], given["padding"]],
            confidentiality=SMC.name,
            integrity=SMI.name,
            cryptograms=cryptograms.name if cryptograms is not None else None,
        ),
        confidentiality=SMC,
        integrity=SMI,
        cryptograms=cryptograms,
        pan=pan,
        sequence=int(given["psn"]),
        cryptogram=bytes.fromhex(given["arqc"]),
        message=bytes.fromhex(given["apdu"]),
    )
    under_zpk = bytes.fromhex(given["new_pin_under_zpk"])
    with blocks.decipher(device, under_zpk, under=ZPK, form=Format.ISO_0, pan=pan) as new:
        assert digits_of(new).decode() == expect["new_pin"]
        made = make_script(new, None, to_make, device=device, deadline=Deadline.after(60))
    assert made.enciphered_pin.hex().upper() == expect["encrypted_pin_block"]
    assert made.mac.hex().upper() == expect["mac"]


@runs("tdes_zpk_to_zpk")
def _(given: Fields, expect: Fields) -> None:
    pan = Pan(given["pan"])
    device = holding({ZPK: given["in_key"], NEXT: given["out_key"]})
    source = SealedBlock(
        key=ZPK,
        format=Format(f"ISO_{given['in_format']}"),
        pan=pan,
        ciphertext=bytes.fromhex(given["encrypted_pin_block"]),
    )
    form = Format(f"ISO_{given['out_format']}")
    expected = bytes.fromhex(expect["encrypted_pin_block"])
    if form is Format.ISO_0:
        target = BlockToMake(key=NEXT, format=form, pan=pan)
        zone = ClearZone(device, spend=no_nonce, now=lambda: 0.0, quantum_s=0.001)
        made, _ = zone.encrypt(source, target, Terms(deadline=Deadline.after(60)))
        assert made == expected
        return
    before = blocks.decipher(device, source.ciphertext, under=ZPK, form=source.format, pan=pan)
    after = blocks.decipher(device, expected, under=NEXT, form=form, pan=None)
    with before, after:
        assert digits_of(after) == digits_of(before)


def holding(keys: Mapping[Key, str]) -> SoftwareDevice:
    return SoftwareDevice(held(each, bytes.fromhex(value)) for each, value in keys.items())


def no_nonce(nonce: bytes, *, until: float, now: float) -> bool:
    raise AssertionError("no vector spends anything")
