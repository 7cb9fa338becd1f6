"""Another key ring under a device that serves: nobody notices, and nothing wrong is let in."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from pkcs11 import Attribute, Mechanism, ObjectClass

from hsm import inspection, token
from hsm.device import Algorithm, Device, DeviceStatus, Step
from hsm.errors import (
    HsmTimeout,
    InspectionFailed,
    KeySealed,
    MechanismMissing,
    OperationNotPermitted,
    Severity,
)
from hsm.keyring import Origin, State
from hsm.recovery import is_same_key
from tests.integration.hsm.support import AES_VALUE, TDES_VALUE, put, ring, spec
from tests.integration.hsm.test_inspection import known
from tests.integration.hsm.test_recovery import OTHER_VALUE, replace_key
from tests.support import every_role, key_mutations

AES = Cipher(algorithms.AES(AES_VALUE), modes.ECB())


def works(device):
    return device.encipher("zpk/1", bytes(8), timeout=5)[:3].hex().upper() == "6FB1C8"


def entry_of(device, key_id):
    return device._serving.keyring.entry(key_id)


def ring_with(device, *entries):
    """The ring that is served, with these entries, each in the place of its former self."""
    known = {entry.id: entry for entry in (*device._serving.keyring.keys, *entries)}
    return ring(*known.values())


def plant(device, entry, changes):
    beside = token.open_beside(device._link._session)
    put(beside, entry, changes)
    token.close_session(beside)


def test_keys_are_made_and_adopted_under_load(small):
    """Callers of old keys and of each new one get right answers, from first to last."""
    stop, begun = threading.Event(), threading.Barrier(9)

    def call(number):
        begun.wait(30)
        answered = 0
        while not stop.is_set():
            blocks = (number * 1000 + answered).to_bytes(16, "big") * 2
            enciphered = small.encipher("aes/1", blocks, timeout=30)
            assert enciphered == AES.encryptor().update(blocks)
            assert works(small)
            answered += 1
        return answered

    def change():
        begun.wait(30)
        try:
            for version in range(1, 7):
                entry = small.generate(
                    spec("new", "P0", "AES_256", "B", version=version), timeout=30
                )
                former = [
                    replace(each, state=State.DECIPHER_ONLY)
                    for each in small._serving.keyring.versions("new")
                ]
                assert small.adopt(ring_with(small, *former, entry), timeout=30) == ()
                block = small.encipher(entry.id, bytes(16), timeout=30)
                assert small.decipher(entry.id, block, timeout=30) == bytes(16)
                for old in former:
                    with pytest.raises(OperationNotPermitted):
                        small.encipher(old.id, bytes(16), timeout=30)
        finally:
            stop.set()

    with ThreadPoolExecutor(9) as pool:
        changed, callers = pool.submit(change), [pool.submit(call, number) for number in range(8)]
        changed.result(60)
        assert all(caller.result(30) > 0 for caller in callers)
    assert small.status is DeviceStatus.SERVING
    assert small.sealed_keys == frozenset()
    assert list(small._link._session.get_objects({Attribute.TOKEN: False})) == []


def test_callers_are_served_between_the_keys_of_an_adoption(small):
    entries = [small.generate(spec(f"new-{n}", "P0", "AES_128", "E"), timeout=5) for n in range(5)]
    order = []
    original = small._turns._lane._run

    def watched(group, payloads):
        order.append(group)
        if len(order) == 1:
            for caller in callers:
                caller.start()
            while len(small._turns._lane._queue) < len(callers):
                pass
        return original(group, payloads)

    small._turns._lane._run = watched
    # One caller for each operation, so that none joins another's group.
    callers = [
        threading.Thread(target=small.encipher, args=(key, bytes(16)), kwargs={"timeout": 30})
        for key in ("aes/1", "zpk/1")
    ]
    small.adopt(ring_with(small, *entries), timeout=30)
    for caller in callers:
        caller.join(30)
    groups = small._serving.groups.values()
    served = [order.index(each[key]) for each in groups for key in each if each[key] in order]
    assert sorted(served) == [1, 2]
    assert len(order) == 2 + 1 + 5 + 1 + 1


WRONG = {
    "COPYABLE": {Attribute.COPYABLE: True},
    "EXTRACTABLE": {Attribute.EXTRACTABLE: True},
    "MODIFIABLE": {Attribute.MODIFIABLE: True},
    "DECRYPT": {Attribute.DECRYPT: True},
    "ALLOWED_MECHANISMS": {Attribute.ALLOWED_MECHANISMS: {Mechanism.DES3_ECB, Mechanism.DES3_CBC}},
    "check value": {Attribute.VALUE: OTHER_VALUE},
}


@pytest.mark.parametrize(("attribute", "changes"), WRONG.items(), ids=WRONG)
def test_a_new_key_is_inspected_as_at_a_start(small, attribute, changes):
    bad, before = known("bad"), small._serving
    plant(small, bad, {Attribute.VALUE: TDES_VALUE, **changes})
    with pytest.raises(InspectionFailed) as caught:
        small.adopt(ring_with(small, bad), timeout=5)
    assert attribute in {each.attribute for each in caught.value.findings}
    assert small._serving is before
    assert works(small)


def test_a_new_pair_that_unwraps_into_the_open_is_refused(small):
    role = every_role.NAMES["k2-rsa-d"]
    bad = replace(every_role.spec_of(role).entry(Origin.IMPORTED), destroyable=True)
    left_out = {Attribute.UNWRAP_TEMPLATE: key_mutations.LEFT_OUT}
    beside = token.open_beside(small._link._session)
    key_mutations.plant(beside, key_mutations.changed(role, ObjectClass.PRIVATE_KEY, left_out), bad)
    token.close_session(beside)
    with pytest.raises(InspectionFailed) as caught:
        small.adopt(ring_with(small, bad), timeout=5)
    told = {each.attribute for each in caught.value.findings}
    assert told == {"check value", "unwrapping into the open", "unwrapping what can be wrapped"}
    assert works(small)


@pytest.mark.parametrize("attribute", ["WRAP", "UNWRAP", "DERIVE", "EXTRACTABLE"])
def test_a_stranger_is_looked_for_each_time(small, attribute):
    changes = {Attribute.VALUE: TDES_VALUE, Attribute[attribute]: True}
    plant(small, known("stray"), changes)
    with pytest.raises(InspectionFailed) as caught:
        small.adopt(small._serving.keyring, timeout=5)
    stops = [each for each in caught.value.findings if each.severity is Severity.STOP]
    assert [(each.key_id, each.attribute) for each in stops] == [("stray/1", attribute)]
    assert works(small)


def test_all_findings_are_collected(small):
    plant(small, known("bad"), {Attribute.VALUE: TDES_VALUE, Attribute.COPYABLE: True})
    with pytest.raises(InspectionFailed) as caught:
        small.adopt(ring_with(small, known("bad"), known("absent")), timeout=5)
    assert {each.key_id for each in caught.value.findings} == {"bad/1", "absent/1"}


def test_a_missing_mechanism_is_named(small, monkeypatch):
    monkeypatch.setattr(inspection, "needed", lambda keys: frozenset({0x80000001}))
    with pytest.raises(MechanismMissing):
        small.adopt(small._serving.keyring, timeout=5)
    assert works(small)


def test_time_that_runs_out_changes_nothing(small, monkeypatch):
    entry, before = small.generate(spec("new", "P0", "AES_128", "E"), timeout=5), small._serving
    now = iter([0.0, 0.0, 1.0, 6.0])
    monkeypatch.setattr(small, "_clock", lambda: next(now))
    with pytest.raises(HsmTimeout):
        small.adopt(ring_with(small, entry), timeout=5)
    monkeypatch.undo()
    assert small._serving is before
    small.adopt(ring_with(small, entry), timeout=5)
    assert len(small.encipher("new/1", bytes(16), timeout=5)) == 16


def test_a_key_that_differs_in_its_life_alone_is_not_inspected_again(small, monkeypatch):
    def never(*_):
        raise AssertionError("the key is inspected")

    monkeypatch.setattr(inspection, "inspect_key", never)
    live = dict(small._link._keys)
    changed = (replace(each, state=State.DECIPHER_ONLY) for each in small._serving.entries.values())
    small.adopt(ring(*changed), timeout=5)
    with pytest.raises(OperationNotPermitted):
        small.encipher("aes/1", bytes(16), timeout=5)
    assert len(small.decipher("aes/1", bytes(16), timeout=5)) == 16
    kept = small._link._keys["aes/1"]
    assert kept.objects is live["aes/1"].objects
    assert kept.entry is small._serving.entries["aes/1"]


def test_a_sealed_key_is_unsealed_by_another_entry_only(small):
    replace_key(small, "zpk/1", OTHER_VALUE)
    with pytest.raises(KeySealed):
        small.encipher("zpk/1", bytes(8), timeout=5)
    former = entry_of(small, "zpk/1")
    small.adopt(ring_with(small, replace(former, valid_until=former.valid_from)), timeout=5)
    assert small.sealed_keys == {"zpk/1"}
    with pytest.raises(KeySealed):
        small.encipher("zpk/1", bytes(8), timeout=5)
    small.adopt(ring_with(small, replace(former, check_value="C4F0A4")), timeout=5)
    assert small.sealed_keys == frozenset()
    assert small.encipher("zpk/1", bytes(8), timeout=5)[:3].hex().upper() == "C4F0A4"


def test_a_call_from_before_the_change_harms_no_key_of_after_it(small):
    former = small._serving.groups
    replace_key(small, "zpk/1", OTHER_VALUE)
    other = replace(entry_of(small, "zpk/1"), check_value="C4F0A4")
    small.adopt(ring_with(small, other), timeout=5)
    late = next(groups["zpk/1"] for groups in former.values() if "zpk/1" in groups)
    with pytest.raises(KeySealed):
        small._turns._lane.call(late, bytes(8), 5)
    assert small.sealed_keys == frozenset()
    assert small.encipher("zpk/1", bytes(8), timeout=5)[:3].hex().upper() == "C4F0A4"


def test_a_key_that_is_gone_is_forgotten(small):
    known_keys = set(small._link._keys)
    assert known_keys == {"zpk/1", "aes/1", "kbpk/1", "carrier/1"}
    retired = replace(entry_of(small, "zpk/1"), state=State.RETIRED)
    small.adopt(ring_with(small, retired), timeout=5)
    assert set(small._link._keys) == known_keys - {"zpk/1"}
    small.probe()
    small.probe()


def test_a_retired_key_for_keys_may_stay_with_what_its_role_permits(small):
    location = small._link._location
    bdk = small.generate(spec("bdk", "B0", "AES_128", "X"), timeout=5)
    small.adopt(ring_with(small, bdk), timeout=5)
    step = (Step(Algorithm.AES_128, bytes(16)),)
    assert small.with_derived("bdk/1", step, lambda c: c.encipher(bytes(16)), timeout=5)
    keyring = ring_with(small, replace(bdk, state=State.RETIRED))
    assert small.adopt(keyring, timeout=5) == ()
    plant(small, known("old"), {Attribute.VALUE: TDES_VALUE, Attribute.WRAP: True})
    with pytest.raises(InspectionFailed) as caught:
        small.adopt(ring(*keyring.keys, known("old", state=State.RETIRED)), timeout=5)
    assert [each.attribute for each in caught.value.findings] == ["WRAP"]
    small.close()
    with pytest.raises(InspectionFailed):
        Device.open(location, ring(*keyring.keys, known("old", state=State.RETIRED)))


def test_a_same_key_differs_in_state_and_dates_alone():
    entry = known("zpk")
    for same in (
        replace(entry, state=State.RETIRED),
        replace(entry, valid_until=entry.valid_from),
        replace(entry, valid_from=entry.valid_from.replace(year=2027)),
    ):
        assert is_same_key(same, entry)
        assert is_same_key(entry, same)
    for other in (
        replace(entry, check_value="000000"),
        replace(entry, version=2),
        replace(entry, destroyable=True),
        replace(entry, decipher_check_value="000000"),
    ):
        assert not is_same_key(other, entry)
