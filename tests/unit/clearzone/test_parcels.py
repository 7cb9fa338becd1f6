"""Parcels by example: which of them tell whose PIN they hold, and what is shown of them."""

from dataclasses import fields, replace

import pytest

from pinvault.clearzone.parcels import BlockToMake, SealedBlock, SealedEnvelope, is_bound
from pinvault.model.pan import Pan
from pinvault.model.pins import Format
from tests.unit.clearzone.support import PAN, PROFILE, ZPK, envelope

BLOCK = SealedBlock(key=ZPK, format=Format.ISO_0, pan=Pan(PAN), ciphertext=b"\xa5" * 8)


@pytest.mark.parametrize("form", Format)
def test_a_block_is_bound_when_its_format_carries_the_pan(form: Format) -> None:
    assert is_bound(replace(BLOCK, format=form)) is form.carries_pan


@pytest.mark.parametrize("bind_pan", [True, False])
def test_an_envelope_is_bound_when_its_profile_says_so(bind_pan: bool) -> None:
    assert is_bound(envelope(b"", profile=replace(PROFILE, bind_pan=bind_pan))) is bind_pan


@pytest.mark.parametrize("kind", [SealedBlock, SealedEnvelope])
def test_ciphertext_is_not_shown(kind: type) -> None:
    assert [each.name for each in fields(kind) if not each.repr] == ["ciphertext"]


def test_a_block_is_taken_for_one_that_others_decipher_unless_it_is_told() -> None:
    assert not BlockToMake(key=ZPK, format=Format.ISO_0, pan=Pan(PAN)).reopens
