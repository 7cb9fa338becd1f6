"""Two tokens behind the shim, and devices that reach them through nothing else."""

import ctypes
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from hsm import provisioning, softhsm
from hsm.device import Device
from hsm.keyring import KeyEntry, Keyring
from hsm.token import TokenLocation
from tests.chaos import works
from tests.integration.hsm.support import AES_VALUE, TDES_VALUE, leave_library, spec, use
from tests.support.shim import Shim


@dataclass(frozen=True)
class Shimmed:
    """A token and its key ring."""

    shim: Shim
    environment: Mapping[str, str]
    location: TokenLocation
    keyring: Keyring


@pytest.fixture(scope="session")
def shim_before(tmp_path_factory) -> Shim:
    if shutil.which("gcc") is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("gcc is not installed")
    return Shim(tmp_path_factory.mktemp("shim"), softhsm.find_module(os.environ))


@pytest.fixture(scope="session")
def shimmed(shim_before, tmp_path_factory) -> Shimmed:
    """A TDES key to decipher, an AES key to encipher and an RSA key to open."""
    return _token(shim_before, tmp_path_factory.mktemp("few-keys"), _keys)


@pytest.fixture(scope="session")
def shimmed_works(shim_before, tmp_path_factory) -> Shimmed:
    """A key for every operation of a device."""
    return _token(shim_before, tmp_path_factory.mktemp("works"), works.keys)


def _token(
    shim: Shim, folder: Path, keys: Callable[[TokenLocation], Iterable[KeyEntry]]
) -> Shimmed:
    module = softhsm.find_module(os.environ)
    made = softhsm.prepare(folder / "token", module=module, label="chaos", environ=os.environ)
    with pytest.MonkeyPatch.context() as patch:
        use(patch, made)
        leave_library(module)
        keyring = Keyring(keys=tuple(keys(made.location)))
        leave_library(module)
    environment = {**made.environment, **shim.environment}
    return Shimmed(shim, environment, shim.in_front_of(made.location), keyring)


def _keys(at: TokenLocation):
    tdes, aes = spec("tdes", "P0", "TDES_2KEY", "D"), spec("aes", "P0", "AES_128", "E")
    yield provisioning.import_secret(at, tdes, TDES_VALUE, check_value="6FB1C8")
    yield provisioning.import_secret(at, aes, AES_VALUE, check_value=None)
    yield provisioning.generate(at, spec("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"))


@pytest.fixture
def shim(shim_before) -> Iterator[Shim]:
    shim_before.relent()
    yield shim_before
    shim_before.relent()


@pytest.fixture
def open_device(shimmed, shim, monkeypatch):
    """Opens a device through the shim; closes it when the test has ended."""
    yield from _opening(shimmed, monkeypatch)


@pytest.fixture
def open_works(shimmed_works, shim, monkeypatch):
    """As `open_device`, on the token that has a key for every operation."""
    yield from _opening(shimmed_works, monkeypatch)


def _opening(shimmed: Shimmed, monkeypatch) -> Iterator[Callable[..., Device]]:
    opened = []
    module = softhsm.find_module(os.environ)
    leave_library(module)
    for name, value in shimmed.environment.items():
        monkeypatch.setenv(name, value)

    def make(**options) -> Device:
        opened.append(Device.open(shimmed.location, shimmed.keyring, **options))
        return opened[-1]

    yield make
    shimmed.shim.relent()
    for device in opened:
        device.close()
    leave_library(shimmed.location.module)
    # A test may have lost the answer of C_Finalize, and python-pkcs11 then does not try again.
    ctypes.CDLL(str(module)).C_Finalize(None)
