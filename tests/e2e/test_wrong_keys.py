"""The real start on a token with wrong keys: it ends with 2, and names each key and its fault.

That every change of every key is seen is the business of integration/hsm/test_every_mutation.py;
here it is one of each kind.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from pkcs11 import Attribute, KeyType, ObjectClass, Session

from hsm import keyring, softhsm
from hsm.errors import InspectionFailed, Severity
from hsm.keyring import KeyEntry, Keyring
from hsm.vocabulary import Origin
from pinvault import bootstrap
from pinvault.config import load
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment, check_value
from tests.conftest import read_location
from tests.e2e.test_cli import pinvault
from tests.integration.hsm.support import leave_library, raw_session
from tests.support.every_role import NAMES, spec_of, value_of

ROLE = NAMES["p0-tdes-e"]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A key whose objects differ from its entry, and the sentence that must tell of it."""

    objects: tuple[dict[Attribute, Any], ...]
    said: str
    entry: tuple[tuple[str, str], ...] = ()


def _a(changes: dict[Attribute, Any]) -> tuple[dict[Attribute, Any], ...]:
    return (changes,)


WRONG = {
    "attribute": Wrong(_a({Attribute.COPYABLE: True}), "COPYABLE is True, expected False"),
    "capability": Wrong(_a({Attribute.DECRYPT: True}), "DECRYPT is True, expected False"),
    "mechanism": Wrong(
        _a({Attribute.ALLOWED_MECHANISMS: {0x132, 0x133}}),
        "ALLOWED_MECHANISMS is DES3_CBC, DES3_ECB, expected DES3_ECB",
    ),
    "type": Wrong(
        _a({Attribute.KEY_TYPE: KeyType.DES3, Attribute.VALUE: bytes(range(24))}),
        "KEY_TYPE is DES3, expected DES2",
    ),
    "missing": Wrong((), "SECRET_KEY objects is 0, expected 1"),
    "twice": Wrong(({}, {}), "SECRET_KEY objects is 2, expected 1"),
    "value": Wrong(_a({Attribute.VALUE: bytes(range(16))}), "check value is"),
    "origin": Wrong(_a({}), "LOCAL is False, expected True", (("origin", Origin.GENERATED),)),
}


def entry_of(name: str) -> KeyEntry:
    entry = spec_of(ROLE, f"wrong-{name}").entry(Origin.IMPORTED)
    promised = check_value(value_of(ROLE), entry.algorithm)
    return replace(entry, check_value=promised, **dict(WRONG[name].entry if name in WRONG else ()))


def plant(session: Session, entry: KeyEntry, changes: dict[Attribute, Any]) -> None:
    session.create_object(
        {
            Attribute.CLASS: ObjectClass.SECRET_KEY,
            Attribute.KEY_TYPE: KeyType.DES2,
            Attribute.VALUE: value_of(ROLE),
            **ROLE.template(ObjectClass.SECRET_KEY, destroyable=False),
            Attribute.LABEL: entry.id,
            Attribute.ID: entry.id.encode(),
            **changes,
        }
    )


@pytest.fixture
def spoilt(
    make_environment: Callable[[Settings], Environment], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Environment]:
    """An environment whose token is the one that this process sees."""
    module = softhsm.find_module(os.environ)
    environment = make_environment(Settings())
    for variable, value in environment.variables().items():
        monkeypatch.setenv(variable, value)
    leave_library(module)
    yield environment
    leave_library(module)


def name_in_the_ring(environment: Environment, *entries: KeyEntry) -> None:
    path = environment.root / "keyring.toml"
    path.write_text(keyring.dump(Keyring(keys=(*keyring.load(path).keys, *entries))))


def refused(environment: Environment) -> str:
    """What is said by a start that must not succeed, without its line breaks."""
    done = pinvault(environment, "serve", str(environment.config))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_each_wrong_key_ends_the_start_and_is_named(spoilt: Environment) -> None:
    """Each by itself, by what a worker opens its token with; then all, by the command."""
    with raw_session(read_location(spoilt)) as session:
        for name, wrong in WRONG.items():
            for changes in wrong.objects:
                plant(session, entry_of(name), changes)
    loaded = load(spoilt.config)
    right = bootstrap.read_keyring(loaded)
    for name, wrong in WRONG.items():
        ring = Keyring(keys=(*right.keys, entry_of(name)))
        with pytest.raises(InspectionFailed) as caught:
            bootstrap.open_device(loaded, ring)
        stopped = [each for each in caught.value.findings if each.severity is Severity.STOP]
        assert {each.key_id for each in stopped} == {f"wrong-{name}/1"}
        assert any(wrong.said in each.summary for each in stopped)
    name_in_the_ring(spoilt, *map(entry_of, WRONG))
    said = refused(spoilt)
    assert "the token does not agree with the key ring" in said
    for name, wrong in WRONG.items():
        assert f"wrong-{name}/1: {wrong.said}" in said


def test_a_stray_wrapping_key_ends_the_start_and_is_named(spoilt: Environment) -> None:
    with raw_session(read_location(spoilt)) as session:
        plant(session, entry_of("stray"), {Attribute.WRAP: True})
    assert "wrong-stray/1: WRAP is True, expected False" in refused(spoilt)
