"""Attack: get keys, or get rid of them, with the rights of those who keep keys or their files.

First a keeper with all verbs of KeyService, who knows whatever was sent to the server and wants to
know what was not. Then somebody who writes the key ring or the stored key blocks, without the
token's PIN. Then whoever makes things fail in the middle of a change.
"""

import os
import secrets
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from psec import tr31

from hsm import keyring
from hsm.keyring import Keyring, Mode, State, Usage
from pinvault.audit.errors import AuditUnavailable
from pinvault.bootstrap.purposes import KeyRedefined, Purposes
from pinvault.bootstrap.stored_blocks import StoredBlocks
from pinvault.client import PinvaultError, Vault
from pinvault.development.configuration import Settings
from pinvault.development.environment import Environment
from pinvault.development.server import RunningServer
from pinvault.model.errors import Reason, Refusal
from pinvault.operations.admission import Admission
from pinvault.operations.key_desk import KeyDesk
from tests.e2e.conftest import WORKERS
from tests.e2e.test_keys import OAEP, acme, cmac_check_value, kbpk, key_block, tdes_key
from tests.support import operators
from tests.support.running import TARGET, block, records, until, workers_of
from tests.unit.operations.test_custody import World as Ring
from tests.unit.test_live_ring import MADE, RING, World, entry

NAME = "zpk-acme"


@pytest.fixture(scope="module")
def attacked(make_environment: Callable[[Settings], Environment]) -> Iterator[RunningServer]:
    """A server of two workers; every test leaves it serving."""
    settings = Settings(workers=WORKERS, per_caller="100000/s", per_pan="100000/s")
    with RunningServer(make_environment(settings)) as running:
        yield running


@pytest.fixture
def keeper(attacked: RunningServer) -> Iterator[Vault]:
    with attacked.connect("key-manager") as connected:
        yield connected


def refused(work: Callable[[], object]) -> tuple[str | None, list[str]]:
    """Why a call was refused, and for which of its members."""
    with pytest.raises(PinvaultError) as caught:
        work()
    return caught.value.reason, sorted(caught.value.violations)


def ring_ids(server: RunningServer) -> list[str]:
    ring = keyring.load(operators.ring_of(server.environment))
    return sorted((key.id for key in ring.versions(NAME)), key=lambda each: int(each[9:]))


def works(call: Callable[[], object]) -> bool:
    try:
        call()
    except PinvaultError:
        return False
    return True


# A keeper who would know more


def test_a_kbpk_that_a_keeper_knows_does_not_come_to_carry_other_keys_out(
    attacked: RunningServer, keeper: Vault
) -> None:
    """The grant names the KBPK, to export under; so it would let a new version of it come."""
    value, _ = acme(keeper, attacked.environment)
    known = secrets.token_bytes(32)
    wrapped = keeper.keys.wrapping_key("key-transport").public_key.encrypt(known, OAEP)
    brought = refused(
        lambda: keeper.keys.import_cryptogram(
            "kbpk-partner",
            wrapped,
            usage="K1",
            algorithm="AES_256",
            mode_of_use="B",
            wrapping_key="key-transport",
            check_value=cmac_check_value(known),
        )
    )
    sent = key_block(attacked.environment, known, usage="K1")
    carried = refused(lambda: keeper.keys.import_block("kbpk-partner", sent, kbpk="kbpk-partner"))
    assert brought == carried == ("KEY_CHANGE_REFUSED", ["name"])
    exported = keeper.keys.export_block(NAME, kbpk="kbpk-partner", version="D").key_block
    assert tr31.unwrap(kbpk(attacked.environment, "kbpk-partner"), exported)[1] == value


@pytest.mark.parametrize("name", ["kbpk-old-45", "kbpk-old-4d"])
def test_nor_half_of_a_legacy_kbpk_which_would_make_the_macs(keeper: Vault, name: str) -> None:
    old = keeper.keys.get(name)
    value = tdes_key()
    wrapped = keeper.keys.wrapping_key("key-transport").public_key.encrypt(value, OAEP)
    told = refused(
        lambda: keeper.keys.import_cryptogram(
            name,
            wrapped,
            usage=old.usage,
            algorithm=old.algorithm,
            mode_of_use=old.mode_of_use,
            wrapping_key="key-transport",
            check_value="ABCDEF",
        )
    )
    assert told == ("KEY_CHANGE_REFUSED", ["name"])


