"""A SoftHSM token of its own for the façade, and a client on it."""

import os
from dataclasses import dataclass

import pytest

from hsm import softhsm
from hsm.module import Library
from hsm.pyhsm.hsmclient import HsmClient
from tests.integration.hsm.support import use


@dataclass(frozen=True, repr=False)
class At:
    """What every script of py-hsm's is told: -slot, -pin and -p11."""

    slot: int
    pin: str
    officers_pin: str
    module: str

    def client(self) -> HsmClient:
        return HsmClient(slot=self.slot, pin=self.pin, pkcs11_lib=self.module)


@pytest.fixture(scope="module")
def at(tmp_path_factory):
    module = softhsm.find_module(os.environ)
    root = tmp_path_factory.mktemp("softhsm") / "pyhsm"
    made = softhsm.prepare(root, module=module, label="pyhsm", environ=os.environ)
    with pytest.MonkeyPatch.context() as patch:
        Library.load(module).close()
        use(patch, made)
        with HsmClient(pkcs11_lib=str(module)) as client:
            (slot,) = [s for s in client.get_slot_info() if s.label == "pyhsm"]
        pins = (root.joinpath(f"{role}.pin").read_text().strip() for role in ("user", "so"))
        yield At(int(slot.slotNumber), *pins, str(module))
        Library.load(module).close()


@pytest.fixture(scope="module")
def client(at):
    """One client for a whole file, since a process logs in to a token once."""
    with at.client() as opened:
        yield opened
