"""What a key may be used for, against a model that is written out case by case."""

import dataclasses
from datetime import date, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.model.keys import (
    Algorithm,
    Key,
    KeyDirectory,
    Mode,
    State,
    Usage,
    require,
)
from tests.support.software_device import key

TODAY = date(2026, 6, 15)
ENCIPHERING = frozenset({Mode.E, Mode.B})
DECIPHERING = frozenset({Mode.D, Mode.B})

days = st.integers(-2, 2).map(lambda offset: TODAY + timedelta(days=offset))
keys = st.builds(
    dataclasses.replace,
    st.just(key("zpk", "P0", "TDES_2KEY", "B")),
    usage=st.sampled_from(Usage),
    mode=st.sampled_from(Mode),
    state=st.sampled_from(State),
    valid_from=days,
    valid_until=st.none() | days,
)


def refused(use) -> Reason | None:
    try:
        use()
    except Refusal as refusal:
        return refusal.reason if refusal.field == "source.key" else None
    return None


def may(each: Key, usage: Usage, modes: frozenset[Mode], *, enciphers: bool) -> Reason | None:
    """Say what `require` has to say, the simplest way."""
    if each.usage != usage or each.mode not in modes:
        return Reason.KEY_USAGE_MISMATCH
    began = each.valid_from <= TODAY
    over = each.valid_until is not None and each.valid_until < TODAY
    if each.state == State.RETIRED or not began:
        return Reason.KEY_STATE
    if over and (enciphers or each.state != State.ACTIVE):
        return Reason.KEY_STATE
    if enciphers and each.state != State.ACTIVE:
        return Reason.KEY_STATE
    return None


@settings(max_examples=600)
@given(
    each=keys,
    usage=st.sampled_from([Usage.P0, Usage.D1]),
    modes=st.sampled_from([ENCIPHERING, DECIPHERING]),
    enciphers=st.booleans(),
)
def test_a_key_is_let_through_exactly_when_the_model_says(
    each: Key, usage: Usage, modes: frozenset[Mode], enciphers: bool
) -> None:
    found = refused(
        lambda: require(
            each, usage=usage, modes=modes, enciphers=enciphers, today=TODAY, field="source.key"
        )
    )
    assert found == may(each, usage, modes, enciphers=enciphers)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("usage", Usage)
@pytest.mark.parametrize("enciphers", [True, False], ids=["enciphers", "deciphers"])
def test_every_usage_mode_and_state(
    usage: Usage, mode: Mode, state: State, enciphers: bool
) -> None:
    modes = ENCIPHERING if enciphers else DECIPHERING
    each = dataclasses.replace(key("zpk", usage, "TDES_2KEY", mode), state=state)
    found = refused(
        lambda: require(
            each,
            usage=Usage.P0,
            modes=modes,
            enciphers=enciphers,
            today=TODAY,
            field="source.key",
        )
    )
    fits = usage is Usage.P0 and mode in (Mode.B, Mode.E if enciphers else Mode.D)
    usable = state is State.ACTIVE or (state is State.DECIPHER_ONLY and not enciphers)
    assert (found is None) is (fits and usable)


@pytest.mark.parametrize(
    ("today", "enciphers", "deciphers"),
    [
        (date(2026, 1, 31), False, False),
        (date(2026, 2, 1), True, True),
        (date(2026, 12, 31), True, True),
        (date(2027, 1, 1), False, True),
        (date(2027, 6, 1), False, True),
    ],
)
def test_the_cryptoperiod_ends_enciphering_and_leaves_old_blocks_readable(
    today: date, enciphers: bool, deciphers: bool
) -> None:
    each = key(
        *("zpk", "P0", "TDES_2KEY", "B"),
        valid_from=date(2026, 2, 1),
        valid_until=date(2026, 12, 31),
    )
    assert each.within_cryptoperiod(today) is enciphers
    for modes, enciphering, allowed in (
        (ENCIPHERING, True, enciphers),
        (DECIPHERING, False, deciphers),
    ):
        found = refused(
            lambda m=modes, e=enciphering: require(
                each, usage=Usage.P0, modes=m, enciphers=e, today=today, field="source.key"
            )
        )
        assert found is (None if allowed else Reason.KEY_STATE)