@pytest.mark.parametrize("name", ["own", "kbpk", "legacy-45", "legacy-4d", "transport", "storage"])
def test_nor_what_guards_keys_or_is_made_in_the_hsm(name: str) -> None:
    desk = KeyDesk(admission=cast("Admission", None), custody=Ring().custody)
    with pytest.raises(Refusal) as told:
        desk.wanted(name, valid_until=None)
    assert told.value.reason is Reason.KEY_CHANGE_REFUSED
    desk.wanted("zpk", valid_until=None)


def test_nobody_s_key_becomes_the_storage_key() -> None:
    """Not by an operator alone either, who would know what the files hold."""
    ring = Ring()
    storage = ring.custody.wanted("storage")
    for work in (
        lambda: ring.custody.import_block(storage, "block", kbpk="kbpk", timeout=1),
        lambda: ring.custody.import_cryptogram(
            storage, bytes(256), wrapping="transport", check_value="ABCDEF1234", timeout=1
        ),
    ):
        with pytest.raises(Refusal) as told:
            work()
        assert told.value.reason is Reason.KEY_CHANGE_REFUSED
    assert ring.zone.asked == []


# Who writes the stored key blocks


@contextmanager
def planted(server: RunningServer, key_id: str, plant: Callable[[Path], object]) -> Iterator[None]:
    """Have something else where the stored key block of a key version is, or would be."""
    path = server.environment.root / "key-blocks" / f"{key_id.replace('/', '.')}.keyblock"
    path.unlink(missing_ok=True)
    plant(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "plant",
    [
        lambda path: path.write_text(""),
        lambda path: path.write_text("D0144P0TB00E0000" + "A" * 128),
        lambda path: path.write_bytes(b"\xff" * 144),
        lambda path: path.write_bytes(next(path.parent.glob("*.keyblock")).read_bytes()),
    ],
    ids=["empty", "of no storage key", "no text", "of another key"],
)
def test_a_planted_key_block_does_not_make_a_key_exportable(
    attacked: RunningServer, keeper: Vault, plant: Callable[[Path], object]
) -> None:
    acme(keeper, attacked.environment)
    stays = key_block(attacked.environment, tdes_key(), exportability="N")
    made = keeper.keys.import_block(NAME, stays, kbpk="kbpk-partner")
    with planted(attacked, made.id, plant):
        assert refused(lambda: keeper.keys.rotate(NAME)) == ("KEY_CHANGE_REFUSED", ["key"])
        exported = refused(lambda: keeper.keys.export_block(NAME, kbpk="kbpk-partner", version="D"))
        assert exported == ("KEY_CHANGE_REFUSED", ["key"])
    assert ring_ids(attacked)[-1] == made.id


@pytest.mark.parametrize(
    "plant", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["a pipe", "a link"]
)
def test_nobody_waits_for_what_stands_where_a_key_block_shall(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    blocks = StoredBlocks(tmp_path)
    plant(tmp_path / "zpk.1.new")
    blocks.keep("zpk/1", "D0112")
    assert blocks.get("zpk/1") == "D0112"


def test_nobody_waits_for_what_is_no_file(attacked: RunningServer, keeper: Vault) -> None:
    """A pipe would be waited for, and nobody on the host could change a key any more."""
    _, made = acme(keeper, attacked.environment)
    for plant in (os.mkfifo, lambda path: path.symlink_to("/dev/zero")):
        with planted(attacked, made.id, plant):
            told = refused(lambda: keeper.keys.export_block(NAME, kbpk="kbpk-partner", version="D"))
            assert told[0] == "KEY_CHANGE_REFUSED"
    acme(keeper, attacked.environment)


# Who writes the key ring


def test_what_is_retired_stays_retired(attacked: RunningServer, keeper: Vault) -> None:
    (_, old), _ = acme(keeper, attacked.environment), acme(keeper, attacked.environment)
    keeper.keys.retire(old.id, check_value=old.check_value)
    path = operators.ring_of(attacked.environment)
    truth, before = path.read_text(), len(refusals(attacked))
    operators.edit(
        attacked.environment,
        lambda key: replace(key, state=State.DECIPHER_ONLY) if key.id == old.id else key,
    )
    try:
        until(lambda: len(refusals(attacked)) == before + WORKERS)
        assert keeper.keys.get(old.id).state == "RETIRED"
    finally:
        operators.put(path, truth)
    until(lambda: works(lambda: acme(keeper, attacked.environment)))


def refusals(server: RunningServer) -> list[str]:
    return [each.cause for each in records(server, "keyring") if each.outcome == "REFUSED"]


@pytest.mark.parametrize(
    "plant",
    [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()],
    ids=["a pipe", "no end", "a folder"],
)
def test_nobody_waits_for_a_key_ring_that_is_no_file(
    tmp_path: Path, plant: Callable[[Path], object]
) -> None:
    world = World(tmp_path)
    planted = tmp_path / "planted"
    plant(planted)
    world.path.unlink()
    planted.rename(world.path)
    assert world.serves() == RING
    assert world.witness.told == ["KeyringError"]


def test_a_worker_that_is_started_later_believes_no_lie_about_a_key(
    attacked: RunningServer,
) -> None:
    """Its death would be enough to have a PIN key verify: the token cannot tell."""
    path = operators.ring_of(attacked.environment)
    truth, before = path.read_text(), len(refusals(attacked))
    operators.edit(
        attacked.environment,
        lambda key: replace(key, usage=Usage.V1, mode=Mode.C) if key.id == "zpk-switch/1" else key,
    )
    try:
        until(lambda: len(refusals(attacked)) == before + WORKERS)
        os.kill(min(workers_of(attacked)), signal.SIGKILL)
        until(lambda: "zpk-switch/1 was something else" in died(attacked))
        with attacked.connect() as vault:
            assert vault.encrypt_pin(block(attacked), to=TARGET).pin_block is not None
        assert len(records(attacked, "boot")) == WORKERS
    finally:
        operators.put(path, truth)
    until(lambda: len(records(attacked, "boot")) == WORKERS + 1)


def died(server: RunningServer) -> str:
    """What workers said that did not come to serve."""
    lines = server.log.read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("pinvault: "))


