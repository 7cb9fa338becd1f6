"""Whoever can write the key ring file changes no key's purpose under a running server.

The key ring says what keys are for, and is followed while the server runs. The token could not even
tell a PIN key from one that verifies. So each lie about a key must be refused, told and recorded,
while the true key ring goes on serving.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hsm import keyring
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Origin, Usage
from pinvault.audit.errors import RecordRefused
from pinvault.audit.record import AuditRecord, encode
from pinvault.development.server import RunningServer
from tests.e2e.conftest import WORKERS
from tests.support import operators
from tests.support.running import TARGET, admin, block, records, until

Lie = Callable[[KeyEntry], KeyEntry]
REFUSED = "pinvault_keyring_refused 1.0"
NOW = "2026-01-02T03:04:05.000000Z"


def of(name: str, **changes: object) -> Lie:
    return lambda key: replace(key, **changes) if key.name == name else key


def swapped(one: str, other: str) -> Lie:
    names = {one: other, other: one}
    return lambda key: replace(key, name=names.get(key.name, key.name))


LIES: dict[str, tuple[Lie, str]] = {
    "a key that deciphers enciphers too": (
        of("zpk-terminal", mode=Mode.B, decipher_check_value=None),
        "key-redefined",
    ),
    "a key that enciphers deciphers": (
        of("zpk-switch", mode=Mode.D, decipher_check_value="ABCDEF"),
        "key-redefined",
    ),
    "a PIN key verifies": (of("zpk-switch", usage=Usage.V1, mode=Mode.C), "key-redefined"),
    "a storage key is a PIN key": (
        of("key-storage", usage=Usage.P0, derivation_check_value=None),
        "does-not-fit",
    ),
    "two keys change names": (swapped("zpk-terminal", "zpk-switch"), "key-redefined"),
    "another check value": (of("zpk-switch", check_value="ABCDEF"), "key-redefined"),
    "a weaker algorithm": (of("zpk-switch", algorithm=Algorithm.TDES_2KEY), "key-redefined"),
    "known elsewhere, and told as born here": (
        of("zpk-switch", origin=Origin.GENERATED),
        "key-redefined",
    ),
    "a key that may be destroyed": (of("zpk-switch", destroyable=True), "key-redefined"),
    "another name for a key": (
        lambda key: replace(key, name="zpk-other") if key.name == "zpk-switch" else key,
        "does-not-fit",
    ),
    "another index key": (of("index", check_value="ABCDEF"), "own-key-changed"),
    "another signing key": (of("audit-signing", check_value="AB" * 32), "own-key-changed"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_in_the_key_ring_is_refused_and_the_truth_serves(
    server: RunningServer, lie: str
) -> None:
    tell, cause = LIES[lie]
    path = operators.ring_of(server.environment)
    truth = path.read_text()
    before = len(_refusals(server))
    operators.put(path, keyring.dump(Keyring(keys=tuple(map(tell, keyring.load(path).keys)))))
    try:
        until(lambda: len(_refusals(server)) == before + WORKERS)
        assert {record.cause for record in _refusals(server)[before:]} == {cause}
        assert REFUSED in admin(server, "/metrics")[1]
        with server.connect() as vault:
            done = vault.encrypt_pin(block(server), to=TARGET)
        assert done.target_key is not None
        assert done.target_key.name == "zpk-switch"
    finally:
        operators.put(path, truth)
    until(lambda: REFUSED not in admin(server, "/metrics")[1])


def _refusals(server: RunningServer):
    return [record for record in records(server, "keyring") if record.outcome == "REFUSED"]


@pytest.mark.parametrize("event", ["boot", "shutdown", "checkpoint"])
def test_nobody_but_the_log_writes_what_the_log_writes(event: str) -> None:
    with pytest.raises(RecordRefused):
        encode(AuditRecord(event=event, time=NOW))  # type: ignore[arg-type]


@pytest.mark.parametrize("member", ["keyring", "transcript"])
@pytest.mark.parametrize(
    "value", ["4111111111111111", "1234", "0123456789ABCDEF" * 2, "AB" * 32, "ab" * 33]
)
def test_a_digest_in_the_record_is_a_digest_and_no_block(member: str, value: str) -> None:
    encode(AuditRecord(event="custody", time=NOW, **{member: "ab" * 32}))  # type: ignore[arg-type]
    with pytest.raises(RecordRefused):
        encode(AuditRecord(event="custody", time=NOW, **{member: value}))  # type: ignore[arg-type]
