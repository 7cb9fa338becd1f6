"""What tests need on real SoftHSM tokens: known keys, and ways past the rules to plant faults."""

import ctypes
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date

import pkcs11
from cryptography.hazmat.primitives.asymmetric import rsa

from hsm import softhsm, token
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Usage
from hsm.module import Library
from hsm.provisioning import KeySpec

TDES_VALUE = bytes.fromhex("13345779133457791334577913345779")
TDES_3KEY_VALUE = bytes.fromhex("0123456789ABCDEFFEDCBA987654321089ABCDEF01234567")
AES_VALUE = bytes.fromhex("FA36E44278DB3AB5F298F9F7DA8F1F88")
HMAC_VALUE = bytes(range(32))
BDK_VALUE = bytes.fromhex("FEDCBA9876543210F1F1F1F1F1F1F1F1")


def spec(name, usage, algorithm, mode, **more) -> KeySpec:
    return KeySpec(
        name=name,
        version=more.pop("version", 1),
        usage=Usage(usage),
        algorithm=Algorithm(algorithm),
        mode=Mode(mode),
        valid_from=date(2026, 1, 1),
        **more,
    )


def leave_library(module):
    """Finalise the library if this process has it, so that it reads its configuration again."""
    loaded = pkcs11._loaded.get(str(module))
    if loaded is not None:
        with suppress(pkcs11.PKCS11Error):
            loaded.finalize()


def use(monkeypatch, made):
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Provisioned:
    """A token with a key of every role, its key ring, and the partner's private key."""

    token: softhsm.DevelopmentToken
    keyring: Keyring
    partner: rsa.RSAPrivateKey

    @property
    def location(self):
        return self.token.location


@contextmanager
def raw_session(location):
    """A read-write session past all rules of the package, for planting faults."""
    library = Library.load(location.module)
    session = token.open_session(token.find(library, location), location, read_write=True)
    try:
        yield session
    finally:
        token.close_session(session)
        library.close()


def cryptoki(location) -> ctypes.CDLL:
    """The library of this very process, for pulling the ground from under a device."""
    return ctypes.CDLL(str(location.module))


def ring(*entries: KeyEntry) -> Keyring:
    return Keyring(keys=entries)
