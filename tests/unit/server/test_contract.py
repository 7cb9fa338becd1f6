"""Requests are read by the contract: size, encoding, unknown fields at any depth, and rules."""

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pinvault.model.errors import Reason, Refusal
from pinvault.server.contract import Contract
from pinvault.v1 import card_pin_pb2, pin_block_pb2, resources_pb2

PAN = "4111111111111111"


def good() -> pin_block_pb2.EncryptPinRequest:
    form = resources_pb2.PinBlockFormat(iso_format_0=resources_pb2.IsoFormat0(pan=PAN))
    return pin_block_pb2.EncryptPinRequest(
        source=resources_pb2.PinSource(
            pin_block=resources_pb2.PinBlockSource(key="zpk", format=form, ciphertext=bytes(8))
        ),
        target=resources_pb2.PinTarget(
            pin_block=resources_pb2.PinBlockTarget(key="zpk-2/3", format=form)
        ),
    )


def read(raw: bytes, *, max_bytes: int = 1024) -> pin_block_pb2.EncryptPinRequest:
    return Contract(max_bytes=max_bytes).read(raw, pin_block_pb2.EncryptPinRequest)


def refusal(raw: bytes, **options: int) -> Refusal:
    with pytest.raises(Refusal) as refused:
        read(raw, **options)
    return refused.value


def test_a_good_request_is_read() -> None:
    assert read(good().SerializeToString()) == good()


def test_size_is_bounded_to_the_byte() -> None:
    raw = good().SerializeToString()
    assert read(raw, max_bytes=len(raw)) == good()
    assert refusal(raw, max_bytes=len(raw) - 1).reason is Reason.REQUEST_TOO_LARGE


def test_unknown_fields_are_refused_at_any_depth() -> None:
    unknown = bytes([0x9A, 0x06, 1, 0x78])  # field 99: "x"
    deep = good()
    inner = resources_pb2.IsoFormat0.FromString(
        deep.source.pin_block.format.iso_format_0.SerializeToString() + unknown
    )
    deep.source.pin_block.format.iso_format_0.CopyFrom(inner)
    for raw in (good().SerializeToString() + unknown, deep.SerializeToString()):
        assert refusal(raw).reason is Reason.REQUEST_INVALID


@given(st.text(max_size=30))
def test_violations_name_field_and_rule_and_never_the_value(text: str) -> None:
    request = good()
    request.source.pin_block.key = text
    raw = request.SerializeToString()
    try:
        read(raw)
    except Refusal as refused:
        (violation,) = refused.violations
        assert violation.field == "source.pin_block.key"
        assert len(text) < 5 or text not in violation.description


@given(st.binary(max_size=200))
def test_random_bytes_are_refused(raw: bytes) -> None:
    assert refusal(raw).reason in {Reason.REQUEST_MALFORMED, Reason.REQUEST_INVALID}


def registration(external_id: str) -> bytes:
    return card_pin_pb2.RegisterCardRequest(
        program="debit",
        pan=PAN,
        expiry="2812",
        status=card_pin_pb2.CARD_STATUS_ACTIVE,
        external_id=external_id,
    ).SerializeToString()


@given(st.sampled_from(("", "icrd_", "acme:card-")), st.uuids(), st.booleans())
@example("card_", UUID("00000000-0000-4000-8000-411111111111"), True)
@example("card_", UUID("41111111-1111-1111-1119-999999999999"), False)
def test_an_external_id_may_be_a_uuid_after_a_prefix(prefix: str, made: UUID, dashed: bool) -> None:
    external_id = prefix + (str(made) if dashed else made.hex)
    if not external_id.isdecimal():
        raw = registration(external_id)
        read = Contract(max_bytes=1024).read(raw, card_pin_pb2.RegisterCardRequest)
        assert read.external_id == external_id


@pytest.mark.parametrize(
    "external_id",
    [
        *(PAN, f"card_{PAN}", f"{PAN}x", f"a{PAN}b", f"{PAN[:12]}-", f"{PAN}-{UUID(int=7)}"),
        *(f"{UUID(int=7)}-{PAN}", f"{UUID(int=7)}{PAN[:4]}", "card 1", "carte-n\u00b0"),
    ],
)
def test_an_external_id_holds_no_pan(external_id: str) -> None:
    with pytest.raises(Refusal) as refused:
        Contract(max_bytes=1024).read(registration(external_id), card_pin_pb2.RegisterCardRequest)
    assert refused.value.reason is Reason.REQUEST_INVALID
    assert {each.field for each in refused.value.violations} == {"external_id"}
    assert PAN[:12] not in "".join(each.description for each in refused.value.violations)
