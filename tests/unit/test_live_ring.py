"""The key ring under a running process: what is taken, what is refused, what goes on serving."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm import keyring
from hsm.errors import Finding, HsmUnavailable, InspectionFailed, KeyringError
from hsm.keyring import Algorithm, KeyEntry, Keyring, Mode, Origin, State, Usage
from pinvault.audit.errors import AuditUnavailable
from pinvault.bootstrap import ring as live
from pinvault.bootstrap import turns
from pinvault.bootstrap.own_keys import OwnKeyChanged, hold
from pinvault.bootstrap.ring import LiveRing
from pinvault.bootstrap.ring_versions import RingVersion, union
from pinvault.config import Config, ConfigError, Loaded
from pinvault.model import keys as model
from pinvault.model.custody import MadeKey, NewKey
from pinvault.model.errors import Reason, Refusal
from tests.support.operators import put

CONFIG: dict[str, Any] = {
    "mode": "development",
    "role": "issuing",
    "audit": {"directory": "audit"},
    "state": {"directory": "state"},
    "keys": {"index": "index", "audit_signing": "signing"},
    "server": {
        "listen": "127.0.0.1:0",
        "tls": {"certificate_file": "c", "private_key_file": "k", "client_ca_file": "ca"},
        "deadline": {"ceiling_s": 4.0},
    },
    "hsm": {
        "module": "m",
        "token_label": "t",
        "token_serial": "1",
        "pin_file": "p",
        "keyring_file": "keyring.toml",
    },
    "grants": [
        {
            "callers": ["switch"],
            "methods": ["PinBlockService.TranslatePin"],
            "keys": ["zpk"],
            "per_pan": "10/h",
        }
    ],
}
STRANGER = Finding(key_id="zpk/2", attribute="WRAP", expected="False", found="True", remedy="look")


def entry(name: str, version: int = 1, **changes: Any) -> KeyEntry:
    made = KeyEntry(
        name=name,
        version=version,
        usage=Usage.P0,
        algorithm=Algorithm.TDES_3KEY,
        mode=Mode.B,
        check_value=f"{version:06X}",
        origin=Origin.GENERATED,
        state=State.ACTIVE,
        valid_from=date(2026, 1, 1),
    )
    return replace(made, **changes)


INDEX = entry("index", usage=Usage.M7, algorithm=Algorithm.HMAC_SHA256, mode=Mode.G)
SIGNING = entry(
    "signing", usage=Usage.S0, algorithm=Algorithm.EC_P256, mode=Mode.S, check_value="A" * 64
)
ZPK = entry("zpk")
NEXT = entry("zpk", 2)
ZPK_BACK = replace(ZPK, state=State.DECIPHER_ONLY)
RING = Keyring(keys=(INDEX, SIGNING, ZPK))
ROTATED = Keyring(keys=(INDEX, SIGNING, ZPK_BACK, NEXT))
MADE = MadeKey(
    key=NewKey(
        name="zpk",
        version=2,
        usage=model.Usage.P0,
        algorithm=model.Algorithm.TDES_3KEY,
        mode=model.Mode.B,
        valid_from=date(2026, 1, 1),
    ),
    origin=model.Origin.GENERATED,
    check_value="000002",
)


@dataclass
class FakeDevice:
    """Notes what it was to adopt; `error` is what it says to that."""

    adopted: list[Keyring] = field(default_factory=list)
    error: Exception | None = None

    def adopt(self, keyring: Keyring, *, timeout: float) -> tuple[Finding, ...]:
        assert timeout > 0
        if self.error is not None:
            raise self.error
        self.adopted.append(keyring)
        return ()


@dataclass
class FakeWitness:
    """Notes what became of key rings."""

    told: list[str] = field(default_factory=list)
    begun_with: list[str] = field(default_factory=list)
    error: Exception | None = None

    def begun(self, entry: KeyEntry) -> None:
        if self.error is not None:
            raise self.error
        self.begun_with.append(entry.id)

    def taken(self, version: RingVersion, findings: tuple[Finding, ...]) -> None:
        if self.error is not None:
            raise self.error
        self.told.append("taken")

    def refused(self, error: Exception, *, sha256: str) -> None:
        self.told.append(type(error).__name__)


@dataclass
class World:
    """A live ring with nothing real around it; its clock stands still."""

    folder: Path
    device: FakeDevice = field(default_factory=FakeDevice)
    witness: FakeWitness = field(default_factory=FakeWitness)
    now: float = 100.0

    def __post_init__(self) -> None:
        (self.folder / "state").mkdir()
        self.write(RING)
        config = msgspec.convert(CONFIG, Config)
        self.loaded = Loaded(path=self.folder / "pinvault.toml", config=config, sha256="")
        self.ring = LiveRing(
            self.loaded,
            self.device,
            RingVersion.read(self.path),
            build=lambda _, directory: frozenset(key.id for key in directory),
            witness=self.witness,
            clock=lambda: self.now,
        )

    @property
    def path(self) -> Path:
        return self.folder / "keyring.toml"

    def write(self, ring: Keyring) -> None:
        put(self.path, keyring.dump(ring))

    def serves(self) -> Keyring:
        return self.ring.current().version.ring


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_file_that_did_not_change_costs_nothing_and_changes_nothing(world: World) -> None:
    stands = world.ring.current()
    assert all(world.ring.current() is stands for _ in range(3))
    world.ring.tend()
    assert world.device.adopted == []
    assert world.witness.told == []


def test_a_new_key_ring_serves_the_next_call_and_the_old_one_ends_under_the_old(
    world: World,
) -> None:
    began = world.ring.current()
    world.write(ROTATED)
    following = world.ring.current()
    assert following.version.ring == ROTATED
    assert "zpk/2" in following.serving
    assert "zpk/2" not in began.serving
    assert world.device.adopted == [Keyring(keys=(INDEX, SIGNING, ZPK, NEXT))], "both are active"
    world.now += world.loaded.config.server.deadline.ceiling_s
    world.ring.tend()
    assert len(world.device.adopted) == 1, "a call may just be ending"
    world.now += live.MARGIN_S
    world.ring.tend()
    assert world.device.adopted[1:] == [ROTATED]
    world.ring.tend()
    assert len(world.device.adopted) == 2


def test_rotations_that_follow_each_other_leave_no_call_without_its_key(world: World) -> None:
    third = entry("zpk", 3)
    world.write(ROTATED)
    world.ring.tend()
    stepped = replace(NEXT, state=State.DECIPHER_ONLY)
    world.write(Keyring(keys=(INDEX, SIGNING, ZPK_BACK, stepped, third)))
    world.ring.tend()
    assert world.device.adopted[-1].keys == (INDEX, SIGNING, ZPK, NEXT, third)


REFUSED = {
    "not TOML": (lambda w: put(w.path, "nonsense"), KeyringError),
    "no file": (lambda w: w.path.unlink(), KeyringError),
    "a granted key gone": (lambda w: w.write(Keyring(keys=(INDEX, SIGNING))), ConfigError),
    "no index key": (lambda w: w.write(Keyring(keys=(SIGNING, ZPK))), ConfigError),
    "another index key": (
        lambda w: w.write(
            Keyring(
                keys=(
                    replace(INDEX, state=State.DECIPHER_ONLY),
                    replace(INDEX, version=2),
                    SIGNING,
                    ZPK,
                )
            )
        ),
        OwnKeyChanged,
    ),
    "another signing key": (
        lambda w: w.write(Keyring(keys=(INDEX, replace(SIGNING, check_value="B" * 64), ZPK))),
        OwnKeyChanged,
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_key_ring_that_would_stop_a_start_is_refused_and_the_old_one_serves(
    world: World, case: str
) -> None:
    spoil, kind = REFUSED[case]
    spoil(world)
    assert world.serves() == RING
    assert world.witness.told == [kind.__name__]
    assert world.device.adopted == []
    assert world.serves() == RING
    assert len(world.witness.told) == 1, "not tried again at every call"
    world.write(ROTATED)
    assert world.serves() == ROTATED


def test_a_key_version_stays_what_it_is_even_when_it_was_away_in_between(world: World) -> None:
    """The token cannot tell usages of the same capabilities apart: nothing but memory can."""
    passing = entry("passing", check_value="ABCDEF")
    world.write(Keyring(keys=(*RING.keys, passing)))
    assert world.serves().keys[-1] == passing
    world.write(RING)
    assert world.serves() == RING
    world.write(Keyring(keys=(*RING.keys, replace(passing, usage=Usage.V1, mode=Mode.C))))
    assert world.serves() == RING
    assert world.witness.told == ["taken", "taken", "KeyRedefined"]
    dated = replace(passing, state=State.RETIRED, valid_until=date(2026, 12, 31))
    world.write(Keyring(keys=(*RING.keys, dated)))
    assert world.serves().keys[-1] == dated, world.witness.told


def test_a_worker_that_is_started_later_has_the_own_keys_of_the_first(world: World) -> None:
    hold(world.loaded, RING)
    hold(world.loaded, ROTATED)
    for other in (replace(INDEX, version=2), replace(INDEX, check_value="FFFFFF")):
        with pytest.raises(OwnKeyChanged):
            hold(world.loaded, Keyring(keys=(other, SIGNING, ZPK)))
    assert [each.name for each in (world.folder / "state").iterdir()] == ["own-keys"]


@pytest.mark.parametrize(
    "error", [InspectionFailed((STRANGER,)), HsmUnavailable(), RuntimeError("a defect")]
)
def test_what_the_token_refuses_is_tried_again_and_serves_in_the_end(
    world: World, error: Exception
) -> None:
    world.device.error = error
    world.write(ROTATED)
    assert world.serves() == RING
    world.device.error = None
    world.ring.tend()
    assert world.serves() == RING, "not before its time"
    world.now += live.RETRY_S
    world.ring.tend()
    assert world.serves() == ROTATED
    assert world.witness.told == [type(error).__name__, "taken"]


def test_a_key_ring_that_cannot_be_recorded_does_not_serve(world: World) -> None:
    world.witness.error = AuditUnavailable("full", remedy="make room")
    world.write(ROTATED)
    assert world.serves() == RING
    assert world.witness.told == ["AuditUnavailable"]


def test_a_file_in_somebodys_editor_is_let_alone_until_it_is_still(world: World) -> None:
    world.path.write_text(keyring.dump(Keyring(keys=(INDEX, SIGNING))))  # half of it, so far
    assert world.serves() == RING
    assert world.witness.told == []
    world.path.write_text(keyring.dump(ROTATED))
    assert world.serves() == RING
    _age(world.path)
    assert world.serves() == ROTATED


def _age(path: Path) -> None:
    import os

    then = time.time() - live.STILL_S - 0.1
    os.utime(path, (then, then))


def test_nothing_is_taken_while_another_process_changes_keys(world: World) -> None:
    with turns.taken(turns.of_keys(world.loaded), shared=False, wait_s=0) as is_ours:
        assert is_ours
        world.write(ROTATED)
        assert world.serves() == RING
    assert world.serves() == ROTATED
    assert world.witness.told == ["taken"]


def test_a_call_that_missed_its_key_waits_for_the_change_under_way(world: World) -> None:
    began = world.ring.current()
    held, go = threading.Event(), threading.Event()

    def change() -> None:
        with turns.taken(turns.of_keys(world.loaded), shared=False, wait_s=0):
            world.write(ROTATED)
            held.set()
            go.wait(5)
            time.sleep(0.05)

    thread = threading.Thread(target=change)
    thread.start()
    held.wait(5)
    assert world.ring.current() is began
    go.set()
    assert world.ring.after_a_miss().version.ring == ROTATED
    thread.join()


def test_one_change_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TURN_S", 0.05)
    with world.ring.turn(), pytest.raises(Refusal) as refused, world.ring.turn():
        pass
    assert refused.value.reason is Reason.KEY_BUSY
    assert refused.value.retry_after_s
    with world.ring.turn():
        pass


def test_an_added_key_is_in_file_and_token_and_serves(world: World) -> None:
    with world.ring.turn():
        world.ring.keep("zpk/2", "D0016")
        key = world.ring.add(MADE, previous_until=date(2026, 6, 30))
    assert (key.id, key.state) == ("zpk/2", model.State.ACTIVE)
    stepped = replace(ZPK_BACK, valid_until=date(2026, 6, 30))
    assert world.serves() == Keyring(keys=(INDEX, SIGNING, stepped, NEXT))
    assert keyring.load(world.path) == world.serves()
    assert world.ring.block_of("zpk/2") == "D0016"
    (stored,) = (world.folder / "key-blocks").iterdir()
    assert stored.stat().st_mode & 0o777 == 0o600
    assert stored.parent.stat().st_mode & 0o777 == 0o700
    assert world.witness.told == ["taken"]


def test_inside_a_turn_the_file_as_it_is_decides(world: World) -> None:
    with world.ring.turn():
        world.write(ROTATED)
        assert world.ring.directory().find("zpk", field="key").version == 2


def test_retiring_forgets_the_stored_block(world: World) -> None:
    world.ring.keep("zpk/2", "D0016")
    world.ring.add(MADE, previous_until=None)
    key = world.ring.retire("zpk/2")
    assert key.state is model.State.RETIRED
    assert world.ring.block_of("zpk/2") is None
    assert keyring.load(world.path).entry("zpk/2").state is State.RETIRED


def _retire_index(world: World) -> None:
    world.ring.retire("index/1")


def _add(world: World) -> None:
    world.ring.add(MADE, previous_until=None)


@pytest.mark.parametrize(
    ("change", "error", "reason", "cause"),
    [
        (_retire_index, None, Reason.KEY_CHANGE_REFUSED, ConfigError),
        (_add, InspectionFailed((STRANGER,)), Reason.KEY_CHANGE_REFUSED, InspectionFailed),
        (_add, HsmUnavailable(), Reason.HSM_UNAVAILABLE, HsmUnavailable),
        (lambda w: w.ring.retire("zpk/9"), None, Reason.KEY_CHANGE_REFUSED, Exception),
    ],
)
def test_a_change_that_is_refused_leaves_the_file_and_tells_no_paths(
    world: World,
    change: Callable[[World], None],
    error: Exception | None,
    reason: Reason,
    cause: type[Exception],
) -> None:
    before = world.path.read_bytes()
    world.device.error = error
    with pytest.raises(Refusal) as refused:
        change(world)
    assert refused.value.reason is reason
    assert isinstance(refused.value.__cause__, cause), "which has the whole text, for operators"
    told = " ".join(v.description for v in refused.value.violations)
    assert bool(told) == (reason is Reason.KEY_CHANGE_REFUSED)
    assert str(world.folder) not in told
    assert world.path.read_bytes() == before
    assert world.serves() == RING


def test_calls_from_all_sides_see_whole_key_rings_only(world: World) -> None:
    """Threads look all the while; each sees a directory and what was built over it, together."""
    wrong: list[object] = []
    stop = threading.Event()

    def look() -> None:
        while not stop.is_set():
            stands = world.ring.current()
            if stands.serving != frozenset(key.id for key in stands.directory):
                wrong.append(stands)

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, 12):
        made = replace(MADE, key=replace(MADE.key, version=version), check_value=f"{version:06X}")
        with world.ring.turn():
            world.ring.add(made, previous_until=None)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(world.serves().versions("zpk")) == 11
    assert set(world.witness.told) == {"taken"}


states = st.sampled_from(State)
sides = st.dictionaries(st.sampled_from("abcd"), states)


@given(held=sides, wanted=sides)
def test_while_one_takes_over_all_is_allowed_that_either_allows(
    held: dict[str, State], wanted: dict[str, State]
) -> None:
    def ring(side: dict[str, State]) -> Keyring:
        return Keyring(keys=tuple(entry(name, state=state) for name, state in side.items()))

    both = {key.name: key.state for key in union(ring(held), ring(wanted)).keys}
    rank = [State.RETIRED, State.DECIPHER_ONLY, State.ACTIVE]
    assert both == {
        name: max((side[name] for side in (held, wanted) if name in side), key=rank.index)
        for name in held | wanted
    }
