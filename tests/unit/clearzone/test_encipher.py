"""PIN blocks under working keys, made and read beside pydukpt and psec; and what never goes out."""

import random

import pydukpt
import pytest
from psec import pinblock

from pinvault.clearzone.dukpt import aes, tdes
from pinvault.clearzone.encipher import BlockCipher, read
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.opening import digits_of
from pinvault.clearzone.parcels import BlockToMake, SealedBlock, Transaction
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.dukpt import Dukpt
from pinvault.model.keys import Algorithm, Key
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.support import blocks
from tests.support import dukpt as clear
from tests.support.software_device import SoftwareDevice, held, key

PIN, PAN = "7392", "4111111111111111"
TDES_KSN = bytes.fromhex("FFFF9876543210E00003")
AES_KSN = bytes.fromhex("123456789012345600000003")
BASE = random.Random("base key").randbytes(16)

TDES_BASE = key("bdk-tdes", "B0", "TDES_2KEY", "X")
VARIANT = key("bdk-tdes-variant", "B0", "TDES_2KEY", "X")
AES_BASE = key("bdk", "B0", "AES_128", "X")
ZPK = key("zpk", "P0", "TDES_2KEY", "B")

UNDER_TDES = Transaction(
    dukpt=Dukpt(ksn=TDES_KSN, working_key=Algorithm.TDES_2KEY), variant=VARIANT
)
UNDER_AES = Transaction(dukpt=Dukpt(ksn=AES_KSN, working_key=Algorithm.AES_128))


@pytest.fixture
def device() -> SoftwareDevice:
    return SoftwareDevice(
        [
            held(TDES_BASE, BASE),
            held(VARIANT, xor(BASE, tdes.KEY_VARIANT)),
            held(AES_BASE, BASE),
            held(ZPK, BASE),
        ]
    )


def enciphered(device: SoftwareDevice, base: Key, form: Format, way: Transaction) -> bytes:
    target = BlockToMake(key=base, format=form, pan=Pan(PAN), transaction=way)
    return BlockCipher(device).encipher(Pin(PIN.encode()), target, Deadline.after(60))


def deciphered(
    device: SoftwareDevice, block: bytes, base: Key, form: Format, way: Transaction
) -> str:
    source = SealedBlock(key=base, format=form, pan=Pan(PAN), ciphertext=block, transaction=way)
    with read(BlockCipher(device).decipher(source, Deadline.after(60)), form, Pan(PAN)) as pin:
        return digits_of(pin).decode()


def test_a_block_under_tdes_dukpt_is_the_terminals(device: SoftwareDevice) -> None:
    transaction_key = pydukpt.derive_key(pydukpt.derive_ipek(BASE, TDES_KSN), TDES_KSN)
    field = pinblock.encode_pinblock_iso_0(PIN, PAN)
    block = clear.tdes(pydukpt.pin_key(transaction_key), field)
    assert enciphered(device, TDES_BASE, Format.ISO_0, UNDER_TDES) == block
    assert deciphered(device, block, TDES_BASE, Format.ISO_0, UNDER_TDES) == PIN


def test_a_block_under_aes_dukpt_is_the_terminals(device: SoftwareDevice) -> None:
    path = aes.path_to_pin_key(AES_KSN, base=Algorithm.AES_128, working_key=Algorithm.AES_128)
    working_key = clear.follow(BASE, path)
    block = enciphered(device, AES_BASE, Format.ISO_4, UNDER_AES)
    assert pinblock.decipher_pinblock_iso_4(working_key, block, PAN) == PIN
    theirs = pinblock.encipher_pinblock_iso_4(working_key, PIN, PAN)
    assert deciphered(device, theirs, AES_BASE, Format.ISO_4, UNDER_AES) == PIN


def test_a_tdes_working_key_is_gone_after_its_block(
    device: SoftwareDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tdes.PinKey] = []
    derive = tdes.pin_key

    def kept(ksn: bytes, **hsm: tdes.Encipher) -> tdes.PinKey:
        made.append(derive(ksn, **hsm))
        return made[-1]

    monkeypatch.setattr(tdes, "pin_key", kept)
    block = enciphered(device, TDES_BASE, Format.ISO_0, UNDER_TDES)
    deciphered(device, block, TDES_BASE, Format.ISO_0, UNDER_TDES)
    assert [pin_key._value for pin_key in made] == [b"", b""]


@pytest.mark.parametrize(
    "form", [each for each in Format if each.is_legacy or each is Format.ISO_2]
)
def test_no_pin_goes_out_in_a_format_that_is_only_read(
    device: SoftwareDevice, form: Format
) -> None:
    with pytest.raises(ValueError, match="does not go out in this format"):
        blocks.encipher(device, PIN, under=ZPK, form=form, pan=Pan(PAN))
    assert not device.calls
