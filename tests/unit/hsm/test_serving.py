"""What a device serves: one ring after another, each whole, with the groups of what stays."""

import pytest

from hsm import serving
from hsm.keyring import Origin, State
from hsm.mechanisms import Operation
from tests.integration.hsm.support import ring, spec


def entry(name, state=State.ACTIVE):
    return spec(name, "P0", "AES_256", "B", state=state).entry(Origin.IMPORTED)


def run(operation, key):
    return lambda payloads: (operation, key.id, payloads)


def under(*entries, former=None):
    return serving.under(ring(*entries), {}, run, former=former)


def test_groups_are_those_that_the_keys_permit():
    served = under(entry("a"), entry("b", state=State.DECIPHER_ONLY))
    assert set(served.groups[Operation.ENCIPHER]) == {"a/1"}
    assert set(served.groups[Operation.DECIPHER]) == {"a/1", "b/1"}
    assert served.groups[Operation.DECIPHER]["a/1"].block_size == 16
    assert served.groups[Operation.DECIPHER]["a/1"].run([1]) == (Operation.DECIPHER, "a/1", [1])
    assert not any(served.groups[each] for each in Operation if each.name.startswith("RSA"))


def test_retired_keys_are_named_and_not_served():
    served = under(entry("a"), entry("b", state=State.RETIRED))
    assert set(served.entries) == {"a/1"}
    assert [key.id for key in served.keyring.keys] == ["a/1", "b/1"]


def test_what_is_equal_stays_and_what_differs_does_not():
    first = under(entry("a"), entry("b"), entry("c"))
    second = under(entry("a"), entry("b", state=State.DECIPHER_ONLY), entry("d"), former=first)
    for operation in (Operation.ENCIPHER, Operation.DECIPHER):
        kept = second.groups[operation]["a/1"]
        assert kept is first.groups[operation]["a/1"]
        assert kept.entry is second.entries["a/1"] is first.entries["a/1"]
    other = second.groups[Operation.DECIPHER]["b/1"]
    assert other is not first.groups[Operation.DECIPHER]["b/1"]
    assert other.entry is second.entries["b/1"]
    assert set(second.groups[Operation.ENCIPHER]) == {"a/1", "d/1"}
    assert set(first.groups[Operation.ENCIPHER]) == {"a/1", "b/1", "c/1"}


def test_it_never_changes():
    served = under(entry("a"))
    with pytest.raises(AttributeError):
        served.entries = {}
