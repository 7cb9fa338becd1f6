"""Every key of every role, with one thing changed: each change stops the start and is named.

For every role and every attribute of its template a key is made that differs in that attribute
alone; then in type, length, name, number, halves, history and check values. What SoftHSM refuses
to make cannot be met there: it is listed with the refusal.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
from pkcs11 import Attribute, Session
from pkcs11.exceptions import PKCS11Error

from hsm.device import Device
from hsm.errors import InspectionFailed, Severity, return_value
from hsm.inspection import inspect
from hsm.keyring import KeyEntry, Keyring
from hsm.vocabulary import Origin
from tests.support.every_role import NAMES, Service, service, spec_of
from tests.support.key_mutations import Mutation, described, histories, mutations, plant, whole
from tests.support.thief import PUBLIC, session_of

UNMADE = {
    "TRUSTED True": "CKR_ATTRIBUTE_READ_ONLY",
    "ALLOWED_MECHANISMS none": "CKR_ATTRIBUTE_VALUE_INVALID",
}
"""What SoftHSM makes no key with, and how it says so: only the security officer makes keys trusted,
and a list without a member is made by leaving it out.
"""


@pytest.fixture
def served() -> Iterator[Service]:
    """A token without a key; a new one each time, since some objects cannot be destroyed."""
    with service(()) as made:
        yield made


@pytest.fixture
def session(served: Service) -> Iterator[Session]:
    with served.token() as token, session_of(token) as opened:
        yield opened


def told_of(session: Session, *entries: KeyEntry) -> dict[str, set[str]]:
    """What the inspection names of each key."""
    found = inspect(session, Keyring(keys=entries))
    return {
        entry.id: {
            each.attribute
            for each in found
            if each.key_id == entry.id and each.severity is Severity.STOP
        }
        for entry in entries
    }


def facts(named: Iterable[str]) -> set[str]:
    """What was read, without what then showed in the key's behaviour."""
    return {
        each
        for each in named
        if each.isupper() or each.endswith(" objects") or each == "length in bits"
    }


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_changed_is_named_and_nothing_else(session: Session, name: str) -> None:
    role = NAMES[name]
    entry = described(session, role)
    plant(session, whole(role), entry)
    made = [each for each in mutations(role, entry) if is_made(session, each)]
    told = told_of(session, entry, *(each.entry for each in made))
    assert told.pop(entry.id) == set()
    for each in made:
        assert each.named <= told[each.entry.id], each.what
        assert facts(each.named) == facts(told[each.entry.id]), each.what


def is_made(session: Session, mutation: Mutation) -> bool:
    """Make it; or see it refused as SoftHSM is known to."""
    known = next((code for what, code in UNMADE.items() if mutation.what.endswith(what)), None)
    if known is None:
        plant(session, mutation.parts, mutation.entry)
        return True
    with pytest.raises(PKCS11Error) as refused:
        plant(session, mutation.parts, mutation.entry)
    assert return_value(refused.value).name == known
    return False


@pytest.mark.parametrize(
    "name", [name for name, role in NAMES.items() if role.operative is not PUBLIC]
)
def test_a_key_with_another_history_is_named(session: Session, name: str) -> None:
    role = NAMES[name]
    expected = list(histories(session, role, described(session, role)))
    told = told_of(session, *(entry for entry, _ in expected))
    assert {key_id: facts(named) for key_id, named in told.items()} == {
        entry.id: named for entry, named in expected
    }


def test_each_change_stops_the_start(served: Service) -> None:
    """The start itself, once for each mutation of one key."""
    role = NAMES["p0-tdes-e"]
    with served.token() as token, session_of(token) as session:
        entry = replace(described(session, role), name="start")
        made = [each for each in mutations(role, entry) if is_made(session, each)]
    for each in made:
        with pytest.raises(InspectionFailed) as caught:
            Device.open(served.location, Keyring(keys=(each.entry,)))
        told = {it.attribute for it in caught.value.findings if it.key_id == each.entry.id}
        assert facts(each.named) == facts(told), each.what
        assert each.entry.id in str(caught.value)


def test_every_attribute_of_every_role_is_covered() -> None:
    covered = {
        name: [
            each.what
            for each in mutations(role, spec_of(role).entry(Origin.IMPORTED))
            if not each.what.endswith(tuple(UNMADE))
        ]
        for name, role in NAMES.items()
    }
    for name, role in NAMES.items():
        for of in role.grants:
            for attribute in set(role.template(of, destroyable=True)) - {Attribute.TRUSTED}:
                start = f"{of.name} {attribute.name}"
                assert any(what.startswith(start) for what in covered[name]), start
    total = sum(map(len, covered.values()))
    assert total >= 900, f"{total} mutations of {len(covered)} roles"
