"""Custody decides what the next version of a key may be, and by whose hand; the zone is a fake."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pytest

from pinvault.clearzone.key_zone import Variants
from pinvault.model.custody import Exportability, KeyComponent, MadeKey, NewKey, WantedKey
from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import Algorithm, Key, Mode, Origin, State, Usage
from pinvault.operations.custody import Custody
from tests.support.key_book import MemoryBook
from tests.support.software_device import key

TODAY = date(2026, 6, 15)
TOMORROW = TODAY + timedelta(days=1)
YESTERDAY = TODAY - timedelta(days=1)
GENERATED = Origin.GENERATED
KEYS = (
    key("zpk", "P0", "TDES_3KEY", "D", version=1, state="decipher-only"),
    key("zpk", "P0", "TDES_3KEY", "D", version=2),
    replace(key("own", "P0", "AES_128", "B", valid_until=date(2027, 1, 1)), origin=GENERATED),
    replace(key("kept", "P0", "AES_256", "B"), check_value="A1B2C3D4E5"),
    replace(key("seal", "D1", "RSA_2048", "D", jwa="RSA-OAEP"), origin=GENERATED),
    replace(key("index", "M7", "HMAC_SHA256", "G"), origin=GENERATED),
    key("partner", "D1", "RSA_2048", "E"),
    key("gone", "P0", "AES_128", "B", state="retired"),
    key("kbpk", "K1", "AES_256", "B"),
    key("kbpk", "K1", "AES_256", "B", version=2, state="decipher-only"),
    key("kbpk-in", "K1", "AES_256", "D"),
    key("kbpk-out", "K1", "AES_256", "E"),
    key("kbpk-past", "K1", "AES_256", "B", valid_until=YESTERDAY),
    key("kbpk-gone", "K1", "AES_256", "B", state="retired"),
    key("legacy-45", "K0", "TDES_2KEY", "D"),
    key("legacy-4d", "M1", "TDES_2KEY", "V"),
    key("transport", "K2", "RSA_2048", "D", jwa="RSA-OAEP"),
    key("storage", "K1", "AES_256", "B", version=1, state="decipher-only"),
    replace(key("storage", "K1", "AES_256", "B", version=2), origin=GENERATED),
)
BY_ID = {each.id: each for each in KEYS}
AWAITED = WantedKey(name="zpk-new", usage=Usage.P0, algorithm=Algorithm.AES_128, mode=Mode.E)
ZPK = WantedKey(name="zpk", usage=Usage.P0, algorithm=Algorithm.TDES_3KEY, mode=Mode.D)
COMPONENTS = [KeyComponent(bytes(range(16))), KeyComponent(bytes(range(16, 32)))]
FRESH = "0F1E2D"


@dataclass
class FakeZone:
    """Notes what it is asked, and makes keys of one check value; `refuses` by storage key id."""

    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    refuses: dict[str, Reason] = field(default_factory=dict)

    def _make(self, verb: str, new: NewKey, origin: Origin, **rest: Any) -> MadeKey:
        self.asked.append((verb, {"new": new, **rest}))
        return MadeKey(key=new, origin=origin, check_value=FRESH)

    def generate(self, new: NewKey, **rest: Any) -> MadeKey:
        return self._make("generate", new, Origin.GENERATED, **rest)

    def require_kept(self, stored: str, **rest: Any) -> None:
        if rest["storage"] in self.refuses:
            raise Refusal(self.refuses[rest["storage"]])

    def draw(self, new: NewKey, **rest: Any) -> MadeKey:
        rest["keep"]("drawn")
        return self._make("draw", new, Origin.IMPORTED, **rest)

    def import_block(self, new: NewKey, block: str, **rest: Any) -> tuple[MadeKey, str | None]:
        stored = "stored" if rest["storage"] is not None else None
        return self._make("import_block", new, Origin.IMPORTED, block=block, **rest), stored

    def import_cryptogram(self, new: NewKey, wrapped: bytes, **rest: Any) -> MadeKey:
        return self._make("import_cryptogram", new, Origin.IMPORTED, wrapped=wrapped, **rest)

    def load_public(self, new: NewKey, spki: bytes, **rest: Any) -> MadeKey:
        return self._make("load_public", new, Origin.IMPORTED, spki=spki, **rest)

    def combine(self, new: NewKey, components: Any, **rest: Any) -> MadeKey:
        return self._make("combine", new, Origin.IMPORTED, components=components, **rest)

    def export_block(self, stored: str, **rest: Any) -> str:
        self.asked.append(("export_block", {"stored": stored, **rest}))
        if rest["storage"] in self.refuses:
            raise Refusal(self.refuses[rest["storage"]])
        return "exported"

    def component_check_value(self, component: KeyComponent, algorithm: Algorithm) -> str:
        return "C0FFEE"

    def combined_check_value(self, components: Any, algorithm: Algorithm, *, variant: Any) -> str:
        return FRESH


class World:
    """Custody over a fake zone and a book in memory."""

    def __init__(self, *, storage: str | None = "storage", keys: tuple[Key, ...] = KEYS) -> None:
        self.zone = FakeZone()
        self.book = MemoryBook(keys)
        self.book.blocks["kept/1"] = "stored before"
        self.custody = Custody(
            zone=self.zone,
            book=self.book,
            today=lambda: TODAY,
            storage=storage,
            variants={"legacy": ("legacy-45", "legacy-4d")},
            awaited={"zpk-new": AWAITED},
            own={"index"},
        )

    def state_of(self, key_id: str) -> State:
        return self.book.directory().find(key_id, field="").state

    @property
    def asked(self) -> tuple[str, dict[str, Any]]:
        """The one thing that the zone was asked."""
        (only,) = self.zone.asked
        return only


@pytest.fixture
def world() -> World:
    return World()


def refused(work: Callable[[], object]) -> tuple[Reason, str]:
    """The reason and the field of a refusal."""
    with pytest.raises(Refusal) as met:
        work()
    violations = [each.field for each in met.value.violations]
    return met.value.reason, violations[0] if violations else met.value.field


LOADS: dict[str, Callable[[Custody, WantedKey], Key]] = {
    "generate": lambda c, wanted: c.generate(wanted, timeout=1),
    "import_block": lambda c, wanted: c.import_block(wanted, "block", kbpk="kbpk", timeout=1),
    "import_cryptogram": lambda c, wanted: c.import_cryptogram(
        wanted, b"wrapped", wrapping="transport", check_value=FRESH, timeout=1
    ),
    "load_components": lambda c, wanted: c.load_components(wanted, COMPONENTS, timeout=1),
    "load_public": lambda c, wanted: c.load_public(wanted, b"spki", timeout=1),
}
EVERY = pytest.mark.parametrize("load", LOADS.values(), ids=LOADS)


# The next version, whichever way it comes.


@EVERY
def test_the_next_version_takes_over_and_the_one_before_deciphers(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    made = load(world.custody, ZPK)
    assert (made.id, made.state, made.valid_from) == ("zpk/3", State.ACTIVE, TODAY)
    states = [world.state_of(f"zpk/{version}") for version in (1, 2, 3)]
    assert states == [State.DECIPHER_ONLY, State.DECIPHER_ONLY, State.ACTIVE]
    assert world.book.turns == 1


@EVERY
def test_a_new_name_begins_with_version_one(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    assert load(world.custody, AWAITED).id == "zpk-new/1"


@EVERY
def test_a_name_goes_on_after_its_retired_versions(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    assert load(world.custody, world.custody.wanted("gone")).id == "gone/2"


@EVERY
@pytest.mark.parametrize(
    "change",
    [
        {"usage": Usage.K0},
        {"algorithm": Algorithm.TDES_2KEY},
        {"mode": Mode.B},
        {"jwa": "RSA-OAEP"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_version_is_what_the_versions_before_are(
    world: World, load: Callable[[Custody, WantedKey], Key], change: dict[str, Any]
) -> None:
    assert refused(lambda: load(world.custody, replace(ZPK, **change))) == (
        Reason.KEY_USAGE_MISMATCH,
        "name",
    )
    assert not world.zone.asked


@EVERY
def test_the_service_s_own_keys_are_left_alone(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    wanted = world.custody.wanted("index")
    assert refused(lambda: load(world.custody, wanted)) == (Reason.KEY_CHANGE_REFUSED, "key")
    assert not world.zone.asked


@EVERY
def test_two_changes_at_once_are_one_too_many(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    world.book.busy = True
    assert refused(lambda: load(world.custody, ZPK)) == (Reason.KEY_BUSY, "")
    assert not world.zone.asked


def test_what_waited_too_long_for_its_turn_changes_nothing(world: World) -> None:
    for work in (
        lambda: world.custody.generate(ZPK, timeout=0),
        lambda: world.custody.rotate("own", timeout=0),
        lambda: world.custody.import_block(ZPK, "block", kbpk="kbpk", timeout=0),
        lambda: world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=0),
        lambda: world.custody.load_components(ZPK, COMPONENTS, timeout=0),
    ):
        assert refused(work) == (Reason.DEADLINE_EXCEEDED, "")
    assert not world.zone.asked


@EVERY
def test_a_cryptoperiod_ends_no_sooner_than_today(
    world: World, load: Callable[[Custody, WantedKey], Key]
) -> None:
    over = replace(ZPK, valid_until=YESTERDAY)
    assert refused(lambda: load(world.custody, over)) == (Reason.REQUEST_INVALID, "valid_until")
    assert not world.zone.asked
    assert load(world.custody, replace(ZPK, valid_until=TODAY)).valid_until == TODAY


@pytest.mark.parametrize(
    ("name", "day", "reason"),
    [
        ("zpk", YESTERDAY, Reason.REQUEST_INVALID),
        ("gone", TOMORROW, Reason.REQUEST_INVALID),
        ("zpk-new", TOMORROW, Reason.REQUEST_INVALID),
        ("zpk", TODAY, None),
        ("own", date(2027, 1, 1), None),
        ("own", date(2027, 1, 2), None),
    ],
)
def test_the_version_before_ends_on_the_day_that_is_said(
    world: World, name: str, day: date, reason: Reason | None
) -> None:
    def make() -> Key:
        return world.custody.generate(world.custody.wanted(name), previous_until=day, timeout=1)

    if reason is not None:
        assert refused(make) == (reason, "previous_until")
        assert not world.zone.asked
        return
    before = world.book.directory().find(name, field="")
    assert make().version == before.version + 1
    assert world.book.directory().find(before.id, field="").valid_until == day


def test_a_version_past_its_last_day_is_not_made_unreadable_by_surprise() -> None:
    over = replace(
        key("zpk", "P0", "TDES_3KEY", "D", valid_until=YESTERDAY), origin=Origin.IMPORTED
    )
    world = World(keys=(over,))

    def make(until: date | None) -> Key:
        return world.custody.generate(world.custody.wanted("zpk"), previous_until=until, timeout=1)

    assert refused(lambda: make(None)) == (Reason.REQUEST_INVALID, "previous_until")
    assert not world.zone.asked
    make(TOMORROW)
    assert world.book.directory().find("zpk/1", field="").deciphers(TOMORROW)


def test_what_a_name_may_become_is_known_before_it_comes(world: World) -> None:
    assert world.custody.wanted("zpk") == ZPK
    assert world.custody.wanted("seal").jwa == "RSA-OAEP"
    wanted = world.custody.wanted("zpk-new", valid_until=TOMORROW)
    assert wanted == replace(AWAITED, valid_until=TOMORROW)
    for name in ("zpk-unheard-of", "zpk/2", ""):
        assert refused(lambda name=name: world.custody.wanted(name)) == (Reason.KEY_UNKNOWN, "name")


# Making and rotating.


def test_a_key_is_made_inside_the_token_unless_it_shall_go_out(world: World) -> None:
    world.custody.generate(AWAITED, timeout=1)
    assert world.asked[0] == "generate"
    assert world.book.block_of("zpk-new/1") is None


@pytest.mark.parametrize("exportability", [Exportability.E, Exportability.S])
def test_a_key_that_shall_go_out_is_drawn_and_stored(
    world: World, exportability: Exportability
) -> None:
    world.custody.generate(AWAITED, exportability=exportability, timeout=1)
    verb, asked = world.asked
    assert (verb, asked["storage"]) == ("draw", "storage/2")
    assert asked["exportability"] is exportability
    assert world.book.block_of("zpk-new/1") == "drawn"


def test_without_a_storage_key_nothing_can_go_out() -> None:
    world = World(storage=None)
    for work in (
        lambda: world.custody.generate(AWAITED, exportability=Exportability.E, timeout=1),
        lambda: world.custody.rotate("kept", timeout=1),
    ):
        assert refused(work) == (Reason.KEY_CHANGE_REFUSED, "key")
    assert refused(
        lambda: world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=1)
    ) == (Reason.KEY_NOT_EXPORTABLE, "key")
    assert not world.zone.asked


def test_nothing_is_stored_under_a_storage_key_that_is_over() -> None:
    over = [replace(each, valid_until=YESTERDAY) for each in KEYS if each.name == "storage"]
    world = World(keys=(*(each for each in KEYS if each.name != "storage"), *over))
    for work in (
        lambda: world.custody.generate(AWAITED, exportability=Exportability.E, timeout=1),
        lambda: world.custody.import_block(AWAITED, "block", kbpk="kbpk", timeout=1),
    ):
        assert refused(work) == (Reason.KEY_CHANGE_REFUSED, "key")
    world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=1)


@pytest.mark.parametrize("reference", ["own", "own/1"])
def test_a_generated_key_is_rotated_inside_the_token(world: World, reference: str) -> None:
    rotated = world.custody.rotate(reference, valid_until=TOMORROW, timeout=1)
    assert world.asked[0] == "generate"
    assert (rotated.key.id, rotated.key.state) == ("own/2", State.ACTIVE)
    assert (rotated.previous.id, rotated.previous.state) == ("own/1", State.DECIPHER_ONLY)
    assert (rotated.key.valid_until, rotated.previous.valid_until) == (TOMORROW, date(2027, 1, 1))


def test_a_rotation_by_version_can_be_said_twice(world: World) -> None:
    world.custody.rotate("own/1", timeout=1)
    assert refused(lambda: world.custody.rotate("own/1", timeout=1)) == (Reason.KEY_STATE, "key")
    assert len(world.zone.asked) == 1


def test_a_sealing_key_keeps_its_algorithm(world: World) -> None:
    assert world.custody.rotate("seal", timeout=1).key.jwa == "RSA-OAEP"


@pytest.mark.parametrize(
    ("exportable", "verb"), [(None, "draw"), (True, "draw"), (False, "generate")]
)
def test_an_exportable_key_stays_so_unless_told_otherwise(
    world: World, exportable: bool | None, verb: str
) -> None:
    world.custody.rotate("kept", exportable=exportable, timeout=1)
    assert world.asked[0] == verb
    assert world.book.block_of("kept/2") == ("drawn" if verb == "draw" else None)


def test_what_was_not_exportable_does_not_become_so(world: World) -> None:
    assert refused(lambda: world.custody.rotate("own", exportable=True, timeout=1)) == (
        Reason.KEY_NOT_EXPORTABLE,
        "exportable",
    )
    assert not world.zone.asked


@pytest.mark.parametrize("name", ["zpk", "partner", "kbpk"])
def test_a_partner_s_key_is_not_ours_to_rotate(world: World, name: str) -> None:
    assert refused(lambda: world.custody.rotate(name, timeout=1)) == (
        Reason.KEY_CHANGE_REFUSED,
        "key",
    )
    assert not world.zone.asked


@pytest.mark.parametrize("name", ["gone", "zpk-new", "zpk/9", "nothing"])
def test_what_is_not_there_or_not_active_is_not_rotated(world: World, name: str) -> None:
    assert refused(lambda: world.custody.rotate(name, timeout=1)) == (Reason.KEY_UNKNOWN, "key")


def test_the_storage_key_can_be_rotated_and_old_blocks_still_open(world: World) -> None:
    assert world.custody.rotate("storage", timeout=1).key.id == "storage/3"
    world.zone.refuses = dict.fromkeys(("storage/3", "storage/2"), Reason.KEY_BLOCK_REFUSED)
    exported = world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=1)
    assert exported.block == "exported"
    tried = [asked["storage"] for verb, asked in world.zone.asked if verb == "export_block"]
    assert tried == ["storage/3", "storage/2", "storage/1"]


# Retiring.


def test_a_version_is_retired_by_its_check_value(world: World) -> None:
    found = BY_ID["kept/1"]
    retired = world.custody.retire("kept/1", check_value=found.check_value.lower())
    assert (retired.id, retired.state) == ("kept/1", State.RETIRED)
    assert world.book.block_of("kept/1") is None


@pytest.mark.parametrize("told", ["000000", "", "A1B2C3", "A1B2C3D4E5FF"])
def test_another_check_value_retires_nothing(world: World, told: str) -> None:
    assert refused(lambda: world.custody.retire("kept/1", check_value=told)) == (
        Reason.KEY_CHECK_VALUE_MISMATCH,
        "check_value",
    )
    assert world.state_of("kept/1") is State.ACTIVE


@pytest.mark.parametrize(
    ("key_id", "reason"),
    [
        ("gone/1", Reason.KEY_STATE),
        ("index/1", Reason.KEY_CHANGE_REFUSED),
        ("storage/1", Reason.KEY_CHANGE_REFUSED),
    ],
)
def test_what_cannot_be_retired_is_told(world: World, key_id: str, reason: Reason) -> None:
    value = BY_ID[key_id].check_value
    assert refused(lambda: world.custody.retire(key_id, check_value=value)) == (reason, "key")


# Key blocks.


@pytest.mark.parametrize(
    ("kbpk", "under"),
    [
        ("kbpk", "kbpk/1"),
        ("kbpk/2", "kbpk/2"),
        ("kbpk-in", "kbpk-in/1"),
        ("kbpk-past", "kbpk-past/1"),
        ("legacy", Variants(encryption="legacy-45/1", mac="legacy-4d/1")),
    ],
)
def test_a_key_block_opens_under_what_may_open(
    world: World, kbpk: str, under: str | Variants
) -> None:
    world.custody.import_block(ZPK, "block", kbpk=kbpk, timeout=2)
    asked = world.asked[1]
    assert (asked["kbpk"], asked["storage"], asked["block"]) == (under, "storage/2", "block")
    assert asked["known"] >= {BY_ID["zpk/1"].check_value, BY_ID["legacy-45/1"].check_value}
    assert not asked["known"] & {BY_ID["kbpk/1"].check_value, BY_ID["seal/1"].check_value}
    assert world.book.block_of("zpk/3") == "stored"


def test_retired_keys_do_not_come_back_either(world: World) -> None:
    world.custody.import_block(AWAITED, "block", kbpk="kbpk", timeout=1)
    assert BY_ID["gone/1"].check_value in world.asked[1]["known"]


@pytest.mark.parametrize(
    ("kbpk", "reason"),
    [
        ("kbpk-out", Reason.KEY_USAGE_MISMATCH),
        ("zpk", Reason.KEY_USAGE_MISMATCH),
        ("legacy-45", Reason.KEY_USAGE_MISMATCH),
        ("transport", Reason.KEY_USAGE_MISMATCH),
        ("storage", Reason.KEY_USAGE_MISMATCH),
        ("kbpk-gone/1", Reason.KEY_STATE),
        ("kbpk-gone", Reason.KEY_UNKNOWN),
        ("nothing", Reason.KEY_UNKNOWN),
    ],
)
def test_what_may_not_open_key_blocks_is_told(world: World, kbpk: str, reason: Reason) -> None:
    assert refused(lambda: world.custody.import_block(ZPK, "block", kbpk=kbpk, timeout=1)) == (
        reason,
        "kbpk",
    )
    assert not world.zone.asked


def test_an_exportable_key_goes_out_as_it_is_known(world: World) -> None:
    done = world.custody.export_block("kept", kbpk="kbpk-out", version="E", timeout=3)
    assert (done.key, done.block) == (BY_ID["kept/1"], "exported")
    assert "exported" not in repr(done)
    asked = world.asked[1]
    assert 2 < asked.pop("timeout") <= 3
    assert asked == {
        "stored": "stored before",
        "storage": "storage/2",
        "kbpk": "kbpk-out/1",
        "version": "E",
        "check_value": "A1B2C3D4E5",
    }


@pytest.mark.parametrize(
    ("reference", "kbpk", "met"),
    [
        ("own", "kbpk", (Reason.KEY_NOT_EXPORTABLE, "key")),
        ("partner", "kbpk", (Reason.KEY_NOT_EXPORTABLE, "key")),
        ("gone/1", "kbpk", (Reason.KEY_STATE, "key")),
        ("nothing", "kbpk", (Reason.KEY_UNKNOWN, "key")),
        ("kept", "kbpk-in", (Reason.KEY_USAGE_MISMATCH, "kbpk")),
        ("kept", "storage", (Reason.KEY_USAGE_MISMATCH, "kbpk")),
        ("kept", "legacy", (Reason.KEY_UNKNOWN, "kbpk")),
        ("kept", "kbpk-past", (Reason.KEY_STATE, "kbpk")),
        ("kept", "kbpk/2", (Reason.KEY_STATE, "kbpk")),
    ],
)
def test_what_may_not_go_out_or_protect_is_told(
    world: World, reference: str, kbpk: str, met: tuple[Reason, str]
) -> None:
    assert (
        refused(lambda: world.custody.export_block(reference, kbpk=kbpk, version="D", timeout=1))
        == met
    )
    assert not world.zone.asked


def test_a_stored_block_that_opens_under_no_storage_key_is_told(world: World) -> None:
    world.zone.refuses = dict.fromkeys(("storage/1", "storage/2"), Reason.KEY_BLOCK_REFUSED)
    assert refused(
        lambda: world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=1)
    ) == (Reason.KEY_CHANGE_REFUSED, "key")


def test_other_refusals_of_an_export_are_told_at_once(world: World) -> None:
    world.zone.refuses = {"storage/2": Reason.KEY_BLOCKS_OFF}
    assert refused(
        lambda: world.custody.export_block("kept", kbpk="kbpk", version="D", timeout=1)
    ) == (Reason.KEY_BLOCKS_OFF, "")
    assert len(world.zone.asked) == 1


# Cryptograms, components and public keys: none comes twice.


def test_a_cryptogram_opens_under_a_wrapping_key(world: World) -> None:
    LOADS["import_cryptogram"](world.custody, AWAITED)
    asked = world.asked[1]
    assert (asked["wrapping"], asked["check_value"]) == ("transport/1", FRESH)


@pytest.mark.parametrize("wrapping", ["seal", "kbpk", "nothing"])
def test_no_other_key_unwraps(world: World, wrapping: str) -> None:
    reason, where = refused(
        lambda: world.custody.import_cryptogram(
            AWAITED, b"", wrapping=wrapping, check_value=FRESH, timeout=1
        )
    )
    assert reason in {Reason.KEY_USAGE_MISMATCH, Reason.KEY_UNKNOWN}
    assert where == "wrapping_key"


@pytest.mark.parametrize("told", ["A1B2C3D4E5", "A1B2C3"])
def test_a_key_comes_once_whether_told_by_three_bytes_or_five(world: World, told: str) -> None:
    assert refused(
        lambda: world.custody.import_cryptogram(
            AWAITED, b"", wrapping="transport", check_value=told, timeout=1
        )
    ) == (Reason.KEY_ALREADY_EXISTS, "name")
    assert not world.zone.asked


def test_a_check_value_of_another_family_is_no_key_twice(world: World) -> None:
    value = BY_ID["zpk/1"].check_value
    world.custody.import_cryptogram(
        AWAITED, b"", wrapping="transport", check_value=value, timeout=1
    )
    assert world.asked[0] == "import_cryptogram"


def test_components_of_a_key_that_is_there_are_refused() -> None:
    there = replace(BY_ID["own/1"], name="other", check_value=FRESH)
    world = World(keys=(*KEYS, there))
    assert refused(lambda: LOADS["load_components"](world.custody, AWAITED)) == (
        Reason.KEY_ALREADY_EXISTS,
        "name",
    )
    assert not world.zone.asked


def test_a_public_key_that_is_there_is_refused() -> None:
    spki = b"spki"
    digest = hashlib.sha256(spki).hexdigest().upper()
    world = World(keys=(*KEYS, replace(BY_ID["partner/1"], name="other", check_value=digest)))
    wanted = world.custody.wanted("partner")
    assert refused(lambda: world.custody.load_public(wanted, spki, timeout=1)) == (
        Reason.KEY_ALREADY_EXISTS,
        "name",
    )


def test_check_values_of_components_come_from_the_zone(world: World) -> None:
    assert world.custody.component_check_value(COMPONENTS[0], Algorithm.AES_128) == "C0FFEE"
    combined = world.custody.combined_check_value(COMPONENTS, Algorithm.AES_128, variant=None)
    assert combined == FRESH


def test_a_change_that_fails_leaves_the_turn_and_the_ring(world: World) -> None:
    world.zone.generate = _down  # type: ignore[method-assign]
    assert refused(lambda: world.custody.rotate("own", timeout=1)) == (Reason.HSM_UNAVAILABLE, "")
    assert world.state_of("own/1") is State.ACTIVE
    world.custody.retire("own/1", check_value=BY_ID["own/1"].check_value)


def _down(*_: object, **__: object) -> MadeKey:
    raise Refusal(Reason.HSM_UNAVAILABLE)
