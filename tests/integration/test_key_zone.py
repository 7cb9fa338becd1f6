"""The key zone on a SoftHSM token: published key blocks come in, and go out again for others."""

import os
from collections.abc import Iterator
from dataclasses import replace

import pytest
from psec import tr31

from hsm import keyring, provisioning, softhsm
from hsm.device import Device
from hsm.module import Library
from pinvault.clearzone.key_block import parse_header
from pinvault.clearzone.key_zone import KeyZone, Variants
from pinvault.model import keys as model
from pinvault.model.custody import Exportability, MadeKey
from pinvault.model.errors import Reason
from pinvault.model.keys import Algorithm, Mode
from tests.integration.hsm.support import spec, use
from tests.support.key_blocks import variants_of
from tests.support.memory import folder_in_memory
from tests.unit.clearzone.key_room import SECOND, new_key, refusal_of

pytestmark = pytest.mark.filterwarnings("ignore:Two-key TripleDES")  # psec's

# TR-31:2018, A.7.4 and A.7.2.1; ISO 20038:2017, B.3; and a payShield's own.
KBPK_D = bytes.fromhex("88E1AB2A2E3DD38C1FA039A536500CC8A87AB9D62DC92C01058FA79F44657DE6")
KBPK_A = bytes.fromhex("89E88CF7931444F334BD7547FC3F380C")
KBPK_B = bytes.fromhex("DD7515F2BFC17F85CE48F3CA25CB21F6")
BLOCKS = {
    "A": (
        "A0072P0TE00E0000F5161ED902807AF26F1D62263644BD24192FDB3193C730301CEE8701",
        Algorithm.TDES_2KEY,
        "CB9DEA",
    ),
    "B": (
        "B0080P0TE00E000094B420079CC80BA3461F86FE26EFC4A3B8E4FA4C5F5341176EED7B727B8A248E",
        Algorithm.TDES_2KEY,
        "57C409",
    ),
    "D": (
        (
            "D0112P0AE00E0000B82679114F470F540165EDFBF7E250FCEA43F810D215F8D207E2E417C07156A27E8E31DA"
            "05F7425509593D03A457DC34"
        ),
        Algorithm.AES_128,
        "08793E",
    ),
}
UNDER = {
    "A": Variants(encryption="legacy-45/1", mac="legacy-4d/1"),
    "B": "kbpk-b/1",
    "D": "kbpk-d/1",
    "E": "kbpk-d/1",
}


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    """A token with protecting keys; the library is left before and after."""
    module = softhsm.find_module(os.environ)
    encryption, mac = variants_of(KBPK_A)
    with folder_in_memory() as root, pytest.MonkeyPatch.context() as patch:
        made = softhsm.prepare(root, module=module, label="keys", environ=os.environ)
        Library.load(module).close()
        use(patch, made)
        at = made.location
        entries = [
            provisioning.import_secret(at, spec("kbpk-d", "K1", "AES_256", "B"), KBPK_D),
            provisioning.import_secret(at, spec("kbpk-b", "K1", "TDES_2KEY", "B"), KBPK_B),
            provisioning.import_secret(at, spec("legacy-45", "K0", "TDES_2KEY", "D"), encryption),
            provisioning.import_secret(at, spec("legacy-4d", "M1", "TDES_2KEY", "V"), mac),
            provisioning.generate(at, spec("key-storage", "K1", "AES_256", "B")),
        ]
        opened = Device.open(at, keyring.Keyring(keys=tuple(entries)))
        yield opened
        opened.close()
        Library.load(module).close()


@pytest.fixture
def zone(device: Device) -> KeyZone:
    algorithms = {each.id: each.algorithm for each in device._serving.entries.values()}
    return KeyZone(
        device, clear_keys=True, algorithm_of=lambda each: model.Algorithm(algorithms[each])
    )


def arrived(zone: KeyZone, version: str, name: str) -> tuple[MadeKey, str | None]:
    block, algorithm, _ = BLOCKS[version]
    new = replace(new_key(algorithm, mode=Mode.E), name=name)
    return zone.import_block(
        new, block, kbpk=UNDER[version], storage="key-storage/1", timeout=5 * SECOND
    )


@pytest.mark.parametrize("version", BLOCKS)
def test_a_published_block_comes_in_and_goes_out(zone: KeyZone, version: str) -> None:
    made, kept = arrived(zone, version, f"from-{version.lower()}")
    assert made.check_value.startswith(BLOCKS[version][2])
    assert kept is not None
    for leaving, kbpk in ("B", KBPK_B), ("D", KBPK_D):
        if leaving == "B" and made.key.algorithm is Algorithm.AES_128:
            continue
        out = zone.export_block(
            kept,
            storage="key-storage/1",
            kbpk=str(UNDER[leaving]),
            version=leaving,
            check_value=made.check_value,
            timeout=5 * SECOND,
        )
        assert parse_header(out).mode == "E"
        assert len(tr31.unwrap(kbpk, out)[1]) == 16


def test_a_repeated_import_ends_the_same(zone: KeyZone) -> None:
    first, second = (arrived(zone, "D", "repeated")[0] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("algorithm", [Algorithm.TDES_3KEY, Algorithm.AES_256])
def test_a_drawn_key_goes_out_as_version_e(zone: KeyZone, algorithm: Algorithm) -> None:
    new = replace(new_key(algorithm), name=f"drawn-{algorithm.value[-1].lower()}")
    kept: list[str] = []
    made = zone.draw(
        new,
        exportability=Exportability.E,
        storage="key-storage/1",
        keep=kept.append,
        timeout=5 * SECOND,
    )
    out = zone.export_block(
        kept[0], storage="key-storage/1", kbpk="kbpk-d/1", version="E", timeout=5 * SECOND
    )
    again, _ = zone.import_block(new, out, kbpk="kbpk-d/1", storage=None, timeout=5 * SECOND)
    assert again == made


@pytest.mark.parametrize("version", BLOCKS)
def test_a_forged_block_has_one_face(zone: KeyZone, version: str) -> None:
    block, algorithm, _ = BLOCKS[version]
    forged = block[:-1] + ("0" if block[-1] != "0" else "1")
    refusal = refusal_of(
        zone.import_block,
        new_key(algorithm, mode=Mode.E),
        forged,
        kbpk=UNDER[version],
        storage=None,
        timeout=5 * SECOND,
    )
    assert (refusal.reason, refusal.cause) == (Reason.KEY_BLOCK_REFUSED, "")
