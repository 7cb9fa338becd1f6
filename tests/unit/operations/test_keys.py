"""KeyService: callers see the keys that they may use, page by page, and no others."""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from pinvault.model.errors import Reason
from pinvault.model.keys import Key, Usage
from tests.unit.operations.support import (
    BY_ID,
    EVERYTHING,
    KEYS,
    World,
    call,
    refusal_of,
    rsa_key,
)

LIST, GET, PUBLIC = ("KeyService.ListKeys", "KeyService.GetKey", "KeyService.GetPublicKey")


def granted(directory: Path, *rows: set[str]) -> World:
    """A world in which each of `rows` is a row of its own, for every method."""
    every = tuple(replace(row, keys=frozenset(keys)) for row in EVERYTHING for keys in rows)
    return World(directory, rows=every)


def pages(world: World, size: int, usage: Usage | None = None) -> list[list[str]]:
    found, after = [], ""
    while True:
        page = world.key_service.list(call(LIST), usage=usage, page_size=size, after=after)
        found.append([each.id for each in page.keys])
        after = page.next_page_token
        if not after:
            return found


def in_order(*keys: Key) -> list[str]:
    return [each.id for each in sorted(keys, key=lambda each: (each.name, each.version))]


@pytest.mark.parametrize("size", [0, *range(1, len(KEYS) + 2), 1000])
def test_pages_of_any_size_make_up_the_same_list(world: World, size: int) -> None:
    found = pages(world, size)
    assert sum(found, []) == in_order(*KEYS)  # noqa: RUF017 - a few short lists
    assert all(len(page) == (size or 100) for page in found[:-1])
    assert 0 < len(found[-1]) <= (size or 100)


def test_version_10_comes_after_version_9(world: World) -> None:
    (page,) = pages(world, 100, Usage.D1)
    assert [each for each in page if each.startswith("pin-seal")] == [
        "pin-seal/1",
        "pin-seal/9",
        "pin-seal/10",
    ]


@pytest.mark.parametrize("size", [1, 2, 100])
@pytest.mark.parametrize("usage", [Usage.P0, Usage.D1, Usage.M7, Usage.V2])
def test_a_list_by_usage_holds_that_usage(world: World, usage: Usage, size: int) -> None:
    expected = in_order(*(each for each in KEYS if each.usage is usage))
    assert sum(pages(world, size, usage), []) == expected  # noqa: RUF017


def test_only_granted_keys_are_listed_and_rows_add_up_here(tmp_path: Path) -> None:
    world = granted(tmp_path, {"zpk"}, {"pin-seal"}, set())
    assert pages(world, 2) == [
        ["pin-seal/1", "pin-seal/9"],
        ["pin-seal/10", "zpk/1"],
        ["zpk/2", "zpk/3"],
    ]


def test_a_page_begins_after_a_key_that_is_gone(world: World) -> None:
    page = world.key_service.list(call(LIST), usage=None, page_size=2, after="zpk-b/7")
    assert [each.id for each in page.keys] == ["zpk-d/1", "zpk-e/1"]


def test_a_page_after_the_last_key_is_empty(world: World) -> None:
    page = world.key_service.list(call(LIST), usage=None, page_size=2, after="zzz/9999")
    assert (page.keys, page.next_page_token) == ((), "")


def test_a_caller_without_rows_sees_no_list(world: World) -> None:
    refusal = refusal_of(
        lambda: world.key_service.list(
            call(LIST, caller="other"), usage=None, page_size=0, after=""
        )
    )
    assert refusal.reason is Reason.METHOD_NOT_GRANTED
    assert world.is_untouched()


@pytest.mark.parametrize(
    ("reference", "means"),
    [("zpk", "zpk/3"), ("zpk/1", "zpk/1"), ("zpk/2", "zpk/2"), ("zpk-gone/1", "zpk-gone/1")],
)
def test_one_key_is_told_of_in_any_state(world: World, reference: str, means: str) -> None:
    made = call(GET)
    assert world.key_service.get(made, reference=reference) is BY_ID[means]
    assert [each.id for each in made.notes.keys] == [means]
    assert not world.device.calls


@pytest.mark.parametrize("reference", ["zpk-x", "zpk/4", "zpk-gone", ""])
def test_an_unknown_key_is_refused_before_the_limits(world: World, reference: str) -> None:
    for use in (
        lambda: world.key_service.get(call(GET), reference=reference),
        lambda: world.key_service.public_key(call(PUBLIC), name=reference),
    ):
        refusal = refusal_of(use)
        assert (refusal.reason, refusal.field) == (Reason.KEY_UNKNOWN, "key")
    assert world.is_untouched()


def test_a_key_that_no_row_names_is_refused(tmp_path: Path) -> None:
    world = granted(tmp_path, {"zpk"})
    for use in (
        lambda: world.key_service.get(call(GET), reference="pin-seal"),
        lambda: world.key_service.public_key(call(PUBLIC), name="pin-seal"),
    ):
        assert refusal_of(use).reason is Reason.KEY_NOT_GRANTED
    assert world.is_untouched()


def test_the_public_halves_of_a_sealing_key_come_active_first_without_the_retired(
    world: World,
) -> None:
    found = world.key_service.public_key(call(PUBLIC), name="pin-seal")
    assert [each.key.id for each in found] == ["pin-seal/10", "pin-seal/9"]
    for each in found:
        public = serialization.load_der_public_key(each.spki)
        assert public == rsa_key(each.key.id).public_key()


@pytest.mark.parametrize("name", ["partner", "zpk", "index"])
def test_only_sealing_keys_have_a_public_half_to_seal_under(world: World, name: str) -> None:
    refusal = refusal_of(lambda: world.key_service.public_key(call(PUBLIC), name=name))
    assert (refusal.reason, refusal.field) == (Reason.KEY_USAGE_MISMATCH, "key")
    assert not world.device.calls
