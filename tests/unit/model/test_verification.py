"""Schemes and PIN rules refuse what is dangerous or meaningless, and repeat none of it."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pinvault.model.pan import Pan
from pinvault.model.pin_rules import PinRules
from pinvault.model.profiles import PinLength
from pinvault.model.verification import (
    Ibm3624Scheme,
    PinOffset,
    Pvv,
    ValidationLayout,
    VisaPvvScheme,
)

DIGITS = "0123456789"
LAYOUT = ValidationLayout(template="{first16}")


def scheme(
    table: str = "0123456789012345", check_length: int = 4, pin_length: int = 4
) -> Ibm3624Scheme:
    return Ibm3624Scheme(
        name="programme",
        key="pvk",
        decimalisation_table=table,
        validation=LAYOUT,
        check_length=check_length,
        pin_length=pin_length,
    )


def is_taken(make: Callable[[], object]) -> bool:
    try:
        make()
    except ValueError:
        return False
    return True


# Values


@pytest.mark.parametrize("value", ["", "123", "12345", "12a4", "١٢٣٤", "1234\n", "-123"])
def test_a_pvv_has_four_digits(value: str) -> None:
    with pytest.raises(ValueError, match=r"^a PVV has 4 decimal digits$"):
        Pvv(value=value, key_index=1)


@pytest.mark.parametrize("value", ["", "123", "1" * 13, "123F", "١٢٣٤", "1234\n"])
def test_an_offset_has_4_to_12_digits(value: str) -> None:
    with pytest.raises(ValueError, match=r"^a PIN offset has 4 to 12 decimal digits$"):
        PinOffset(value=value)


def test_values_are_not_shown() -> None:
    assert repr(PinOffset(value="7392")) == "PinOffset()"
    assert "7392" not in f"{Pvv(value='7392', key_index=0)}"
    assert "7392" not in repr(PinRules(name="rules", excluded=frozenset({"7392"})))


@pytest.mark.parametrize("index", [-1, 7, 10])
def test_key_indexes_are_0_to_6(index: int) -> None:
    with pytest.raises(ValueError, match="0 to 6"):
        Pvv(value="1234", key_index=index)
    with pytest.raises(ValueError, match="0 to 6"):
        VisaPvvScheme(name="visa", keys={1: "pvk", index: "pvk"})


def test_a_pvv_scheme_has_a_key() -> None:
    assert VisaPvvScheme(name="visa", keys=dict.fromkeys(range(7), "pvk")).keys[6] == "pvk"
    with pytest.raises(ValueError, match="needs a key"):
        VisaPvvScheme(name="visa", keys={})


# Decimalisation tables


@pytest.mark.parametrize(
    "table",
    [
        *("0123456789012345", "1234567890123456", "8351296477461538", "3456789012345678"),
        "0000111122345678",  # each at most four times
        "0123456701234567",  # eight different digits
    ],
)
def test_a_table_of_enough_variety_is_taken(table: str) -> None:
    assert scheme(table).decimalisation_table == table


@pytest.mark.parametrize(
    "table",
    [
        *("0000000000000000", "1000000000000000", "0123456012345601", "0000012345678912"),
        *(
            "",
            "012345678901234",
            "01234567890123456",
            "0123456789ABCDEF",
            "012345678901234\N{ARABIC-INDIC DIGIT FIVE}",
        ),
    ],
)
def test_a_weak_or_broken_table_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match=r"^a decimalisation table ") as caught:
        scheme(table)
    assert not table or table not in str(caught.value)


@settings(max_examples=300)
@given(
    st.sampled_from(range(6, 11)).flatmap(
        lambda kinds: st.text(DIGITS[:kinds], min_size=16, max_size=16)
    )
)
def test_a_table_is_taken_by_variety_and_repeats_alone(table: str) -> None:
    counts = [table.count(digit) for digit in DIGITS]
    strong = counts.count(0) <= 2 and max(counts) <= 4
    assert is_taken(lambda: scheme(table)) is strong


# Lengths


@pytest.mark.parametrize("check_length", range(14))
def test_lengths_are_4_to_12_and_no_more_is_checked_than_there_is(check_length: int) -> None:
    taken = [
        is_taken(lambda n=n: scheme(check_length=check_length, pin_length=n)) for n in range(14)
    ]
    assert taken == [4 <= check_length <= pin_length <= 12 for pin_length in range(14)]


# Validation layouts


@pytest.mark.parametrize(
    ("template", "pad", "pan", "block"),
    [
        ("{first16}", "F", "1122334455667788", "1122334455667788"),
        ("{first14}", "F", "1122334455667788", "11223344556677FF"),
        ("{last14}", "1", "1122334455667788", "2233445566778811"),
        ("{first16}", "F", "4000001234562", "4000001234562FFF"),
        ("{last16}", "F", "5060990000000151002", "0990000000151002"),
        ("{account16}", "F", "5060990000000151002", "6099000000015100"),
        ("{account12}", "A", "4000001234562000", "000123456200AAAA"),
        ("{account12}", "F", "400000123452", "040000012345FFFF"),
        ("{account11}", "0", "400000123452", "4000001234500000"),
        ("9230000N0431", "F", "4579230000004312", "9230000004310431"),
        ("9230000{account5}0431", "F", "4579230000004312", "9230000004310431"),
        ("NNN", "F", "4000001234562000", "562005620056200F"),
        ("{first6}{last4}C", "0", "4111111111111111", "4111111111C00000"),
    ],
)
def test_a_layout_makes_the_block(template: str, pad: str, pan: str, block: str) -> None:
    layout = ValidationLayout(template=template, pad=pad)
    assert layout.block(Pan(pan)).hex().upper() == block


@settings(max_examples=200)
@given(
    pan=st.text(DIGITS, min_size=12, max_size=19),
    kind=st.sampled_from(["first", "last", "account"]),
    count=st.integers(1, 16),
    before=st.text("0123456789ABCDEF", max_size=16),
    pad=st.sampled_from("0123456789ABCDEF"),
)
def test_a_token_stands_for_digits_of_the_pan(
    pan: str, kind: str, count: int, before: str, pad: str
) -> None:
    before = before[: 16 - count]
    account = pan[:-1] if len(pan) > 12 else "0" + pan[:-1]
    taken = {"first": pan[:count], "last": pan[-count:], "account": account[-count:]}[kind]
    layout = ValidationLayout(template=f"{before}{{{kind}{count}}}", pad=pad)
    made = layout.block(Pan(pan)).hex().upper()
    assert made == (before + taken + pad * 16)[:16]


@pytest.mark.parametrize(
    ("template", "says"),
    [
        *((text, "write a") for text in ("", " {first16}", "{first16} ", "{first0}", "{first17}")),
        *((text, "write a") for text in ("{pan16}", "{first}", "first16", "{last016}", "{First4}")),
        *((text, "write a") for text in ("abN", "9230000n0431", "{pan:-13:-1}", "{0}", "N\n")),
        *((text, "digits of the PAN") for text in ("1234567890123456", "F")),
        *((text, "at most 16") for text in ("{first16}0", "NNNN", "{first8}{last9}")),
    ],
)
def test_a_layout_says_only_what_the_language_has(template: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ValidationLayout(template=template)


@pytest.mark.parametrize("pad", ["", "FF", "f", "G", " ", "F\n", "٣"])
def test_a_pad_is_one_hex_digit(pad: str) -> None:
    with pytest.raises(ValueError, match="one upper-case hex digit"):
        ValidationLayout(template="{first16}", pad=pad)


# PIN rules


@pytest.mark.parametrize(("minimum", "maximum"), [(3, 6), (4, 13), (6, 4), (0, 0)])
def test_pin_lengths_are_4_to_12(minimum: int, maximum: int) -> None:
    with pytest.raises(ValueError, match="4 to 12"):
        PinRules(name="rules", pin_length=PinLength(minimum=minimum, maximum=maximum))


@pytest.mark.parametrize("entry", ["", "123", "1" * 13, "12a4", "1234\n", "١٢٣٤"])
def test_the_excluded_are_pins(entry: str) -> None:
    with pytest.raises(ValueError, match=r"^every excluded PIN has 4 to 12 decimal digits$"):
        PinRules(name="rules", excluded=frozenset({"2580", entry}))
