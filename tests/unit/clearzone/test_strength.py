"""What each rule refuses, over all PINs of 4 digits, against lists that are written otherwise."""

import random
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from pinvault.clearzone import strength
from pinvault.clearzone.pin import Pin
from pinvault.clearzone.strength import weak
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength

RULES = (
    "refuse_repeated",
    "refuse_mostly_repeated",
    "refuse_sequential",
    "refuse_dates",
    "refuse_current",
)
FOUR_DIGITS = [f"{number:04}" for number in range(10_000)]
DAYS = [date(2000, 1, 1) + timedelta(days=number) for number in range(366)]  # a leap year
YEARS = range(1900, 2100)


def only(*names: str, **others) -> PinRules:
    return PinRules(name="rules", **{name: name in names for name in RULES}, **others)


def refused(rules: PinRules, pins: list[str], current: str | None = None) -> set[str]:
    now = None if current is None else Pin(current.encode())
    return {pin for pin in pins if weak(Pin(pin.encode()), rules=rules, current=now)}


def runs(length: int) -> set[str]:
    """Give what can be cut from the digits going round and round, in both directions."""
    circle = "0123456789" * 3
    cuts = {circle[start : start + length] for start in range(10)}
    return cuts | {cut[::-1] for cut in cuts}


def dates(*layouts: str) -> set[str]:
    """Give every day of the calendar in `strftime` layouts."""
    return {day.strftime(layout) for day in DAYS for layout in layouts}


# Each rule alone


def test_no_rule_refuses_nothing() -> None:
    assert refused(only(), FOUR_DIGITS) == set()


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("refuse_repeated", {digit * 4 for digit in "0123456789"}),
        (
            "refuse_mostly_repeated",
            {pin for pin in FOUR_DIGITS if any(pin.count(digit) >= 3 for digit in pin)},
        ),
        ("refuse_sequential", runs(4)),
        ("refuse_dates", dates("%d%m", "%m%d") | {str(year) for year in YEARS}),
    ],
)
def test_a_rule_refuses_these_pins_of_4_digits_and_no_others(rule: str, expected) -> None:
    assert refused(only(rule), FOUR_DIGITS) == expected


@pytest.mark.parametrize("length", range(4, 13))
def test_repeated_and_sequential_hold_for_every_length(length: int) -> None:
    alike = {digit * length for digit in "0123456789"}
    in_order = runs(length)
    nearly = {pin[:-1] + str((int(pin[-1]) + 5) % 10) for pin in alike | in_order}
    tried = sorted(alike | in_order | nearly)
    assert refused(only("refuse_repeated"), tried) == alike
    assert refused(only("refuse_sequential"), tried) == in_order


@pytest.mark.parametrize(
    ("pin", "mostly"),
    [("1122", False), ("1121", True), ("111222", False), ("111122", True), ("12121", True)],
)
def test_more_than_half_alike_is_mostly_repeated(pin: str, mostly: bool) -> None:
    assert bool(refused(only("refuse_mostly_repeated"), [pin])) is mostly


def test_dates_of_6_digits_have_any_short_year() -> None:
    years = [f"{year:02}" for year in range(100)]
    expected = {day + year for day in dates("%d%m", "%m%d") for year in years}
    expected |= {year + day for day in dates("%m%d") for year in years}
    rng = random.Random(6)
    tried = rng.sample(sorted(expected), k=1000) + numbers(rng, length=6, count=3000)
    assert refused(only("refuse_dates"), tried) == expected & set(tried)


def test_dates_of_8_digits_have_a_year_of_two_centuries() -> None:
    rng = random.Random(8)
    for year in (1899, *rng.sample(YEARS, k=8), 2100):
        tried = {f"{day}{year}" for day in dates("%d%m", "%m%d")}
        tried |= {f"{year}{day}" for day in dates("%m%d")}
        sample = rng.sample(sorted(tried), k=100)
        assert refused(only("refuse_dates"), sample) == (set(sample) if year in YEARS else set())
    never = ["19000230", "20011301", "20010001", "20010100", "32011999", "00011999", "31061999"]
    assert refused(only("refuse_dates"), never) == set()


def numbers(rng: random.Random, *, length: int, count: int) -> list[str]:
    return ["".join(rng.choices("0123456789", k=length)) for _ in range(count)]


@pytest.mark.parametrize("pin", ["01011", "0101190", "010119000", "010119001231"])
def test_other_lengths_hold_no_date(pin: str) -> None:
    assert refused(only("refuse_dates"), [pin]) == set()


def test_the_current_pin_is_refused_where_there_is_one() -> None:
    assert refused(only("refuse_current"), FOUR_DIGITS, current="7392") == {"7392"}
    assert refused(only("refuse_current"), ["7392", "73920"], current="73920") == {"73920"}
    assert refused(only("refuse_current"), ["7392"], current=None) == set()
    assert refused(only(), ["7392"], current="7392") == set()


def test_the_excluded_are_refused() -> None:
    rules = only(excluded=frozenset({"2580", "135790"}))
    assert refused(rules, [*FOUR_DIGITS, "135790", "25801"]) == {"2580", "135790"}


def test_lengths_outside_the_rules_are_refused() -> None:
    rules = only(pin_length=PinLength(minimum=5, maximum=6))
    assert refused(rules, ["7392", "73920", "739205", "7392051"]) == {"7392", "7392051"}


# All rules together


@pytest.mark.parametrize(
    ("rules", "left"),
    [
        (PinRules(name="default"), 9209),
        (PinRules(name="strictest", refuse_mostly_repeated=True), 8878),
    ],
    ids=["default", "strictest"],
)
def test_enough_pins_of_4_digits_are_left(rules: PinRules, left: int) -> None:
    """A rule that refused too much would help whoever guesses."""
    assert len(FOUR_DIGITS) - len(refused(rules, FOUR_DIGITS)) == left


@pytest.mark.parametrize("pin", ["1111", "1234", "3112", "7392", "73920"])
def test_every_rule_is_evaluated_whatever_the_others_say(
    monkeypatch: pytest.MonkeyPatch, pin: str
) -> None:
    asked: list[str] = []

    def watch(name: str) -> None:
        rule: Callable[..., bool] = getattr(strength, name)
        monkeypatch.setattr(strength, name, lambda *given: asked.append(name) or rule(*given))

    names = ["_is_repeated", "_is_mostly_repeated", "_is_sequential", "_is_date", "same_pin"]
    for name in names:
        watch(name)
    rules = only(*RULES, pin_length=PinLength(minimum=4, maximum=4))
    refused(rules, [pin], current="7392")
    assert asked == names
