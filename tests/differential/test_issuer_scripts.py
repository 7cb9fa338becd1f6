"""Visa's PIN change blocks and whole issuer scripts beside pyemv's."""

import hashlib

import pytest
from pyemv import kd, sm

from pinvault.clearzone import emv
from pinvault.clearzone.emv import ScriptToMake
from pinvault.clearzone.iso9564.fields import xor
from pinvault.clearzone.legacy import visa_pin_change
from pinvault.clearzone.pin import Pin
from pinvault.model.call import Deadline
from pinvault.model.pan import Pan
from pinvault.model.scripts import ScriptBlock, ScriptPadding, ScriptProfile
from tests.differential.cases import Case, cases, digits, read
from tests.support import dukpt as clear
from tests.support.software_device import SoftwareDevice, held, key

KEYS = {
    name: key(name, usage, "TDES_2KEY", mode)
    for name, usage, mode in (("enc", "E1", "X"), ("mac", "E2", "X"), ("ac", "E0", "X"))
}
PADDINGS = {
    ScriptPadding.NONE: sm.EncryptionType.MASTERCARD,
    ScriptPadding.LENGTH: sm.EncryptionType.VISA,
    ScriptPadding.CHAINED: sm.EncryptionType.EMV,
}

two_keys = pytest.mark.filterwarnings("ignore:(Two|Single)-key TripleDES")  # as pyemv has them


def test_visa_blocks_are_pyemvs() -> None:
    for case in cases("Visa blocks"):
        card_key, current = case.rng.randbytes(16), digits(case.rng, case.rng.randint(4, 12))
        half, pin, old = card_key[4:8], Pin(case.pin.encode()), Pin(current.encode())
        alone = sm.format_vis_pin_block(card_key, case.pin)
        assert visa_pin_change.encode(pin, udk_half=half) == alone
        assert read(visa_pin_change.decode(alone, udk_half=half)) == case.pin
        both = sm.format_vis_pin_block(card_key, case.pin, current)
        made = visa_pin_change.encode_with_current(pin, current=old, udk_half=half)
        assert made == both
        found = visa_pin_change.decode_with_current(both, current=old, udk_half=half)
        assert read(found) == case.pin


@two_keys
def test_card_keys_are_pyemvs_for_long_pans() -> None:
    """One digest in 700 has so few decimal digits that letters are taken as well."""
    with_letters = 0
    for case in cases("card keys", shortest_pan=17):
        secret, sequence = case.rng.randbytes(16), case.rng.randrange(100)
        data = emv.card_data(Pan(case.pan), sequence)
        made = clear.tdes(secret, data + xor(data, b"\xff" * 8))
        theirs = kd.derive_icc_mk_b(secret, case.pan, f"{sequence:02}")
        assert without_parity(made) == without_parity(theirs)
        numbered = f"{case.pan}{sequence:02}"
        digest = hashlib.sha1(bytes.fromhex("0" * (len(numbered) % 2) + numbered)).hexdigest()
        with_letters += sum(map(str.isdigit, digest)) < 16
    assert with_letters >= 8


def without_parity(key: bytes) -> bytes:
    """Leave out each byte's last bit, which pyemv sets and no cipher looks at."""
    return bytes(byte & 0xFE for byte in key)


@two_keys
def test_scripts_are_pyemvs() -> None:
    for case in cases("EMV scripts", shortest_pan=12):
        rng = case.rng
        secrets = {name: rng.randbytes(16) for name in KEYS}
        block, padding = rng.choice(list(ScriptBlock)), rng.choice(list(PADDINGS))
        current = digits(rng, rng.randint(4, 12))
        to_make = ScriptToMake(
            profile=ScriptProfile(
                name="any",
                block=block,
                padding=padding,
                confidentiality="enc",
                integrity="mac",
                cryptograms=None if block is ScriptBlock.ISO_2 else "ac",
            ),
            confidentiality=KEYS["enc"],
            integrity=KEYS["mac"],
            cryptograms=None if block is ScriptBlock.ISO_2 else KEYS["ac"],
            pan=Pan(case.pan),
            sequence=rng.randrange(100),
            cryptogram=rng.randbytes(8),
            message=rng.randbytes(rng.randint(1, 40)),
        )
        made = emv.make_script(
            Pin(case.pin.encode()),
            Pin(current.encode()) if block is ScriptBlock.VISA_WITH_CURRENT else None,
            to_make,
            device=SoftwareDevice(held(KEYS[name], secrets[name]) for name in KEYS),
            deadline=Deadline.after(60),
        )
        assert (made.enciphered_pin, made.mac) == expected(case, current, secrets, to_make)


def expected(
    case: Case, current: str, secrets: dict[str, bytes], to_make: ScriptToMake
) -> tuple[bytes, bytes]:
    """Give what pyemv makes of a script."""
    card = {
        name: kd.derive_icc_mk_b(secret, case.pan, f"{to_make.sequence:02}")
        for name, secret in secrets.items()
    }
    session = {name: kd.derive_common_sk(card[name], to_make.cryptogram) for name in ("enc", "mac")}
    match to_make.profile.block:
        case ScriptBlock.ISO_2:
            block = sm.format_iso9564_2_pin_block(case.pin)
        case ScriptBlock.VISA:
            block = sm.format_vis_pin_block(card["ac"], case.pin)
        case ScriptBlock.VISA_WITH_CURRENT:
            block = sm.format_vis_pin_block(card["ac"], case.pin, current)
    enciphered = sm.encrypt_command_data(session["enc"], block, PADDINGS[to_make.profile.padding])
    return enciphered, sm.generate_command_mac(session["mac"], to_make.message + enciphered)
