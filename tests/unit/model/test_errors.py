"""Every reason has one constant text, and a refusal carries facts in fields, never in its text."""

import re

import pytest

from pinvault.model.errors import TEXTS, Reason, Refusal, Violation


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_text_of_whole_sentences(reason: Reason) -> None:
    text = TEXTS[reason]
    assert text.endswith(".")
    assert text[0].isupper()
    assert text == text.strip()
    assert "  " not in text


def test_texts_belong_to_reasons_and_to_one_each() -> None:
    assert set(TEXTS) == set(Reason)
    assert len(set(TEXTS.values())) == len(TEXTS)


@pytest.mark.parametrize("reason", sorted(set(Reason) - {Reason.FORMAT_KEY_MISMATCH}))
def test_texts_hold_no_digits(reason: Reason) -> None:
    assert not re.search("[0-9]", TEXTS[reason])


def test_the_one_text_with_digits_names_formats_only() -> None:
    assert re.findall("[0-9]+", TEXTS[Reason.FORMAT_KEY_MISMATCH]) == [*("4", "16", "8")]


def test_names_of_reasons_are_their_values() -> None:
    assert all(reason.name == reason.value for reason in Reason)


def test_the_one_face_of_decipher_failures_tells_nothing_of_them() -> None:
    told = TEXTS[Reason.PIN_SOURCE_REFUSED].lower()
    for cause in ("pad", "pan", "key", "format", "digit", "length", "tag", "wrong", "decrypt"):
        assert cause not in told


@pytest.mark.parametrize("reason", Reason)
def test_a_refusals_text_is_the_constant_one_whatever_its_fields(reason: Reason) -> None:
    refusal = Refusal(
        reason,
        field="source.pin_block.key",
        violations=(Violation("field", "rule"),),
        retry_after_s=2.5,
        cause="expired",
    )
    assert str(refusal) == TEXTS[reason]
    assert refusal.args == (TEXTS[reason],)
    assert refusal.reason is reason
    assert (refusal.field, refusal.retry_after_s, refusal.cause) == (
        "source.pin_block.key",
        2.5,
        "expired",
    )
    assert refusal.violations == (Violation("field", "rule"),)


def test_a_refusal_without_fields_has_empty_ones() -> None:
    refusal = Refusal(Reason.PIN_SOURCE_REFUSED)
    assert (refusal.field, refusal.violations, refusal.retry_after_s, refusal.cause) == (
        "",
        (),
        None,
        "",
    )
