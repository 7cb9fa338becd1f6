"""What tests need on real SoftHSM tokens: known keys, and ways past the rules to plant faults."""

import ctypes
import shutil
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import pkcs11
from cryptography.hazmat.primitives.asymmetric import rsa
from pkcs11 import Attribute

from hsm import orders, softhsm, token
from hsm.attributes import KEY_TYPES
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


def copied(made: softhsm.DevelopmentToken, root: Path) -> softhsm.DevelopmentToken:
    """The same token in another place."""
    home = made.configuration.parent
    shutil.copytree(home, root)
    configuration = root / made.configuration.name
    configuration.write_text(configuration.read_text().replace(str(home), str(root)))
    location = replace(made.location, pin_file=root / made.location.pin_file.name)
    return softhsm.DevelopmentToken(location=location, configuration=configuration)


def use(monkeypatch, made):
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)


@dataclass(frozen=True)
class Provisioned:
    """A token with keys, its key ring, and a partner's private key."""

    token: softhsm.DevelopmentToken
    keyring: Keyring
    partner: rsa.RSAPrivateKey | None

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


def put(session, entry, changes):
    """A secret or public key past all rules: the template of its role, with changes."""
    operative = entry.role.operative
    return session.create_object(
        {
            Attribute.CLASS: operative,
            Attribute.KEY_TYPE: KEY_TYPES[entry.algorithm],
            **orders.template(entry, operative),
            **changes,
        }
    )


def cryptoki(location) -> ctypes.CDLL:
    """The library of this very process, for pulling the ground from under a device."""
    return ctypes.CDLL(str(location.module))


def ring(*entries: KeyEntry) -> Keyring:
    return Keyring(keys=entries)