@pytest.mark.parametrize(
    ("today", "opens"),
    [
        (date(2026, 1, 31), False),
        (date(2026, 2, 1), True),
        (date(2026, 12, 31), True),
        (date(2027, 1, 1), False),
    ],
)
def test_a_version_that_stepped_back_deciphers_until_its_last_day(today: date, opens: bool) -> None:
    each = key(
        *("zpk", "P0", "TDES_2KEY", "B"),
        state="decipher-only",
        valid_from=date(2026, 2, 1),
        valid_until=date(2026, 12, 31),
    )
    assert each.deciphers(today) is opens
    found = refused(
        lambda: require(
            each,
            usage=Usage.P0,
            modes=DECIPHERING,
            enciphers=False,
            today=today,
            field="source.key",
        )
    )
    assert found is (None if opens else Reason.KEY_STATE)


names = st.sampled_from(["zpk", "zpk-b", "seal"])
rings = st.lists(
    st.tuples(names, st.integers(1, 12), st.sampled_from(State)),
    max_size=10,
    unique_by=(
        lambda row: row[:2],
        lambda row: (row[0], "active" if row[2] is State.ACTIVE else row[1]),
    ),
).map(lambda rows: [key(n, "P0", "TDES_2KEY", "B", version=v, state=s) for n, v, s in rows])


@settings(max_examples=300)
@given(ring=rings, name=names, version=st.integers(1, 12))
def test_a_name_means_its_active_version_and_a_name_with_version_that_one(
    ring: list[Key], name: str, version: int
) -> None:
    directory = KeyDirectory(ring)
    active = [each for each in ring if each.name == name and each.state is State.ACTIVE]
    exact = [each for each in ring if (each.name, each.version) == (name, version)]
    for reference, wanted in ((name, active), (f"{name}/{version}", exact)):
        if wanted:
            assert directory.find(reference, field="source.key") is wanted[0]
        else:
            found = refused(lambda r=reference: directory.find(r, field="source.key"))
            assert found is Reason.KEY_UNKNOWN


@settings(max_examples=300)
@given(ring=rings, name=names)
def test_versions_are_those_not_retired_newest_first(ring: list[Key], name: str) -> None:
    expected = sorted(
        (each for each in ring if each.name == name and each.state is not State.RETIRED),
        key=lambda each: -each.version,
    )
    assert list(KeyDirectory(ring).versions(name)) == expected


@settings(max_examples=300)
@given(ring=rings, name=names)
def test_the_newest_version_is_the_highest_even_when_it_is_retired(
    ring: list[Key], name: str
) -> None:
    numbers = [each.version for each in ring if each.name == name]
    newest = KeyDirectory(ring).newest(name)
    assert (newest.version if newest else 0) == max(numbers, default=0)


@given(ring=rings)
def test_a_directory_lists_by_name_then_by_version_as_a_number(ring: list[Key]) -> None:
    listed = [(each.name, each.version) for each in KeyDirectory(ring)]
    assert listed == sorted((each.name, each.version) for each in ring)


@pytest.mark.parametrize(
    "reference", ["", "/", "/1", "zpk/", "zpk/01", "zpk/1/1", "ZPK", "zpk ", "zpk/2", "zp", "z*"]
)
def test_what_is_no_exact_name_is_unknown(reference: str) -> None:
    directory = KeyDirectory([key("zpk", "P0", "TDES_2KEY", "B")])
    found = refused(lambda: directory.find(reference, field="source.key"))
    assert found is Reason.KEY_UNKNOWN


def test_the_family_is_what_an_algorithm_is_called_first() -> None:
    families = {each.family for each in Algorithm}
    assert families == {"TDES", "AES", "RSA", "EC", "HMAC"}
    assert all(each.startswith(f"{each.family}_") for each in Algorithm)


def test_only_block_ciphers_have_blocks() -> None:
    assert {each: each.block_bytes for each in Algorithm} == {
        Algorithm.TDES_2KEY: 8,
        Algorithm.TDES_3KEY: 8,
        Algorithm.AES_128: 16,
        Algorithm.AES_192: 16,
        Algorithm.AES_256: 16,
        Algorithm.RSA_2048: 0,
        Algorithm.RSA_3072: 0,
        Algorithm.RSA_4096: 0,
        Algorithm.EC_P256: 0,
        Algorithm.HMAC_SHA256: 0,
    }
