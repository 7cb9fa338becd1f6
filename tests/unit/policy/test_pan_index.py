"""What stands for a PAN: the same for the same account, and nothing without the key."""

import pytest

from pinvault.model.pan import Pan
from pinvault.policy.pan_index import PanIndex

PAN = "4000001234562000"
KEY = bytes(range(32))


@pytest.fixture
def index() -> PanIndex:
    return PanIndex(KEY)


@pytest.mark.parametrize("at", range(16))
def test_every_digit_counts_in_the_index_and_eight_in_the_account(index: PanIndex, at: int) -> None:
    other = Pan(PAN[:at] + str((int(PAN[at]) + 1) % 10) + PAN[at + 1 :])
    assert index.of(Pan(PAN)) != index.of(other)
    same_account = index.account_of(Pan(PAN)) == index.account_of(other)
    assert same_account is (at not in range(7, 15))


@pytest.mark.parametrize("pan", [PAN[4:], PAN[1:], f"999{PAN}", f"{PAN[:15]}9"])
def test_an_account_is_the_same_in_pans_of_every_length(index: PanIndex, pan: str) -> None:
    assert index.account_of(Pan(PAN)) == index.account_of(Pan(pan))


def test_accounts_and_natural_pins_do_not_meet(index: PanIndex) -> None:
    account = Pan(PAN).account()[4:].encode()
    found = {
        index.account_of(Pan(PAN)),
        index.natural_of(account),
        index.natural_of(b"natural " + account),
        index.natural_of(b""),
    }
    assert len(found) == 4
    assert {len(each) for each in found} == {32}


def test_another_key_gives_another_index(index: PanIndex) -> None:
    other = PanIndex(bytes(32))
    assert index.of(Pan(PAN)) != other.of(Pan(PAN))
    assert index.account_of(Pan(PAN)) != other.account_of(Pan(PAN))
    assert index.natural_of(b"k") != other.natural_of(b"k")


@pytest.mark.parametrize("size", [0, 31, 33])
def test_the_key_has_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PanIndex(bytes(size))


def test_nothing_shows_the_key(index: PanIndex) -> None:
    assert repr(index) == "<PAN index>"