def test_nor_about_a_key_that_came_since(tmp_path: Path) -> None:
    here, note = tmp_path / "keyring.toml", tmp_path / "note"
    came = entry("came", check_value="ABCDEF")
    first, later = Purposes(here, note), Purposes(here, note)
    first.hold(RING)
    first.hold(Keyring(keys=(*RING.keys, came)))
    first.hold(Keyring(keys=(*RING.keys, replace(came, state=State.RETIRED))))
    for lie in (came, replace(came, usage=Usage.V1, mode=Mode.C, state=State.RETIRED)):
        with pytest.raises(KeyRedefined):
            later.hold(Keyring(keys=(*RING.keys, lie)))
    later.hold(Keyring(keys=(*RING.keys, replace(came, state=State.RETIRED))))
    Purposes(here, tmp_path / "of the next server").hold(Keyring(keys=(*RING.keys, came)))


# What stops a change in the middle


@contextmanager
def unwritable(path: Path) -> Iterator[None]:
    """Keep the key ring from being written, as a full disk would."""
    beside = path.with_name(f".{path.name}.new")
    beside.mkdir()
    try:
        yield
    finally:
        beside.rmdir()


def test_an_exportable_key_whose_making_was_interrupted_is_made_after_all(
    attacked: RunningServer, keeper: Vault
) -> None:
    """The token has it, for good, under the one name that the next try will have, too."""
    acme(keeper, attacked.environment)
    before = ring_ids(attacked)
    with unwritable(operators.ring_of(attacked.environment)):
        assert refused(lambda: keeper.keys.rotate(NAME))[0] == "KEY_CHANGE_REFUSED"
    assert ring_ids(attacked) == before
    made = keeper.keys.rotate(NAME).key
    assert ring_ids(attacked) == [*before, made.id]
    exported = keeper.keys.export_block(made.id, kbpk="kbpk-partner", version="D")
    assert exported.key.check_value == made.check_value


def test_a_change_that_cannot_be_recorded_is_not_made(tmp_path: Path) -> None:
    """The record is full, the key ring's disk is not."""
    world = World(tmp_path)
    world.witness.error = AuditUnavailable("full", remedy="make room")
    for change in (
        lambda: world.ring.add(MADE, previous_until=None),
        lambda: world.ring.retire("zpk/1"),
    ):
        with world.ring.turn(), pytest.raises(Refusal) as told:
            change()
        assert told.value.reason is Reason.AUDIT_UNAVAILABLE
        assert keyring.load(world.path) == RING
    world.witness.error = None
    with world.ring.turn():
        world.ring.add(MADE, previous_until=None)
    assert (world.witness.begun_with, world.witness.told) == (["zpk/2"], ["taken"])


def test_who_dies_after_a_change_has_said_before_what_it_would_be(
    attacked: RunningServer, keeper: Vault
) -> None:
    """Between key ring and record a process can be killed: the beginning is on record."""
    _, made = acme(keeper, attacked.environment)
    (commanded,) = operators.generate(attacked.environment, "zpk-acme-aes")
    begun = [each for each in records(attacked, "custody") if each.outcome == "BEGUN"]
    assert {made.id, commanded} <= {use.key for each in begun for use in each.keys}
    (by_operator,) = (each for each in begun if each.keys[0].key == commanded)
    assert by_operator.caller.startswith("operator:")
